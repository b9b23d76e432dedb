"""The benches run: a small setting through each way that they time."""

import pytest
import torch

from bench.first_step import first_rollouts, write_rows
from bench.harness import Scoring, Setting, peak_bytes, ready
from bench.report import make_report, write_run


@pytest.fixture(scope="module")
def model():
    return ready("20m")


@pytest.mark.parametrize("changed", [{}, {"scattered": True}, {"images": 2}])
def test_both_ways_score_the_same_and_the_floor_runs(model, changed):
    sizes = {"rollouts_per_group": 2, "image_tokens": 4, "text_tokens": 8, "completion_tokens": 32}
    work = Scoring(model, Setting(groups=2, perception_tokens=6, zero_advantage=0.5, **sizes, **changed), 2)
    shared, plain = work.shared(), work.plain()
    for name, at in work.wanted.items():
        assert at.any()
        torch.testing.assert_close(shared[name][at], plain[name][at], atol=1e-5, rtol=0)
    assert peak_bytes(work.floor) > 0


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_the_first_step_is_timed(tmp_path, layout):
    data = write_rows(tmp_path, 12, 3, layout)
    found = first_rollouts(data, 12, tmp_path)
    assert 1 < found["seconds"] < 600
    assert 0.1 < found["anonymous_gib"] < found["resident_gib"]


def test_a_report_is_timed(tmp_path):
    write_run(tmp_path / "run", 36, 64)
    found = make_report(tmp_path / "run", tmp_path / "page.html")
    assert found["rollouts"] == 36
    assert found["megabytes"] == pytest.approx((tmp_path / "page.html").stat().st_size / 1e6)
    assert 0 < found["peak_gib"] < 2
    assert found["seconds"] > 0
