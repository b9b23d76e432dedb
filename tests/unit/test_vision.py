"""What the contrasts read off images, configs and models, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from srpo.vision import (
    column_images,
    drop_unused_vision_inputs,
    freeze_vision_tower,
    message_images,
    patch_size,
    placeholder_token_ids,
    rows_with_image_lists,
    vision_tower,
)


def image(width=4, height=2, value=0):
    return Image.fromarray(np.full((height, width, 3), value, dtype=np.uint8))


def config(patch):
    return SimpleNamespace(vision_config=SimpleNamespace(patch_size=patch))


@pytest.mark.parametrize(
    ("patch", "size", "grid", "expected"),
    [
        (14, {"shortest_edge": 56}, (1, 4, 8), (100 / 8, 60 / 4)),  # a grid is exact and goes before all else
        (14, {"height": 336, "width": 224}, None, (14 * 100 / 224, 14 * 60 / 336)),
        ([8, 8], {"height": 32, "width": 32}, None, (25.0, 15.0)),
        (14, {"shortest_edge": 30}, None, (28.0, 28.0)),  # 60 pixels become 30: a patch of 14 covers 28
        (16, {"longest_edge": 400}, None, (4.0, 4.0)),  # 100 pixels become 400: a patch of 16 covers 4
        (14, {"shortest_edge": 30, "longest_edge": 400}, None, (28.0, 28.0)),
        (14, {}, None, (14.0, 14.0)),
        (14, None, None, (14.0, 14.0)),
    ],
)
def test_patch_size(patch, size, grid, expected):
    processor = SimpleNamespace(size=size)
    assert patch_size(config(patch), processor, image(100, 60), grid) == pytest.approx(expected)


def test_patch_size_of_an_image_fitted_into_a_canvas_of_tiles():
    # of 336 x 672 and 672 x 336 (height, width), 100 x 60 pixels fit the second: 100 become 560, as 60 become 336
    processor = SimpleNamespace(size={"shortest_edge": 336}, image_grid_pinpoints=[[336, 672], [672, 336]])
    assert patch_size(config(14), processor, image(100, 60), None) == pytest.approx((14 * 60 / 336, 14 * 60 / 336))


def test_patch_size_of_a_model_that_names_none():
    assert patch_size(SimpleNamespace(), None, image(100, 60), None) == (14.0, 14.0)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("smolvlm", 16 * 100 / 128),  # longest edge to 128
        ("llava", 16 * 60 / 64),  # shortest edge to 64
        ("internvl", (8 * 100 / 64, 8 * 60 / 32)),  # the whole image to two tiles of 32 x 32, side by side
    ],
)
def test_patch_size_through_real_processors(layout_folders, layout, expected):
    from transformers import AutoConfig, AutoProcessor

    folder = layout_folders[layout]
    processor = AutoProcessor.from_pretrained(folder).image_processor
    size = patch_size(AutoConfig.from_pretrained(folder), processor, image(100, 60), None)
    assert size == pytest.approx(expected if isinstance(expected, tuple) else (expected, expected))


class Tokenizer:
    vocabulary = {"<image>": 7, "<video>": 9, "cat": 1}  # noqa: RUF012
    image_token = "<image>"
    video_token = "<video>"

    def get_vocab(self):
        return self.vocabulary


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, [7, 9]),
        ({"image_token_id": 3}, [3, 7, 9]),
        ({"image_token_index": 4, "video_token_id": 5, "audio_token_id": 6}, [4, 5, 6, 7, 9]),
        ({"image_token_id": None, "video_token_id": -1}, [7, 9]),
    ],
)
def test_placeholders_by_every_name(names, expected):
    assert placeholder_token_ids(SimpleNamespace(**names), SimpleNamespace(tokenizer=Tokenizer())) == expected


def test_placeholders_of_the_processor_itself_and_of_no_vocabulary():
    silent = SimpleNamespace(get_vocab=dict)
    processor = SimpleNamespace(tokenizer=silent, image_token="<image>", image_token_id=2)
    assert placeholder_token_ids(SimpleNamespace(), processor) == [2]
    assert placeholder_token_ids(SimpleNamespace(), silent) == []


def test_images_of_messages_in_order():
    first, second = image(value=1), image(value=2)
    parts = [{"type": "image", "image": first}, {"type": "text", "text": "and", "image": None}]
    messages = [
        {"role": "system", "content": "Look."},
        {"role": "user", "content": [*parts, {"type": "image", "image": second}, {"type": "image"}]},
    ]
    assert message_images(messages) == [first, second]


def test_images_of_columns():
    first = image()
    assert column_images({"images": [first]}) == [first]
    assert column_images({"image": first}) == [first]
    assert column_images({"images": None}) == column_images({"image": None}) == column_images({}) == []


def test_rows_get_lists_of_images_where_they_have_a_column():
    first = image()
    assert rows_with_image_lists([{"images": None}, {"images": [first]}]) == [{"images": []}, {"images": [first]}]
    with_image = rows_with_image_lists([{"image": None}, {"image": first}])
    assert [row["images"] for row in with_image] == [[], [first]]
    text = [{"prompt": "a"}]
    assert rows_with_image_lists(text) is text


def test_vision_inputs_are_dropped_only_where_no_row_has_an_image_token():
    model = SimpleNamespace(config=SimpleNamespace(image_token_id=7))
    inputs = {"input_ids": torch.tensor([[1, 2]]), "pixel_values": torch.zeros(1), "image_grid_thw": torch.zeros(1, 3)}
    assert drop_unused_vision_inputs(7, model, (), inputs) == ((), {"input_ids": inputs["input_ids"]})
    assert drop_unused_vision_inputs(7, model, (), {**inputs, "input_ids": torch.tensor([[1, 2], [7, 2]])}) is None
    assert drop_unused_vision_inputs(7, model, (), {"input_ids": inputs["input_ids"]}) is None


class Vlm(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.model = nn.Module()
        self.model.add_module(name, nn.Linear(3, 4))
        self.lm_head = nn.Linear(2, 2)


@pytest.mark.parametrize("name", ["visual", "vision_tower", "vision_model", "vision_encoder"])
def test_freezing_the_vision_tower(name):
    model = Vlm(name)
    assert vision_tower(model) is getattr(model.model, name)
    assert freeze_vision_tower(model) == 3 * 4 + 4
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"lm_head.weight", "lm_head.bias"}


def test_freezing_needs_a_vision_tower():
    with pytest.raises(ValueError, match="Vlm has no module named visual, .* freeze_vision_tower .*; leave it off"):
        freeze_vision_tower(Vlm("encoder"))
