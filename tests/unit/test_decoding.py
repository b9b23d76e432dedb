"""RowImage: what every kind of picture becomes, pixel by pixel, and that the column survives saving and mapping."""

import io
import pickle

import datasets
import numpy as np
import pytest
from datasets import Dataset, Features, List, Value, concatenate_datasets, load_from_disk
from PIL import ExifTags, Image

from srpo.data import DataError
from srpo.data.decoding import RowImage, to_rgb

RED, WHITE, BLUE = (255, 0, 0), (255, 255, 255), (0, 0, 255)


def stored(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def decode(entry):
    image = RowImage().decode_example(entry)
    assert image.mode == "RGB"
    return image


def pixels(image):
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


def half_clear(mode="RGBA"):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 255, 0))
    return image.convert(mode)


class TestPixels:
    def test_rgb_stays_as_it_is(self):
        picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
        assert pixels(decode(stored(picture))) == pixels(picture)

    def test_clear_pixels_are_white_and_half_clear_ones_mix(self):
        assert pixels(decode(stored(half_clear()))) == [RED, WHITE]
        assert pixels(decode(stored(Image.new("RGBA", (1, 1), (0, 0, 0, 51))))) == [(204, 204, 204)]
        assert pixels(decode(stored(Image.new("LA", (1, 1), (0, 0))))) == [WHITE]
        assert pixels(decode(stored(half_clear(), "WEBP", lossless=True))) == [RED, WHITE]

    def test_a_clear_colour_of_a_palette(self):
        picture = Image.new("P", (2, 1))
        picture.putpalette([255, 0, 0, 0, 0, 255])
        picture.putpixel((1, 0), 1)
        assert pixels(decode(stored(picture))) == [RED, BLUE]
        for kind, transparency in (("PNG", 1), ("PNG", bytes([255, 0])), ("GIF", 1)):
            assert pixels(decode(stored(picture, kind, transparency=transparency))) == [RED, WHITE]

    def test_a_clear_colour_of_grey_and_rgb(self):
        assert pixels(decode(stored(Image.new("L", (1, 1), 7), transparency=7))) == [WHITE]
        assert pixels(decode(stored(Image.new("RGB", (1, 1), RED), transparency=RED))) == [WHITE]

    @pytest.mark.parametrize(("mode", "colour"), [("1", 1), ("L", 255), ("LA", (255, 255)), ("P", 0), ("PA", (0, 255))])
    def test_opaque_modes(self, mode, colour):
        picture = Image.new(mode, (3, 2), colour)
        if mode in ("P", "PA"):
            picture.putpalette(WHITE)
        assert pixels(to_rgb(picture)) == [WHITE] * 6

    @pytest.mark.parametrize(("value", "grey"), [(0, 0), (257, 1), (128 * 257, 128), (65535, 255), (65407, 255)])
    def test_16_bits_are_scaled(self, value, grey):
        picture = Image.fromarray(np.full((1, 2), value, dtype=np.uint16))
        for kind in ("PNG", "TIFF"):
            assert pixels(decode(stored(picture, kind))) == [(grey,) * 3] * 2

    @pytest.mark.parametrize(
        ("values", "grey"),
        [([0.0, 1.0], 255), ([0.5, 0.2], 51), ([100.0, 255.0], 255), ([65535.0, 257.0], 1), ([1.0, float("nan")], 0)],
    )
    def test_floats(self, values, grey):
        picture = Image.fromarray(np.array([values], dtype=np.float32))
        assert decode(stored(picture, "TIFF")).getpixel((1, 0)) == (grey,) * 3

    @pytest.mark.parametrize(("values", "grey"), [([9, 200], 200), ([65535, 257], 1), ([-5, 0], 0)])
    def test_32_bit_integers(self, values, grey):
        picture = Image.fromarray(np.array([values], dtype=np.int32))
        assert decode(stored(picture, "TIFF")).getpixel((1, 0)) == (grey,) * 3

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk(self, kind):
        red = decode(stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind)).getpixel((4, 4))
        assert red == pytest.approx(RED, abs=2)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
    def test_the_first_frame_of_an_animation(self, kind):
        frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)]
        options = {"lossless": True} if kind == "WEBP" else {}
        entry = stored(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        with Image.open(io.BytesIO(entry["bytes"])) as opened:
            assert opened.n_frames == 2
        assert set(pixels(decode(entry))) == {RED}

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_as_datasets_turns_it(self, orientation, kind):
        picture = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        entry = stored(picture, kind, exif=exif)
        expected = datasets.Image(mode="RGB").decode_example(entry)
        assert pixels(decode(entry)) == pixels(expected)
        assert decode(entry).size == ((3, 2) if orientation < 5 else (2, 3))

    def test_a_turned_picture_with_transparency(self):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6  # the first column is the top row, from the right
        image = decode(stored(half_clear(), exif=exif))
        assert image.size == (1, 2)
        assert pixels(image) == [RED, WHITE]

    def test_exif_that_cannot_be_read_turns_nothing(self):
        picture = Image.new("RGB", (3, 2), RED)
        assert decode(stored(picture, "JPEG", exif=b"Exif\0\0nonsense")).size == (3, 2)


class TestShrinking:
    @pytest.mark.parametrize(
        ("limit", "size"),
        [(None, (40, 20)), (800, (40, 20)), (799, (39, 19)), (200, (20, 10)), (2, (2, 1)), (1, (1, 1))],
    )
    def test_large_pictures_keep_their_shape(self, limit, size):
        image = RowImage(max_pixels=limit).decode_example(stored(Image.new("RGB", (40, 20), RED)))
        assert image.size == size
        assert set(pixels(image)) == {RED}

    def test_a_thin_picture_keeps_a_pixel(self):
        image = RowImage(max_pixels=10).decode_example(stored(Image.new("RGB", (100, 1), RED)))
        assert image.size == (31, 1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "no picture that can be read"),
            (b"text", "no picture that can be read"),
            ("half", "truncated"),
            ("eps", "no picture that can be read"),
        ],
    )
    def test_a_picture_that_cannot_be_read(self, tmp_path, content, reason):
        path = tmp_path / "cat.png"
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        if content == "half":
            content = stored(Image.fromarray(noise))["bytes"][:2000]
        elif content == "eps":
            content = stored(Image.new("RGB", (4, 4)), "EPS")["bytes"]
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"cat.png cannot be read \(.*{reason}.*srpo data check"):
            RowImage().decode_example({"bytes": None, "path": str(path)})
        with pytest.raises(DataError, match="image stored in the data set cannot be read"):
            RowImage().decode_example({"bytes": content, "path": None})

    def test_nothing_and_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match="neither bytes nor a path"):
            RowImage().decode_example({"bytes": None, "path": None})
        with pytest.raises(DataError, match=r"gone.png cannot be read \(.*No such file"):
            RowImage().decode_example({"bytes": None, "path": str(tmp_path / "gone.png")})

    def test_an_image_passes_through(self):
        image = Image.new("RGB", (2, 2))
        assert RowImage().decode_example(image) is image

    def test_many_animations_leave_no_file_open(self, tmp_path):
        stored_bytes = stored(
            Image.new("RGB", (4, 4), RED), "GIF", save_all=True, append_images=[Image.new("RGB", (4, 4), BLUE)]
        )["bytes"]
        (tmp_path / "a.gif").write_bytes(stored_bytes)
        images = [decode({"bytes": None, "path": str(tmp_path / "a.gif")}) for _ in range(3)]
        assert all(getattr(image, "fp", None) is None for image in images)
        assert pickle.loads(pickle.dumps(images[0])).getpixel((0, 0)) == RED


class TestColumn:
    @pytest.fixture
    def data(self, tmp_path):
        half_clear().save(tmp_path / "clear.png")
        cells = [[stored(half_clear())], [], [{"bytes": None, "path": str(tmp_path / "clear.png")}] * 2]
        features = Features({"id": Value("string"), "images": List(RowImage())})
        return Dataset.from_dict({"id": ["a", "b", "c"], "images": cells}, features=features)

    def check(self, data, order=("a", "b", "c")):
        counts = {"a": 1, "b": 0, "c": 2}
        assert data["id"][:] == list(order)
        for row in data:
            assert [pixels(image) for image in row["images"]] == [[RED, WHITE]] * counts[row["id"]]

    def test_select_shuffle_map_filter_and_concatenate(self, data):
        self.check(data)
        self.check(data.select([2, 0]), ("c", "a"))
        self.check(data.map(lambda row: {"id": row["id"]}))
        self.check(data.map(lambda row: {"n": len(row["images"])}))
        self.check(data.filter(lambda row: row["id"] != "b"), ("a", "c"))
        self.check(concatenate_datasets([data, data]), ("a", "b", "c") * 2)
        self.check(pickle.loads(pickle.dumps(data)))
        assert [len(row["images"]) for row in data.to_iterable_dataset()] == [1, 0, 2]
        assert {pixels(i)[1] for row in data.to_iterable_dataset() for i in row["images"]} == {WHITE}

    def test_saved_and_loaded_it_is_a_plain_column_of_images(self, data, tmp_path):
        data.save_to_disk(tmp_path / "saved")
        data.to_parquet(tmp_path / "d.parquet")
        for loaded in (load_from_disk(tmp_path / "saved"), Dataset.from_parquet(str(tmp_path / "d.parquet"))):
            assert type(loaded.features["images"].feature) is datasets.Image
            assert [[image.mode for image in row["images"]] for row in loaded] == [["RGB"], [], ["RGB", "RGB"]]
            self.check(loaded.cast_column("images", List(RowImage())))

    def test_a_saved_column_forgets_the_limit_and_keeps_the_picture(self, tmp_path):
        features = Features({"images": List(RowImage(max_pixels=4))})
        data = Dataset.from_dict({"images": [[stored(Image.new("RGB", (8, 8), RED))]]}, features=features)
        assert data[0]["images"][0].size == (2, 2)
        data.save_to_disk(tmp_path / "saved")
        assert load_from_disk(tmp_path / "saved")[0]["images"][0].size == (8, 8)

    def test_the_features_are_written_as_images(self, data):
        assert data.features.to_dict()["images"]["feature"] == {"_type": "Image", "mode": "RGB"}
        assert Features.from_dict(data.features.to_dict())["images"].feature == datasets.Image(mode="RGB")


class TestSize:
    @pytest.mark.parametrize(
        ("size", "limit", "becomes"),
        [
            ((96, 64), None, (96, 64)),
            ((96, 64), 6144, (96, 64)),
            ((96, 64), 1536, (48, 32)),
            ((100, 50), 100, (14, 7)),
            ((1000, 1), 100, (316, 1)),
        ],
    )
    def test_larger_pictures_are_shrunk(self, size, limit, becomes):
        entry = stored(Image.new("RGB", size, RED))
        image = RowImage(max_pixels=limit).decode_example(entry)
        assert image.size == becomes
        assert image.getpixel((0, 0)) == RED

    def test_the_limit_survives_a_copy_and_a_saved_set_forgets_it(self, tmp_path):
        kind = Features({"image": RowImage(max_pixels=24)})
        data = Dataset.from_dict({"image": [stored(Image.new("RGB", (8, 6)))]}, features=kind)
        assert pickle.loads(pickle.dumps(data))[0]["image"].size == (5, 4)
        data.save_to_disk(tmp_path / "saved")
        assert load_from_disk(tmp_path / "saved")[0]["image"].size == (8, 6)
