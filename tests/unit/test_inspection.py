"""What is found in pictures: hand-made ones of every kind, and broken bytes of any kind, which never raise."""

import io
import struct
import zlib

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from srpo.data import DataError
from srpo.data.decoding import RowImage
from srpo.data.inspection import find_bad_images, image_problems, inspect_image, inspect_rows
from srpo.data.problems import KINDS

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8))
ANIMATED = ("GIF", "WEBP", "PNG", "TIFF")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
WRITABLE = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")


def stored(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def of(data):
    return {"bytes": data, "path": None}


def kinds(entry, decode=True):
    return [problem.kind for problem in image_problems(entry, decode=decode)]


def blank_png(width, height):
    """A PNG whose header promises width x height pixels, and which holds none."""
    whole = bytearray(stored(Image.new("1", (1, 1)))["bytes"])
    whole[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    whole[29:33] = zlib.crc32(bytes(whole[12:29])).to_bytes(4, "big")
    return of(bytes(whole))


class TestKinds:
    @pytest.mark.parametrize("kind", [*WRITABLE, "PPM", "TGA", "JPEG2000", "AVIF", "ICO"])
    @pytest.mark.parametrize("decode", [True, False])
    def test_good_pictures_have_none(self, kind, decode):
        assert kinds(stored(NOISE, kind), decode) == []

    @pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "RGB"])
    def test_opaque_modes_have_none(self, mode):
        assert kinds(stored(NOISE.convert("RGBA").convert(mode))) == []

    def test_missing_and_empty(self, tmp_path):
        (tmp_path / "empty.png").write_bytes(b"")
        assert kinds({"bytes": None, "path": str(tmp_path / "gone.png")}) == ["image_missing"]
        assert kinds({"bytes": None, "path": str(tmp_path / "empty.png")}) == ["image_empty"]
        assert kinds({"bytes": None, "path": str(tmp_path)}) == ["image_unreadable"]
        assert kinds(of(b"")) == kinds(of(None)) == ["image_empty"]

    def test_no_picture(self):
        (problem,) = image_problems(of(b"<!DOCTYPE html><p>404"), decode=False)
        assert problem.kind == "image_unreadable"
        assert "<!DOCTYPE html" in problem.reason
        (pointer,) = image_problems(of(b"version https://git-lfs.github.com/spec/v1\noid"), decode=False)
        assert "git lfs pull" in pointer.remedy

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
    def test_truncated_pictures_are_found_by_decoding(self, kind):
        half = of(stored(NOISE, kind)["bytes"][: len(stored(NOISE, kind)["bytes"]) // 2])
        assert kinds(half)[0] in ("image_truncated", "image_unreadable")
        if kind in ("PNG", "JPEG", "GIF"):
            assert kinds(half) == ["image_truncated"]

    def test_sizes(self):
        assert kinds(stored(Image.new("1", (400, 4)))) == []
        assert kinds(stored(Image.new("1", (401, 4)))) == ["image_aspect"]
        assert kinds(stored(Image.new("1", (4, 401)))) == ["image_aspect"]
        assert kinds(stored(Image.new("1", (3, 4)))) == ["image_tiny"]
        assert kinds(stored(Image.new("1", (1, 101)))) == ["image_aspect", "image_tiny"]
        assert kinds(blank_png(16384, 3051), decode=False) == []
        assert kinds(blank_png(16384, 3052)) == ["image_giant"]
        assert kinds(blank_png(16385, 1000)) == ["image_giant"]

    def test_bombs_stay_packed(self, monkeypatch):
        assert kinds(blank_png(10_000, 9_000)) == ["image_bomb"]  # Pillow warns
        assert kinds(blank_png(16_000, 16_000)) == ["image_bomb"]  # Pillow refuses
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        assert kinds(stored(NOISE)) == ["image_bomb"]
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert kinds(blank_png(10_000, 9_000)) == ["image_giant"]

    def test_only_really_transparent_pixels_count(self):
        clear = NOISE.convert("RGBA")
        assert kinds(stored(clear)) == []
        clear.putpixel((3, 3), (0, 0, 0, 254))
        assert kinds(stored(clear)) == ["image_alpha"]
        assert kinds(stored(clear), decode=False) == []
        palette = Image.new("P", (8, 8), 0)
        assert kinds(stored(palette, "GIF", transparency=0)) == ["image_alpha"]

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_cmyk(self, kind):
        assert kinds(stored(NOISE.convert("CMYK"), kind), decode=False) == ["image_cmyk"]

    def test_more_than_8_bits(self):
        deep = Image.fromarray(np.full((8, 8), 300, dtype=np.uint16))
        for kind in ("PNG", "TIFF"):
            assert kinds(stored(deep, kind)) == ["image_16bit"]
        assert kinds(stored(Image.new("F", (8, 8)), "TIFF")) == ["image_16bit"]
        assert kinds(deep_rgb_png()) == ["image_16bit"]

    @pytest.mark.parametrize("kind", ANIMATED)
    @pytest.mark.parametrize("decode", [True, False])
    def test_several_frames(self, kind, decode):
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
        assert kinds(stored(frames[0], kind, save_all=True, append_images=frames[1:]), decode) == ["image_animated"]

    def test_the_second_picture_of_a_camera_file_is_no_animation(self):
        assert kinds(stored(NOISE, "MPO", save_all=True, append_images=[NOISE])) == []

    def test_every_problem_is_of_a_known_kind_and_names_its_picture(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes(b"x")
        for entry in ({"bytes": None, "path": str(path)}, {"bytes": b"x", "path": str(path)}):
            (problem,) = image_problems(entry, decode=True)
            assert problem.kind in KINDS
            assert str(path) in problem.reason


def deep_rgb_png():
    """A PNG of 8 x 8 pixels with 16 bits a channel, which Pillow reads but does not write."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    lines = zlib.compress((b"\0" + b"\x12\x34" * 24) * 8)
    return of(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))


class TestKnown:
    def test_facts_of_a_picture(self):
        seen = inspect_image(stored(NOISE, "JPEG"), decode=False)
        assert (seen.format, seen.mode, seen.width, seen.height, seen.digest) == ("JPEG", "RGB", 40, 48, "")

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
    @pytest.mark.parametrize("decode", [True, False])
    def test_a_turned_picture_has_the_size_that_the_model_sees(self, decode, kind):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        seen = inspect_image(stored(NOISE, kind, exif=exif), decode=decode)
        assert (seen.width, seen.height) == (48, 40)

    @pytest.mark.parametrize("decode", [True, False])
    def test_equal_files_have_one_digest(self, decode, tmp_path):
        NOISE.save(tmp_path / "a.png")
        other = NOISE.copy()
        other.putpixel((0, 0), (1, 2, 3))
        entries = [{"bytes": None, "path": str(tmp_path / "a.png")}, stored(NOISE), stored(other), of(b"no picture")]
        digests = [inspect_image(entry, decode=decode, digest=True).digest for entry in entries]
        assert digests[0] == digests[1] != digests[2]
        assert digests[3] == ""
        assert len(digests[0]) == 32


class TestRows:
    def data(self, cells):
        features = Features({"id": Value("string"), "images": List(RowImage())})
        ids = [f"r{i}" for i in range(len(cells))]
        return Dataset.from_dict({"id": ids, "images": cells}, features=features)

    def test_finds_come_in_the_order_of_rows_and_pictures(self):
        good, bad = stored(NOISE), of(b"x")
        data = self.data([[good], [good, bad], [], [bad], *[[good]] * 200, [of(b"")]])
        steps = []
        found = find_bad_images(data, decode=True, progress=steps.append)
        assert [(find.row, find.kind) for find in found] == [
            ("r1", "image_unreadable"),
            ("r3", "image_unreadable"),
            ("r204", "image_empty"),
        ]
        assert "its image 2" in found[0].reason
        assert sum(steps) == len(data) == 205
        assert [len(pictures) for _, pictures in inspect_rows(data, decode=False)][:4] == [1, 2, 0, 1]

    def test_a_set_without_images_is_refused(self):
        with pytest.raises(DataError, match="no column images"):
            find_bad_images(Dataset.from_dict({"id": ["a"]}), decode=False)


class TestBrokenBytes:
    """Nothing raises, and what decode=True calls readable RowImage decodes."""

    def check(self, data):
        for decode in (False, True):
            found = image_problems(of(data), decode=decode)
            assert all(problem.kind in KINDS for problem in found)
        try:
            RowImage().decode_example(of(data))
        except DataError:
            assert any(KINDS[problem.kind][0] == "refused" for problem in found)

    @given(st.binary(max_size=200))
    @settings(max_examples=60, deadline=None)
    def test_random_bytes(self, data):
        self.check(data)

    @given(st.data())
    @settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_bits_that_flip_and_ends_that_are_missing(self, data):
        kind = data.draw(st.sampled_from([*WRITABLE, "ICO", "TGA", "JPEG2000"]))
        frames = {"save_all": True, "append_images": [NOISE]} if kind in ANIMATED and data.draw(st.booleans()) else {}
        picture = stored(NOISE, kind, **frames)["bytes"]
        changed = bytearray(picture[: data.draw(st.integers(1, len(picture)) | st.just(len(picture)))])
        for _ in range(data.draw(st.integers(0, 4))):
            # Headers are where damage matters; half of the flips fall there.
            place = data.draw(st.integers(0, min(len(changed), 120) - 1) | st.integers(0, len(changed) - 1))
            changed[place] ^= data.draw(st.integers(1, 255))
        self.check(bytes(changed))

    @given(st.binary(min_size=1, max_size=60))
    @settings(max_examples=60, deadline=None)
    def test_any_exif(self, exif):
        self.check(stored(NOISE, "JPEG", exif=b"Exif\0\0MM\0*" + exif)["bytes"])
        assert kinds(stored(NOISE, "JPEG", exif=b"Exif\0\0II*\0" + exif)) == []
