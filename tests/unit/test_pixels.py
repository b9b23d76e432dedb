"""Image inputs by rollout, by hand: selection in every indexing, corruption per prompt, keys and draws of prompts."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from srpo.corruption import corrupt, corruption_seed
from srpo.credit_settings import CreditSettings
from srpo.credits import settled_corruption
from srpo.pixels import (
    CorruptedVision,
    Prompts,
    _in_layout_of,
    corruption_options,
    grids,
    has_other_images,
    other_image,
    padded_per_rollout,
    prompt_key,
    rows_with_images,
    select_vision,
)


def image(width=4, height=2, value=0):
    return Image.fromarray(np.full((height, width, 3), value, dtype=np.uint8))


def numbered(*counts):
    """Rows (10 * rollout + i, ...) of an input that holds `counts[rollout]` rows of each rollout."""
    return torch.tensor([[10 * row + i] * 2 for row, count in enumerate(counts) for i in range(count)])


# Three rollouts: of two images, of none and of one; in patches 2 + 3, 0 and 4, in tiles 3, 0 and 1.
GRIDS = {"pixel_values": numbered(5, 0, 4), "image_grid_thw": torch.tensor([[1, 1, 2], [1, 3, 1], [1, 2, 2]])}
BY_IMAGE = {"pixel_values": numbered(2, 0, 1), "image_sizes": numbered(2, 0, 1)}
POSITIONS = {"pixel_values": numbered(2, 0, 1), "image_position_ids": numbered(2, 0, 1)}
TILES = {"pixel_values": numbered(3, 0, 1)}
SHAPES = {name: numbered(3, 0, 1) for name in ("pixel_values", "pixel_attention_mask", "spatial_shapes")}
PADDED = {
    "pixel_values": torch.tensor([0, 10, 20]).view(3, 1, 1, 1, 1).expand(3, 3, 3, 2, 2),
    "pixel_attention_mask": torch.tensor([0, 10, 20]).view(3, 1, 1, 1).expand(3, 3, 2, 2),
}
INDEXINGS = {
    "patch grids": (GRIDS, None, (5, 0, 4)),
    "images": (BY_IMAGE, None, (2, 0, 1)),
    "images with positions": (POSITIONS, None, (2, 0, 1)),
    "tiles": (TILES, [3, 0, 1], (3, 0, 1)),
    "tiles with shapes": (SHAPES, [3, 0, 1], (3, 0, 1)),
    "padded to a row per rollout": (PADDED, None, (1, 1, 1)),
}


@pytest.mark.parametrize("rows", [[0, 1, 2], [2], [1], [2, 0], [0, 2, 2, 1, 0], []])
@pytest.mark.parametrize(("vision", "num_tiles", "counts"), INDEXINGS.values(), ids=INDEXINGS.keys())
def test_pixels_of_some_rollouts_in_their_order_and_with_repeats(vision, num_tiles, counts, rows):
    selected = select_vision(vision, [2, 0, 1], num_tiles, rows)
    assert selected.keys() == vision.keys()
    expected = [10 * row + i for row in rows for i in range(counts[row])]
    pixels = selected["pixel_values"]
    assert pixels.shape == (len(expected), *vision["pixel_values"].shape[1:])
    assert pixels.flatten(1).tolist() == [[value] * vision["pixel_values"][0].numel() for value in expected]


@pytest.mark.parametrize("rows", [[2, 0, 2], [1]])
def test_what_describes_the_pixels_is_selected_with_them(rows):
    images = [10 * row + i for row in rows for i in range([2, 0, 1][row])]
    assert select_vision(BY_IMAGE, [2, 0, 1], None, rows)["image_sizes"].tolist() == [[v, v] for v in images]
    assert select_vision(POSITIONS, [2, 0, 1], None, rows)["image_position_ids"].tolist() == [[v, v] for v in images]
    owners = [[0, 1], [], [2]]
    grid = [GRIDS["image_grid_thw"][i].tolist() for row in rows for i in owners[row]]
    assert select_vision(GRIDS, [2, 0, 1], None, rows)["image_grid_thw"].tolist() == grid
    tiled = select_vision(SHAPES, [2, 0, 1], [3, 0, 1], rows)
    assert tiled["spatial_shapes"].equal(tiled["pixel_values"])
    assert tiled["pixel_attention_mask"].equal(tiled["pixel_values"])
    mask = select_vision(PADDED, [2, 0, 1], None, rows)["pixel_attention_mask"]
    assert mask[:, 0, 0, 0].tolist() == [10 * row for row in rows]


def test_a_padded_row_per_rollout_is_no_row_per_image_though_their_counts_agree():
    pixels = torch.tensor([0.0, 10.0]).view(2, 1, 1, 1, 1).expand(2, 2, 3, 2, 2)
    selected = select_vision({"pixel_values": pixels}, [2, 0], None, [1, 0])["pixel_values"]
    assert selected[:, 0, 0, 0, 0].tolist() == [10.0, 0.0]


def test_one_row_per_rollout_where_there_are_more_images_than_rows():
    pixels = torch.tensor([[1.0], [2.0]])
    assert select_vision({"pixel_values": pixels}, [2, 2], None, [1, 0, 1])["pixel_values"].tolist() == [[2], [1], [2]]
    assert select_vision({"pixel_values": pixels}, None, None, [1])["pixel_values"].tolist() == [[2]]


def test_a_batch_of_text_selects_nothing():
    assert select_vision({}, None, None, [0, 1]) == {}
    assert select_vision({}, [0, 0], None, [1]) == {}


def test_only_five_dimensions_are_padded_pixels():
    assert padded_per_rollout(torch.zeros(1, 1, 3, 2, 2))
    assert not padded_per_rollout(torch.zeros(1, 3, 2, 2))
    assert not padded_per_rollout(None)


def test_rollouts_share_a_prompt_by_text_tokens_and_pixels():
    images = [[image()], [image()], [image(value=1)], [], [image()], [image(), image()], [], [image()]]
    tokens = [[7], [7], [7], [7], [8], [7], [7], [7, 9]]
    prompts = Prompts.of(["a", "a", "a", "a", "b", "a", "a", "a"], images, tokens)
    assert prompts.groups == [0, 0, 2, 3, 4, 5, 3, 7]
    assert prompts.keys[0] == prompts.keys[1] == prompt_key("a", [image()])
    assert len(set(prompts.keys)) == 5


def test_rows_with_images_by_hand():
    assert rows_with_images({}, None, 2) == [False, False]
    assert rows_with_images({"pixel_values": torch.zeros(3, 4)}, [1, 0, 2], 3) == [True, False, True]
    padded = torch.zeros(2, 3, 1, 2, 2)
    padded[1, 0, 0, 1, 1] = 0.5
    assert rows_with_images({"pixel_values": padded}, [1, 1], 2) == [False, True]


def test_grids_are_dealt_out_by_row():
    flat = torch.tensor([[1, 2, 3], [1, 4, 5], [1, 6, 7]])
    assert grids(flat, [1, 0, 2]) == [[[1, 2, 3]], [], [[1, 4, 5], [1, 6, 7]]]
    assert grids(None, [1, 0, 2]) == [[None], [], [None, None]]


def test_prompt_key_is_stable():
    """These bytes seed the corruption: they may not change between machines, processes or versions."""
    assert prompt_key("How many?", [image()]).hex() == "bbf9a0e184ab80dd354bb7963c69ab75"
    assert prompt_key("", []).hex() == "cae66941d9efbd404e4d88758ea67670"  # blake2b of nothing, 16 bytes
    assert len(prompt_key("\ud800 lone surrogate", [])) == 16


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("How many?!", [image()]),
        ("How many?", []),
        ("How many?", [image(value=1)]),
        ("How many?", [image(2, 4)]),
        ("How many?", [image(), image()]),
        ("How many?", [image().convert("L")]),
    ],
)
def test_prompt_key_differs_with_text_pixels_shape_and_mode(text, images):
    assert prompt_key(text, images) != prompt_key("How many?", [image()])


@pytest.mark.parametrize("path", ["folder/1.png", np.zeros((2, 2, 3)), None])
def test_images_that_are_not_decoded_are_refused(path):
    with pytest.raises(TypeError, match=r"of a prompt is a (str|ndarray|NoneType) but must be a PIL image; decode it"):
        prompt_key("", [path])


class Processor:
    """One pixel row (mean of the image, width) per image, and the batches that it was given."""

    def __init__(self, grid=None):
        self.batches, self.grid = [], grid

    def __call__(self, *, images, text, padding, return_tensors):
        assert (padding, return_tensors) == (True, "pt")
        self.batches.append((text, [len(row) for row in images]))
        flat = [one for row in images for one in row]
        pixels = torch.tensor([[np.asarray(one).mean(), one.width] for one in flat])
        if self.grid is None:
            return {"pixel_values": pixels}
        grids = torch.tensor([self.grid] * len(flat))
        return {"pixel_values": pixels.repeat_interleave(int(grids[0].prod()), 0), "image_grid_thw": grids}


SEEDS = []


def seen_options(row, i, seed):
    """No options; notes what was asked for."""
    SEEDS.append((row, i, seed))
    return {}


@pytest.fixture
def blanked():
    """Rollouts 0 and 1 of one prompt with an image, 2 of text, 3 with two images, under gaussian noise."""
    del SEEDS[:]
    images = [[image(20, 20, 9)], [image(20, 20, 9)], [], [image(20, 20, 9), image(10, 20, 9)]]
    num_images = [1, 1, 0, 2]
    flat = [one for row in images for one in row]
    vision = {"pixel_values": torch.tensor([[9.0, one.width] for one in flat], dtype=torch.float64)}
    original = partial(select_vision, vision, num_images, None)
    prompts = Prompts.of(["look", "look", "think", "look"], images, [[1], [1], [2], [1]])
    return CorruptedVision(prompts, original, num_images, None, Processor(), "gaussian_noise", 1, 2, seen_options)


def test_rollouts_of_a_prompt_share_one_corruption_processed_once(blanked):
    pixels = blanked([1, 3, 0, 2, 1])["pixel_values"]
    assert blanked.processor.batches == [(["look", "look", "think"], [1, 2, 0])]
    assert pixels[:, 1].tolist() == [20, 20, 10, 20, 20]
    assert pixels[0].tolist() == pixels[3].tolist() == pixels[4].tolist()
    assert pixels[0, 0] != pixels[1, 0]
    assert pixels[:, 0].ne(9).all()
    assert [(row, i) for row, i, _ in SEEDS] == [(0, 0), (3, 0), (3, 1)]


def test_a_corruption_depends_on_seed_step_and_prompt_alone(blanked):
    alone = blanked([3])["pixel_values"]
    assert alone.equal(blanked([0, 3])["pixel_values"][1:])
    seed = corruption_seed(1, 2, prompt_key("look", blanked.prompts.images[3]))
    by_hand = [corrupt(one, "gaussian_noise", seed=seed + i) for i, one in enumerate(blanked.prompts.images[3])]
    assert [one.tobytes() for one in blanked.images(3)] == [one.tobytes() for one in by_hand]
    later = CorruptedVision(**(vars(blanked) | {"step": 3}))
    other_run = CorruptedVision(**(vars(blanked) | {"run_seed": 2}))
    assert later.images(3)[0].tobytes() != by_hand[0].tobytes() != other_run.images(3)[0].tobytes()


def test_a_corruption_has_the_dtype_of_the_original(blanked):
    assert blanked([0])["pixel_values"].dtype == torch.float64


def test_rollouts_of_text_go_to_no_processor(blanked):
    assert blanked([2, 2])["pixel_values"].shape == (0, 2)
    assert blanked.processor.batches == []


def test_a_processor_that_returns_another_grid_is_refused(blanked):
    vision = {"pixel_values": torch.zeros(2, 2), "image_grid_thw": torch.tensor([[1, 1, 1], [1, 1, 1]])}
    original = partial(select_vision, vision, [1, 1], None)
    changed = CorruptedVision(**(vars(blanked) | {"original": original, "processor": Processor(grid=[1, 1, 2])}))
    with pytest.raises(ValueError, match="a corruption must keep the size of the image"):
        changed([0])


ORIGINAL = {"pixel_values": torch.ones(2, 3), "image_grid_thw": torch.tensor([[1, 1, 1], [1, 1, 1]])}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pixel_values": torch.zeros(3, 3)}, r"'pixel_values' has shape \(3, 3\) where the original has \(2, 3\)"),
        ({"image_grid_thw": torch.tensor([[1, 1, 1], [1, 2, 1]])}, r"'image_grid_thw' has shape \(2, 3\) .* \(2, 3\)"),
        ({"image_grid_thw": None}, r"'image_grid_thw' has shape None where the original has \(2, 3\)"),
    ],
)
def test_a_corruption_that_changes_the_layout_is_refused(changed, message):
    corrupted = {"pixel_values": torch.zeros(2, 3), "image_grid_thw": ORIGINAL["image_grid_thw"]} | changed
    with pytest.raises(ValueError, match=message + "; a corruption must keep the size of the image"):
        _in_layout_of(ORIGINAL, {name: value for name, value in corrupted.items() if value is not None})


def test_corrupted_pixels_take_the_dtype_of_the_original_and_inputs_of_theirs_alone_are_left_out():
    found = {"pixel_values": torch.zeros(2, 3, dtype=torch.float64), "image_grid_thw": ORIGINAL["image_grid_thw"]}
    fitted = _in_layout_of(ORIGINAL, found | {"pixel_attention_mask": torch.ones(2)})
    assert fitted.keys() == ORIGINAL.keys()
    assert fitted["pixel_values"].dtype == torch.float32
    assert fitted["pixel_values"].eq(0).all()


def test_corrupted_tiles_are_padded_to_the_most_of_the_batch():
    original = {"pixel_values": torch.ones(2, 3, 3, 2, 2), "pixel_attention_mask": torch.zeros(2, 3, 2, 2)}
    original["pixel_attention_mask"][:, :2] = 1
    found = {"pixel_values": torch.full((2, 2, 3, 2, 2), 5.0), "pixel_attention_mask": torch.ones(2, 2, 2, 2)}
    fitted = _in_layout_of(original, found)
    assert fitted["pixel_values"][:, :, 0, 0, 0].tolist() == [[5, 5, 0]] * 2
    assert fitted["pixel_attention_mask"].equal(original["pixel_attention_mask"])
    with pytest.raises(ValueError, match="'pixel_attention_mask' has shape"):  # a tile more, or less, than the original
        _in_layout_of(original, found | {"pixel_attention_mask": torch.ones(2, 3, 2, 2)})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("patch_mask", {"patch_size": (2.0, 5.0), "ratio": 0.4}),
        ("patch_shuffle", {"patch_size": (2.0, 5.0)}),
        ("blank", {}),
    ],
)
def test_options_of_a_corruption_follow_the_grid_of_its_image(kind, expected):
    images = [[image(8, 8)], [], [image(4, 4), image(8, 10)]]
    grid = torch.tensor([[1, 1, 1], [1, 4, 4], [1, 2, 4]])
    layout = {"config": SimpleNamespace(), "image_processor": None, "image_grid_thw": grid, "dataset": None}
    assert corruption_options(kind, images, ratio=0.4, **layout)(2, 1, 7) == expected


def test_every_image_of_a_row_draws_another_image_of_its_own():
    data = [{"images": [image(value=value)]} for value in range(1, 30)]
    layout = {"config": None, "image_processor": None, "image_grid_thw": None, "dataset": data}
    options = corruption_options("other_image", [[image(), image()]], ratio=0.6, **layout)
    first, second = (options(0, i, 3)["other"] for i in range(2))
    assert first.tobytes() == other_image(data, image(), 3).tobytes()
    assert second.tobytes() == other_image(data, image(), 4).tobytes()
    assert first.tobytes() != second.tobytes()


def test_other_image_is_never_the_image_itself():
    own, others = image(value=1), [image(value=v) for v in (2, 3, 4)]
    data = [{"images": [own]}, {"images": []} | {"prompt": []}, *({"images": [other]} for other in others)]
    drawn = {other_image(data, own, seed).tobytes() for seed in range(40)}
    assert drawn == {other.tobytes() for other in others}
    assert other_image(data, own, 5).tobytes() == other_image(data, own, 5).tobytes()


def test_which_data_have_other_images():
    own, other = image(), Image.new("RGB", image().size, "red")
    assert has_other_images([{"images": [own]}, {"images": [], "prompt": []}, {"images": [own]}, {"images": [other]}])
    assert not has_other_images([{"images": [own]}] * 3)
    assert not has_other_images([{"images": [own]}] * 100 + [{"images": [other]}])  # of the first 100
    assert not has_other_images([])
    assert not has_other_images([{"prompt": "how many?"}, {"prompt": "which?"}])
    assert not has_other_images(iter([{"images": [own]}, {"images": [other]}]))


@pytest.mark.parametrize(
    ("fields", "others", "expected"),
    [
        ({}, True, "other_image"),
        ({}, False, "patch_mask"),
        ({"credit": "perception"}, True, "other_image"),
        ({"credit": "vppo"}, True, "patch_mask"),
        ({"credit": "papo"}, True, "patch_mask"),
        ({"credit": "uniform"}, None, "patch_mask"),
        ({"credit": "rlsd"}, None, "patch_mask"),
        ({"corruption_ratio": 0.5}, True, "patch_mask"),
        ({"corruption": "blank"}, True, "blank"),
        ({"corruption": "other_image"}, False, "other_image"),
    ],
)
def test_what_auto_stands_for(fields, others, expected):
    def has_others():
        assert others is not None, "the data need not be looked at"
        return others

    assert settled_corruption(CreditSettings(**fields), has_others) == expected


def test_the_only_other_image_is_found_wherever_the_draws_fall():
    data = [{"images": [Image.new("RGB", (4, 4), "red")]}] + [{"images": [image()]}] * 100_000
    assert other_image(data, image(), 0).getpixel((0, 0)) == (255, 0, 0)


def test_other_image_needs_another_image():
    with pytest.raises(ValueError, match="found no other image in 100 rows of the data set; choose another corruption"):
        other_image([{"images": [image()]}], image(), 0)
