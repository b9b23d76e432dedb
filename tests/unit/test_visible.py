"""Texts of unknown origin in a terminal: what nobody sees is written out, and nothing is taken for markup."""

import re
import unicodedata
from io import StringIO
from pathlib import Path

import pytest
from rich.table import Table

from srpo.cli import main
from srpo.run.console import show_plan
from srpo.run.terminal import Terminal
from srpo.visible import visible

PAGE = Path(__file__).parents[2] / "src" / "srpo" / "report" / "assets" / "10-text.js"
DIRECTING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
HOSTILE = ["[bold]hi[/bold] [/x]", "[red]", "[/INST]", ":bug:", "[link=file:///etc]x[/link]", "a[", "\\[x]"]


def unseen_on_the_page():
    """The characters that the page writes out."""
    (pattern,) = re.findall(r"new RegExp\((.*?)\"gu\"", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    pattern = "".join(re.findall(r'"(.*?)"', pattern)).replace(r"\\", "\\").replace(r"\p{Cs}", r"[\ud800-\udfff]")
    pattern = re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: rf"\U{found[1]:0>8}", pattern)
    return re.compile(pattern)


def test_the_terminal_and_the_page_write_out_the_same_characters():
    page = unseen_on_the_page()
    characters = list(map(chr, range(0x110000)))
    written = [character for character in characters if visible(character) != character]
    assert written == [character for character in characters if page.search(character)]
    assert len(written) > 2200


def test_all_controls_but_line_break_and_tab_and_all_marks_of_direction_are_written_out():
    for character in map(chr, range(0x110000)):
        controls = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t"
        directs = unicodedata.bidirectional(character) in DIRECTING
        if controls or directs:
            assert visible(character) == f"⟨U+{ord(character):04X}⟩"
    assert visible("a\U000e0041b\xad\u180e\u200f") == "a⟨U+E0041⟩b⟨U+00AD⟩⟨U+180E⟩⟨U+200F⟩"


@pytest.mark.parametrize("text", ["naïve 図 é\n\tx", "👩‍🚀", "می‌خواهم", "क्‍ष"])
def test_ordinary_text_stays(text):
    assert visible(text) == text


def shown(text):
    """A text as a plan, a printed line, a cell, and the titles of a table and of a rule show it."""
    console = Terminal(file=StringIO(), width=200, color_system="truecolor", force_terminal=True)
    show_plan(console, {"question": text})
    console.print(text, soft_wrap=True)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    console.print(table)
    console.rule(text)
    return re.sub("\x1b\\[[0-9;]*m", "", console.file.getvalue())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_shows_markup_and_names_of_emoji_as_they_are(text):
    assert shown(text).count(text) == 6


def test_a_terminal_shows_control_characters_as_marks():
    said = shown("a\x1b]0;owned\x07\x9b2J\u202e\udcff")
    assert said.count("a⟨U+001B⟩]0;owned⟨U+0007⟩⟨U+009B⟩2J⟨U+202E⟩⟨U+DCFF⟩") == 6
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)


@pytest.mark.parametrize("arguments", [["report", "no\x1b[31mrun\udcff"], ["train", "--config", "no\x1b[31mrun\udcff"]])
def test_errors_hold_no_control_characters(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "no⟨U+001B⟩[31mrun⟨U+DCFF⟩" in said
    assert "\x1b" not in said
