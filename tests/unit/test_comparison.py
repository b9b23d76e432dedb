"""The parts of a comparison: methods, what runs leave behind, choices, summaries, tables, places, child processes."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from srpo.evaluation.comparison.figure import _draw
from srpo.evaluation.comparison.methods import METHODS, SHARED_OPTIONS, ComparisonError, check_baseline, read_methods
from srpo.evaluation.comparison.places import Times, environments
from srpo.evaluation.comparison.plan import Run, check_settings, prepare_training
from srpo.evaluation.comparison.results import (
    Curve,
    Result,
    add_steps_to_baseline,
    evaluation_figures,
    mean_curves,
    read_metrics,
    read_result,
)
from srpo.evaluation.comparison.runner import Chain, Step, run_chains, srpo_command
from srpo.evaluation.comparison.statistics import Interval
from srpo.evaluation.comparison.summary import summarize
from srpo.evaluation.comparison.tables import cell, markdown, p_cell, to_csv
from srpo.evaluation.comparison.tuning import choose


def result(method, seed, curve=(), **figures):
    """A result whose training accuracy was logged at steps 1, 2, ..."""
    return Result(method, seed, dict(figures), Curve(list(range(1, len(curve) + 1)), list(curve)))


def summary_of(results, **changes):
    methods = list(dict.fromkeys(each.method for each in results))
    seeds = sorted({each.seed for each in results})
    settings = {"baseline": "grpo", "primary": "grounded_accuracy", "start": {}, "target": None, "methods": methods}
    return summarize(results, seeds=seeds, **{**settings, **changes})


# Methods


def test_no_built_in_method_changes_what_all_must_share():
    assert not [name for options in METHODS.values() for name in options if name in SHARED_OPTIONS]
    assert read_methods("grpo, srpo-per-role")["srpo-per-role"] == {"credit": "srpo", "credit_baseline": "per_role"}


def test_a_file_of_methods_adds_to_the_built_in_ones(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("grpo: {learning_rate: 5.0e-5}\nvppo:\nmine: {credit: srpo, credit_strength: 0.5}\n")
    assert read_methods(str(path)) == {
        "grpo": {"credit": "uniform", "learning_rate": 5e-5},
        "vppo": METHODS["vppo"],
        "mine": {"credit": "srpo", "credit_strength": 0.5},
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("mine:\n", "unknown method 'mine'"),
        ("../up: {credit: srpo}\n", "a folder is named after it"),
        ("mine: 3\n", "must be a mapping"),
        ("- grpo\n", "must hold name"),
        ("grpo: {num_generations: 4}\n", "num_generations, which all methods must share"),
        ("cold: {credit: srpo, temperature: 0.3}\n", "temperature, which all methods must share"),
        ("kind: {credit: srpo, reward_weights: [1, 5]}\n", "reward_weights, which all methods must share"),
        ("grpo: [\n", "cannot be read"),
        ("{}\n", "empty"),
    ],
)
def test_entries_that_are_no_method_are_refused(content, words, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(content)
    with pytest.raises(ComparisonError, match=words):
        read_methods(str(path))


def test_the_baseline_is_one_of_the_methods():
    with pytest.raises(ComparisonError, match="--baseline"):
        check_baseline({"srpo": {}}, "grpo")


# What runs leave behind


def write_metrics(folder, entries):
    (folder / "train").mkdir(parents=True)
    lines = [json.dumps(entry) for entry in entries]
    (folder / "train" / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 9, "lo')


def test_steps_that_a_resumed_run_logged_twice_count_once(tmp_path):
    entries = [
        {"step": 0, "eval_rewards/accuracy_reward/mean": 0.9},
        {"step": 1, "loss": 0, "step_time": 1.0, "rewards/accuracy_reward/mean": 0.2, "srpo/policy/kl": None},
        {"step": 2, "loss": 0, "step_time": 9.0, "rewards/accuracy_reward/mean": 0.9, "srpo/policy/kl": 0.5},
        {"step": 2, "loss": 0, "step_time": 2.0, "rewards/accuracy_reward/mean": 0.4, "srpo/policy/kl": 0.1},
        {"step": 3, "loss": 0, "step_time": 4.0},
        {"step": 5, "loss": 0, "step_time": 1.0, "rewards/accuracy_reward/mean": 0.6, "srpo/policy/kl": 0.3},
        {"step": 5, "train_runtime": 100.0},
    ]
    write_metrics(tmp_path, entries)
    assert [entry["step"] for entry in read_metrics(tmp_path / "train" / "metrics.jsonl")] == [1, 2, 3, 5]
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "evaluation.json").write_text('{"metrics": {"accuracy": {"value": 0.5}}}')
    read = read_result(Run("srpo", 1, tmp_path, {}, {}))
    assert read.figures == pytest.approx({"accuracy": 0.5, "train_seconds": 9, "policy_kl": 0.2, "train_accuracy": 0.4})
    assert read.accuracy == Curve([1, 2, 5], [0.2, 0.4, 0.6])


def test_seconds_are_those_of_all_steps_whatever_is_logged(tmp_path):
    # ten steps of 1, 2, ..., 10 seconds make 55; TRL logs the mean of each window, the last one without a loss
    for every in (1, 4, 20):
        ends = [*range(every, 11, every)]
        entries = [{"step": e, "loss": 0, "step_time": sum(range(e - every + 1, e + 1)) / every} for e in ends]
        last = ends[-1] if ends else 0
        rest = {"step_time": sum(range(last + 1, 11)) / (10 - last)} if last < 10 else {}
        folder = tmp_path / str(every)
        write_metrics(folder, [*entries, {"step": 10, "train_runtime": 60.0, "train_loss": 0.0, **rest}])
        (folder / "eval").mkdir()
        (folder / "eval" / "evaluation.json").write_text("{}")
        assert read_result(Run("srpo", 0, folder, {}, {})).figures == pytest.approx({"train_seconds": 55})


def test_figures_without_a_value_are_left_out(tmp_path):
    path = tmp_path / "evaluation.json"
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    path.write_text(json.dumps({"metrics": {"accuracy": {"value": 1}}, "audit": {"reliance/other": nothing, "x": {}}}))
    assert evaluation_figures(path) == {"accuracy": 1.0}
    path.write_text("{")
    with pytest.raises(ComparisonError, match="remove its folder"):
        evaluation_figures(path)


def test_steps_to_the_baseline_are_by_hand():
    # ten points: no smoothing. The baseline goes from 0.1 and 0.3 to 0.7 and 0.9: target 0.2 + 0.75 * 0.6 = 0.65
    results = [
        result("grpo", 0, [0.1] * 7 + [0.8, 0.66, 0.7]),
        result("grpo", 1, [0.3] * 8 + [0.6, 0.9]),
        result("srpo", 0, [0.7, 0.8] + [0.1] * 8),
        result("srpo", 1, [0.7, 0.2, 0.7] + [0.1] * 7),
        result("srpo", 2, [0.9, 0.9]),
    ]
    assert add_steps_to_baseline(results, "grpo") == pytest.approx(0.65)
    # the last step, 10, has nothing behind it that could confirm it: a run that was not there by then needs 10 or more
    assert [each.figures.get("steps_to_baseline") for each in results] == [8, 10, 1, 10, None]
    assert [each.censored for each in results] == [False, True, False, True, False]
    assert add_steps_to_baseline(results, "absent") is None


def test_a_baseline_that_did_not_rise_is_no_target():
    results = [result(method, 0, [0.5] * 10, accuracy=0.5) for method in ("grpo", "srpo")]
    assert add_steps_to_baseline(results, "grpo") is None
    assert "or its accuracy did not rise" in markdown(summary_of(results))


def test_baselines_that_rise_as_training_does_nearly_all_get_there():
    random = np.random.default_rng(0)
    gain = 0.12 * (1 - np.exp(-3 * np.linspace(0, 1, 30)))  # rises and flattens; noise of 32 prompts x 8
    reached = []
    for _ in range(100):
        runs = [result("grpo", s, 0.5 + gain + 0.04 * random.standard_normal(30)) for s in range(5)]
        add_steps_to_baseline(runs, "grpo")
        reached += [not run.censored for run in runs]
    assert np.mean(reached) > 0.9


def test_short_curves_say_nothing_about_steps():
    results = [result(method, 0, [0.1] * 9, accuracy=0.5) for method in ("grpo", "srpo")]
    assert add_steps_to_baseline(results, "grpo") is None
    assert "no run of grpo logged 10 or more generations" in markdown(summary_of(results))


def test_curves_are_averaged_at_the_steps_that_all_seeds_have():
    long, short = result("srpo", 0, [0.1, 0.2, 0.3]), result("srpo", 1, [0.3, 0.4])
    assert mean_curves([long, short, result("grpo", 0)]) == {"srpo": {1: [0.1, 0.3], 2: [0.2, 0.4]}}


# Learning rates


def test_the_rate_with_the_highest_mean_is_chosen_and_the_edge_is_told():
    choice = choose({2e-4: [0.9, 0.1], 1e-4: [0.6, 0.6], 5e-5: [0.5, 0.5]})
    assert (choice.rate, choice.at_edge) == (1e-4, False)
    assert choice.means == pytest.approx({5e-5: 0.5, 1e-4: 0.6, 2e-4: 0.5})
    tied = choose({2e-4: [0.6], 1e-4: [0.6]})
    assert (tied.rate, tied.at_edge) == (1e-4, True)
    assert not choose({1e-4: [0.6]}).at_edge
    with pytest.raises(ComparisonError, match="no learning rate"):
        choose({1e-4: []})


# Summary and tables


def test_pairs_tests_and_adjusted_values_of_two_methods():
    values = {"grpo": [0.5, 0.6, 0.7], "srpo": [0.6, 0.72, 0.8], "vppo": [0.5, 0.61, 0.69]}
    results = [result(m, s, grounded_accuracy=v) for m, of in values.items() for s, v in enumerate(of)]
    summary = summary_of(results)
    paired = summary.differences["grounded_accuracy"]
    assert set(paired) == {"srpo", "vppo"}
    # 0.10, 0.12, 0.10: mean 0.106667, standard error 0.0066667, t = 16 on 2 degrees: p = 1 - 16 / sqrt(258)
    assert paired["srpo"].p_t == pytest.approx(1 - 16 / 258**0.5)
    assert summary.holm["srpo"] == pytest.approx(2 * paired["srpo"].p_t)
    assert summary.holm["vppo"] == pytest.approx(paired["vppo"].p_t) == 1.0


def test_accuracy_takes_the_place_of_an_unknown_primary_figure():
    summary = summary_of([result(m, s, accuracy=0.5 + s / 10) for m in ("grpo", "srpo") for s in (0, 1)])
    assert summary.primary == "accuracy"
    assert "No run has grounded_accuracy, so accuracy is the primary figure" in markdown(summary)


def test_no_other_figure_takes_the_place_of_one_that_was_asked_for():
    results = [result(m, s, accuracy=0.5 + s / 10) for m in ("grpo", "srpo") for s in (0, 1)]
    summary = summary_of(results, primary="lucky_rate")
    assert summary.primary == "lucky_rate"
    assert summary.holm == {}
    assert "No run has lucky_rate, so there is no test" in markdown(summary)


def test_the_figure_of_a_run_with_one_generation_has_whole_steps():
    results = [result(m, s, [0.5], accuracy=0.5) for m in ("grpo", "srpo") for s in (0, 1)]
    drawn = _draw(summary_of(results, primary="accuracy"), mean_curves(results))
    panel = drawn.axes[-1]
    inside = [tick for tick in panel.get_xticks() if panel.get_xlim()[0] <= tick <= panel.get_xlim()[1]]
    assert inside == [1]
    for steps in (2, 3, 7):
        results = [result(m, 0, [0.5] * steps, accuracy=0.5) for m in ("grpo", "srpo")]
        ticks = _draw(summary_of(results, primary="accuracy"), mean_curves(results)).axes[-1].get_xticks()
        assert all(tick == round(tick) for tick in ticks)


def test_a_comparison_without_its_baseline_still_makes_a_table():
    summary = summary_of([result("srpo", 0, accuracy=0.5)])
    assert "| accuracy ↑ | 0.500 |" in markdown(summary)
    assert to_csv(summary).splitlines()[1].startswith("accuracy,srpo,0.5,,,,1,,")
    nothing = summarize([], methods=["grpo"], seeds=[0], baseline="grpo", primary="accuracy", start={}, target=None)
    assert "grpo" in markdown(nothing)


def test_unequal_numbers_of_pairs_are_told():
    results = [result(m, s, grounded_accuracy=0.1 * s) for m in ("grpo", "srpo", "vppo") for s in (0, 1, 2)][:-1]
    assert any("different numbers of pairs" in note for note in summary_of(results).notes)


def steps_table(runs):
    """Rows of the table of values and of differences on steps, from method -> curves by seed."""
    results = [result(m, s, curve) for m, curves in runs.items() for s, curve in enumerate(curves)]
    summary = summary_of(results, target=add_steps_to_baseline(results, "grpo"))
    lines = [line for line in markdown(summary).splitlines() if line.startswith("| steps to")]
    return summary, *[line.split(" | ", 1)[1].removesuffix(" |").split(" | ") for line in lines]


def test_steps_that_were_not_reached_are_bounds_without_interval_or_test():
    early, late, never = [0.1] * 2 + [0.9] * 8, [0.1] * 5 + [0.9] * 5, [0.1] * 9 + [0.9]
    faster, lower, upper, none = "faster", "at-least", "at-most", "none"
    summary, values, differences = steps_table({"grpo": [late, late], faster: [early, late], lower: [never, early]})
    assert values[0] == "6.0 [6.0, 6.0] (reached 2 of 2)"
    assert values[2] == "≥ 6.5 (reached 1 of 2)"
    assert differences[0].startswith("-1.5 [-20")
    assert differences[1] == "≥ +0.5"
    paired = summary.differences["steps_to_baseline"]
    assert paired[faster].p_sign_flip is not None
    assert (paired[lower].p_t, paired[lower].p_sign_flip, paired[lower].difference.low) == (None, None, None)
    assert summary.censored == {lower: [0]}
    # a baseline run that did not get there makes the difference smaller, so it is an upper bound; both leave none
    runs = {"grpo": [late, never, late], upper: [early, early, early], none: [early, early, never]}
    summary, values, differences = steps_table(runs)
    assert values == ["≥ 7.3 (reached 2 of 3)", "3.0 [3.0, 3.0] (reached 3 of 3)", "≥ 5.3 (reached 2 of 3)"]
    assert differences == ["≤ -4.3", "-"]
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(summary)))}
    assert [rows[m]["bound"] for m in ("grpo", upper, none)] == ["≥", "", "≥"]
    assert [rows[m]["difference_bound"] for m in ("grpo", upper, none)] == ["", "≤", ""]
    assert rows[upper]["p_sign_flip"] == rows[none]["difference"] == ""


def test_bounds_as_primary_figure_are_not_called_equal():
    runs = {"grpo": [[0.1] * 5 + [0.9] * 5] * 2, "srpo": [[0.1] * 10] * 2}
    results = [result(m, s, curve) for m, curves in runs.items() for s, curve in enumerate(curves)]
    target = add_steps_to_baseline(results, "grpo")
    summary = summary_of(results, target=target, primary="steps_to_baseline")
    assert summary.holm == {}
    assert "equal in all seeds" not in markdown(summary)
    assert "| srpo | ≥ +4.0 | - | - | - | 2 |" in markdown(summary)
    _draw(summary, mean_curves(results))


def test_differences_that_are_equal_have_no_t_test():
    values = {"grpo": [0.5, 0.6, 0.7], "srpo": [0.6, 0.7, 0.8], "vppo": [0.6, 0.72, 0.8]}
    summary = summary_of([result(m, s, grounded_accuracy=v) for m, of in values.items() for s, v in enumerate(of)])
    text = markdown(summary)
    assert "| srpo | +0.100 | - | - | 0.2500 | 3 |" in text
    assert "srpo: the differences are equal in all seeds, so that the t test says nothing." in text
    assert summary.holm["vppo"] == pytest.approx(2 * summary.differences["grounded_accuracy"]["vppo"].p_t)


def test_a_method_without_a_run_counts_for_holm():
    values = {"grpo": [0.5, 0.6, 0.7], "srpo": [0.6, 0.72, 0.8]}
    results = [result(m, s, accuracy=v) for m, of in values.items() for s, v in enumerate(of)]
    summary = summary_of(results, methods=["grpo", "srpo", "vppo", "papo"], primary="accuracy")
    assert summary.holm == pytest.approx({"srpo": 3 * (1 - 16 / 258**0.5)})


def test_intervals_of_shares_end_where_shares_do_in_the_table_only():
    summary = summary_of([result("grpo", s, accuracy=v, tokens=9.0 * s) for s, v in enumerate((0.9, 1.0))])
    assert summary.intervals["accuracy"]["grpo"].high > 1.5
    assert "| accuracy ↑ | 0.950 [0.315, 1.000] |" in markdown(summary)
    assert "| completion tokens | 4.5 [-52.7, 61.7] |" in markdown(summary)
    assert cell(summary.metric("accuracy"), Interval(0.5, -1.0, 2.0, 2), signed=True) == "+0.500 [-1.000, +2.000]"
    assert cell(summary.metric("accuracy"), Interval(0.2, -0.0003, 0.4, 2), signed=True) == "+0.200 [-0.000, +0.400]"


def test_p_values_as_text():
    assert [p_cell(p) for p in (None, 0.00001, 0.0625, 1.0)] == ["-", "< 0.0001", "0.0625", "1.0000"]


# Places and times


def test_places_share_processors_and_graphics_processors():
    four = environments(4, cpus=8, gpus=["0", "1"], gpus_per_run=1, threads=None)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in four] == ["0", "1", "0", "1"]
    assert {place["OMP_NUM_THREADS"] for place in four} == {"2"}
    pairs = environments(2, cpus=3, gpus=["4", "5", "6", "7"], gpus_per_run=2, threads="1")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in pairs] == ["4,5", "6,7"]
    assert {place["OMP_NUM_THREADS"] for place in pairs} == {"1"}
    assert environments(1, cpus=2, gpus=[], gpus_per_run=1, threads=None) == [{"OMP_NUM_THREADS": "2"}]
    for wrong in ({"jobs": 0}, {"gpus_per_run": 0}, {"jobs": 2, "gpus_per_run": 4}):
        with pytest.raises(ComparisonError):
            environments(**{"jobs": 1, "cpus": 2, "gpus": ["0"] * 4, "gpus_per_run": 1, "threads": None, **wrong})


def test_expected_time_is_that_of_the_steps_that_are_left(tmp_path):
    def chain(train, evaluation):
        log = tmp_path / "log"
        steps = [Step("train", list, lambda: train, log), Step("eval", list, lambda: evaluation, log)]
        return Chain("run", steps)

    times, chains = Times(tmp_path / "times.jsonl"), [chain(True, True), chain(True, False), chain(False, False)]
    times.add("a", "train", 100)
    assert times.left(chains, 1) is None
    times.add("a", "eval", 20)
    times.add("b", "train", 50)
    assert Times(tmp_path / "times.jsonl").left(chains, 1) == 20 + 75 + 20
    assert times.left(chains, 2) == (20 + 75 + 20) / 2


def test_a_time_that_was_half_written_is_skipped(tmp_path):
    path = tmp_path / "times.jsonl"
    path.write_text('{"run": "a", "step": "train", "seconds": 100}\n{"run": "b", "st')
    times = Times(path)
    assert times.seconds == {"train": [100]}
    times.add("b", "train", 50)
    times.add("b", "eval", 5)
    assert Times(path).seconds == {"train": [100, 50], "eval": [5]}


# Runs on disk


def test_changed_settings_name_run_option_and_values(tmp_path):
    run = Run("srpo", 3, tmp_path, {"learning_rate": 1e-4, "max_steps": 5}, {"rows": 8})
    prepare_training(run)
    check_settings([run])
    changed = Run("srpo", 3, tmp_path, {"learning_rate": 2e-4, "max_steps": 5}, {"rows": 8})
    with pytest.raises(ComparisonError, match="srpo seed 3 .* learning_rate 0.0001 and now has 0.0002"):
        check_settings([changed])
    assert yaml.safe_load((tmp_path / "train.yaml").read_text())["learning_rate"] == 1e-4


def test_several_graphics_processors_are_launched_by_accelerate():
    command = srpo_command(["train"], ("accelerate.commands.launch", "--num_processes", "2"))
    assert command == [
        *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"),
        *("-m", "srpo.cli", "train"),
    ]


# Child processes


def write_and_exit(path, status=0):
    return [sys.executable, "-c", f"open({str(path)!r}, 'w').close(); print('said'); raise SystemExit({status})"]


def test_chains_go_on_after_a_failure_and_skip_what_is_done(tmp_path):
    (tmp_path / "there").touch()

    def step(name, status=0, writes=True):
        path = tmp_path / name
        command = write_and_exit(path if writes else tmp_path / "elsewhere", status)
        return Step(name, lambda: command, path.exists, tmp_path / f"{name}.log")

    chains = [
        Chain("done", [step("there")]),
        Chain("bad", [step("broken", status=3, writes=False), step("never")]),
        Chain("silent", [step("nothing", writes=False)]),
        Chain("good", [step("one"), step("two")]),
    ]
    seen = []
    failures = run_chains(chains, [{}, {}], lambda chain, step, seconds, failure: seen.append((step.name, failure)))
    assert {(failure.step, failure.status) for failure in failures} == {("broken", 3), ("nothing", 0)}
    assert failures[0].last_lines[-1] == "said"
    assert {name for name, failure in seen if failure is None} == {"one", "two"}
    assert not (tmp_path / "never").exists()
    assert not Path(tmp_path / "there.log").exists()
