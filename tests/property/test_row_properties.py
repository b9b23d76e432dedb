"""Whatever a data file holds: every row is either used or named with a reason; nothing else happens."""

import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srpo.data.check import check
from srpo.data.loading import open_rows
from srpo.data.problems import KINDS

DIRT = ["A", "C, D", "2", "<image>", "<image1>", "<image 2>", "<image><image>", "A. 2; B. 3", "(A)", "['a','b']"]
DIRT += ["x.png", "../x", "http://a/b", "data:image/png;base64,AAAA", "3..4", "[1,2,3,4]", r"\frac{1}{2", r"\boxed{}"]
DIRT += ["math", "choice", "range", "box:iou", "<answer></answer>", "{", "nan", "1e999", "9" * 400]
DIRT += ["\x00", "\ud800", "\r\n\t", "é"]
KEYS = ["role", "content", "type", "text", "bytes", "path", "image", "from", "value", "A", "B", "url", ""]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(DIRT)
)
cells = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
messages = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", 3, None]), "content": cells})
columns = {
    "question": cells | st.lists(messages, max_size=3),
    "answer": cells,
    "options": st.lists(scalars, max_size=5) | cells,
    **dict.fromkeys(("id", "image", "images", "task", "perception", "alternatives", "reasoning"), cells),
}


@st.composite
def dirty_rows(draw):
    """A good row with some of its cells replaced."""
    spoiled = draw(st.lists(st.sampled_from(sorted(columns)), max_size=4, unique=True))
    return {"question": "How many?", "answer": "3"} | {name: draw(columns[name]) for name in spoiled}


@given(st.lists(dirty_rows(), min_size=1, max_size=4), st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_row_is_used_or_named(rows, from_file):
    rows = [{"question": "How many?", "answer": "1"}, *rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        loaded = open_rows(path if from_file else rows)
        report = check("dirt", {"train": loaded})
    (split,) = report.splits
    assert split.rows == len(rows)
    assert len(set(loaded.dataset["id"])) == len(loaded.dataset)
    for find in split.bad:
        assert find.kind in KINDS
        assert find.reason
        assert find.remedy
        assert len(str(find)) < 1500
    json.dumps(report.to_json(), ensure_ascii=False).encode()
