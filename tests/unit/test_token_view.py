"""Tokens in a terminal: levels, lines, and what a terminal must not be told."""

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from srpo.commands.token_view import (
    BARS,
    COLOURS,
    MIDDLE,
    Token,
    has_colour,
    lines_of,
    of_known_width,
    show_tokens,
    tokens_of,
)

WEIGHT = COLOURS["weight"]


def shown(tokens, *, bars, width=40, **kwargs):
    console = Console(file=StringIO(), width=width, highlight=False, **kwargs)
    show_tokens(console, tokens, bars=bars)
    return console.file.getvalue()


@pytest.mark.parametrize("name", COLOURS)
def test_seven_levels_around_the_neutral_value(name):
    scale = COLOURS[name]
    assert scale.level(float(scale.plain)) == MIDDLE
    assert [scale.level(edge + 1e-6) for edge in (-99.0, *scale.edges)] == list(range(7))
    assert scale.level(float("nan")) == MIDDLE
    assert scale.level(float("inf")) == len(BARS) - 1


def test_a_character_that_several_tokens_share_is_shown_once():
    text = "a é!"
    tokens = tokens_of(text, [(0, 2), (2, 3), (2, 3), (3, 4), (4, 4)], [1, 2, 1, 1, 1], [1, 1, 1, 2, 0], WEIGHT)
    assert "".join(token.text for token in tokens) == text
    assert [token.level for token in tokens] == [3, 6, 3]


def test_what_a_terminal_would_obey_is_written_out():
    hostile = "\x1b[31m\x07\u202egnp\ud800\r\x9b2J"
    assert of_known_width(hostile) == "⟨U+001B⟩[31m⟨U+0007⟩⟨U+202E⟩gnp⟨U+D800⟩⟨U+000D⟩⟨U+009B⟩2J"
    assert of_known_width("line\n\tnext é 語") == "line\n    next é 語"
    tokens = tokens_of(hostile, [(0, len(hostile))], [1.0], [1], WEIGHT)
    assert "\x1b" not in shown(tokens, bars=False, width=200)


def test_lines_are_as_wide_as_allowed_and_hold_every_character():
    words = ["The", " sum", " of", " 語語語", "語", " is\n", "\n", "x" * 50, " 5"]
    lines = list(lines_of([Token(word, 3, 1) for word in words], 18))
    assert all(line.width <= 18 for line in lines)
    texts = ["".join(token.text for token in line.tokens) for line in lines]
    assert "".join(texts) == "".join(words).replace("\n", "")
    assert texts[0] == "The sum of"  # the word of four wide characters goes as a whole to the next line
    assert texts[2] == ""


def test_bars_stand_under_their_tokens():
    tokens = [Token("<p>", 3, 0), Token(" 語", 6, 1), Token(" is", 0, 2), Token(" 7", 3, 2), Token("</p>", 3, 0)]
    text, bars = shown(tokens, bars=True).splitlines()
    assert text == "  <p> 語 is 7</p>"
    assert bars.rstrip() == "     ▇▇▇▁▁▁▄▄"
    assert cell_len(bars[: bars.index("▁")]) == cell_len(text[: text.index(" is")])


def test_tints_where_there_is_colour():
    tokens = [Token("up", 6, 1), Token("flat", 3, 0)]
    coloured = shown(tokens, bars=False, force_terminal=True, color_system="truecolor")
    assert "48;2;179;88;6" in coloured  # the strongest orange
    assert "\x1b[4;" in coloured  # perception is underlined
    assert "\x1b[2mflat" in coloured  # neutral is dim


@pytest.mark.parametrize(
    ("options", "colour"),
    [
        ({}, False),
        ({"force_terminal": True, "color_system": "256"}, True),
        ({"force_terminal": True, "color_system": "256", "no_color": True}, False),
    ],
)
def test_where_there_is_colour(options, colour):
    assert has_colour(Console(file=StringIO(), **options)) is colour
