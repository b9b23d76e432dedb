"""What shared scoring runs, counted: each prompt once a group and view, completions up to the last wanted token."""

from typing import NamedTuple

import pytest
import torch

from srpo.vision import vision_tower
from tests.both_scorings import AMPLE, first_batch, generate_batch, shared, sharp_trainer
from tests.scripted import ScriptedSRPO, scripted_dataset


class Pass(NamedTuple):
    """One forward pass of the model; `pixels` is None without images."""

    encodes: bool
    size: tuple[int, int]
    tokens: int
    pixels: torch.Tensor | None


def watch(model):
    """Lists that fill with a `Pass` for each forward pass of the model, and a 1 for each of its vision tower."""
    passes, towers = [], []

    def note(module, args, kwargs):
        ids, mask = kwargs["input_ids"], kwargs["attention_mask"]
        real = int(mask[:, -ids.size(1) :].sum())
        passes.append(Pass("shift_labels" not in kwargs, tuple(ids.shape), real, kwargs.get("pixel_values")))

    model.register_forward_pre_hook(note, with_kwargs=True)
    vision_tower(model).register_forward_pre_hook(lambda *_: towers.append(1))
    return passes, towers


class Half(ScriptedSRPO):
    """Half of the rollouts of a group are structured."""

    kinds = ("right", "unstructured")


def prompts_of(call, names):
    """The groups of the rollouts with tokens wanted of these contexts."""
    rows = torch.stack([call.wanted[name] for name in names]).any(0).any(1).nonzero().flatten().tolist()
    return sorted({call.groups[row] for row in rows})


def fed(call, names):
    """Tokens of every rollout of these contexts up to its last wanted one."""
    total = 0
    for name in names:
        position = call.contexts[name].position
        for row, at in enumerate(call.wanted[name]):
            total += max([0, *(position[row][at] + 1).tolist()])
    return total


VIEWS = {"drop": [("original", "cut"), ("corrupted",)], "blind": [("original",), ("corrupted", "blind_cut")]}


@pytest.mark.parametrize("contrast", ["drop", "blind"])
@pytest.mark.parametrize("flat_every", [9, 2], ids=["all prompts", "one prompt with A = 0"])
def test_every_layout_runs_what_it_must_and_nothing_else(layout_folder, tmp_path, scored, contrast, flat_every):
    data = scripted_dataset(4, (2, 1), flat_every)
    options = {"train_dataset": data, "reasoning_contrast": contrast}
    _, call = trainer, _ = first_batch(Half, layout_folder, tmp_path, scored, **options)
    passes, towers = watch(trainer.model)
    shared(trainer, call)
    lengths = call.contexts["original"].prompt_mask.sum(1).tolist()
    for names in VIEWS[contrast]:
        rows = prompts_of(call, names)
        assert rows == [0, 4][: 2 if flat_every == 9 else 1]
        prompts, *pieces = passes[: 1 + next(i for i, run in enumerate([*passes[1:], passes[0]]) if run.encodes)]
        del passes[: 1 + len(pieces)]
        assert prompts.size == (len(rows), max(lengths[row] for row in rows) - 1)  # the last token is left out
        assert prompts.tokens == sum(lengths[row] - 1 for row in rows)
        assert prompts.pixels.equal(call.contexts[names[0]].vision(rows)["pixel_values"])
        assert sum(run.tokens for run in pieces) == fed(call, names)
        assert all(run.pixels is None for run in pieces)
    assert not passes
    assert len(towers) == 2


@pytest.mark.parametrize("budget", [1, 100, 400])
def test_passes_hold_the_budget(qwen_folder, tmp_path, scored, budget):
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored)
    passes, _ = watch(trainer.model)
    shared(trainer, call, AMPLE)
    ample = sum(run.tokens for run in passes)
    del passes[:]
    shared(trainer, call, budget)
    assert sum(run.tokens for run in passes) == ample
    for run in passes:
        rows, width = run.size
        assert rows == 1 or rows * (width + run.encodes) <= budget


def test_the_trainer_passes_its_budget_on(qwen_folder, tmp_path):
    trainer = sharp_trainer(ScriptedSRPO, qwen_folder, tmp_path, scoring_max_tokens=70)
    trainer._scorer._checked = {True}
    passes, _ = watch(trainer.model)
    generate_batch(trainer)
    widths = [run.size for run in passes if run.size[0] > 1]
    assert all(rows * width <= 70 for rows, width in widths)
    assert len(passes) > 8


@pytest.mark.parametrize("flat", [True, False])
def test_nothing_runs_where_all_advantages_are_zero(layout_folder, tmp_path, flat):
    """After the check of the first batch, which must run something."""
    trainer = sharp_trainer(
        ScriptedSRPO, layout_folder, tmp_path, train_dataset=scripted_dataset(4, (1, 2), 1 if flat else 9)
    )
    trainer._scorer._checked = {True}
    passes, towers = watch(trainer.model)
    generate_batch(trainer)
    assert bool(passes) != flat
    assert bool(towers) != flat


def test_only_completions_up_to_the_last_wanted_token_run(qwen_folder, tmp_path, scored):
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored)
    passes, _ = watch(trainer.model)
    at = torch.zeros_like(call.wanted["original"])
    at[2, :4] = True
    at[2, 1] = False
    shared(trainer, call._replace(wanted={"original": at}))
    assert [(run.encodes, run.size) for run in passes][1:] == [(False, (1, 4))]


def test_rollouts_of_text_take_no_image(qwen_folder, tmp_path, scored):
    data = scripted_dataset(2, (0, 1), flat_every=9)
    trainer, call = first_batch(ScriptedSRPO, qwen_folder, tmp_path, scored, train_dataset=data)
    text = {name: at.clone() for name, at in call.wanted.items()}
    for at in text.values():
        at[4:] = False
    passes, towers = watch(trainer.model)
    shared(trainer, call._replace(wanted=text))
    assert passes
    assert not towers
