"""A model that cannot share prompts: one warning with the reason, and the numbers of plain scoring."""

import logging
import re

import pytest
import torch

import srpo.scoring
from srpo.scoring import Scorer
from tests.scripted import ScriptedSRPO, make_trainer, scripted_dataset, train


@pytest.fixture
def warned(caplog):
    """Function that returns the warnings of the scorer so far, without accelerate's name of the rank."""
    caplog.set_level(logging.WARNING, logger="srpo.scoring")

    def messages():
        records = [record for record in caplog.records if record.name == "srpo.scoring"]
        return [record.getMessage().removeprefix("[RANK 0] ") for record in records]

    return messages


def ignore_cache(module, args, kwargs):
    """As a model whose forward pass has no cache: completions are run without their prompt."""
    if "shift_labels" not in kwargs:
        return None
    mask = kwargs["attention_mask"][:, -kwargs["input_ids"].size(1) :]
    return args, kwargs | {"past_key_values": None, "attention_mask": mask}


def refuse_cache(module, args, kwargs):
    """As a model whose forward pass stops on a cache."""
    if kwargs.get("past_key_values") is not None:
        raise ValueError("no cache, please")


def cross_attention(model):
    """As a model that reads images by cross-attention."""
    model.config.get_text_config().cross_attention_layers = [0]


OBSTACLES = {
    "cache ignored": (
        lambda model: model.register_forward_pre_hook(ignore_cache, with_kwargs=True),
        r"log-probabilities differ by [\d.e+-]+ nats on average, where rounding explains 0.001",
    ),
    "cache refused": (
        lambda model: model.register_forward_pre_hook(refuse_cache, with_kwargs=True),
        r"does not accept a prompt cache \(ValueError: no cache, please\)",
    ),
    "cross attention": (cross_attention, "reads images through cross-attention layers"),
}


def run(folder, tmp_path, prepare=lambda model: None, **options):
    """Two steps of a model that was prepared; returns the trainer with its credits."""
    trainer = make_trainer(ScriptedSRPO, folder, tmp_path, **options)
    prepare(trainer.model)
    trainer.credits = []
    trainer.observers.append(trainer.credits.append)
    trainer.train()
    return trainer


@pytest.mark.parametrize(("prepare", "reason"), OBSTACLES.values(), ids=OBSTACLES.keys())
def test_an_obstacle_gives_one_warning_and_the_numbers_of_plain_scoring(qwen_folder, tmp_path, warned, prepare, reason):
    fallen = run(qwen_folder, tmp_path, prepare)
    (message,) = warned()
    assert message.startswith('scoring="shared" does not work with this model and falls back to scoring="plain"')
    assert re.search(reason, message)
    assert not fallen._scorer.shared
    asked_for = run(qwen_folder, tmp_path, scoring="plain")
    assert len(fallen.credits) == len(asked_for.credits) == 2
    for ours, theirs in zip(fallen.credits, asked_for.credits, strict=True):
        assert ours.gaps.equal(theirs.gaps)
        assert ours.weights.equal(theirs.weights)
        assert (ours.weights != 1).any()
    assert len(warned()) == 1


def test_every_layout_shares_without_a_warning(layout_folder, tmp_path, warned):
    assert train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=scripted_dataset(8, (0, 2)))._scorer.shared
    assert not warned()


@pytest.mark.parametrize("scoring", ["shared", "plain"])
def test_the_check_is_made_once_and_only_for_shared_scoring(qwen_folder, tmp_path, monkeypatch, scoring):
    checks = []
    check = Scorer._difference_to_plain
    monkeypatch.setattr(Scorer, "_difference_to_plain", lambda *args: checks.append(1) or check(*args))
    train(ScriptedSRPO, qwen_folder, tmp_path, scoring=scoring)
    assert len(checks) == (scoring == "shared")


def test_uniform_credit_checks_nothing(qwen_folder, tmp_path, scored):
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, credit="uniform")
    assert not scored
    assert not trainer._scorer._checked


@pytest.fixture
def compared(monkeypatch):
    """The contexts that were compared with plain scoring."""
    contexts = []
    plain = Scorer._plain
    monkeypatch.setattr(Scorer, "_plain", lambda self, model, part: contexts.append(part) or plain(self, model, part))
    return contexts


def test_the_check_takes_two_rollouts_of_the_longest_prompt_and_one_of_the_shortest(qwen_folder, tmp_path, compared):
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=scripted_dataset(4, (1, 2)), max_steps=1)
    lengths = trainer.batches[0]["prompt_mask"].sum(1)
    (part,) = compared
    assert part.prompt_mask.sum(1).tolist() == [lengths.max(), lengths.max(), lengths.min()]
    assert part.prompt_ids[0].equal(part.prompt_ids[1])
    assert not part.completion_ids[0].equal(part.completion_ids[1])
    assert lengths.max() > lengths.min()


def test_a_first_batch_of_text_is_not_all_that_is_checked(qwen_folder, tmp_path, compared):
    data = scripted_dataset(6, (0, 0, 0, 0, 1, 1))
    train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, max_steps=3)
    assert [any(part.has_image) for part in compared] == [False, True]


def test_rollouts_without_a_token_show_nothing(qwen_folder, tmp_path, compared):
    class Endless(ScriptedSRPO):
        kinds = ("endless", "right")
        first = True

        def _generate_single_turn(self, *args, **kwargs):
            self.kinds = ("endless",) if self.state.global_step == 0 else ("right",)
            return super()._generate_single_turn(*args, **kwargs)

    train(Endless, qwen_folder, tmp_path, mask_truncated_completions=True, max_steps=2)
    (part,) = compared  # of the second batch
    assert part.completion_mask.any(1).all()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()])
def test_what_is_no_obstacle_of_the_model_is_not_swallowed(qwen_folder, tmp_path, monkeypatch, warned, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(srpo.scoring, "shared_log_probs", fail)
    with pytest.raises(type(error)):
        train(ScriptedSRPO, qwen_folder, tmp_path)
    assert not warned()


def test_an_error_after_the_check_is_not_swallowed(qwen_folder, tmp_path, monkeypatch, warned):
    real, calls = srpo.scoring.shared_log_probs, []

    def fail_later(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("later")
        return real(*args, **kwargs)

    monkeypatch.setattr(srpo.scoring, "shared_log_probs", fail_later)
    with pytest.raises(ValueError, match="later"):
        train(ScriptedSRPO, qwen_folder, tmp_path)
    assert not warned()


@pytest.mark.parametrize("other", [0, 1])
def test_all_processes_fall_back_where_one_finds_an_obstacle(qwen_folder, tmp_path, warned, other):
    """`_agree` stands for another process, which finds `other` obstacles."""
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, max_steps=1)
    trainer._scorer.agree = lambda counts: [max(count, other) for count in counts] if len(counts) == 1 else counts
    trainer.train()
    assert trainer._scorer.shared == (not other)
    assert warned() == [srpo.scoring.FALLBACK_WARNING.format(reason="another process found so")] * other
