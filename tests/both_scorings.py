"""Shared scoring next to plain forward passes, on batches that a trainer made.

Contexts, wanted tokens and groups are those that the trainer hands to its scorer. The random models get larger weights
than usual, so that a token that is misplaced, or sees another prompt, moves log-probabilities by far more than the
tolerance.
"""

from dataclasses import replace

import torch

from srpo.scoring import evaluation_mode, plain_log_probs
from srpo.shared_scoring import shared_log_probs
from tests.scripted import make_trainer

TOLERANCE = 1e-5  # nats, float32
AMPLE = 10_000  # tokens of a pass


def sharpen(model):
    """Larger projections, so that attention and logits depend on what is seen and where."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and ("language_model" in name or "text_model" in name or "lm_head" in name):
                parameter.normal_(0, 1.0 / parameter.size(1) ** 0.5)


def sharp_trainer(cls, folder, tmp_path, **options):
    """A trainer of a model that is sensitive to what it sees."""
    trainer = make_trainer(cls, folder, tmp_path, **options)
    sharpen(trainer.model)
    return trainer


def generate_batch(trainer):
    """Generate and score the first batch of training, as `Trainer.train` would."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    return trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))


def first_batch(cls, folder, tmp_path, scored, **options):
    """Generate and score one batch; returns the trainer and what its scorer was asked for."""
    trainer = sharp_trainer(cls, folder, tmp_path, **options)
    generate_batch(trainer)
    return trainer, scored[-1]


def shared(trainer, call, max_tokens=AMPLE):
    """Log-probabilities by shared scoring."""
    with evaluation_mode(call.model):
        return shared_log_probs(
            call.model,
            call.contexts,
            call.wanted,
            call.groups,
            max_tokens=max_tokens,
            autocast=trainer.accelerator.autocast,
        )


def plain(trainer, call):
    """Log-probabilities by whole forward passes."""
    function = trainer._get_per_token_logps_and_entropies
    return {name: plain_log_probs(function, call.model, context, 3) for name, context in call.contexts.items()}


def compare(trainer, call, *, max_tokens=AMPLE, tolerance=TOLERANCE):
    """Both ways over the same contexts; returns the number of log-probabilities compared."""
    found, expected, compared = shared(trainer, call, max_tokens), plain(trainer, call), 0
    assert found.keys() == call.contexts.keys()
    for name, log_probs in found.items():
        at = call.wanted[name]
        assert log_probs.dtype == torch.float32
        assert log_probs[at].isfinite().all()
        assert log_probs[~at].isnan().all()
        torch.testing.assert_close(log_probs[at], expected[name][at], atol=tolerance, rtol=0)
        compared += int(at.sum())
    return compared


def only(call, at):
    """The call with these (B, T) tokens wanted of every context that contains them."""
    return call._replace(wanted={name: at & (context.position >= 0) for name, context in call.contexts.items()})


def rearranged(call, rows):
    """The call with its rollouts in another order, which may repeat."""
    keys = [call.groups[row] for row in rows]
    views = {
        id(context.vision): (lambda at, see=context.vision: see([rows[i] for i in at]))
        for context in call.contexts.values()
    }
    contexts = {}
    for name, context in call.contexts.items():
        contexts[name] = replace(context.rows(rows), vision=views[id(context.vision)])
    wanted = {name: at[rows] for name, at in call.wanted.items()}
    return call._replace(contexts=contexts, wanted=wanted, groups=[keys.index(key) for key in keys])
