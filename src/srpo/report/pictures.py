"""Pictures as data URIs, each once."""

import base64
import hashlib
import io
from typing import Any

from PIL import Image

SMALL = 128  # pixels; at or below this, a picture is kept as it is
QUALITY = 80


class Pictures:
    """The pictures of a page, in the order in which they were first asked for.

    Args:
        longest_side: in pixels; larger pictures are made smaller.
    """

    def __init__(self, longest_side: int) -> None:
        self.longest_side = longest_side
        self.images: list[dict[str, Any]] = []
        self._seen: dict[bytes, int | None] = {}

    def add(self, content: bytes | None) -> int | None:
        """The index of a picture file; None for None and for what is no picture."""
        if not content:
            return None
        key = hashlib.blake2b(content, digest_size=16).digest()
        if key not in self._seen:
            self._seen[key] = self._read(content)
        return self._seen[key]

    def forget(self, count: int) -> None:
        """Keep the first `count` pictures only."""
        del self.images[count:]
        self._seen = {key: place for key, place in self._seen.items() if place is None or place < count}

    def _read(self, content: bytes) -> int | None:
        try:
            with Image.open(io.BytesIO(content)) as opened:
                picture = opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
        picture.thumbnail((self.longest_side, self.longest_side))
        self.images.append({"uri": webp(picture), "width": picture.width, "height": picture.height})
        return len(self.images) - 1


def webp(picture: Image.Image) -> str:
    """A picture as a data URI; without loss where it is small."""
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", lossless=max(picture.size) <= SMALL, quality=QUALITY)
    return data_uri("image/webp", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Content of a MIME type as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
