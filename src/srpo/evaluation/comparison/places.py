"""Where runs go when several run at once: threads of the CPU and GPUs for each, and the time that is left."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from srpo.evaluation.comparison.methods import ComparisonError
from srpo.evaluation.comparison.runner import Chain


def environments(
    jobs: int, *, cpus: int, gpus: Sequence[str], gpus_per_run: int, threads: str | None
) -> list[dict[str, str]]:
    """The environment of each of `jobs` places.

    Each place gets an equal share of the CPUs as OMP_NUM_THREADS, unless `threads` is set already, and its own GPUs.
    Runs of one GPU may share it when there are more places than GPUs.

    Args:
        jobs: runs at a time.
        cpus: that this process may use.
        gpus: what CUDA_VISIBLE_DEVICES may name; empty without GPUs.
        gpus_per_run: GPUs of one run.
        threads: OMP_NUM_THREADS as the user set it.

    Raises:
        ComparisonError: for a count below 1, and for more GPUs than there are.
    """
    for name, count in (("jobs", jobs), ("gpus_per_run", gpus_per_run)):
        if count < 1:
            raise ComparisonError(f"{name} {count} must be 1 or more")
    if gpus_per_run > 1 and jobs * gpus_per_run > len(gpus):
        raise ComparisonError(
            f"{jobs} jobs of {gpus_per_run} GPUs need {jobs * gpus_per_run} and there are {len(gpus)}; lower --jobs or "
            "--gpus_per_run"
        )
    places = []
    for i in range(jobs):
        place = {"OMP_NUM_THREADS": threads or str(max(1, cpus // jobs))}
        if gpus:
            mine = [gpus[(i * gpus_per_run + k) % len(gpus)] for k in range(gpus_per_run)]
            place["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        places.append(place)
    return places


class Times:
    """Seconds that the steps of a comparison took, kept in a file so that a resumed one knows what to expect."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, list[float]] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            with suppress(ValueError):  # a line that an interruption left half written
                entry = json.loads(line)
                self.seconds.setdefault(entry["step"], []).append(entry["seconds"])
        self._gap = "\n" if text and not text.endswith("\n") else ""

    def add(self, run: str, step: str, seconds: float) -> None:
        """Note a finished step."""
        self.seconds.setdefault(step, []).append(seconds)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._gap + json.dumps({"run": run, "step": step, "seconds": round(seconds, 1)}) + "\n")
        self._gap = ""

    def left(self, chains: Sequence[Chain], jobs: int) -> float | None:
        """Seconds that the pending steps will take: their mean times over the runs at a time; None if unknown."""
        pending = [step.name for chain in chains for step in chain.pending()]
        if any(name not in self.seconds for name in pending):
            return None
        total = sum(sum(self.seconds[name]) / len(self.seconds[name]) for name in pending)
        return total / jobs
