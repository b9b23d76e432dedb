"""Shared scoring against plain forward passes: equal log-probabilities in every layout and at every edge.

Every comparison runs on a batch that the trainer made, with the contexts, the wanted tokens and the groups as it hands
them to the scorer. The random models get larger weights than usual, so that a token that is misplaced, or sees another
prompt, moves log-probabilities by far more than the tolerance.
"""

import pytest
import torch

import srpo.scoring
from srpo.scoring import Scorer, evaluation_mode, plain_log_probs
from srpo.shared_scoring import shared_log_probs
from tests.scripted import ScriptedSRPO, lora, make_trainer, scripted_dataset

TOLERANCE = 1e-5


@pytest.fixture
def caught(monkeypatch):
    """What the trainer hands to its scorer: (trainer's model, contexts, wanted, groups) of each batch."""
    calls = []
    original = Scorer.__call__

    def spy(self, model, contexts, wanted, groups):
        calls.append((model, contexts, wanted, groups))
        return original(self, model, contexts, wanted, groups)

    monkeypatch.setattr(Scorer, "__call__", spy)
    return calls


def sharpen(model):
    """Larger projections, so that attention and logits depend on what is seen and where."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and ("language_model" in name or "text_model" in name or "lm_head" in name):
                parameter.normal_(0, 1.0 / parameter.size(1) ** 0.5)


def first_batch(cls, folder, tmp_path, caught, **options):
    """Generate and score one batch; returns the trainer and what its scorer was handed."""
    trainer = make_trainer(cls, folder, tmp_path, **options)
    sharpen(trainer.model)
    trainer.model.train()
    rows = next(iter(trainer.get_train_dataloader()))
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    trainer._generate_and_score_completions(rows)
    return trainer, caught[-1]


def compare(trainer, call, *, max_tokens=10_000, tolerance=TOLERANCE):
    """Both ways over the same contexts; returns the number of log-probabilities compared."""
    model, contexts, wanted, groups = call
    with evaluation_mode(model):
        shared = shared_log_probs(model, contexts, wanted, groups, max_tokens=max_tokens)
    compared = 0
    for name, context in contexts.items():
        plain = plain_log_probs(trainer._get_per_token_logps_and_entropies, model, context, batch_size=3)
        at = wanted[name]
        assert shared[name][at].isfinite().all()
        assert shared[name][~at].isnan().all()
        torch.testing.assert_close(shared[name][at], plain[at], atol=tolerance, rtol=0)
        compared += int(at.sum())
    return compared


class OneKind(ScriptedSRPO):
    kinds = ("right",)


class Unstructured(ScriptedSRPO):
    kinds = ("unstructured", "truncated", "repeated")


@pytest.mark.parametrize("contrast", ["drop", "blind"])
@pytest.mark.parametrize("images", [(1, 2), (0, 1), (0,)], ids=["one_and_two", "text_and_image", "text_only"])
def test_equal_in_every_layout(layout_folder, tmp_path, caught, images, contrast):
    data = scripted_dataset(4, images).remove_columns("images" if images == (0,) else [])
    trainer, call = first_batch(
        ScriptedSRPO, layout_folder, tmp_path, caught, train_dataset=data, reasoning_contrast=contrast, temperature=0.8
    )
    assert trainer._scorer.shared
    assert compare(trainer, call) > 60
    prompt_lengths = call[1]["original"].prompt_mask.sum(1)
    assert images == (0,) or prompt_lengths.unique().numel() > 1  # padded on the left


@pytest.mark.parametrize("max_tokens", [1, 60, 200])
def test_a_small_budget_splits_prompts_and_groups(layout_folder, tmp_path, caught, max_tokens):
    trainer, call = first_batch(ScriptedSRPO, layout_folder, tmp_path, caught)
    assert compare(trainer, call, max_tokens=max_tokens) > 60


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("window", [None, 24])
def test_attention_kinds_and_sliding_windows(qwen_folder, tmp_path, caught, attention, window):
    config = {"attn_implementation": attention}
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, model_init_kwargs=config)
    text = trainer.model.config.text_config
    if window:
        text.sliding_window, text.layer_types = window, ["sliding_attention", "full_attention"]
        decoder = trainer.model.get_decoder()
        decoder.has_sliding_layers = True
        for layer, kind in zip(decoder.layers, text.layer_types, strict=True):
            layer.self_attn.sliding_window = window if kind == "sliding_attention" else None
            layer.self_attn.layer_type = kind
    sharpen(trainer.model)
    trainer.model.train()
    trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    assert trainer._scorer.shared
    with_window = caught[-1]
    assert compare(trainer, with_window) > 60
