"""Tokens in a terminal: tinted by a number, roles told by underline and dimming, and readable without colour.

A tint is one of seven levels around a neutral value; without colour the level stands as a bar under the token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from srpo.roles import Role
from srpo.visible import visible

BARS = "▁▂▃▄▅▆▇"
MIDDLE = 3
# blue to orange, told apart by the colour-blind; the middle keeps the terminal's own colours
TINTS = (
    Style(bgcolor="#2166ac", color="#ffffff"),
    Style(bgcolor="#67a9cf", color="#000000"),
    Style(bgcolor="#d1e5f0", color="#000000"),
    Style(),
    Style(bgcolor="#fee0b6", color="#000000"),
    Style(bgcolor="#f1a340", color="#000000"),
    Style(bgcolor="#b35806", color="#ffffff"),
)
MARKS = {Role.NEUTRAL: Style(dim=True), Role.PERCEPTION: Style(underline=True), Role.REASONING: Style()}


@dataclass(frozen=True)
class Scale:
    """A quantity and the six numbers that part its seven levels; `plain` is written for the middle one."""

    name: str
    unit: str
    edges: tuple[float, ...]
    plain: str

    def level(self, value: float) -> int:
        """0 to 6; a value that is not finite is plain."""
        if value != value:
            return MIDDLE
        return sum(value > edge for edge in self.edges)


COLOURS = {
    "weight": Scale("weight", "", (0.67, 0.83, 0.95, 1.05, 1.2, 1.5), "1"),
    "gap": Scale("gap", "nats", (-2.0, -0.5, -0.1, 0.1, 0.5, 2.0), "0"),
    "advantage": Scale("advantage", "", (-1.5, -0.5, -0.05, 0.05, 0.5, 1.5), "0"),
}


@dataclass(frozen=True)
class Token:
    """A token to show: its characters, level and role."""

    text: str
    level: int
    role: int


@dataclass
class Line:
    """Tokens, or pieces of them, that share a line; `width` in cells of the terminal."""

    tokens: list[Token] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Cells of the terminal."""
        return sum(cell_len(token.text) for token in self.tokens)


def of_known_width(text: str) -> str:
    """The text with unseen characters as ⟨U+202E⟩, and four spaces in place of a tab; line breaks stay."""
    return visible(text).replace("\t", "    ")


def tokens_of(
    text: str, spans: Sequence[tuple[int, int]], values: Sequence[float], roles: Sequence[int], scale: Scale
) -> list[Token]:
    """The tokens of a reply; a character that several tokens share is shown with the first of them."""
    tokens, end = [], 0
    for (start, stop), value, role in zip(spans, values, roles, strict=True):
        shown = text[max(start, end) : stop]
        end = max(end, stop)
        if shown:
            tokens.append(Token(of_known_width(shown), scale.level(value), role))
    return tokens


def lines_of(tokens: Sequence[Token], width: int) -> Iterator[Line]:
    """The tokens in lines of at most `width` cells, broken between words where that can be done."""
    line = Line()
    for word in _words(tokens):
        if word is None:
            yield line
            line = Line()
            continue
        if line.tokens and line.width + sum(cell_len(token.text) for token in word) > width:
            yield line
            line = Line()
        for token in word:
            for piece in _pieces(token, width):
                if line.tokens and line.width + cell_len(piece.text) > width:
                    yield line
                    line = Line()
                line.tokens.append(piece)
    if line.tokens:
        yield line


def _words(tokens: Sequence[Token]) -> Iterator[list[Token] | None]:
    """Runs of tokens between white space, None for a line break."""
    word: list[Token] = []
    for token in tokens:
        for i, part in enumerate(token.text.split("\n")):
            if i:
                yield word
                yield None
                word = []
            if word and part[:1].isspace():
                yield word
                word = []
            if part:
                word.append(Token(part, token.level, token.role))
            if part[-1:].isspace():
                yield word
                word = []
    yield word


def _pieces(token: Token, width: int) -> Iterator[Token]:
    """A token in pieces of at most `width` cells."""
    if cell_len(token.text) <= width:
        yield token
        return
    part = ""
    for char in token.text:
        if part and cell_len(part + char) > width:
            yield Token(part, token.level, token.role)
            part = ""
        part += char
    yield Token(part, token.level, token.role)


def has_colour(console: Console) -> bool:
    """Whether tints reach the reader; else bars are written."""
    return console.color_system is not None and not console.no_color


def show_tokens(console: Console, tokens: Sequence[Token], *, bars: bool, indent: int = 2) -> None:
    """Print tokens tinted; with `bars`, their levels under those that have a role or differ from the middle."""
    for line in lines_of(tokens, max(20, console.width - indent)):
        text, marks = Text(" " * indent), " " * indent
        for token in line.tokens:
            text.append(token.text, TINTS[token.level] + MARKS[Role(token.role)])
            plain = token.role == Role.NEUTRAL and token.level == MIDDLE
            marks += (" " if plain else BARS[token.level]) * cell_len(token.text)
        console.print(text, soft_wrap=True)
        if bars and marks.strip():
            console.print(Text(marks), soft_wrap=True)


def legend(console: Console, scale: Scale) -> Text:
    """The name of the quantity and its seven levels with their numbers."""
    low, high = scale.edges[:MIDDLE], scale.edges[MIDDLE:]
    names = [*(f"<{edge:g}" for edge in low), scale.plain, *(f">{edge:g}" for edge in high)]
    text = Text(f"{scale.name} ({scale.unit}) " if scale.unit else f"{scale.name} ", style="bold")
    for level, name in enumerate(names):
        text.append(f" {name} " if has_colour(console) else f"{BARS[level]} {name}  ", Style(bold=False) + TINTS[level])
    return text
