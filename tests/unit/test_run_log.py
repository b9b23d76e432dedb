"""Totals over a run from logged means."""

import io
import json
from fractions import Fraction
from types import SimpleNamespace

import pytest
from rich.console import Console

from srpo.commands.train import _train
from srpo.run.log import logged_total


def test_means_of_windows_add_up_to_the_sum_over_steps():
    # seven steps of 1, 2, ..., 7 seconds: windows of 3, 3 and 1, with means 2, 5 and 7
    entries = [{"step": 3, "x": 2.0}, {"step": 6, "x": 5.0}, {"step": 7, "x": 7.0}]
    assert logged_total(entries, "x") == 28
    assert logged_total([{"step": s, "x": float(s)} for s in range(1, 8)], "x") == 28
    assert logged_total([{"step": 1}, {"step": 2, "x": None}], "x") == 0


@pytest.mark.parametrize("every", [1, 2, 3, Fraction(1, 2), Fraction(3, 2)])
def test_quantities_of_a_generation_count_once_a_generation(every):
    # generation k begins with step floor(k · every) + 1 and takes k + 1 seconds
    starts = {k: int(k * every) + 1 for k in range(40)}
    expected = sum(k + 1 for k, step in starts.items() if step <= 10)
    for logging_steps in (1, 5):
        entries, before = [], 0
        for step in range(logging_steps, 11, logging_steps):
            inside = [k + 1 for k, start in starts.items() if before < start <= step]
            entries.append({"step": step, "x": sum(inside) / len(inside) if inside else None})
            before = step
        assert logged_total(entries, "x", every) == pytest.approx(expected)


def test_the_summary_of_training_counts_all_steps(tmp_path):
    # six steps of 2 s; a generation feeds two of them, so three generations with 1 s of contrasts each
    entries = [{"step": s, "step_time": 2.0, "srpo/time/contrast_seconds": 1.0} for s in (4, 6)]
    trainer = SimpleNamespace(
        args=SimpleNamespace(num_iterations=1, steps_per_generation=8, gradient_accumulation_steps=4),
        state=SimpleNamespace(log_history=[*entries, {"step": 6, "train_runtime": 20.0}], global_step=6),
        eval_dataset=None,
        callback_handler=SimpleNamespace(callbacks=[]),
        add_callback=lambda callback: None,
        train=lambda resume_from_checkpoint: None,
        save_model=lambda path: None,
        is_world_process_zero=lambda: True,
    )
    said = io.StringIO()
    _train(trainer, None, tmp_path, Console(file=said))
    assert json.loads((tmp_path / "summary.json").read_text())["contrast_seconds"] == 3
    assert "25% of step time on contrasts" in said.getvalue()
