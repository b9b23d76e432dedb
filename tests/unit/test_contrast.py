"""Contexts and gaps on hand-made token rows. Roles: 0 neutral, 1 perception, 2 reasoning."""

import pytest
import torch

from srpo.contrast import Context, contrast_gaps, role_contexts, tokens_to_score


@pytest.fixture
def original():
    return Context.from_batch(
        {
            "prompt_ids": torch.tensor([[7, 8], [0, 8]]),
            "prompt_mask": torch.tensor([[1, 1], [0, 1]]),
            "completion_ids": torch.tensor([[1, 2, 3, 4, 5], [1, 2, 6, 0, 0]]),
            "completion_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
            "pixel_values": torch.arange(6.0).reshape(2, 3),
            "image_grid_thw": torch.tensor([[1, 1, 1], [1, 1, 1]]),
            "token_type_ids": torch.tensor([[9, 9, 0, 0, 0, 0, 0], [8, 8, 0, 0, 0, 0, 0]]),
            "num_images": [1, 1],
        }
    )


def blank(rows):
    """Pixels of a corrupted view."""
    return {"pixel_values": torch.zeros(len(rows), 3)}


ROLES = torch.tensor([[0, 1, 1, 0, 2], [1, 0, 2, 0, 0]])


def test_cutting_removes_the_tokens_and_says_where_the_rest_went(original):
    cut = original.without(ROLES == 1)
    assert cut.completion_ids.tolist() == [[1, 4, 5, 0, 0], [2, 6, 0, 0, 0]]
    assert cut.completion_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert cut.position.tolist() == [[0, -1, -1, 1, 2], [-1, 0, 1, -1, -1]]


def test_cutting_nothing_keeps_every_token(original):
    same = original.without(torch.zeros(2, 5, dtype=torch.bool))
    assert same.completion_ids.equal(original.completion_ids)
    assert same.completion_mask.equal(original.completion_mask)


def test_the_batch_gives_the_pixels_of_any_of_its_rows(original):
    assert original.vision([1])["pixel_values"].tolist() == [[3.0, 4.0, 5.0]]
    assert original.vision([1, 0, 1])["pixel_values"].tolist() == [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert original.vision([1])["image_grid_thw"].tolist() == [[1, 1, 1]]


def test_rows_are_those_of_every_part(original):
    part = original.without(ROLES == 1).rows([1, 0, 1])
    assert part.prompt_ids.tolist() == [[0, 8], [7, 8], [0, 8]]
    assert part.prompt_mask.tolist() == [[0, 1], [1, 1], [0, 1]]
    assert part.completion_ids.tolist() == [[2, 6, 0, 0, 0], [1, 4, 5, 0, 0], [2, 6, 0, 0, 0]]
    assert part.completion_mask.sum(1).tolist() == [2, 3, 2]
    assert part.position.tolist() == [[-1, 0, 1, -1, -1], [0, -1, -1, 1, 2], [-1, 0, 1, -1, -1]]
    assert part.token_types["token_type_ids"][:, 0].tolist() == [8, 9, 8]
    assert part.num_images == [1, 1, 1]
    assert part.num_tiles is None


def test_rows_of_rows_see_the_pixels_of_the_batch(original):
    part = original.rows([1, 1, 0]).rows([2, 1])
    assert part.vision([0, 1])["pixel_values"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_rows_keep_numbers_of_images_and_tiles(original):
    batch = {"prompt_ids": original.prompt_ids, "prompt_mask": original.prompt_mask, "num_images": [2, 1]}
    batch |= {"completion_ids": original.completion_ids, "completion_mask": original.completion_mask}
    context = Context.from_batch(batch | {"num_tiles": [5, 3], "pixel_values": torch.arange(8.0)})
    part = context.rows([1])
    assert (part.num_images, part.num_tiles) == ([1], [3])
    assert part.vision([0])["pixel_values"].tolist() == [5.0, 6.0, 7.0]


def test_contexts_see_the_original_images_but_for_the_corrupted_one(original):
    contexts = role_contexts(original, blank, ROLES, ["original", "corrupted", "cut"])
    assert list(contexts) == ["original", "corrupted", "cut"]
    assert contexts["original"] is original
    assert contexts["corrupted"].vision([0, 1])["pixel_values"].eq(0).all()
    assert contexts["corrupted"].completion_ids.equal(original.completion_ids)
    assert contexts["cut"].vision is original.vision  # one function: one prompt, encoded once
    assert contexts["cut"].completion_ids.tolist() == [[1, 4, 5, 0, 0], [2, 6, 0, 0, 0]]


def test_blind_cuts_under_the_corrupted_image(original):
    contexts = role_contexts(original, blank, ROLES, ["corrupted", "blind_cut"])
    assert contexts["blind_cut"].vision is contexts["corrupted"].vision is blank
    assert contexts["blind_cut"].completion_ids.tolist() == [[1, 4, 5, 0, 0], [2, 6, 0, 0, 0]]


def test_corrupted_images_are_made_only_when_asked_for(original):
    def never(rows):
        raise AssertionError("asked for")

    contexts = role_contexts(original, never, ROLES, ["corrupted", "blind_cut"])
    contexts["corrupted"].rows([1])


def test_tokens_that_a_gap_needs():
    roles = torch.tensor([[0, 1, 2, 2, 0], [0, 0, 0, 0, 0]])
    perception, reasoning = [False, True, False, False, False], [False, False, True, True, False]
    both, none = [False, True, True, True, False], [False] * 5
    drop, blind = (
        {name: at.tolist() for name, at in tokens_to_score(roles, c, [True] * len(roles)).items()}
        for c in ("drop", "blind")
    )
    assert drop == {"original": [both, none], "corrupted": [perception, none], "cut": [reasoning, none]}
    assert blind == {"original": [perception, none], "corrupted": [both, none], "blind_cut": [reasoning, none]}


@pytest.mark.parametrize("contrast", ["drop", "blind"])
def test_gaps_need_no_token_that_is_not_scored(contrast):
    roles = torch.tensor([[0, 1, 1, 0, 2, 2, 0], [0] * 7])
    has_image = [True] * len(roles)
    wanted = tokens_to_score(roles, contrast, has_image)
    log_probs = {name: torch.full((2, 7), -2.0).masked_fill(~at, torch.nan) for name, at in wanted.items()}
    assert contrast_gaps(log_probs, roles, contrast, has_image).eq(0).all()


def test_gaps_by_hand():
    roles = torch.tensor([[0, 1, 2]])
    log_probs = {
        "original": torch.tensor([[-1.0, -1.0, -1.0]]),
        "corrupted": torch.tensor([[-9.0, -3.0, -2.0]]),
        "cut": torch.tensor([[-9.0, torch.nan, -1.5]]),
    }
    assert contrast_gaps(log_probs, roles, "drop", [True]).tolist() == [[0.0, 2.0, 0.5]]
    log_probs["blind_cut"] = log_probs.pop("cut")
    assert contrast_gaps(log_probs, roles, "blind", [True]).tolist() == [[0.0, 2.0, -0.5]]


def test_perception_without_an_image_needs_nothing_and_has_no_gap():
    roles = torch.tensor([[0, 1, 2]])
    drop = tokens_to_score(roles, "drop", [False])
    assert {name: at.tolist() for name, at in drop.items()} == {
        "original": [[False, False, True]],
        "corrupted": [[False, False, False]],
        "cut": [[False, False, True]],
    }
    log_probs = {
        "original": torch.tensor([[torch.nan, torch.nan, -1.0]]),
        "corrupted": torch.full((1, 3), torch.nan),
        "cut": torch.tensor([[torch.nan, torch.nan, -1.5]]),
    }
    assert contrast_gaps(log_probs, roles, "drop", [False]).tolist() == [[0.0, 0.0, 0.5]]
