"""Texts of unknown origin made safe to show: characters that nobody sees, or that a terminal obeys, are written out."""

import re

# Control characters, marks of direction, invisible ones, tags and halves of surrogate pairs. Line breaks and tabs stay,
# and so do the joiners of emoji and of Indic and Persian scripts. The page has the same set.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with every unseen character as a mark, such as ⟨U+202E⟩.

    It can be encoded and printed after that. Line breaks and tabs stay as they are.
    """
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
