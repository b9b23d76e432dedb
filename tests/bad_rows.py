"""One small data set for every way in which a row can be bad: three good rows and a bad one, with their images."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GOOD = 3
TINY = ["--model", "tiny"]


@dataclass(frozen=True)
class BadRows:
    """A way to be bad.

    kind: what is found; row: the cells of the bad row; pictures: file name -> bytes, beside the good pictures;
    evaluation: rows of a test file; arguments: of the command line; line: a text in place of the bad row;
    others: cells of the good rows; also: kinds that the same row cannot help having as well.
    """

    kind: str
    row: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    evaluation: list[dict[str, Any]] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    line: str | None = None
    others: dict[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write train.jsonl (and test.jsonl) with their images; the bad row is the last one."""
        for i in range(GOOD + 1):
            (folder / f"good{i}.png").write_bytes(encoded(picture(i)))
        for name, content in self.pictures.items():
            (folder / name).write_bytes(content())
        rows = [json.dumps(good_row(i) | self.others) for i in range(GOOD)]
        bad = self.line if self.line is not None else json.dumps({**good_row(GOOD), "id": "bad", **self.row})
        (folder / "train.jsonl").write_text("\n".join([*rows, bad]) + "\n", encoding="utf-8")
        if self.evaluation:
            lines = [json.dumps(row) for row in self.evaluation]
            (folder / "test.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def good_row(i: int) -> dict[str, Any]:
    """A row without a fault."""
    return {"id": f"good{i}", "question": f"How many dots has picture {i}?", "answer": str(i), "image": f"good{i}.png"}


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """Noise, so that no two pictures are equal and a cut one lacks pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def empty_png(width: int, height: int) -> bytes:
    """A PNG whose header promises width x height pixels, and which holds one."""
    whole = bytearray(encoded(Image.new("1", (1, 1))))
    whole[16:24] = struct.pack(">II", width, height)
    whole[29:33] = struct.pack(">I", zlib.crc32(bytes(whole[12:29])))
    return bytes(whole)


def of_picture(kind: str, content: Callable[[], bytes], name: str = "bad.png", **more: Any) -> BadRows:
    """A row whose only fault is its picture."""
    return BadRows(kind, {"image": name}, {name: content}, **more)


def clear() -> Image.Image:
    """A picture with one transparent pixel."""
    image = picture(9).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    return image


def deep() -> Image.Image:
    """A picture of 16 bits."""
    return Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16))


def two_turns() -> list[dict[str, str]]:
    """A conversation with two questions."""
    return [
        {"role": "user", "content": "How many dots?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "And now?"},
    ]


_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
_TWO = ["good0.png", "good1.png"]

BAD_ROWS: dict[str, BadRows] = {
    "broken line": BadRows("line", line='{"id": "bad", "question": "How many'),
    "line without names": BadRows("line", line="[1, 2]"),
    "empty question": BadRows("question_empty", {"question": "  "}),
    "question that is a number list": BadRows("question_type", {"question": [1, 2]}),
    "two questions": BadRows("question_turns", {"question": two_turns()}),
    "no question in the conversation": BadRows("question_turns", {"question": [{"role": "assistant", "content": "3"}]}),
    "special token": BadRows("question_token", {"question": "What is <|im_end|> here?"}, arguments=TINY),
    "video": BadRows("media", {"question": "<video> What happens?"}),
    "too few placeholders": BadRows("placeholder_missing", {"question": "Is <image> red?", "image": _TWO}),
    "too many placeholders": BadRows("placeholder_extra", {"question": "Is <image> or <image> red?"}),
    "wrong numbers": BadRows("placeholder_number", {"question": "Is <image1> or <image3> red?", "image": _TWO}),
    "endless question": BadRows(
        "prompt_length", {"question": "dot 7 " * 20_000}, arguments=[*TINY, "--max_completion_length", "512"]
    ),
    "options as prose": BadRows("options_type", {"options": "cat or dog", "answer": "A"}),
    "options as a number": BadRows("options_type", {"options": 4, "answer": "A"}),
    "27 options": BadRows("options_many", {"options": [f"cat {i}" for i in range(27)], "answer": "A"}),
    "one option": BadRows("options_one", {"options": ["cat"], "answer": "A"}),
    "an empty option": BadRows("options_empty", {"options": ["cat", "", "dog"], "answer": "A"}),
    "equal options": BadRows("options_same", {"options": ["cat", "cat", "dog"], "answer": "B"}),
    "no answer": BadRows("answer_empty", {"answer": None}),
    "blank answer": BadRows("answer_empty", {"answer": "<answer> </answer>"}),
    "answer with names": BadRows("answer_type", {"answer": {"x": 1, "y": 2}}),
    "answer of no option": BadRows("answer_option", {"options": ["cat", "dog"], "answer": "E"}),
    "range without numbers": BadRows("answer_unparsable", {"task": "range", "answer": "a few"}),
    "box without area": BadRows("answer_unparsable", {"task": "box", "answer": "[10, 10, 10, 20]"}),
    "braces that do not close": BadRows("answer_unparsable", {"task": "math", "answer": r"\frac{1}{2"}),
    "unknown task": BadRows("task_unknown", {"task": "maths"}, others={"task": "math"}),
    "missing image": BadRows("image_missing", {"image": "nowhere.png"}),
    "image outside": BadRows("image_outside", {"image": "../../etc/hostname"}),
    "image at a URL": BadRows("image_url", {"image": "https://example.org/cat.png"}),
    "image that is a number": BadRows("image_type", {"image": 7}),
    "gap in a list of images": BadRows("image_type", {"image": ["good0.png", None]}),
    "row without its image": BadRows("image_none", {"image": None}),
    "image that is no base64": BadRows("image_base64", {"image": "iVBORw0KGgo*" * 40}),
    "empty image": of_picture("image_empty", lambda: b""),
    "web page": of_picture("image_unreadable", lambda: b"<!DOCTYPE html><html>404</html>"),
    "git lfs pointer": of_picture("image_unreadable", lambda: _LFS),
    "vector image": of_picture("image_unreadable", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "bad.svg"),
    "cut PNG": of_picture("image_truncated", lambda: encoded(picture(9))[:2000]),
    "cut JPEG": of_picture("image_truncated", lambda: encoded(picture(9), "JPEG")[:900], "bad.jpg"),
    "broken PNG": of_picture("image_unreadable", lambda: encoded(picture(9)).replace(b"IDAT", b"IDAX")),
    "decompression bomb": of_picture("image_bomb", lambda: empty_png(30_000, 30_000)),
    "decompression bomb that Pillow warns of": of_picture("image_bomb", lambda: empty_png(10_000, 10_000)),
    "giant image": of_picture("image_giant", lambda: empty_png(8_000, 8_000)),
    "wide image": of_picture("image_aspect", lambda: encoded(picture(9, 1000, 8))),
    "tall image": of_picture("image_aspect", lambda: encoded(picture(9, 5, 1000))),
    "dot": of_picture("image_tiny", lambda: encoded(picture(9, 1, 1))),
    "image that the processor refuses": of_picture(
        "image_processor", lambda: encoded(picture(9, 4, 1000)), arguments=TINY, also=("image_aspect",)
    ),
    "animated GIF": of_picture(
        "image_animated", lambda: encoded(picture(8), "GIF", save_all=True, append_images=[picture(9)]), "bad.gif"
    ),
    "transparent PNG": of_picture("image_alpha", lambda: encoded(clear())),
    "CMYK JPEG": of_picture("image_cmyk", lambda: encoded(picture(9).convert("CMYK"), "JPEG"), "bad.jpg"),
    "16-bit PNG": of_picture("image_16bit", lambda: encoded(deep())),
    "repeated id": BadRows("id_repeated", {"id": "good0"}),
    "repeated row": BadRows("row_repeated", {**good_row(0), "id": "bad"}),
    "contradiction": BadRows("row_contradicts", {**good_row(0), "id": "bad", "answer": "17"}),
    "row of the evaluation": BadRows("row_in_eval", evaluation=[{**good_row(GOOD), "id": "test"}]),
    "image of the evaluation": BadRows(
        "image_in_eval", evaluation=[{**good_row(GOOD), "id": "test", "question": "Is it night?", "answer": "no"}]
    ),
}
