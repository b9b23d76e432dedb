"""Times of day: "10:30 PM", "22:30"."""

import re

_CLOCK = re.compile(r"(?P<hour>[0-9]{1,2}):(?P<rest>[0-5][0-9](?::[0-5][0-9])?)\s*(?:(?P<half>[ap])\.?\s?m\.?)?", re.I)

Clock = tuple[set[int], str, bool]


def read_clock(text: str) -> Clock | None:
    """Return (hours of the day that are meant, minutes, whether AM or PM is written); None for anything but a time.

    "10:30" means 10:30 and 22:30, "10:30 PM" and "22:30" one time each.
    """
    found = _CLOCK.fullmatch(text)
    if found is None or (hour := int(found["hour"])) > 23:
        return None
    if found["half"] and not 1 <= hour <= 12:
        return None
    morning, evening = hour % 12, hour % 12 + 12
    if found["half"]:
        return {morning if found["half"] in "aA" else evening}, found["rest"], True
    return {morning, evening} if 1 <= hour <= 12 else {hour}, found["rest"], False


def same_time(reply: str, reference: str) -> bool | None:
    """Return whether two times can be the same; None unless both are times and one of them says AM or PM."""
    given, wanted = read_clock(reply), read_clock(reference)
    if given is None or wanted is None or not (given[2] or wanted[2]):
        return None
    return bool(given[0] & wanted[0]) and given[1] == wanted[1]
