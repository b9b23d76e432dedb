"""Chains of commands as child processes, a few at a time; what they print goes to files."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
SHOWN_LINES = 8
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: what it does, such as "train".
        prepare: gives the command line, called right before the start.
        done: is its result there? Such a step is not run; one that ends without its result has failed.
        log: the file that its output is appended to.
    """

    name: str
    prepare: Callable[[], Sequence[str]]
    done: Callable[[], bool]
    log: Path


@dataclass(frozen=True)
class Chain:
    """Commands that follow one another, such as a training run and its evaluation."""

    name: str
    steps: Sequence[Step]

    def pending(self) -> list[Step]:
        """The steps whose results are not there."""
        return [step for step in self.steps if not step.done()]


@dataclass(frozen=True)
class Failure:
    """A step that did not come to its end: its exit status and the last lines that it wrote."""

    chain: str
    step: str
    status: int
    log: Path
    last_lines: list[str]


@dataclass
class _Active:
    chain: Chain
    step: Step
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.perf_counter)


def run_chains(
    chains: Sequence[Chain],
    environments: Sequence[Mapping[str, str]],
    on_step: Callable[[Chain, Step, float, Failure | None], None],
) -> list[Failure]:
    """Run chains, as many at a time as there are environments; after a failed step its chain ends, the others go on.

    An interruption (Ctrl-C or SIGTERM) ends the children and their own children before it is passed on.

    Args:
        chains: the work; steps that are done are skipped.
        environments: for each place, what its processes have in their environment beyond that of this process.
        on_step: called after each step with its seconds, and the failure if it is one.

    Returns:
        The failures, in the order in which they happened.
    """
    waiting = deque(chain for chain in chains if chain.pending())
    free = deque(environments)
    active: list[_Active] = []
    failures: list[Failure] = []
    with _termination_as_interrupt():
        try:
            while waiting or active:
                while waiting and free:
                    chain = waiting.popleft()
                    active.append(_start(chain, chain.pending()[0], free.popleft()))
                time.sleep(POLL_SECONDS)
                for ended in [item for item in active if item.process.poll() is not None]:
                    active.remove(ended)
                    failure = _failure(ended)
                    on_step(ended.chain, ended.step, time.perf_counter() - ended.started, failure)
                    following = ended.chain.pending()
                    if failure is None and following:
                        active.append(_start(ended.chain, following[0], ended.environment))
                        continue
                    failures += [failure] if failure else []
                    free.append(ended.environment)
        finally:
            _end(active)
    return failures


def srpo_command(arguments: Sequence[str], launcher: Sequence[str] = ()) -> list[str]:
    """The command line of `srpo ARGUMENTS` in this Python, through `python -m LAUNCHER` where one is given."""
    return [sys.executable, *(("-m", *launcher) if launcher else ()), "-m", "srpo.cli", *arguments]


def _start(chain: Chain, step: Step, environment: Mapping[str, str]) -> _Active:
    command = list(step.prepare())
    step.log.parent.mkdir(parents=True, exist_ok=True)
    with step.log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C in the terminal reaches this process only, which then ends the group
        )
    return _Active(chain, step, environment, process)


def _failure(ended: _Active) -> Failure | None:
    status = ended.process.returncode
    if status == 0 and ended.step.done():
        return None
    text = ESCAPES.sub("", ended.step.log.read_text(encoding="utf-8", errors="replace")).replace("\r", "\n")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return Failure(ended.chain.name, ended.step.name, status, ended.step.log, lines[-SHOWN_LINES:])


def _end(active: Sequence[_Active]) -> None:
    """Ask the process groups to end, then make them."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        running = [item.process for item in active if item.process.poll() is None]
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, kind)
        deadline = time.perf_counter() + GRACE_SECONDS
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.perf_counter()))


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that no child outlives this process."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
