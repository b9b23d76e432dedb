"""The process in which math-verify runs, seen from the trainer.

math-verify bounds its run time by signal.alarm, which works in the main thread only and cannot interrupt the C code
inside an integer power. So it runs in a process of its own (worker.py), started at the first comparison, reused, and
killed and replaced when a comparison exceeds its limit. The worker is started by exec, never by a bare fork, so
threads of torch are no danger; after a fork each process starts its own.
"""

import atexit
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from enum import Enum
from multiprocessing.connection import wait
from pathlib import Path

from srpo.grading.task import EXACT, Tolerance

logger = logging.getLogger(__name__)

START_LIMIT = 120.0
CACHE_SIZE = 20_000
WARNING_INTERVAL = 60.0


Question = tuple[str, str, Tolerance]  # reference, reply


class Verdict(Enum):
    """What math-verify said of two expressions."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE = "not comparable"
    TIMEOUT = "timeout"


class MathWorkerError(RuntimeError):
    """The math-verify process does not start; grading cannot go on."""


class MathWorker:
    """One math-verify process, used by any number of threads, one comparison at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._cache_lock = threading.Lock()
        self._cache: OrderedDict[Question, tuple[Verdict, float]] = OrderedDict()
        self._last_warning = -WARNING_INTERVAL
        self._unreported = 0

    def compare(self, reference: str, reply: str, timeout: float, tolerance: Tolerance = EXACT) -> Verdict:
        """Return whether the LaTeX `reply` equals `reference`; TIMEOUT after `timeout` seconds. Results are cached.

        Raises MathWorkerError when the process cannot be started.
        """
        return self.timed_compare((reference, reply, tolerance), timeout)[0]

    def timed_compare(self, question: Question, timeout: float) -> tuple[Verdict, float]:
        """`compare`, and the seconds that it took, or had taken where the result was known."""
        if (known := self._cached(question, timeout)) is not None:
            return known
        with self._lock:
            if (known := self._cached(question, timeout)) is not None:
                return known
            process = self._running()
            started = time.monotonic()
            verdict = self._ask(process, question, timeout)
            result = (verdict, timeout if verdict is Verdict.TIMEOUT else time.monotonic() - started)
            with self._cache_lock:
                self._cache[question] = result
                if len(self._cache) > CACHE_SIZE:
                    self._cache.popitem(last=False)
        return result

    def close(self) -> None:
        """End the process, if there is one; the next comparison starts another."""
        acquired = self._lock.acquire(timeout=1.0)
        self._stop()
        if acquired:
            self._lock.release()

    def forget_after_fork(self) -> None:
        """In a forked child: let go of the parent's process and of locks that another thread may have held."""
        self._lock, self._cache_lock = threading.Lock(), threading.Lock()
        if self._process is not None:
            self._process.returncode = 0  # not this process's child: its destructor must not wait for it
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    @property
    def pid(self) -> int | None:
        """The process id of the worker, None while there is none."""
        return self._process.pid if self._process is not None else None

    def _cached(self, question: Question, timeout: float) -> tuple[Verdict, float] | None:
        """What is known; a timeout says nothing of a longer limit."""
        with self._cache_lock:
            if question not in self._cache:
                return None
            self._cache.move_to_end(question)
            verdict, seconds = self._cache[question]
        return None if verdict is Verdict.TIMEOUT and seconds < timeout else (verdict, seconds)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self._stop()
        return self._process or self._start()

    def _ask(self, process: "subprocess.Popen[bytes]", question: Question, timeout: float) -> Verdict:
        reference, reply, tolerance = question
        sizes = {"absolute": float(tolerance.absolute), "relative": float(tolerance.relative)}
        request = json.dumps({"reference": reference, "reply": reply, "limit": timeout, **sizes}).encode() + b"\n"
        assert process.stdin is not None
        try:
            process.stdin.write(request)
            answer = _read_line(process, timeout)
        except BrokenPipeError:
            answer = b""
        except BaseException:
            self._stop()  # an interrupted exchange leaves its answer in the pipe, where the next one would read it
            raise
        if answer is None:
            self._stop()
            self._warn(reply, timeout)
            return Verdict.TIMEOUT
        if not answer.endswith(b"\n"):
            self._stop()
            return Verdict.UNREADABLE
        return Verdict[json.loads(answer)["verdict"]]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
            self._process = process
            try:
                ready = _read_line(process, START_LIMIT)
            except BaseException:
                self._stop()
                raise
            if not ready:
                self._stop()
                errors.seek(0)
                last_line = (errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
                raise MathWorkerError(
                    f"the math-verify process ended at its start ({last_line}); "
                    f"check that `{sys.executable} -c 'import math_verify'` works"
                )
        return process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _warn(self, reply: str, timeout: float) -> None:
        self._unreported += 1
        now = time.monotonic()
        if now - self._last_warning >= WARNING_INTERVAL:
            logger.warning(
                "math-verify gave no result within %g s for %d answer(s), graded wrong; the last: %.80r",
                timeout,
                self._unreported,
                reply,
            )
            self._last_warning, self._unreported = now, 0


class Budget:
    """The seconds of math-verify that the grading of one reply may still use, however many comparisons it makes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = self.left = seconds

    def compare(self, reference: str, reply: str, tolerance: Tolerance = EXACT) -> Verdict:
        """`MathWorker.compare` of this process's own worker, within what is left."""
        if self.left <= 0:
            return Verdict.TIMEOUT
        verdict, seconds = WORKER.timed_compare((reference, reply, tolerance), self.left)
        self.left -= seconds
        return verdict


def _read_line(process: subprocess.Popen[bytes], limit: float) -> bytes | None:
    """One line of the worker (it writes each at once), b"" when it ended, None when `limit` seconds passed."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    return os.read(pipe, 4096) if wait([pipe], limit) else None


WORKER = MathWorker()
atexit.register(WORKER.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKER.forget_after_fork)
