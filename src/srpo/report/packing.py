"""Tokens, roles, gaps and weights of a prompt's replies as a few bytes a token.

Layout of a blob, deflated as zlib does: 4 bytes, little-endian, the length n of the JSON; n bytes of JSON
{"replies": [{"tokens": [...], "roles": "0121...", "gaps": whether they were scored}]}; then, for the N tokens of all
replies in order, the gaps and after them the weights, each as three planes of N bytes (`planes`).
"""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from srpo.report.rollouts import Rollout
from srpo.report.text import LONGEST_TOKEN, page_json, shortened

DIGITS = 4  # significant
NOT_A_NUMBER = 127


def planes(values: np.ndarray) -> bytes:
    """N numbers in four significant digits: the high bytes of N mantissas, their low bytes, N exponents.

        x = mantissa · 10^exponent,  1000 ≤ |mantissa| ≤ 9999, or 0;  exponent 127 for what is not a finite number

    Mantissas are int16, exponents int8. Bytes of a kind stand together because they deflate better so.

    Args:
        values: (N,) floats.
    """
    values = np.asarray(values, dtype=np.float64)  # (N,)
    known = np.isfinite(values) & (np.abs(values) >= 1e-100)
    sizes = np.where(known, np.abs(values), 1.0)
    exponents = np.floor(np.log10(sizes)).astype(np.int64) - (DIGITS - 1)
    mantissas = np.rint(sizes * 10.0**-exponents).astype(np.int64)
    over, under = mantissas >= 10**DIGITS, mantissas < 10 ** (DIGITS - 1)  # log10 and rounding are off by a hair
    exponents = exponents + over - under
    mantissas = np.rint(sizes * 10.0**-exponents).astype(np.int64)
    mantissas = np.where(known, np.sign(np.where(known, values, 0.0)) * mantissas, 0)
    exponents = np.where(known, np.clip(exponents, -128, NOT_A_NUMBER - 1), 0)
    exponents = np.where(np.isfinite(values), exponents, NOT_A_NUMBER)
    halves = mantissas.astype(">i2").view(np.uint8).reshape(-1, 2)  # (N, 2)
    return halves.T.tobytes() + exponents.astype("i1").tobytes()


def packed(replies: Sequence[Rollout]) -> bytes:
    """The blob of a prompt's replies, before base64."""
    told = [
        {
            "tokens": [shortened(token, LONGEST_TOKEN) for token in reply.tokens],
            "roles": "".join(map(str, reply.roles.tolist())),
            "gaps": reply.gaps is not None,
        }
        for reply in replies
    ]
    text = page_json({"replies": told}).encode("utf-8")
    gaps = [np.zeros(len(reply.tokens)) if reply.gaps is None else reply.gaps for reply in replies]
    weights = [reply.weights for reply in replies]
    numbers = [planes(np.concatenate([np.zeros(0), *of])) for of in (gaps, weights)]
    return zlib.compress(struct.pack("<I", len(text)) + text + b"".join(numbers), 9)
