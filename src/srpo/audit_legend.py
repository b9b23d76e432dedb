"""What the figures of an audit say, in a line each, and why some are missing."""

from collections.abc import Collection

MEANINGS = {
    "vision_gain": "accuracy minus accuracy with the image corrupted, blank or swapped for another; 0: it is not used",
    "perception": "of structured replies: stated facts that are true, true facts stated, all needed facts right",
    "grounded_accuracy": "share of replies with the right answer and all needed facts right",
    "lucky_rate": "share with the right answer and a needed fact wrong; unsupported_rate: right without a perception",
    "lucky_share": "lucky among the right replies",
    "reliance/edited": "share that follows when a fact in the perception is changed, against edited_chance without the "
    "change; stays: still the answer of the image",
    "reliance/other": "how much more often the answer changes with another reply's perception than with its own",
}
MISSING = {
    "vision_gain": "vision gain: no row has an image that can be changed",
    "grounded_accuracy": "perception accuracy, grounded accuracy, lucky rate: no row has `truth`",
    "reliance": "reliance: no row has `truth`, and no structured reply has another question's perception to borrow",
}


def legend(names: Collection[str]) -> list[str]:
    """Lines that say what figures of these names mean, then lines that say what could not be measured."""
    meanings = [f"{start}: {text}" for start, text in MEANINGS.items() if _any(names, start)]
    return [*meanings, *(f"not measured: {text}" for start, text in MISSING.items() if not _any(names, start))]


def _any(names: Collection[str], start: str) -> bool:
    return any(name == start or name.startswith(f"{start}/") for name in names)
