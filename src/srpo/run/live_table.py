"""A few rollouts as the rows of a table for a tracker: texts shortened, roles marked, weights and gaps by role.

Source of the rows: `srpo.run.rollouts.rollout_record`, the records of rollouts/step_N.parquet.
"""

import io
import json
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from PIL import Image

from srpo.report.text import shortened
from srpo.roles import Role
from srpo.visible import visible

Record = dict[str, Any]
MARKS = {Role.PERCEPTION: "P", Role.REASONING: "R"}
LONGEST = {"row_id": 80, "question": 500, "reference": 200, "reply": 2000, "token": 40, "reward": 80}  # characters
LARGEST = 5  # tokens named for their weight
LONGEST_SIDE = 256  # of an image, in pixels
_BRACKETS = {ord(bracket): f"⟨U+{ord(bracket):04X}⟩" for bracket in "⟦⟧"}  # which mark roles


def table_rows(records: Sequence[Record]) -> list[Record]:
    """Column name -> cell for each rollout, with the same columns in all rows.

    Cells are numbers, texts, images (PIL) and None. "reply" marks perception as P⟦...⟧ and reasoning as R⟦...⟧;
    "largest_weights" names up to five tokens whose weight is above 1, each with its role, weight and gap in nats.
    Gaps are None in a rollout that was not scored, and a role's figures where it has no token.
    """
    rewards = list(dict.fromkeys(name for record in records for name, _ in record["rewards"]))
    return [_row(record, rewards) for record in records]


def _row(record: Record, rewards: Sequence[str]) -> Record:
    given = dict(record["rewards"])
    return {
        "step": record["step"],
        "question": _text(record["question"], "question"),
        "image": _image(record["image"]),
        "corrupted": _image(record["corrupted"]),
        "reply": shortened(marked_reply(record["tokens"], record["roles"]), LONGEST["reply"]),
        "largest_weights": largest_weights(record),
        "advantage": record["advantage"],
        **{f"{role.name.lower()}_weight": _mean(record["weights"], record["roles"], role) for role in MARKS},
        **{f"{role.name.lower()}_gap": _mean(record["gaps"], record["roles"], role) for role in MARKS},
        **{f"rewards/{_text(name, 'reward')}": given.get(name) for name in rewards},
        "reference": _text(record["reference"], "reference"),
        "tokens": len(record["tokens"]),
        "row_id": _text(record["row_id"], "row_id"),
    }


def cell_text(text: str) -> str:
    """A text with unseen characters and the brackets that mark roles as ⟨U+202E⟩."""
    return visible(text).translate(_BRACKETS)


def marked_reply(tokens: Sequence[str], roles: Sequence[int]) -> str:
    """The reply with its roles: P⟦ perception ⟧, R⟦ reasoning ⟧, and neutral text as it stands."""
    parts = []
    for role, run in groupby(zip(tokens, roles, strict=True), key=lambda pair: pair[1]):
        text = cell_text("".join(token for token, _ in run))
        parts.append(f"{MARKS[Role(role)]}⟦{text}⟧" if role in MARKS else text)
    return "".join(parts)


def largest_weights(record: Record) -> str:
    """The tokens with the largest weights above 1, largest first, such as '"7" R 1.98 (gap +2.31)'."""
    weights, roles = record["weights"], record["roles"]
    raised = [t for t, role in enumerate(roles) if role in MARKS and weights[t] > 1]
    named = []
    for t in sorted(raised, key=lambda t: -weights[t])[:LARGEST]:
        token = json.dumps(shortened(record["tokens"][t], LONGEST["token"]), ensure_ascii=False)
        gap = "" if record["gaps"] is None else f" (gap {record['gaps'][t]:+.2f})"
        named.append(f"{cell_text(token)} {MARKS[Role(roles[t])]} {weights[t]:.2f}{gap}")
    return ", ".join(named)


def _text(text: str, kind: str) -> str:
    return cell_text(shortened(text, LONGEST[kind]))


def _mean(values: Sequence[float] | None, roles: Sequence[int], role: Role) -> float | None:
    """Mean over the tokens of a role, where a value that is not finite counts as 0, as in the metrics."""
    chosen = [value for value, of in zip(values or (), roles, strict=False) if of == role]
    return sum(value for value in chosen if math.isfinite(value)) / len(chosen) if chosen else None


def _image(png: bytes | None) -> Image.Image | None:
    if png is None:
        return None
    picture = Image.open(io.BytesIO(png))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return picture
