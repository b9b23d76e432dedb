"""What a report says of itself: which steps are left out, what was not measured, what cannot be read; odd input."""

import json
import os
import re

import numpy as np
import pytest

from srpo.report import ReportError, pictures, write_report
from srpo.report.prompts import Prompt, choose, spread
from srpo.report.runs import read_run
from srpo.report.text import page_json, plain
from srpo.run.directory import write_header, write_json
from srpo.run.rollouts import write_rollouts
from tests.report_runs import TOKENS, picture, rollout, write_run
from tests.unit.test_report import payload, unpacked


def random_tokens(seed, count):
    tokens = [f"{x:.12f}" for x in np.random.default_rng(seed).random(count)]
    return {"tokens": tokens, "roles": [1] * count, "gaps": [1.0] * count, "weights": [1.0] * count}


def write_steps(run, steps, rows):
    for step in steps:
        rows_of_step = [row | {"step": step} for row in rows(step)]
        write_rollouts(run / "rollouts" / f"step_{step:06d}.parquet", rows_of_step)
    return run


def steps_of(data):
    return [group["step"] for group in data["groups"]]


def missing(data, run=0):
    return "\n".join(data["runs"][run]["missing"])


def test_steps_come_in_the_order_last_first_middle():
    assert [spread(n) for n in (0, 1, 2, 3, 5)] == [[], [0], [1, 0], [2, 0, 1], [4, 0, 2, 1, 3]]
    assert sorted(spread(200)) == list(range(200))


def test_steps_that_stay_are_spread_over_the_run_and_those_without_any_are_named(tmp_path):
    run = write_run(tmp_path / "run", [])
    write_steps(run, range(40), lambda step: [rollout(**random_tokens(step, 300))])
    whole, blobs = payload(run)
    assert whole["left_out"] == ""
    data, kept = payload(run, room=len(page_json(whole)) + sum(map(len, blobs)) // 4)
    steps = steps_of(data)
    assert 4 < len(steps) == len(kept) < 20
    assert {0, 39} < set(steps)
    assert max(np.diff(steps)) <= 10
    gone = [step for step in range(40) if step not in steps]
    assert f"{len(gone)} of 40 prompts are left out" in data["left_out"]
    assert f"of {len(gone)} steps none is here: {gone[0]}, {gone[1]}," in data["left_out"]
    assert len(data["left_out"]) < 500


def test_a_prompt_that_does_not_fit_leaves_room_for_those_behind_it(tmp_path):
    run = write_run(tmp_path / "run", [])
    write_steps(run, (0, 1), lambda step: [rollout(**random_tokens(step, 30_000 if step else 50))])
    data, _ = payload(run, room=60_000)
    assert steps_of(data) == [0]
    assert "1 of 2 prompts are left out" in data["left_out"]
    assert "of 1 step none is here: 1." in data["left_out"]


def test_pictures_that_cannot_fit_are_not_all_made(monkeypatch):
    made = []

    def webp(picture):
        made.append(picture)
        return "x" * 1_000

    monkeypatch.setattr(pictures, "webp", webp)
    group = {"step": 0, "run": 0}
    contents = [picture(color=(i, 0, 0)) for i in range(200)]
    prompts = [Prompt({"number": i, **group}, contents[i], None, "") for i in range(200)]
    prompts.append(Prompt({"number": 200, **group}, None, None, ""))
    chosen = choose(prompts, 5_000)
    numbers = [group["number"] for group in chosen.groups]
    assert numbers == [0, 1, 2, 3, 200]
    assert len(made) < 100


def test_prompts_of_several_runs_are_left_out_run_by_run(tmp_path):
    runs = [write_run(tmp_path / name, []) for name in ("a", "b")]
    for run in runs:
        write_steps(run, (0, 1, 2), lambda step: [rollout(**random_tokens(step, 30_000 if step == 1 else 50))])
    data, _ = payload(*runs, room=60_000)
    assert "of 1 step of a none is here: 1; of 1 step of b none is here: 1." in data["left_out"]


def test_prompts_of_a_step_are_numbered_across_files(tmp_path):
    run = write_run(tmp_path / "run", [rollout(), rollout(row_id="8")])
    write_rollouts(run / "rollouts" / "step_000000-b.parquet", [rollout(row_id="9"), rollout(row_id="0", step=5)])
    data, _ = payload(run)
    assert [(group["step"], group["number"]) for group in data["groups"]] == [(0, 0), (0, 1), (0, 2), (5, 0)]


@pytest.mark.parametrize("credit", ["uniform", "papo"])
def test_what_a_credit_does_not_measure_is_not_shown_as_zero(tmp_path, credit):
    silent = {"gaps": [0.0] * len(TOKENS), "weights": [1.0] * len(TOKENS)}  # as earlier versions saved it
    data, blobs = payload(write_run(tmp_path / "run", [rollout(**silent)], config={"credit": credit}))
    replies, _, weights = unpacked(blobs[0], len(TOKENS))
    assert replies[0]["gaps"] is False
    assert set(weights) == {1.0}
    assert data["groups"][0]["replies"][0]["scored"] is False
    assert data["distributions"] == []
    assert (data["runs"][0]["strength"], data["runs"][0]["clip"]) == (None, None)


@pytest.mark.parametrize(
    ("credit", "strength", "clip"),
    [("srpo", 0.75, [0.5, 2.0]), ("reasoning", 0.75, [0.5, 2.0]), ("vppo", 0.75, None), ("mine", None, None)],
)
def test_options_are_told_where_the_credit_has_them(tmp_path, credit, strength, clip):
    run = payload(write_run(tmp_path / "run", config={"credit": credit}))[0]["runs"][0]
    assert (run["credit"], run["strength"], run["clip"]) == (credit, strength, clip)


def evaluation(folder, **parts):
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(parts))
    return folder


def test_an_evaluation_is_told_by_its_figures_and_has_no_credit(tmp_path):
    estimate = {"value": 0.625, "low": 0.5, "high": 0.75, "n": 64}
    audited = evaluation(
        tmp_path / "audited",
        metrics={"accuracy": estimate, "tokens": estimate},
        audit={"grounded_accuracy": estimate | {"value": 0.5}, "lucky_rate": estimate, "vision_gain/blank": estimate},
    )
    plain_one = evaluation(tmp_path / "plain", metrics={"accuracy": {"value": 0.5}})
    data, _ = payload(audited, plain_one)
    first, second = data["runs"]
    assert first["headline"] == [["accuracy", 0.625, 0.5, 0.75, 64], ["grounded accuracy", 0.5, 0.5, 0.75, 64]]
    assert second["headline"] == [["accuracy", 0.5, None, None, None]]
    assert {(run["credit"], run["strength"], run["clip"]) for run in data["runs"]} == {("", None, None)}
    of_metrics, of_audit = data["audit"][:2]
    assert of_audit["columns"] == ["figure", "value", "95 % low", "95 % high", "questions"]
    assert "interval" in of_metrics["note"]
    assert "lucky_rate: share with the right answer and a needed fact wrong" in of_audit["note"]
    assert "vision_gain: accuracy minus" in of_audit["note"]
    assert "not measured: reliance" in of_audit["note"]


def test_assumed_weights_are_told_in_a_sentence(tmp_path):
    runs = [write_run(tmp_path / name, [rollout()]) for name in ("no_answer", "no_advantage", "as_trained")]
    for run in runs:
        (run / "environment.json").write_text('{"command": ["srpo", "inspect"]}')
        assumed = "" if run.name == "as_trained" else run.name
        record = {"weights_assume": assumed, "credit": "srpo", "question": "Why?", "replies": [{}] * 4}
        (run / "inspection.json").write_text(json.dumps(record))
    first, second, third = payload(*runs)[0]["runs"]
    assert first["note"].startswith("Without --answer there are no rewards")
    assert second["note"].startswith("All 4 replies got the same rewards")
    assert third["note"] == ""
    assert first["summary"] == {"question": "Why?"}


def test_held_out_questions_are_counted_where_they_are_known(tmp_path):
    unknown, asked, counted = (tmp_path / name for name in ("unknown", "asked", "counted"))
    write_run(unknown)
    write_run(asked, config={"eval_rows": 512})
    write_run(counted, config={"eval_rows": 512})
    (counted / "summary.json").write_text('{"questions": 300}')
    assert [run["held_out"] for run in payload(unknown, asked, counted)[0]["runs"]] == [None, 512, 300]


def test_pictures_are_missing_from_the_run_that_has_them(tmp_path):
    good = write_run(tmp_path / "good")
    bad = write_run(tmp_path / "bad", [rollout(image=b"<svg>", corrupted=b"no picture", corruption="other_image")])
    data, _ = payload(good, bad)
    assert missing(data) == ""
    assert missing(data, 1) == "2 pictures of rollouts cannot be read."


def test_steps_that_are_no_counts_are_left_out(tmp_path):
    run = write_run(tmp_path / "run", [])
    steps = ["1", "1" + "0" * 400, "-1", "1.5", '"2"', "true", "null", "Infinity", "9007199254740992", "2.0"]
    lines = [f'{{"step": {step}, "reward": 1}}' for step in steps]
    (run / "metrics.jsonl").write_text("\n".join([*lines, "null", "[1]", '{"step": 3, "rew']))
    data, _ = payload(run)
    assert data["runs"][0]["series"]["reward"] == [(1, 1.0), (2, 1.0)]
    assert "metrics.jsonl has 11 lines that cannot be read" in missing(data)


def test_options_that_grow_without_end_are_cut(tmp_path):
    run = write_run(tmp_path / "run", [])
    wide = "[" + ", ".join(["*a{}"] * 100) + "]"
    lines = ["a0: &a0 [" + ", ".join(["text"] * 100) + "]"]
    lines += [f"a{i}: &a{i} {wide.format(*[i - 1] * 100)}" for i in range(1, 9)]
    (run / "config.yaml").write_text("\n".join(lines))
    data, _ = payload(run)
    shown = json.dumps(data["runs"][0]["config"], ensure_ascii=False)
    assert len(shown) < 300_000
    assert "…" in shown
    assert len(json.dumps(plain(["x" * 2_000] * 500))) < 1_100_000


def test_whole_numbers_beyond_those_of_a_page_are_text(tmp_path):
    run = write_run(tmp_path / "run", [])
    (run / "config.yaml").write_text(f"x: 0x{'f' * 6000}\n? 0x{'f' * 6000}\n: 1\nseed: 18446744073709551615\ny: -7\n")
    config = payload(run)[0]["runs"][0]["config"]
    page_json(config)
    assert (config["seed"], config["y"]) == ("18446744073709551615", -7)
    assert config["x"].startswith("0xffff")
    assert len(config["x"]) < 200


@pytest.mark.parametrize("size", [float("inf"), float("nan"), 1e300, 0.5])
def test_sizes_that_no_page_has_are_refused(tmp_path, size):
    with pytest.raises(ReportError, match="must be 1 or more"):
        write_report([write_run(tmp_path / "run")], tmp_path / "page.html", max_megabytes=size)


def test_names_that_are_no_utf_8_are_borne(tmp_path):
    name = os.fsdecode(b"ru\xffn")
    run = write_run(tmp_path / name)
    write_header(run, {"model": name}, seed=0, arguments=[name])
    write_json(run / "summary.json", {"name": name})
    assert json.loads((run / "summary.json").read_text())["name"] == name
    data, blobs = payload(run)
    assert missing(data) == ""
    assert len(blobs) == 2
    assert data["runs"][0]["environment"]["command"] == ["srpo", "train", name]
    assert data["runs"][0]["config"] == {"model": name}
    assert write_report([run], run / "report.html").prompts == 2


@pytest.mark.parametrize("content", ["{", "[1, 2]", "", "null"])
@pytest.mark.parametrize("file", ["summary.json", "environment.json", "config.yaml"])
def test_a_file_that_holds_no_values_is_no_result(tmp_path, file, content):
    run = write_run(tmp_path / "run")
    (run / file).write_text(content)
    found = read_run(run, "run")
    assert len(re.findall(re.escape(file), " ".join(found.missing))) == 1
    assert "cannot be read" in found.missing[0]
    assert found.finished is (file != "summary.json")


@pytest.mark.parametrize("file", ["summary.json", "config.yaml", "metrics.jsonl", "rollouts/step_000000.parquet"])
def test_folders_in_place_of_files_are_told_as_such(tmp_path, file):
    run = write_run(tmp_path / "run")
    (run / file).unlink()
    (run / file).mkdir()
    (said,) = [sentence for sentence in payload(run)[0]["runs"][0]["missing"] if file in sentence]
    assert "cannot be read (Is a directory)" in said


def test_a_page_that_cannot_be_put_in_its_place_leaves_nothing_behind(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "report.html").mkdir()
    with pytest.raises(ReportError, match="cannot be written"):
        write_report([run], run / "report.html")
    assert not list(run.glob("*.part"))


@pytest.mark.parametrize("name", ["loop", "a" * 300])
def test_paths_that_lead_nowhere_are_refused(tmp_path, name):
    if name == "loop":
        (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(ReportError, match="does not exist"):
        write_report([tmp_path / name, write_run(tmp_path / "run")], tmp_path / "page.html")


def test_the_refusal_of_a_folder_names_all_commands(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    with pytest.raises(ReportError, match="train, eval, compare, credit or inspect wrote"):
        read_run(tmp_path, "none")
