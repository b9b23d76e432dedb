"""`srpo credit` as a user runs it: the measurement on the tiny model, resuming, and mistakes."""

import csv
import json
import shutil
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from srpo import tiny
from srpo.cli import main
from srpo.commands import credit as command
from srpo.commands.credit import Measurement
from srpo.commands.credit_tables import show_result, write_tables
from srpo.commands.credit_view import BatchProgress
from srpo.commands.lock import alone_in
from srpo.evaluation.alignment.result import Line, chance_findings, remarks, verdict
from srpo.evaluation.alignment.specs import DEFAULT_CREDITS
from srpo.evaluation.alignment.statistics import Interval

SMALL = [
    *("--config", "demo.yaml", "--batches", "3", "--prompts_per_batch", "2", "--num_generations", "4"),
    *("--per_device_train_batch_size", "8", "--rows", "16", "--parameters", "layers"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main(["credit", *map(str, arguments)])


def refused(capsys, *arguments):
    """The one sentence on standard error of a call that must be refused."""
    assert run(*arguments) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("srpo: error: ")]
    assert len(said) == 1
    return said[0]


def test_a_measurement_leaves_tables_a_figure_and_a_sentence(capsys, tmp_path):
    assert run(*SMALL, "--output_dir", "out") == 0
    shown = capsys.readouterr().out
    for word in ("Alignment with the gradient of the reward", "grounded", "uniform", "negated", "On this data"):
        assert word in shown
    assert "Paired difference to srpo, gradient of the grounded reward" in shown
    assert max(map(len, shown[shown.index("Alignment with") : shown.index("On this data")].splitlines())) <= 80
    out = tmp_path / "out"
    result = json.loads((out / "credit.json").read_text())
    assert result["verdict"] in shown
    few = "3 batches tell little"
    assert few in shown
    assert few in (out / "credit.md").read_text()
    assert result["batches_used"] == 3
    assert [line["credit"] for line in result["credits"]][:2] == ["uniform", "srpo"]
    assert len(result["credits"]) == len(DEFAULT_CREDITS)
    assert len(result["batches"]) == 3
    for line in result["credits"]:
        assert set(line["difference"]) == {"gradient/reward", "gradient/grounded", "adam/reward", "adam/grounded"}
        for found in line["alignment"].values():
            assert -1 <= found["value"] <= 1
        assert set(line["to_reference"]) == (
            set() if line["credit"] in ("uniform", "srpo") else set(line["difference"])
        )
    assert result["reference"] == "srpo"
    assert result["credits"][0]["norm_ratio"] == pytest.approx(1)
    assert result["credits"][0]["effective_tokens"] == pytest.approx(1)
    assert 0 < result["credits"][1]["effective_tokens"] < 1
    with (out / "credit.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(DEFAULT_CREDITS) * 4
    assert {line["batches"] for line in found} == {"3"}
    assert {line["reference"] for line in found} == {"", "srpo"}
    of_uniform = {(line["space"], line["target"]): line for line in found if line["credit"] == "srpo"}
    for line in (line for line in found if line["reference"]):
        srpo = of_uniform[line["space"], line["target"]]
        assert float(line["to_reference"]) == pytest.approx(float(line["difference"]) - float(srpo["difference"]))
    assert "## Paired difference to srpo" in (out / "credit.md").read_text()
    assert "| srpo |" in (out / "credit.md").read_text()
    assert Image.open(out / "credit.png").size[0] >= 900
    assert (out / "credit.svg").read_text().startswith("<?xml")
    assert not (out / "gradients.f32").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_the_time_left_goes_by_the_batches_of_this_run(monkeypatch, terminal):
    """Six of ten batches are there; each further one takes a minute."""
    now = [100.0]
    monkeypatch.setattr("srpo.commands.credit_view.time.perf_counter", lambda: now[0])
    measurement = SimpleNamespace(sketch=SimpleNamespace(exact=True, dimension=4), parameters={}, numbers=8)
    console = Console(file=StringIO(), force_terminal=terminal, width=150, highlight=False)
    record = {"rewards": {"accuracy_reward": 0.5}, "structured": 1.0, "learning": 1.0}
    with BatchProgress(console, 10, measurement) as progress:
        progress.go_on([record] * 6)
        now[0] += 60
        progress(record)
        shown = progress.bar.tasks[0].fields["left"] if terminal else console.file.getvalue()
    assert "3:00 left" in shown
    assert "6 of 10 batches are there already" in console.file.getvalue()


def test_an_interrupted_measurement_goes_on_and_ends_the_same(monkeypatch, tmp_path):
    credits = ["--credits", "srpo", "srpo:temperature=0.5/2"]
    assert run(*SMALL, *credits, "--output_dir", "whole") == 0
    measure, drawn = Measurement.batch, []

    def interrupt(self, index):
        drawn.append(index)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return measure(self, index)

    monkeypatch.setattr(Measurement, "batch", interrupt)
    assert run(*SMALL, *credits, "--output_dir", "parts") == 130
    assert run(*SMALL, *credits, "--output_dir", "parts") == 0
    assert drawn == [0, 1, 2, 2]
    whole, parts = (json.loads((tmp_path / name / "credit.json").read_text()) for name in ("whole", "parts"))
    assert whole["credits"] == parts["credits"]
    assert [line["credit"] for line in whole["credits"]] == [
        "uniform",
        "srpo",
        "srpo:temperature=0.5",
        "srpo:temperature=2",
    ]


ONE = [*SMALL, "--credits", "srpo"]


def stop_behind(monkeypatch, *indices):
    """Interrupt a measurement when it comes to one of these batches, each once; returns the batches that are drawn."""
    measure, drawn, left = Measurement.batch, [], set(indices)

    def batch(self, index):
        if index in left:
            left.remove(index)
            raise KeyboardInterrupt
        drawn.append(index)
        return measure(self, index)

    monkeypatch.setattr(Measurement, "batch", batch)
    return drawn


def test_a_measurement_takes_more_batches_while_its_gradients_are_there(capsys, monkeypatch, tmp_path):
    assert run(*ONE, "--batches", "5", "--output_dir", "whole") == 0
    drawn = stop_behind(monkeypatch, 2)
    assert run(*ONE, "--output_dir", "parts") == 130
    assert run(*ONE, "--batches", "4", "--keep_gradients", "true", "--output_dir", "parts") == 0
    assert (tmp_path / "parts" / "gradients.f32").exists()
    assert run(*ONE, "--batches", "5", "--output_dir", "parts") == 0
    assert drawn == [0, 1, 2, 3, 4]
    assert not (tmp_path / "parts" / "gradients.f32").exists()
    whole, parts = (json.loads((tmp_path / name / "credit.json").read_text()) for name in ("whole", "parts"))
    assert whole["credits"] == parts["credits"]
    assert "its gradients are gone" in refused(capsys, *ONE, "--batches", "6", "--output_dir", "parts")


def test_gradients_stay_until_the_result_is_written(monkeypatch, tmp_path):
    drawn = stop_behind(monkeypatch)

    def full_disk(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_tables", full_disk)
        assert run(*ONE, "--output_dir", "out") == 130
    assert run(*ONE, "--output_dir", "out") == 0
    assert drawn == [0, 1, 2]
    assert (tmp_path / "out" / "credit.csv").exists()


def test_another_policy_under_the_same_name_does_not_go_on(capsys, monkeypatch, tmp_path):
    shutil.copytree(tiny.model_path(), tmp_path / "policy")
    options = [*ONE, "--model", "policy", "--output_dir", "out"]
    stop_behind(monkeypatch, 2)
    assert run(*options) == 130
    file = tmp_path / "policy" / "model.safetensors"
    save_file({name: 0.98 * weight for name, weight in load_file(file).items()}, file, metadata={"format": "pt"})
    assert "of another policy or other data (weights: " in refused(capsys, *options)


def test_other_default_credits_do_not_go_on(capsys, monkeypatch):
    """config.yaml says nothing of credits that are those by default."""
    stop_behind(monkeypatch, 2)
    assert run(*SMALL, "--output_dir", "out") == 130
    monkeypatch.setattr("srpo.commands.credit_options.DEFAULT_CREDITS", ("srpo", "vppo"))
    assert "(credits: ['uniform'" in refused(capsys, *SMALL, "--output_dir", "out")


def test_two_measurements_do_not_share_a_folder(capsys, tmp_path):
    with alone_in(tmp_path / "out", "srpo credit"):
        assert "another srpo credit is running in out" in refused(capsys, *ONE, "--output_dir", "out")


def test_questions_that_come_again_are_said_to(capsys):
    assert run(*ONE, "--rows", "4", "--batches", "6", "--dry_run", "true") == 0
    assert "4 rows, each in about 3.0 batches" in " ".join(capsys.readouterr().out.split())
    assert "prompts_per_batch 2 must be at most the number of rows, 1" in refused(capsys, *ONE, "--rows", "1")


def test_a_dry_run_writes_nothing(capsys, tmp_path):
    assert run(*SMALL, "--dry_run", "true") == 0
    assert "Dry run" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_options_that_matter(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for option in ("--credits", "--batches", "--prompts_per_batch", "--parameters", "--sketch", "--credit_temperature"):
        assert option in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--credits", "spro"], "credit 'spro' must be one of"),
        (["--batches", "2"], "batches 2 must be 3 or more"),
        (["--parameters", "no_such_layer"], "matches none of the"),
        (["--parameters", "("], "is no regular expression"),
        (["--loss_type", "vespo"], "loss_type 'vespo'"),
        (["--credits", "srpo", "--reference", "vppo"], "reference 'vppo' must be a credit that is measured"),
        (["--credits", "reasoning:reasoning_gap=block"], "reasoning_gap must be token"),
    ],
)
def test_mistakes_end_in_one_sentence(capsys, arguments, words):
    assert words in refused(capsys, *SMALL, "--output_dir", "out", *arguments)


def test_a_bad_expression_is_found_before_the_model_is_looked_for(capsys):
    assert "parameters '[' is no regular expression" in refused(capsys, "no/such-model", "--parameters", "[")


def found(value=0.1, reach=0.05):
    return Interval(value, reach / 2, value - reach, value + reach)


def lines_of(labels, batches):
    keys = [("gradient", "reward"), ("adam", "reward")]
    figures = dict.fromkeys(keys, found())
    return [Line(label, figures, figures, 1.0, 1.0, batches) for label in labels]


def test_batches_without_a_gradient_are_not_counted(tmp_path):
    lines = lines_of(["uniform", "srpo"], 12)
    assert remarks(lines, 12) == []
    assert remarks(lines, 40) == [
        "12 of 40 batches were used; in the others a gradient was 0, as where all replies to a prompt earn the same."
    ]
    write_tables(tmp_path, lines, None, remarks(lines, 40))
    assert "12 of 40 batches were used" in (tmp_path / "credit.md").read_text()
    unclear = [lines[0], replace(lines[1], difference=dict.fromkeys(lines[1].difference, found(0.01)))]
    assert "12 batches do not tell" in verdict(unclear)


def test_the_sentence_names_every_target():
    keys = [("gradient", "reward"), ("adam", "reward"), ("gradient", "grounded"), ("adam", "grounded")]
    figures = dict(zip(keys, (found(0.1), found(-0.1), found(0.01), found(0.2)), strict=True))
    lines = [Line(label, figures, figures, 1.0, 1.0, 12) for label in ("uniform", "srpo")]
    assert verdict(lines) == (
        "On this data, the gradient of srpo is better aligned than GRPO's with the gradient of the reward "
        "(+0.100 [+0.050, +0.150]) and the gradient of the grounded reward in Adam's space (+0.200 [+0.150, +0.250]); "
        "the gradient of srpo is worse aligned than GRPO's with the gradient of the reward in Adam's space "
        "(-0.100 [-0.150, -0.050]); 12 batches do not tell srpo from GRPO in alignment with the gradient of the "
        "grounded reward (+0.010 [-0.040, +0.060])."
    )


def test_the_number_of_comparisons_is_said():
    assert chance_findings(lines_of(["uniform"], 12)) == ""
    assert "of 20 differences to uniform, 1.0 would be" in chance_findings(lines_of(["uniform", *"abcdefghij"], 12))


def test_few_questions_make_a_remark():
    (said,) = remarks(lines_of(["uniform", "srpo"], 12), 12, repeats=9.0)
    assert said.startswith("Each question occurs in about 9.0 batches")
    assert remarks(lines_of(["uniform", "srpo"], 12), 12, repeats=1.0) == []


def test_few_batches_are_said_to_tell_little():
    (said,) = remarks(lines_of(["uniform", "srpo"], 9), 9)
    assert said.startswith("9 batches tell little")


def test_long_labels_break_behind_a_comma_or_a_colon():
    console = Console(file=StringIO(), width=80)
    long = "srpo:sign_aware=false,reasoning_gap=block,temperature=0.5"
    show_result(console, lines_of(["uniform", long], 12), None, "A sentence.", [])
    cells = [line.split("│")[1].strip() for line in console.file.getvalue().splitlines() if line.startswith("│")]
    pieces = cells[1:]
    assert "".join(pieces) == long
    assert len(pieces) > 1
    assert all(piece[-1] in ",:" for piece in pieces[:-1])


def test_other_options_do_not_continue_a_measurement(capsys, monkeypatch):
    monkeypatch.setattr(Measurement, "batch", lambda self, index: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*SMALL, "--output_dir", "out") == 130
    said = refused(capsys, *SMALL, "--output_dir", "out", "--seed", "5")
    assert "a measurement with other options (seed: 0 there, 5 now" in said
