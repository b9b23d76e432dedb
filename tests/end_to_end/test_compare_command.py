"""`srpo compare` through its command line: what is run, what is not repeated, what is refused, what is written."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from srpo.cli import main
from srpo.evaluation.comparison import study as study_module
from tests import fake_srpo
from tests.interrupts import heed_interrupts

FAKE = str(Path(fake_srpo.__file__))
BASE = ["--learning_rate", "1e-4", "--max_steps", "41", "--dataset", "shapes/pips", "--bf16", "false"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Runs are made by tests/fake_srpo.py; returns a function that lists its calls as (command, folder)."""
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls.jsonl"))
    monkeypatch.setattr(study_module, "srpo_command", lambda arguments, launcher=(): [sys.executable, FAKE, *arguments])

    def calls():
        lines = (tmp_path / "calls.jsonl").read_text().splitlines() if (tmp_path / "calls.jsonl").exists() else []
        return [(json.loads(line)["call"][0], json.loads(line)["call"][-1]) for line in lines]

    return calls


def compare(*arguments):
    return main(["compare", *BASE, "--output_dir", "out", *map(str, arguments)])


def refused(capsys, *arguments):
    assert compare(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("srpo: error: ")
    return lines[-1]


def rows_of(path):
    return {(row["metric"], row["method"]): row for row in csv.DictReader(Path(path).read_text().splitlines())}


def test_every_method_and_seed_is_trained_evaluated_and_compared(fake, capsys):
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1,2") == 0
    trained = [folder for command, folder in fake() if command == "train"]
    assert trained == [f"out/runs/{m}/seed-{s}/train" for s in (0, 1, 2) for m in ("grpo", "srpo")]
    assert len([command for command, _ in fake() if command == "eval"]) == 7  # and the model before training
    settings = yaml.safe_load(Path("out/runs/srpo/seed-2/train.yaml").read_text())
    assert (settings["credit"], settings["seed"], settings["learning_rate"]) == ("srpo", 2, 1e-4)
    found = rows_of("out/results.csv")[("grounded_accuracy", "srpo")]
    # differences 0.10, 0.11, 0.10: mean 0.10333, s = 0.0057735, standard error 0.0033333, t_2 = 4.30265
    assert float(found["difference"]) == pytest.approx(0.1033333)
    assert float(found["difference_low"]) == pytest.approx(0.1033333 - 4.30265 * 0.0033333, abs=1e-6)
    assert float(found["p_sign_flip"]) == 0.25
    assert found["p_t"] == found["p_holm"]  # one method, nothing to adjust
    report = Path("out/results.md").read_text()
    assert "| grounded accuracy ↑ | 0.300 | 0.410 [" in report
    assert "2/2^3 = 0.25" in report
    assert Path("out/figure.svg").read_text().startswith("<?xml")
    assert Image.open("out/figure.png").width == 1800
    summary = json.loads(Path("out/results.json").read_text())
    assert summary["intervals"]["train_seconds"]["grpo"]["mean"] == 82.0  # 41 steps of 2 s, every fourth logged
    assert summary["intervals"]["policy_kl"]["srpo"]["mean"] == pytest.approx(0.002)
    assert "the primary figure" in report or "primary figure" in report
    assert "srpo" in capsys.readouterr().out


def test_finished_runs_are_not_repeated_and_seeds_can_be_added(fake):
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1") == 0
    before = fake()
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1") == 0
    assert fake() == before
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1,2") == 0
    assert [folder for command, folder in fake()[len(before) :] if command == "train"] == [
        "out/runs/grpo/seed-2/train",
        "out/runs/srpo/seed-2/train",
    ]


def test_a_half_finished_run_goes_on_or_begins_again(fake):
    for seed, checkpoint in ((0, True), (1, False)):
        folder = Path(f"out/runs/srpo/seed-{seed}/train")
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("")
        (folder / "left").write_text("")
        if checkpoint:
            (folder / "checkpoint-5").mkdir()
            (folder / "checkpoint-5" / "trainer_state.json").write_text("{}")
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1") == 0
    for seed, resumed in ((0, True), (1, False)):
        folder = Path(f"out/runs/srpo/seed-{seed}/train")
        assert json.loads((folder / "summary.json").read_text())["resumed"] is resumed
        assert (folder / "left").exists() is resumed


def test_an_evaluation_that_is_missing_is_made_without_training_again(fake):
    assert compare("--methods", "grpo,srpo", "--seeds", "0") == 0
    before = fake()
    Path("out/runs/srpo/seed-0/eval/evaluation.json").unlink()
    assert compare("--methods", "grpo,srpo", "--seeds", "0") == 0
    assert fake()[len(before) :] == [("eval", "out/runs/srpo/seed-0/eval")]


def test_changed_settings_are_refused_by_name_and_leave_everything_as_it_was(fake, capsys):
    assert compare("--methods", "grpo,srpo", "--seeds", "0") == 0
    before = fake()
    said = refused(capsys, "--methods", "grpo,srpo", "--seeds", "0", "--temperature", "0.7")
    assert "temperature the default" in said
    assert "now has 0.7" in said
    assert "--output_dir" in said
    said = refused(capsys, "--methods", "grpo,srpo", "--seeds", "0", "--eval_samples", "2")
    assert "samples 4 and now has 2" in said
    assert fake() == before


def test_a_failed_run_is_shown_and_the_others_go_on(fake, capsys, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "perception")
    assert compare("--methods", "grpo,srpo-perception,srpo", "--seeds", "0,1") == 1
    shown = capsys.readouterr().out
    assert "srpo-perception seed 0: train failed with status 1" in shown
    assert "step 3: loss is nan" in shown
    report = Path("out/results.md").read_text()
    assert "Incomplete" in report
    assert "srpo-perception seed 1" in report
    assert ("grounded_accuracy", "srpo") in rows_of("out/results.csv")
    assert ("grounded_accuracy", "srpo-perception") not in rows_of("out/results.csv")
    monkeypatch.delenv("FAKE_FAIL")
    before = fake()
    assert compare("--methods", "grpo,srpo-perception,srpo", "--seeds", "0,1") == 0
    assert {folder.split("/")[2] for _, folder in fake()[len(before) :]} == {"srpo-perception"}
    assert "Incomplete" not in Path("out/results.md").read_text()


def test_learning_rates_are_chosen_on_seeds_that_are_not_reported(fake, capsys):
    grid = ("--learning_rates", "5e-5,1e-4,2e-4", "--tune_seeds", "7,8")
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1", *grid) == 0
    tuned = [folder for command, folder in fake() if command == "train" and folder.startswith("out/tuning")]
    assert len(tuned) == 2 * 3 * 2
    reported = yaml.safe_load(Path("out/runs/srpo/seed-1/train.yaml").read_text())
    assert reported["learning_rate"] == 1e-4
    summary = json.loads(Path("out/results.json").read_text())
    assert summary["tuning"]["srpo"]["rate"] == 1e-4
    assert summary["values"]["accuracy"]["srpo"].keys() == {"0", "1"}
    assert "7, 8, which are not reported" in Path("out/results.md").read_text()
    assert "seed 1 is among seeds and tune_seeds" in refused(
        capsys, "--methods", "grpo,srpo", "--seeds", "0,1", "--learning_rates", "1e-4", "--tune_seeds", "1"
    )


def test_a_method_whose_tuning_failed_is_held_back_unless_told_otherwise(fake, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_FAIL", "srpo")
    grid = ("--learning_rates", "5e-5,1e-4", "--tune_seeds", "7")
    assert compare("--methods", "grpo,srpo", "--seeds", "0", *grid) == 1
    assert not Path("out/runs/srpo").exists()
    assert Path("out/runs/grpo/seed-0/eval/evaluation.json").exists()
    assert "srpo: its learning rate is not chosen" in Path("out/results.md").read_text()


def test_a_rate_that_was_dropped_stays_dropped(fake, capsys, monkeypatch):
    grid = ("--learning_rates", "5e-5,1e-4,2e-4", "--tune_seeds", "7,8", "--drop_failed_rates")
    monkeypatch.setenv("FAKE_FAIL", "0.0001")  # the best one
    assert compare("--methods", "grpo,srpo", "--seeds", "0", *grid) == 1
    assert yaml.safe_load(Path("out/runs/srpo/seed-0/train.yaml").read_text())["learning_rate"] == 5e-5
    monkeypatch.delenv("FAKE_FAIL")
    before = fake()
    for again in (grid, grid[:-1]):
        assert compare("--methods", "grpo,srpo", "--seeds", "0", *again) == 0
    assert fake() == before
    said = "Left out of the choice because a run failed: grpo at 0.0001; srpo at 0.0001."
    assert said in Path("out/results.md").read_text()


def test_a_method_without_any_finished_rate_loses_none(fake, monkeypatch):
    grid = ("--learning_rates", "5e-5,1e-4", "--tune_seeds", "7", "--drop_failed_rates")
    monkeypatch.setenv("FAKE_FAIL", "srpo")
    assert compare("--methods", "grpo,srpo", "--seeds", "0", *grid) == 1
    monkeypatch.delenv("FAKE_FAIL")
    assert compare("--methods", "grpo,srpo", "--seeds", "0", *grid) == 0
    assert json.loads(Path("out/results.json").read_text())["tuning"]["srpo"]["rate"] == 1e-4


def test_the_reported_seeds_may_change_in_the_same_folder(fake):
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1") == 0
    before = fake()
    assert compare("--methods", "grpo,srpo", "--seeds", "1") == 0
    assert fake() == before
    assert "Seeds 1;" in Path("out/results.md").read_text()


def test_make_compare_is_a_comparison_with_a_grid_on_families_that_chose_nothing(capsys):
    makefile = Path(fake_srpo.__file__).parents[1] / "Makefile"
    recipe = makefile.read_text().split("\ncompare:")[1].split("\n\n")[0].replace("\\\n", " ")
    arguments = recipe.split("$(BIN)/srpo")[1].split()
    assert main([*arguments, "--dry_run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "42 to choose learning rates, 35 reported" in shown
    assert "srpo-patches: credit srpo, corruption patch_mask" in shown
    assert "one learning rate" not in shown
    assert "chose" not in shown.replace("chosen", "")


def test_a_comparison_without_grid_on_the_data_of_the_defaults_says_so(fake, capsys):
    notes = ("All methods train at one learning rate", "pips helped to choose the defaults of SRPO")
    assert compare("--dry_run") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(note in shown for note in notes)
    assert compare("--dry_run", "--dataset", "shapes/angle", "--learning_rates", "1e-4") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert not any(note in shown for note in notes)
    assert "Runs of seed 0, 1, 2, 3, 4 on angle, chart and count helped to choose SRPO's corruption" in shown
    assert compare("--methods", "grpo,srpo", "--seeds", "0", "--dataset", "shapes") == 0
    assert "pips, chain, compare helped to choose" in Path("out/results.md").read_text()


def test_runs_at_a_time_share_the_processors(fake, monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setenv("FAKE_SLEEP", "0.5")
    assert compare("--methods", "grpo,srpo", "--seeds", "0", "--jobs", "2") == 0
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert {line["environment"]["OMP_NUM_THREADS"] for line in lines} == {"4"}
    assert {line["environment"]["CUDA_VISIBLE_DEVICES"] for line in lines} == {"3", "5"}


def test_a_dry_run_counts_the_runs_and_writes_nothing(fake, capsys, tmp_path):
    assert compare("--dry_run", "--learning_rates", "1e-4,2e-4", "--tune_seeds", "9") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "12 to choose learning rates, 30 reported" in shown
    assert "known after the first run" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_plan_names_the_budget_where_no_recipe_does(fake, capsys):
    assert compare("--dry_run") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "max_steps 41, num_generations 8, per_device_train_batch_size 8, gradient_accumulation_steps 1;" in shown
    assert main(["compare", "--dataset", "shapes/pips", "--bf16", "false", "--dry_run"]) == 0
    assert "num_train_epochs 3.0, num_generations 8" in " ".join(capsys.readouterr().out.split())


def test_all_models_are_audited_alike_whatever_they_train_with(fake, capsys):
    Path("m.yaml").write_text("grpo:\nsrpo: {corruption: gaussian_noise}\n")
    options = ("--corruption", "other_image", "--corruption_ratio", "0.3", "--top_k", "5")
    assert compare("--methods", "m.yaml", "--seeds", "0", *options) == 0
    assert yaml.safe_load(Path("out/runs/grpo/seed-0/train.yaml").read_text())["corruption"] == "other_image"
    for folder in ("runs/grpo/seed-0", "runs/srpo/seed-0", "start"):
        assert not {"corruption", "corruption_ratio"} & set(yaml.safe_load(Path(f"out/{folder}/eval.yaml").read_text()))
    said = "top_k: of training only; the evaluation draws by temperature and top_p."
    assert said in Path("out/results.md").read_text()
    assert said in " ".join(capsys.readouterr().out.split())


def test_a_start_model_that_cannot_be_evaluated_stops_everything(fake, capsys, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "start")
    grid = ("--learning_rates", "5e-5,1e-4", "--tune_seeds", "7")
    for more in ((), grid):
        assert compare("--methods", "grpo,srpo", "--seeds", "0", "--jobs", "2", *more) == 1
        assert {command for command, _ in fake()} == {"eval"}
        shown = capsys.readouterr().out
        assert "before training: eval failed with status 1" in shown
        assert "no such processor" in shown
        assert "nothing else was run" in " ".join(shown.split())
    monkeypatch.delenv("FAKE_FAIL")
    assert compare("--methods", "grpo,srpo", "--seeds", "0") == 0


def test_the_expected_time_is_known_after_the_first_run(fake, capsys):
    assert compare("--methods", "grpo,srpo", "--seeds", "0") == 0
    capsys.readouterr()
    assert compare("--methods", "grpo,srpo", "--seeds", "0,1", "--dry_run") == 0
    assert "known after the first run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "grpo,spro"], "unknown method 'spro'"),
        (["--methods", "srpo"], "baseline grpo is not among the methods"),
        (["--seeds", "0,x"], "seeds '0,x' must be numbers"),
        (["--seeds", "0,0"], "repeats"),
        (["--seed", "3"], "--seeds names the seeds"),
        (["--jobs", "0"], "jobs 0 must be 1 or more"),
        (["--gpus_per_run", "64"], "lower --jobs or --gpus_per_run"),
        (["--no_such_option", "1"], "unknown option"),
        (["--credit_temperature", "-1"], "credit_temperature"),
        (["--eval_rows", "0"], "held-out"),
        (["--eval_rows", "abc"], "eval_rows abc must be a whole number"),
        (["--eval_batch_size", "0"], "eval_batch_size 0 must be 1 or more"),
        (["--eval_split", "nope"], "'nope'"),
        (["--dataset", "gone/away/data"], "there is no file or folder 'gone/away/data'"),
        (["--dataset", "shapes/nope"], "nope"),
        (["--primary", "bogus"], "primary 'bogus' must be one of accuracy, grounded_accuracy,"),
        (["--eval_split", "nope", "--dry_run"], "'nope'"),
        (["--primary", "bogus", "--dry_run"], "primary 'bogus'"),
        (["--methods", "m.yaml"], "max_steps, which all methods must share"),
        (["--methods", "gone.yaml"], "cannot be read"),
    ],
)
def test_mistakes_end_in_one_sentence_before_anything_is_run(arguments, words, capsys):
    Path("m.yaml").write_text("grpo:\nlong: {credit: srpo, max_steps: 900}\n")
    assert words in refused(capsys, *arguments)
    assert not Path("out").exists()


def test_runs_of_different_versions_are_told(fake):
    assert compare("--methods", "grpo,srpo", "--seeds", "0") == 0
    for method, version in (("grpo", "2.14.1"), ("srpo", "2.15.0")):
        path = Path(f"out/runs/{method}/seed-0/train/environment.json")
        path.write_text(json.dumps({"versions": {"torch": version, "trl": "1.16.0"}}))
    assert compare("--methods", "grpo,srpo", "--seeds", "0") == 0
    assert "different versions: torch 2.14.1 and 2.15.0." in Path("out/results.md").read_text()


def test_methods_of_ones_own_start_from_the_built_in_ones(fake):
    Path("comparison.yaml").write_text(
        "grpo:\nsrpo: {learning_rate: 2.0e-4}\nsharp: {credit: srpo, credit_temperature: 0.5}\n"
    )
    assert compare("--methods", "comparison.yaml", "--seeds", "0") == 0
    settings = {
        name: yaml.safe_load(Path(f"out/runs/{name}/seed-0/train.yaml").read_text()) for name in ("srpo", "sharp")
    }
    assert (settings["srpo"]["credit"], settings["srpo"]["learning_rate"]) == ("srpo", 2e-4)
    assert (settings["sharp"]["credit_temperature"], settings["sharp"]["learning_rate"]) == (0.5, 1e-4)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_children_and_says_how_to_go_on(kind, tmp_path, monkeypatch):
    script = (
        "import sys; from srpo.evaluation.comparison import study; from srpo.cli import main\n"
        f"study.srpo_command = lambda arguments, launcher=(): [sys.executable, {FAKE!r}, *arguments]\n"
        f"sys.exit(main(['compare', *{BASE!r}, '--output_dir', 'out', '--methods', 'grpo,srpo', '--seeds', '0']))"
    )
    environment = {**os.environ, "FAKE_CALLS": str(tmp_path / "calls"), "FAKE_SLEEP": "600"}
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    config = tmp_path / "out/runs/grpo/seed-0/train/config.yaml"
    deadline = time.monotonic() + 60
    while not config.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(kind)
    shown, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "same command goes on" in " ".join(shown.split())
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if str(tmp_path).encode() in _environment(pid)]


def _environment(process):
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
