"""Figures of replies, kept by question, because intervals are over questions."""

from collections import defaultdict

from srpo.evaluation.bootstrap import Bootstrap, Estimate


class Tally:
    """A figure of some replies: the mean over all of them, with an interval over their questions.

    estimate = (sum over questions q of the sum of its values) / (sum over q of their number)

    Args:
        share: all values lie in [0, 1]; else they are differences.
    """

    def __init__(self, *, share: bool = True) -> None:
        self._share = share
        self._values: defaultdict[int, list[float]] = defaultdict(list)

    def add(self, question: int, value: float) -> None:
        """Add the figure of one reply."""
        self._values[question].append(float(value))

    def estimate(self, bootstrap: Bootstrap) -> Estimate | None:
        """The figure with its interval; None without a reply to measure."""
        if not self._values:
            return None
        lists = [self._values[question] for question in sorted(self._values)]
        sums, counts = [sum(values) for values in lists], [float(len(values)) for values in lists]
        return bootstrap.ratio(sums, counts, share=self._share)
