"""Shared scoring against plain forward passes: equal log-probabilities in every layout and at every edge of a batch."""

from dataclasses import replace

import pytest
import torch

from tests.both_scorings import (
    TOLERANCE,
    compare,
    first_batch,
    generate_batch,
    only,
    plain,
    rearranged,
    shared,
    sharp_trainer,
)
from tests.scripted import ScriptedSRPO, scripted_dataset


class Unstructured(ScriptedSRPO):
    kinds = ("unstructured", "truncated", "repeated")


class Endless(ScriptedSRPO):
    """Structured replies, of which every second one goes on after the answer until it is cut off."""

    kinds = ("right", "endless")


@pytest.mark.parametrize("contrast", ["drop", "blind"])
@pytest.mark.parametrize("images", [(1, 2), (0, 1), (0,)], ids=["one_and_two", "text_and_image", "text_only"])
def test_equal_in_every_layout(layout_folder, tmp_path, scored, images, contrast):
    data = scripted_dataset(4, images).remove_columns("images" if images == (0,) else [])
    trainer, call = first_batch(
        ScriptedSRPO, layout_folder, tmp_path, scored, train_dataset=data, reasoning_contrast=contrast, temperature=0.8
    )
    assert trainer._scorer.shared
    assert compare(trainer, call) > 30
    prompt_lengths = call.contexts["original"].prompt_mask.sum(1)
    assert images == (0,) or prompt_lengths.unique().numel() > 1  # padded on the left
    assert call.contexts["original"].completion_mask.sum(1).unique().numel() > 2  # ragged


@pytest.mark.parametrize("credit", ["vppo", "rlsd", "pgpo"])
@pytest.mark.parametrize("images", [(1, 2), (0, 1)], ids=["one_and_two", "text_and_image"])
def test_equal_in_the_contexts_of_other_methods(layout_folder, tmp_path, scored, images, credit):
    options = {"train_dataset": scripted_dataset(4, images), "credit": credit, "temperature": 0.8}
    trainer, call = first_batch(ScriptedSRPO, layout_folder, tmp_path, scored, **options)
    assert trainer._scorer.shared
    assert len(call.contexts) == 2
    assert compare(trainer, call) > 30


@pytest.fixture
def batch(layout_folder, tmp_path, scored):
    """Trainer and call of a batch of every layout: two prompts, of one and of two images, four rollouts each."""
    return first_batch(ScriptedSRPO, layout_folder, tmp_path, scored, train_dataset=scripted_dataset(4, (1, 2)))


@pytest.mark.parametrize("max_tokens", [1, 60, 200])
def test_a_small_budget_splits_prompts_and_groups(batch, max_tokens):
    assert compare(*batch, max_tokens=max_tokens) > 60


def test_a_rollout_behind_another_prompt_would_be_noticed(batch):
    """The comparison is worth something: the wrong prompt moves log-probabilities by far more than the tolerance."""
    trainer, call = batch
    found, expected = shared(trainer, call._replace(groups=[0] * 8)), plain(trainer, call)
    at = call.wanted["original"]
    difference = (found["original"] - expected["original"]).abs()
    assert difference[:4][at[:4]].max() < TOLERANCE
    assert difference[4:][at[4:]].min() > TOLERANCE
    assert difference[4:][at[4:]].max() > 1000 * TOLERANCE


def test_groups_of_one(batch):
    trainer, call = batch
    assert call.groups == [0] * 4 + [4] * 4
    assert compare(trainer, call._replace(groups=list(range(8)))) > 60


def test_rollouts_of_a_group_need_not_be_neighbours(batch):
    trainer, call = batch
    mixed = rearranged(call, [4, 0, 5, 1, 2, 6, 7, 3])
    assert mixed.groups == [0, 1, 0, 1, 1, 0, 0, 1]
    assert compare(trainer, mixed) > 60


def test_the_order_of_rollouts_only_reorders_their_log_probabilities(batch):
    trainer, call = batch
    order = [3, 7, 1, 0, 5, 4, 2, 6]
    for name, log_probs in shared(trainer, rearranged(call, order)).items():
        expected = shared(trainer, call)[name][order]
        torch.testing.assert_close(log_probs, expected, atol=TOLERANCE, rtol=0, equal_nan=True)


def role_tokens(call):
    """(row, index) of every token that some context is asked for."""
    return torch.stack(list(call.wanted.values())).any(0).nonzero().tolist()


@pytest.mark.parametrize("which", [0, -1])
def test_a_single_role_token(batch, which):
    trainer, call = batch
    row, token = role_tokens(call)[which]
    at = torch.zeros_like(call.wanted["original"])
    at[row, token] = True
    assert compare(trainer, only(call, at)) in (2, 3)  # a perception token is not in the cut context


def test_the_first_token_of_a_completion(batch):
    trainer, call = batch
    at = torch.zeros_like(call.wanted["original"])
    at[:, 0] = True
    assert compare(trainer, only(call, at)) == 3 * 8
    assert compare(trainer, call._replace(wanted={name: at | w for name, w in call.wanted.items()})) > 60 + 8


def test_the_last_token_of_a_completion(batch):
    trainer, call = batch
    lengths = call.contexts["original"].completion_mask.sum(1)
    assert lengths.max() == call.contexts["original"].completion_ids.size(1)  # one row without padding
    at = torch.zeros_like(call.wanted["original"])
    at[range(8), lengths - 1] = True
    assert compare(trainer, only(call, at)) == 3 * 8


def test_every_token_of_every_completion(batch):
    trainer, call = batch
    every = call.contexts["original"].completion_mask.bool()
    cut = int(every.sum()) - int(call.contexts["cut"].completion_mask.sum())
    assert cut > 0
    assert compare(trainer, only(call, every)) == 3 * int(every.sum()) - cut


@pytest.mark.parametrize("name", ["original", "corrupted", "cut"])
def test_one_context_alone(batch, name):
    trainer, call = batch
    assert compare(trainer, call._replace(contexts={name: call.contexts[name]})) > 10


def test_a_context_of_which_nothing_is_wanted(batch):
    trainer, call = batch
    left = {"original": call.wanted["original"]}
    found = shared(trainer, call._replace(wanted=left))
    assert found["corrupted"].isnan().all()
    assert found["cut"].isnan().all()
    expected = plain(trainer, call)["original"]
    at = call.wanted["original"]
    torch.testing.assert_close(found["original"][at], expected[at], atol=TOLERANCE, rtol=0)


def test_prompts_that_end_in_different_tokens(batch):
    """Prompts of one chat template end alike, so each gets a last token of its own here."""
    trainer, call = batch
    contexts = {}
    for name, context in call.contexts.items():
        ids = context.prompt_ids.clone()
        ids[:4, -1] = context.completion_ids[0, 0]
        contexts[name] = replace(context, prompt_ids=ids)
    assert compare(trainer, call._replace(contexts=contexts)) > 60


@pytest.mark.parametrize("temperature", [0.5, 1.7])
def test_temperatures(qwen_folder, tmp_path, scored, temperature):
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored, temperature=temperature)
    assert compare(trainer, call) > 60


def test_prompts_that_occur_twice_are_one(layout_folder, tmp_path, scored):
    data = scripted_dataset(1, (2,), flat_every=9).select([0, 0])
    trainer, call = first_batch(ScriptedSRPO, layout_folder, tmp_path, scored, train_dataset=data)
    assert call.groups == [0] * 8
    assert compare(trainer, call) > 20
    assert compare(trainer, call._replace(groups=[0] * 4 + [4] * 4)) > 20


@pytest.mark.parametrize("masked", [False, True])
def test_truncated_completions(qwen_folder, tmp_path, scored, masked):
    trainer, call = first_batch(Endless, qwen_folder, tmp_path, scored, mask_truncated_completions=masked)
    scored_rows = call.wanted["original"].any(1)
    assert scored_rows.sum() == (4 if masked else 8)
    assert call.contexts["original"].completion_mask.any(1).equal(scored_rows)
    assert compare(trainer, call) > 60


def test_completions_padded_to_a_multiple(qwen_folder, tmp_path, scored):
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored, pad_to_multiple_of=32)
    context = call.contexts["original"]
    assert context.completion_ids.size(1) > context.completion_mask.sum(1).max()
    assert context.prompt_ids.size(1) > context.prompt_mask.sum(1).max()
    assert compare(trainer, call) > 60


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("window", [None, 24])
def test_attention_kinds_and_sliding_windows(qwen_folder, tmp_path, scored, attention, window):
    config = {"attn_implementation": attention}
    trainer = sharp_trainer(ScriptedSRPO, qwen_folder, tmp_path, model_init_kwargs=config)
    text = trainer.model.config.text_config
    if window:
        text.sliding_window, text.layer_types = window, ["sliding_attention", "full_attention"]
        decoder = trainer.model.get_decoder()
        decoder.has_sliding_layers = True
        for layer, kind in zip(decoder.layers, text.layer_types, strict=True):
            layer.self_attn.sliding_window = window if kind == "sliding_attention" else None
            layer.self_attn.layer_type = kind
    generate_batch(trainer)
    assert trainer._scorer.shared
    assert compare(trainer, scored[-1]) > 60
