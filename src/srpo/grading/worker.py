"""math-verify in a process of its own, run as a file by client.py; it imports nothing of srpo.

One JSON object a line: in {"reference", "reply", "absolute", "relative", "limit"}, out {"verdict"}. It ends when its
input closes, and kills itself where a comparison outlives both its limit and the process that asked for it.
"""

import json
import logging
import os
import signal
import sys
from typing import Any

MEMORY_LIMIT = 2 * 1024**3
GRACE = 2.0
TOLERANCE = 1e-6


def compare(reference: str, reply: str, absolute: float = 0.0, relative: float = 0.0) -> str:
    """Return EQUAL, DIFFERENT or UNREADABLE for two LaTeX expressions, each read as a whole and without units.

    The tolerance is for two constants: |reply - reference| <= max(absolute, relative * |reference|).
    """
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    # math-verify's own stripping of units takes 3ab for 3 and 3 km for 3 m; srpo.grading.number has split them off
    rewriting = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    config = [LatexExtractionConfig(normalization_config=rewriting)]
    gold, answer = (
        parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None) for text in (reference, reply)
    )
    if not gold or not answer:
        return "UNREADABLE"
    values = _constants(gold[0], answer[0])
    if values and (absolute or relative):
        distance = abs(values[0] - values[1])
        return "EQUAL" if distance <= max(absolute, relative * abs(values[0])) else "DIFFERENT"
    if not verify(gold, answer, timeout_seconds=None) or (values and _far_apart(*values)):
        return "DIFFERENT"
    return "EQUAL"


def _constants(gold: Any, answer: Any) -> tuple[complex, complex] | None:
    """The values of two expressions without variables, None for anything else."""
    from sympy import Expr

    constants = isinstance(gold, Expr) and isinstance(answer, Expr) and not gold.free_symbols | answer.free_symbols
    if not constants:
        return None
    try:
        return complex(gold.evalf(20)), complex(answer.evalf(20))
    except (TypeError, ValueError, ArithmeticError):
        return None


def _far_apart(first: complex, second: complex) -> bool:
    """Whether two constants differ relatively: math-verify rounds to 6 decimals, under which all tiny numbers are 0."""
    return abs(first - second) > TOLERANCE * max(abs(first), abs(second))


def _confine() -> None:
    """Keep the process from outliving or crowding out the trainer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        import resource

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _alarm(seconds: float) -> None:
    """After `seconds` the kernel ends this process, whatever code it is in; 0 calls that off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def main() -> None:
    """Serve comparisons until the input closes."""
    _confine()
    logging.disable(logging.CRITICAL)
    answers = os.dup(1)
    compare("1", "2")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.write(answers, b"ready\n")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _alarm(request["limit"] + GRACE)
        verdict = compare(request["reference"], request["reply"], request["absolute"], request["relative"])
        _alarm(0)
        os.write(answers, json.dumps({"verdict": verdict}).encode() + b"\n")


if __name__ == "__main__":
    main()
