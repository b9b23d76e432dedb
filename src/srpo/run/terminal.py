"""The console of the commands."""

from typing import Any

from rich.console import Console
from rich.text import Text

from srpo.visible import visible


class Terminal(Console):
    """A console that shows every string as it is: no markup, no emoji names, unseen characters as ⟨U+202E⟩.

    Questions, replies, paths and names of models are anybody's text: "[/INST]" is no markup there, and an escape
    sequence must not reach the terminal.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich renders a string, a cell or a title; unseen characters are written out."""
        return super().render_str(visible(text), **options)
