"""Expressions that never end: from any thread, after a fork, at the end of the process."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from srpo.grading import client, grade
from srpo.grading.client import MathWorker, MathWorkerError, Verdict
from srpo.rewards import make_accuracy_reward

ENDLESS = "9^{9^{9^{9}}}"
MARGIN = 5.0  # seconds for the start of a process on a busy machine


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[MathWorker]:
    """A fresh worker in the place of the process's own."""
    fresh = MathWorker()
    monkeypatch.setattr(client, "WORKER", fresh)
    yield fresh
    fresh.close()


def test_an_endless_expression_is_wrong_within_the_limit_and_the_next_one_is_graded(worker: MathWorker) -> None:
    assert grade("\\sqrt{16}", "4").correct
    first = worker.pid
    start = time.monotonic()
    result = grade(ENDLESS, "4", timeout=1.0)
    assert time.monotonic() - start < 1.0 + MARGIN
    assert (result.correct, result.rule) == (False, "timeout")
    assert first is not None
    assert not psutil.pid_exists(first)
    assert grade("\\sqrt{25}", "5").correct
    assert worker.pid not in (None, first)


@pytest.mark.parametrize(
    "endless",
    [
        ENDLESS,
        "((9!)!)!",
        "99999999!",
        "10^10^10",
        "10^{10^{10}}",
        "\\frac{1}{9^{9^9}}",
        "\\pi+9**9**9**9",
        "(x+1)^{100000}",
        "\\sqrt[9^9]{9^{9^9}}",
        "\\sin(9^{9^9})",
        "(" * 190 + "x" + ")" * 190,
        "\\frac{" * 60 + "1" + "}{2}" * 60,
        "\\binom{10^9}{10^8}",
        "\\sum_{n=1}^{10^9} n^{99}",
        "1" + "0" * 390,
    ],
)
def test_endless_expressions_of_several_kinds(worker: MathWorker, endless: str) -> None:
    start = time.monotonic()
    assert not grade(endless, "4", timeout=0.5).correct
    assert time.monotonic() - start < 0.5 + MARGIN


def test_an_endless_expression_off_the_main_thread(worker: MathWorker) -> None:
    rewards: list[float | None] = []
    reward = make_accuracy_reward(timeout=0.5)
    completions = [f"<answer>{ENDLESS}</answer>", "<answer>\\sqrt{16}</answer>"]
    thread = threading.Thread(target=lambda: rewards.extend(reward(completions, answer=["4", "4"])))
    thread.start()
    thread.join(timeout=0.5 + 2 * MARGIN)
    assert not thread.is_alive()
    assert rewards == [0.0, 1.0]


def test_fifty_threads_share_one_worker(worker: MathWorker) -> None:
    def one(index: int) -> bool:
        if index == 25:
            return grade(ENDLESS, "4", timeout=0.5).correct
        return grade(f"\\sqrt{{{(index + 1) ** 2}}}", str(index + 1 + index % 2)).correct

    before = {child.pid for child in psutil.Process().children()}
    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(one, range(50)))
    assert results == [index % 2 == 0 for index in range(50)]
    assert {child.pid for child in psutil.Process().children()} - before == {worker.pid}
    worker.close()
    assert {child.pid for child in psutil.Process().children()} <= before


def test_the_limit_is_for_the_whole_reply_not_for_each_comparison(worker: MathWorker) -> None:
    reply = ", ".join(f"\\pi+{k}^{{9^{{9^9}}}}" for k in range(2, 9))
    reference = ", ".join(f"\\sqrt{{{k}}}" for k in range(2, 9))
    alternatives = [reference.replace("sqrt", f"sqrt[{k}]") for k in range(3, 9)]
    assert grade("\\sqrt{16}", "4").correct
    start = time.monotonic()
    result = grade(reply, reference, alternatives=alternatives, timeout=1.0)
    assert time.monotonic() - start < 1.0 + MARGIN
    assert not result.correct


REPEATED = (
    *(
        "7",
        " ",
        "7,",
        "7 ",
        "7/",
        "1,000,",
        "1 2",
        "-",
        "1.",
        "x_",
        "=",
        ":",
        "<",
        "|",
        "!",
        "½",
        "²",
        "六",
        "\n",
        "#",
        "# ",
    ),
    *(
        "(",
        "[",
        "{",
        "\\",
        "^{",
        "\\frac{",
        "\\text{",
        "\\boxed{",
        "\\(",
        "\\pm ",
        "\\approx ",
        "$",
        "$$",
        "**",
        "*",
        "`",
        "'",
        '"',
    ),
    *(
        "A",
        "A ",
        "A) ",
        "(A)",
        "A, ",
        "a's ",
        "the ",
        "not ",
        "is ",
        "so, ",
        ", because ",
        ", so ",
        "answer ",
        "answer is ",
    ),
    *(
        "one ",
        "twenty-",
        "half of ",
        "cm",
        "cm ",
        "square ",
        "million ",
        "1 million ",
        "yes, ",
        "~1 ",
        "≈ ",
        "x < ",
        "<b>",
    ),
)


@pytest.mark.parametrize("task", ["math", "choice", "text", "range", "box"])
def test_no_pattern_backtracks_for_long_on_repeated_text(worker: MathWorker, task: str) -> None:
    row = {
        "math": ("7 cm", None),
        "choice": ("B", ["3 cm", "red", "12", "dark red"]),
        "text": ("red", None),
        "range": ("3..4", None),
        "box": ("[1, 2, 3, 4]", None),
    }
    limit = 1.0
    for piece in REPEATED:
        for text in ((piece * 4000)[:3990], (piece * 400)[:390] + "\x00"):
            reference, options = row[task]
            start = time.process_time()  # of this process: math-verify has its own limit, tested above
            result = grade(text, reference, options=options, task=task, timeout=0.05)
            assert time.process_time() - start < limit, (piece, result)
            assert not result.correct, (piece, result)


def test_results_are_cached_timeouts_included(worker: MathWorker) -> None:
    grade(ENDLESS, "4", timeout=0.5)
    start = time.monotonic()
    assert grade(ENDLESS, "4", timeout=0.5).rule == "timeout"
    assert time.monotonic() - start < 0.1
    assert worker.compare("4", "2+2", 5.0) is Verdict.EQUAL
    pid = worker.pid
    worker.close()
    assert worker.compare("4", "2+2", 5.0) is Verdict.EQUAL
    assert pid is not None
    assert worker.pid is None


def test_a_worker_that_died_is_replaced(worker: MathWorker) -> None:
    assert grade("\\sqrt{16}", "4").correct
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    psutil.Process(worker.pid).wait(10)
    assert grade("\\sqrt{25}", "5").correct


def test_close_leaves_no_process(worker: MathWorker) -> None:
    assert grade("\\sqrt{16}", "4").correct
    pid = worker.pid
    worker.close()
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_timeouts_are_logged_once_per_interval(
    worker: MathWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING, logger=client.__name__):
        grade(ENDLESS, "4", timeout=0.3)
        grade(f"\\pi+{ENDLESS}", "4", timeout=0.3)
        assert len(caplog.records) == 1
        monkeypatch.setattr(client, "WARNING_INTERVAL", 0.0)
        grade(f"2\\pi+{ENDLESS}", "4" + "+1" * 60, timeout=0.3)
    assert len(caplog.records) == 2
    assert (
        "within 0.3 s for 2 answer(s), graded wrong; the last: '2\\\\pi+9^{9^{9^{9}}}'"
        in caplog.records[1].getMessage()
    )


def test_a_worker_that_cannot_start_says_why(worker: MathWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.sys, "executable", "/bin/false")
    with pytest.raises(MathWorkerError, match=r"ended at its start .* check that `/bin/false -c 'import math_verify'`"):
        grade("\\sqrt{16}", "4")
    assert worker.pid is None


AFTER_FORK = """
import os, threading
from srpo.grading import client, grade
assert grade("\\sqrt{16}", "4").correct
parent_worker = client.WORKER.pid
client.WORKER._lock.acquire()  # as another thread would at the moment of the fork
child = os.fork()
if child == 0:
    ok = grade("\\sqrt{25}", "5").correct and client.WORKER.pid != parent_worker
    client.WORKER.close()
    os._exit(0 if ok else 1)
client.WORKER._lock.release()
status = os.waitpid(child, 0)[1]
assert status == 0, status
assert grade("\\sqrt{49}", "7").correct and client.WORKER.pid == parent_worker
print(parent_worker)
"""

KILLED_WHILE_GRADING = """
import threading, time
from srpo.grading import client, grade
threading.Thread(target=grade, args=("9^{9^{9^{9}}}", "4"), kwargs={"timeout": 1.0}, daemon=True).start()
while client.WORKER.pid is None:
    time.sleep(0.01)
print(client.WORKER.pid, flush=True)
time.sleep(60)
"""


def _gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_forked_process_starts_its_own_worker_and_exit_leaves_none() -> None:
    done = subprocess.run([sys.executable, "-c", AFTER_FORK], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert _gone(int(done.stdout), within=MARGIN)


def test_a_busy_worker_does_not_outlive_a_killed_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED_WHILE_GRADING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    time.sleep(1.0)
    process.kill()
    process.wait()
    process.stdout.close()
    assert _gone(pid, within=10.0)
