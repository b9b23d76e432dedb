"""Invariant 7: the weights do not depend on how the batch is split over micro-batches and ranks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.both_scorings import TOLERANCE
from tests.distributed_run import SCENARIOS
from tests.scripted import ScriptedSRPO, scripted_dataset, train
from tests.sharded_run import SCENARIOS as SHARDED

ROOT = Path(__file__).parents[2]
TIMEOUT = 240  # seconds, for a run of some thirty: a rank that waits for the other must not hang the suite
TIMEOUT_SHARDED = 60  # for a run of some eight
TWO_PROCESSES = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.mark.parametrize("images_per_row", [(1, 2), (0, 1)], ids=["images", "text_and_images"])
def test_micro_batches(layout_folder, tmp_path, images_per_row):
    data = scripted_dataset(4, images_per_row)
    whole = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=data, max_steps=1).credits[0]
    split = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    parts = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=data, max_steps=1, **split).credits[0]
    assert parts.batch["completion_ids"].equal(whole.batch["completion_ids"])
    assert (whole.weights != 1).any()
    torch.testing.assert_close(parts.gaps, whole.gaps, atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.weights, whole.weights, atol=1e-5, rtol=0)


def launch(arguments, output, model, script="distributed_run.py", scenario=(), timeout=TIMEOUT):
    """Run a script with a launcher; on failure the test shows what it wrote."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *arguments, str(ROOT / "tests" / script), model, str(output), *scenario]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # a launcher that is terminated, but not one that is killed, ends its ranks
            raise
    assert process.returncode == 0, said[-4000:]


@pytest.fixture(scope="module")
def runs(qwen_folder, tmp_path_factory):
    """Results of one process and of two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    launch([], one, qwen_folder)
    launch(TWO_PROCESSES, two, qwen_folder)
    return [[torch.load(path) for path in sorted(folder.glob("rank*.pt"))] for folder in (one, two)]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_processes_give_the_weights_and_metrics_of_one(runs, scenario):
    (alone,), ranks = ([result[scenario] for result in results] for results in runs)
    assert len(ranks) == 2
    size = ranks[0]["per_batch"]
    assert alone["per_batch"] == 2 * size
    batches = [range(start, start + size) for start in range(0, len(ranks[0]["rollouts"]), size)]
    gathered = [rank["rollouts"][i] for batch in batches for rank in ranks for i in batch]
    assert len(gathered) == len(alone["rollouts"]) == 2 * 2 * size
    for i, (ours, theirs) in enumerate(zip(gathered, alone["rollouts"], strict=True)):
        tolerance = 1e-5 if i < 2 * size else 1e-3  # Adam enlarges what rounding did to the gradients of the first step
        for split, whole in zip(ours, theirs, strict=True):
            torch.testing.assert_close(split, whole, atol=tolerance, rtol=0)
    assert scenario == "papo" or any((weights != 1).any() for *_, weights, _ in gathered)
    for ours, theirs in zip(ranks[0]["history"], alone["history"], strict=True):
        names = [name for name in theirs if name.startswith("srpo/") or name in ("loss", "reward", "grad_norm")]
        assert len(names) > 8 or "train_loss" in theirs
        for name in names:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name


@pytest.mark.parametrize("scenario", ["last_half_unstructured", "last_half_flat"])
def test_one_rank_may_have_nothing_to_score(runs, scenario):
    first, second = (
        [roles.any() and advantage != 0 for _, roles, *_, advantage in rank[scenario]["rollouts"]] for rank in runs[1]
    )
    assert any(first)
    assert not any(second)
    assert all(weights.eq(1).all() for *_, weights, _ in runs[1][1][scenario]["rollouts"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_ranks_make_the_same_forward_passes_to_score(runs, scenario):
    """Where a model is sharded, a rank that makes another pass than the others waits for them forever."""
    first, second = (rank[scenario]["passes"] for rank in runs[1])
    assert {kind for kind, _ in first} == {"plain", "prompts", "completions"}
    if SCENARIOS[scenario].get("images_per_row") == (0, 1):  # a rank with rows of text only has no image to encode
        first, second = ([kind for kind, _ in passes] for passes in (first, second))
    assert first == second


@pytest.mark.parametrize(
    ("layout", "scenario"), [*(("qwen2_5_vl", scenario) for scenario in SHARDED), ("smolvlm", "text_on_one")]
)
def test_a_sharded_model_gives_the_log_probabilities_of_the_whole(layout_folders, tmp_path, layout, scenario):
    """Under FSDP a rank that runs another module than the others ends the run, or waits forever."""
    launch(TWO_PROCESSES, tmp_path, layout_folders[layout], "sharded_run.py", [scenario], TIMEOUT_SHARDED)
    for rank, rows in enumerate(SHARDED[scenario]["scored"]):
        results = torch.load(tmp_path / f"rank{rank}.pt")
        assert set(results) == {"original", "corrupted", "cut"}
        for wanted, found, expected in results.values():
            assert found.isfinite().equal(wanted)
            torch.testing.assert_close(found[wanted], expected[wanted], atol=TOLERANCE, rtol=0)
        assert bool(results["original"][0].any()) == (rows != slice(0))
