"""The rollouts table: what its cells say, and that no text in it can act as markup."""

import html
import io
import re

import pytest
from PIL import Image

from srpo.run.live import escaped, markdown_table
from srpo.run.live_table import LONGEST, LONGEST_SIDE, cell_text, largest_weights, marked_reply, table_rows

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![](http://example.org/pixel.png)",
    "a | b\n| --- |\n# heading",
    "**bold** _it_ `code` ~~~",
    "&lt;b&gt; &#60;",
    "http://example.org <http://example.org>",
    "- item\n1. item\n\n    code",
]


def png(size=(40, 20)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format="PNG")
    return buffer.getvalue()


def record(**changed):
    """A structured reply of six tokens, as rollouts/step_N.parquet holds it."""
    return {
        "step": 3,
        "row_id": "row-1",
        "question": "How many?",
        "reference": "4",
        "image": None,
        "corrupted": None,
        "rewards": [("accuracy", 1.0), ("format", 0.5)],
        "advantage": 0.75,
        "tokens": ["<p>", " red", " 4", "</p>", " so", " 4"],
        "roles": [0, 1, 1, 0, 2, 2],
        "gaps": [0.0, 1.0, 2.0, 0.0, -1.0, 0.5],
        "weights": [1.0, 0.9, 1.5, 1.0, 0.6, 1.0],
    } | changed


def test_figures_of_a_rollout_by_hand():
    (row,) = table_rows([record()])
    assert row["reply"] == "<p>P⟦ red 4⟧</p>R⟦ so 4⟧"
    assert (row["step"], row["row_id"], row["question"], row["reference"]) == (3, "row-1", "How many?", "4")
    assert (row["rewards/accuracy"], row["rewards/format"], row["advantage"], row["tokens"]) == (1.0, 0.5, 0.75, 6)
    assert (row["perception_gap"], row["reasoning_gap"]) == (1.5, -0.25)
    assert (row["perception_weight"], row["reasoning_weight"]) == pytest.approx((1.2, 0.8))
    assert row["largest_weights"] == '" 4" P 1.50 (gap +2.00)'


def test_the_largest_weights_come_first_and_at_most_five():
    weights = [1.0, 1.1, 1.7, 1.3, 1.2, 1.6, 1.4, 1.5]
    made = record(tokens=list("abcdefgh"), roles=[1] * 4 + [2] * 4, weights=weights, gaps=[0.0] * 8)
    assert re.findall(r'"(\w)" [PR]', largest_weights(made)) == ["c", "f", "h", "g", "d"]


def test_a_neutral_token_is_not_among_the_largest_weights():
    assert largest_weights(record(weights=[9.0, 1.0, 1.0, 1.0, 1.0, 1.0])) == ""


def test_a_rollout_that_was_not_scored_has_no_gaps():
    (row,) = table_rows([record(gaps=None)])
    assert row["perception_gap"] is row["reasoning_gap"] is None
    assert row["largest_weights"] == '" 4" P 1.50'


def test_an_unstructured_reply_has_no_figures_by_role():
    (row,) = table_rows([record(roles=[0] * 6)])
    assert row["reply"] == "<p> red 4</p> so 4"
    assert row["perception_weight"] is row["reasoning_gap"] is None


def test_a_gap_that_is_not_finite_counts_as_zero():
    (row,) = table_rows([record(gaps=[0.0, float("nan"), 2.0, 0.0, float("inf"), 0.5])])
    assert (row["perception_gap"], row["reasoning_gap"]) == (1.0, 0.25)


def test_all_rows_have_the_same_columns_whichever_rewards_apply():
    first, second = table_rows([record(rewards=[("accuracy", 1.0)]), record(rewards=[("format", 0.0)])])
    assert list(first) == list(second)
    assert first["rewards/format"] is None


def test_texts_are_cut_and_say_their_length():
    long = "x" * 1_000_000
    (row,) = table_rows([record(question=long, tokens=[long, *"bcdef"], weights=[1, 9, 1, 1, 1, 1], row_id=long)])
    assert len(row["question"]) <= LONGEST["question"]
    assert "1,000,000 characters" in row["question"]
    assert len(row["reply"]) <= LONGEST["reply"]
    assert all(len(str(cell)) <= LONGEST["reply"] for cell in row.values())
    assert len(largest_weights(record(tokens=[long] * 6, weights=[2.0] * 6))) < 1000


def test_images_are_made_smaller():
    (row,) = table_rows([record(image=png((1000, 500)), corrupted=png())])
    assert row["image"].size == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert row["corrupted"].size == (40, 20)


@pytest.mark.parametrize(
    "character", ["\u202e", "\u2066", "\x00", "\x1b", "\ud800", "\u200b", "\xad", "\u180e", "\U000e0041", "⟧"]
)
def test_characters_that_would_hide_or_reorder_text_show(character):
    shown = f"a⟨U+{ord(character):04X}⟩b"
    assert cell_text(f"a{character}b") == shown
    assert shown in marked_reply([f"a{character}b"], [1])
    (row,) = table_rows([record(question=f"a{character}b", reference=f"a{character}b", row_id=f"a{character}b")])
    assert row["question"] == row["reference"] == row["row_id"] == shown


def test_ordinary_text_of_any_language_stays():
    assert cell_text("naïve 図 é\n\tx") == "naïve 図 é\n\tx"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_markdown_cell_is_inert_and_reads_as_it_was(text):
    cell = escaped(text)
    assert not set(cell.replace("<br>", "")) & set("<>|[]*_`!~\"'\n")
    assert html.unescape(cell.replace("<br>", "\n")) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_tensorboard_shows_hostile_text_as_text(text):
    util = pytest.importorskip("tensorboard.plugin_util", reason="tensorboard is not installed")
    row = table_rows([record(question=text, reference=text, tokens=[text] * 6, rewards=[(text, 1.0)])])
    page = util.markdown_to_safe_html(markdown_table(row))
    tags = {tag.strip("/ ") for tag in re.findall(r"<([^>]*)>", page)}
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "br", "strong"}
    _, texts, figures = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert shown(texts).count(shown(html.escape(text))) >= 3
    assert f"rewards/{shown(html.escape(text))} 1" in shown(figures)


def shown(cell):
    """What a reader sees of a cell of TensorBoard's page, with white space as a browser treats it."""
    return " ".join(html.unescape(re.sub(r"</?strong>", "", re.sub(r"<br ?/?>", "\n", cell))).split())
