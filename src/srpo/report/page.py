"""The page: a template, its style and its script, and the data, in one file that fetches nothing."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srpo.report.text import page_json

ASSETS = Path(__file__).parent / "assets"
_PLACEHOLDER = re.compile("__(TITLE|STYLE|CSP|SCRIPT|DATA|BLOBS)__")


def render(data: dict[str, Any], blobs: Sequence[str], assets: Path = ASSETS) -> str:
    """The HTML of a report.

    The content security policy lets run the one script of the page, known by its hash, and nothing else; it lets
    pictures come from data URIs, and nothing from a network.

    Args:
        data: what the script shows.
        blobs: base64 text of the replies to each prompt; number N becomes the element blob-N.
        assets: folder of page.html, of *.css and of *.js, which are joined in the order of their names.
    """
    script = _joined(assets, "*.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    parts = {
        "TITLE": html.escape(data["title"].encode("utf-8", "replace").decode("utf-8")),
        "STYLE": _joined(assets, "*.css"),
        "CSP": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'",
        "SCRIPT": script,
        "DATA": f'<script type="application/json" id="data">{page_json(data)}</script>',
        "BLOBS": "\n".join(f'<script type="text/plain" id="blob-{i}">{blob}</script>' for i, blob in enumerate(blobs)),
    }
    template = (assets / "page.html").read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(lambda found: parts[found[1]], template)


def _joined(folder: Path, pattern: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob(pattern)))
