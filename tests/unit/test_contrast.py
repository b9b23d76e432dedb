"""Contexts and gaps on hand-made token rows. Roles: 0 neutral, 1 perception, 2 reasoning."""

import pytest
import torch

from srpo.contrast import Context, build_contexts, contrast_gaps


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
            "num_images": [1, 1],
        }
    )


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


def test_contexts_leave_the_batch_alone(original):
    before = original.vision["pixel_values"].clone()
    vision = {"pixel_values": torch.zeros(2, 3), "image_grid_thw": original.vision["image_grid_thw"]}
    contexts = build_contexts(original, vision, ROLES, "drop")
    assert contexts["corrupted"].vision["pixel_values"].eq(0).all()
    assert contexts["corrupted"].completion_ids.equal(original.completion_ids)
    assert contexts["cut"].vision["pixel_values"].equal(before)
    assert original.vision["pixel_values"].equal(before)


def test_blind_cuts_under_the_corrupted_image(original):
    vision = {"pixel_values": torch.zeros(2, 3), "image_grid_thw": original.vision["image_grid_thw"]}
    assert build_contexts(original, vision, ROLES, "blind")["cut"].vision["pixel_values"].eq(0).all()


@pytest.mark.parametrize(
    "vision",
    [
        {"pixel_values": torch.zeros(3, 3), "image_grid_thw": torch.tensor([[1, 1, 1], [1, 1, 1]])},
        {"pixel_values": torch.zeros(2, 3), "image_grid_thw": torch.tensor([[1, 1, 1], [1, 2, 1]])},
        {"pixel_values": torch.zeros(2, 3)},
    ],
)
def test_a_corruption_that_changes_the_layout_is_refused(original, vision):
    with pytest.raises(ValueError, match="a corruption must keep the size of the image"):
        original.with_vision(vision)


def test_gaps_by_hand():
    roles = torch.tensor([[0, 1, 2]])
    log_probs = {
        "original": torch.tensor([[-1.0, -1.0, -1.0]]),
        "corrupted": torch.tensor([[-9.0, -3.0, -2.0]]),
        "cut": torch.tensor([[-9.0, torch.nan, -1.5]]),
    }
    assert contrast_gaps(log_probs, roles, "drop").tolist() == [[0.0, 2.0, 0.5]]
    assert contrast_gaps(log_probs, roles, "blind").tolist() == [[0.0, 2.0, -0.5]]
