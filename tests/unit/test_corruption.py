"""Corruptions: what each does to the pixels, by hand or by count; seeds, sizes, modes and refused options."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageOps
from transformers.image_transforms import convert_to_rgb

from srpo.corruption import CORRUPTIONS, corrupt, corruption_seed, to_rgb

KINDS = [
    "patch_mask",
    "patch_shuffle",
    "gaussian_noise",
    "gaussian_blur",
    "blank",
    "downsample",
    "other_image",
]
RANDOM_KINDS = ["patch_mask", "patch_shuffle", "gaussian_noise"]
SIZES = [(1, 1), (3, 5), (2, 1), (13, 14), (28, 28), (50, 31), (1, 200)]
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Random pixels, none black, all different from their neighbours with near certainty."""
    pixels = np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def options(kind: str) -> dict:
    return {"other": picture(7, 9, seed=1)} if kind == "other_image" else {}


def black(image: Image.Image) -> np.ndarray:
    return (np.asarray(image) == 0).all(-1)  # (H, W)


def test_the_registry():
    assert sorted(CORRUPTIONS) == sorted(KINDS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_rgb_image_of_the_same_size_and_the_input_untouched(kind, size):
    image = picture(*size)
    before = image.tobytes()
    corrupted = corrupt(image, kind, seed=3, **options(kind))
    assert corrupted is not image
    assert (corrupted.mode, corrupted.size) == ("RGB", size)
    corrupted.paste((1, 2, 3), (0, 0, *size))
    assert image.tobytes() == before


@pytest.mark.parametrize("size", [(3, 5), (28, 28), (50, 31), (1, 200)])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_change(kind, size):
    assert corrupt(picture(*size), kind, seed=3, **options(kind)).tobytes() != picture(*size).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    image = picture(60, 45)
    first, again, other = (corrupt(image, kind, seed=seed, **options(kind)).tobytes() for seed in (1, 1, 2))
    assert first == again
    assert (first != other) == (kind in RANDOM_KINDS)


@pytest.mark.parametrize("kind", RANDOM_KINDS)
def test_no_global_random_state(kind):
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    first = corrupt(picture(30, 30), kind, seed=1).tobytes()
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(1)
    assert corrupt(picture(30, 30), kind, seed=1).tobytes() == first


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("patch_size", [14, 4, 1, 100, (7, 3)])
@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.5, 0.6, 0.99, 1.0])
def test_the_exact_number_of_whole_cells_is_black(size, patch_size, ratio):
    w, h = patch_size if isinstance(patch_size, tuple) else (patch_size, patch_size)
    masked = black(corrupt(picture(*size), seed=5, ratio=ratio, patch_size=patch_size))
    cells = [masked[y : y + h, x : x + w] for y in range(0, size[1], h) for x in range(0, size[0], w)]
    count = round(ratio * len(cells))
    count = max(count, 1)
    if ratio < 1 and len(cells) > 1:
        count = min(count, len(cells) - 1)
    assert all(cell.all() or not cell.any() for cell in cells)
    assert sum(cell.all() for cell in cells) == count


def test_the_default_masks_60_percent_of_14_pixel_cells():
    masked = black(corrupt(picture(140, 140), seed=0))
    assert masked.mean() == pytest.approx(0.6)
    assert masked.reshape(10, 14, 10, 14).all((1, 3)).sum() == 60


def test_masked_cells_keep_the_other_pixels():
    image = picture(50, 31)
    corrupted = corrupt(image, seed=2, patch_size=5)
    keep = ~black(corrupted)
    assert (np.asarray(corrupted)[keep] == np.asarray(image)[keep]).all()


@pytest.mark.parametrize(("width", "columns"), [(100, 7), (224, 16), (997, 71), (18, 14), (203, 49)])
def test_fractional_patches_make_as_many_cells_as_the_model_has(width, columns):
    masked = black(corrupt(picture(width, 10), seed=1, ratio=0.5, patch_size=(width / columns, 10)))[0]
    edges = [int(np.ceil(k * width / columns - 1e-6)) for k in range(columns + 1)]
    cells = [masked[a:b] for a, b in pairwise(edges)]
    assert all(cell.all() or not cell.any() for cell in cells)
    assert sum(cell.all() for cell in cells) == round(columns / 2)


def test_patches_below_one_pixel_count_as_one():
    assert black(corrupt(picture(5, 4), seed=1, ratio=0.5, patch_size=0.3)).sum() == 10


def test_masks_reach_every_cell_equally_often():
    hits = sum(black(corrupt(picture(4, 3), seed=seed, ratio=0.5, patch_size=1)).astype(int) for seed in range(600))
    assert hits.sum() == 600 * 6
    assert abs(hits - 300).max() < 6 * (600 * 0.25) ** 0.5


@pytest.mark.parametrize(("size", "patch_size"), [((6, 6), 2), ((7, 5), 2), ((40, 30), 14), ((9, 4), (3, 2))])
def test_shuffled_cells_all_move_and_the_border_stays(size, patch_size):
    w, h = patch_size if isinstance(patch_size, tuple) else (patch_size, patch_size)
    image = picture(*size)
    before, after = np.asarray(image), np.asarray(corrupt(image, "patch_shuffle", seed=4, patch_size=patch_size))
    corners = [(y, x) for y in range(0, size[1] // h * h, h) for x in range(0, size[0] // w * w, w)]
    old, new = ([pixels[y : y + h, x : x + w].tobytes() for y, x in corners] for pixels in (before, after))
    assert sorted(old) == sorted(new)
    assert all(a != b for a, b in zip(old, new, strict=True))
    assert (before[size[1] // h * h :] == after[size[1] // h * h :]).all()
    assert (before[:, size[0] // w * w :] == after[:, size[0] // w * w :]).all()


@pytest.mark.parametrize("size", [(20, 20), (13, 14), (2, 1), (1, 2), (3, 5), (1, 200)])
def test_cells_are_halved_until_there_are_two_to_exchange(size):
    shuffled = corrupt(picture(*size), "patch_shuffle", seed=1, patch_size=100)
    assert shuffled.tobytes() != picture(*size).tobytes()
    flat = np.asarray(shuffled).reshape(-1, 3).tolist()
    assert sorted(flat) == sorted(np.asarray(picture(*size)).reshape(-1, 3).tolist())


def test_noise_has_the_standard_deviation():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    noise = np.asarray(corrupt(grey, "gaussian_noise", seed=1, std=0.1)).astype(float) - 128
    assert noise.std() == pytest.approx(25.5, rel=0.02)
    assert abs(noise.mean()) < 0.5


def test_blur_is_relative_to_the_size_and_keeps_a_flat_image():
    flat = Image.new("RGB", (40, 30), (9, 99, 199))
    assert corrupt(flat, "gaussian_blur", seed=0).tobytes() == flat.tobytes()
    step = np.zeros((100, 100, 3), dtype=np.uint8)
    step[:, 50:] = 255
    widths = []
    for scale in (1, 3):
        image = Image.fromarray(step).resize((100 * scale, 100 * scale), Image.Resampling.NEAREST)
        row = np.asarray(corrupt(image, "gaussian_blur", seed=0))[50 * scale, :, 0]
        widths.append(((row > 40) & (row < 215)).sum() / scale)
    assert widths[0] == pytest.approx(10, abs=2)  # 2 standard deviations of 5 pixels: 16 to 84 percent
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_blank():
    assert black(corrupt(picture(9, 8), "blank", seed=0)).all()
    grey = corrupt(picture(9, 8), "blank", seed=0, color=(127, 128, 129))
    assert np.unique(np.asarray(grey).reshape(-1, 3), axis=0).tolist() == [[127, 128, 129]]


def test_downsample_by_hand():
    image = Image.fromarray(np.array([[[0] * 3, [100] * 3, [200] * 3, [100] * 3]] * 2, dtype=np.uint8))
    nearest = corrupt(image, "downsample", seed=0, factor=2, resample="nearest")
    assert np.asarray(nearest)[..., 0].tolist() == [[50, 50, 150, 150]] * 2
    bilinear = corrupt(image, "downsample", seed=0, factor=2)
    assert np.asarray(bilinear)[..., 0].tolist() == [[50, 75, 125, 150]] * 2
    one = corrupt(image, "downsample", seed=0, factor=1000)
    assert np.asarray(one)[..., 0].tolist() == [[100] * 4] * 2


def test_other_image_is_resized():
    other = Image.new("RGBA", (300, 2), (0, 0, 255, 255))
    corrupted = corrupt(picture(9, 8), "other_image", seed=0, other=other)
    assert np.unique(np.asarray(corrupted).reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]
    same = corrupt(picture(9, 8), "other_image", seed=0, other=picture(9, 8, seed=1))
    assert same.tobytes() == picture(9, 8, seed=1).tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb_as_in_the_image_processors(mode):
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1365
    source = Image.fromarray((values >> 8).astype(np.uint8))
    image = {
        "I;16": lambda: Image.fromarray(values),
        "PA": lambda: source.convert("P").convert("PA"),
        "RGBa": lambda: source.convert("RGBA").convert("RGBa"),
        "LAB": lambda: Image.frombytes("LAB", (8, 6), bytes(range(144))),
    }.get(mode, lambda: source.convert(mode))()
    assert image.mode == mode
    before = image.tobytes()
    assert (np.asarray(to_rgb(image)) == convert_to_rgb(image, return_numpy=True)).all()
    assert to_rgb(image) is not image
    corrupted = corrupt(image, seed=1, patch_size=2)
    assert (corrupted.mode, corrupted.size, image.mode) == ("RGB", image.size, mode)
    assert image.tobytes() == before


def test_transparency_is_put_on_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    indexed = Image.new("P", (4, 4), 3)
    indexed.putpalette([0, 0, 0] * 256)
    indexed.info["transparency"] = 3
    for image in (clear, indexed):
        assert np.asarray(to_rgb(image)).min() == 255
        assert "transparency" not in corrupt(image, seed=0).info


def test_orientation_is_kept_so_that_original_and_corrupted_are_turned_alike():
    image = picture(30, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    corrupted = corrupt(image, seed=0)
    assert corrupted.size == (30, 20)
    assert ImageOps.exif_transpose(corrupted).size == ImageOps.exif_transpose(image).size == (20, 30)
    image.info["exif"] = b"broken"
    assert corrupt(image, seed=0).size == (30, 20)


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        ("blurr", {}, "corruption 'blurr' must be one of patch_mask, .*; choose"),
        (
            "patch_mask",
            {"ration": 0.5},
            r"option 'ration' must be an option of .*'patch_mask' \(ratio, patch_size\); remove",
        ),
        ("gaussian_blur", {"ratio": 0.5}, r"option 'ratio' must be an option of corruption 'gaussian_blur' \(radius\)"),
        ("blank", {"rng": 0}, r"option 'rng' must be"),
        ("patch_mask", {"ratio": 0}, r"ratio 0 must be a number in \(0, 1\]; choose one such as 0.6"),
        ("patch_mask", {"ratio": 1.01}, r"ratio 1.01 must be a number in \(0, 1\]"),
        ("patch_mask", {"ratio": float("nan")}, "ratio nan must be"),
        ("patch_mask", {"ratio": "0.5"}, "ratio '0.5' must be"),
        (
            "patch_mask",
            {"patch_size": 0},
            "patch_size 0 must be a number of pixels above 0, or two .*; choose one such as",
        ),
        ("patch_mask", {"patch_size": (14, -1)}, r"patch_size \(14, -1\) must be"),
        ("patch_mask", {"patch_size": (14, 14, 3)}, r"patch_size \(14, 14, 3\) must be"),
        ("patch_shuffle", {"patch_size": float("inf")}, "patch_size inf must be"),
        ("patch_shuffle", {"patch_size": None}, "patch_size None must be"),
        ("gaussian_noise", {"std": 0}, "std 0 must be a number above 0 and finite; choose"),
        ("gaussian_blur", {"radius": -0.1}, "radius -0.1 must be a number above 0"),
        ("blank", {"color": (0, 0, 256)}, r"color \(0, 0, 256\) must be three integers in \[0, 255\]; write"),
        ("blank", {"color": "black"}, "color 'black' must be"),
        ("downsample", {"factor": 1}, "factor 1 must be a number above 1 and finite; choose"),
        ("downsample", {"resample": "cubic"}, "resample 'cubic' must be one of bilinear, nearest; choose"),
        ("other_image", {}, "other is None but must be a PIL image with pixels; pass"),
        ("other_image", {"other": "cat.png"}, "other is 'cat.png' but must be"),
        ("other_image", {"other": Image.new("RGB", (0, 3))}, "but must be a PIL image with pixels"),
    ],
)
def test_bad_kinds_and_options_are_refused(kind, bad, message):
    with pytest.raises(ValueError, match=message):
        corrupt(picture(20, 20), kind, seed=0, **bad)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match=r"image of size .* must have at least one pixel; drop"):
        corrupt(Image.new("RGB", size), seed=0)


@pytest.mark.parametrize("image", [None, "cat.png", np.zeros((4, 4, 3), dtype=np.uint8)])
def test_what_is_not_an_image_is_refused(image):
    with pytest.raises(TypeError, match="must be a PIL image; open or convert it first"):
        corrupt(image, seed=0)


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(ValueError, match=f"seed {seed} must be a non-negative integer; take one"):
        corrupt(picture(4, 4), seed=seed)


def test_corruption_seed_by_hand():
    assert corruption_seed(7, 8, b"prompt") == 0xA8D2ACB24D384C82 >> 1  # printf 7:8:prompt | b2sum --length 64


def test_corruption_seed_tells_its_arguments_apart():
    seeds = {
        corruption_seed(run, step, key)
        for run in (0, 1, 11)
        for step in (0, 1, 11)
        for key in (b"", b"1", b":1", "é", "é!", "\ud800")
    }
    assert len(seeds) == 3 * 3 * 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**61


def test_text_and_bytes_keys_agree():
    assert corruption_seed(3, 4, "é") == corruption_seed(3, 4, "é".encode())


def test_corruption_seed_is_the_same_in_another_process():
    code = "from srpo.corruption import corruption_seed; print(corruption_seed(7, 8, 'prompt'))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(run.stdout) == corruption_seed(7, 8, "prompt")
