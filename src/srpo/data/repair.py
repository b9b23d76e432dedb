r"""LaTeX that lost its backslashes: "\frac" read as a form feed and "rac" by a JSON or Python parser -> "\frac" again.

A control character is repaired only where the letters behind it make it a LaTeX command and no ordinary text has them
there. Tabs, line feeds and carriage returns do occur in text, so fewer letters count behind them.
"""

import re

# the letters behind the character; "!" stands for "no further letter", other signs for themselves
_BEHIND = {
    "\a": "lpha! ngle! pprox! st!",
    "\b": "oxed! eta! egin{ ar! inom! ig! igl! igr! igg! mod! ot! ullet! ecause! oldsymbol! f{ bar!",
    "\f": "rac! box! orall! lat!",
    "\v": "ec! arphi! artheta! arnothing! ee! dots!",
    "\t": "imes! heta! ext{ extbf{ extrm{ extit{ extdegree! riangle! frac! dfrac! ilde! an( an^ an{ au! herefore! op{",
    "\r": "ight! ightarrow! ho! ceil! floor! angle! m{ Vert!",
    "\n": "eq! abla! otin! leq! geq! cong!",
}
_IN_FORMULAS = {"\n": "u! e! eg!", "\t": "o! an!", "\r": "m!"}
_OTHER_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # and halves of surrogate pairs


def _pattern(endings: dict[str, str]) -> re.Pattern[str]:
    choices = []
    for character, words in endings.items():
        ends = "|".join(re.escape(w.rstrip("!")) + ("(?![a-zA-Z])" if w.endswith("!") else "") for w in words.split())
        before = r"(?<!\r)" if character == "\n" else ""  # a line end of Windows
        choices.append(f"{before}{re.escape(character)}(?={ends})")
    return re.compile("|".join(choices))


_ANYWHERE = _pattern(_BEHIND)
_FORMULA = _pattern(_IN_FORMULAS)
_LETTERS = {"\a": "a", "\b": "b", "\f": "f", "\v": "v", "\t": "t", "\r": "r", "\n": "n"}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def repair(text: str, *, formula: bool = False) -> str:
    r"""Put back the backslashes of LaTeX commands, and drop the control characters that are left.

    Args:
        text: a question, option or answer.
        formula: the text is an answer or option, in which a line feed or tab means nothing, so that "\nu", "\ne",
            "\to" and "\tan" are repaired as well.
    """
    if not _CONTROLS.search(text):
        return text
    text = _ANYWHERE.sub(_command, text)
    if formula:
        text = _FORMULA.sub(_command, text)
    return _OTHER_CONTROLS.sub("", text)


def _command(match: re.Match[str]) -> str:
    return "\\" + _LETTERS[match[0]]
