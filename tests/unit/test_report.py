"""From run directories to the data of a page: what is read, what is packed, what is left out and said to be."""

import base64
import json
import re
import subprocess
import sys
import zlib
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srpo.config import SRPOConfig
from srpo.credit_settings import CreditSettings
from srpo.credits import CREDITS
from srpo.report import ReportError, write_report
from srpo.report.curves import MOST_POINTS, charts, thinned
from srpo.report.distributions import distributions
from srpo.report.packing import planes
from srpo.report.page import render
from srpo.report.payload import make_payload, read_runs
from srpo.report.pictures import Pictures
from srpo.report.rollouts import read_groups
from srpo.report.runs import DEFAULTS, WITHOUT_GAPS, RunFiles, read_run, short_names
from srpo.report.tables import markdown_tables
from srpo.report.text import page_json, shortened
from tests.report_runs import GAPS, ROLES, TOKENS, WEIGHTS, numbers, picture, rollout, write_run

ROOM = 10_000_000


def payload(*folders, room=ROOM):
    return make_payload(read_runs(folders), room, None)


def unpacked(blob, count):
    """Replies, gaps and weights of a blob of `count` tokens, read as the page reads them."""
    content = zlib.decompress(base64.b64decode(blob))
    length = int.from_bytes(content[:4], "little")
    at = 4 + length
    assert len(content) == at + 6 * count
    return json.loads(content[4:at])["replies"], numbers(content[at:], count), numbers(content[at + 3 * count :], count)


@given(st.lists(st.floats(width=32)))
def test_numbers_keep_four_digits(values):
    for value, found in zip(values, numbers(planes(np.array(values)), len(values)), strict=True):
        if not np.isfinite(value):
            assert found is None
        else:
            assert found == pytest.approx(value, rel=5.1e-4, abs=0)


def test_mantissas_stay_in_range():
    content = planes(np.array([0.99996, 9999.6, 1e-3, -1.0, 0.0, 123456.0]))
    high, low = np.frombuffer(content, "i1", 6), np.frombuffer(content, "u1", 6, offset=6)
    assert (high.astype(int) * 256 + low).tolist() == [1000, 1000, 1000, -1000, 0, 1235]
    assert np.frombuffer(content, "i1", 6, offset=12).tolist() == [-3, 1, -6, -3, 0, 2]


def test_a_run_becomes_what_the_page_shows(tmp_path):
    data, blobs = payload(write_run(tmp_path / "run"))
    run = data["runs"][0]
    assert (run["name"], run["kind"], run["credit"], run["strength"], run["clip"]) == (
        *("run", "train", "srpo", 0.75),
        [0.5, 2.0],
    )
    assert run["missing"] == []
    assert run["series"]["reward"] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert run["series"]["srpo/weight/perception_mean"] == [(1, 1.0), (2, None), (3, 1.0)]
    assert [chart["title"] for chart in data["charts"]] == ["Reward", "Weights by role"]
    first, second = data["groups"]
    assert (first["corruption"], first["row_id"], second["row_id"], second["corrupted"]) == (
        *("patch_mask 0.6", "7", "8"),
        None,
    )
    assert first["image"] != first["corrupted"]
    assert all(image["uri"].startswith("data:image/webp;base64,") for image in data["images"])
    right, wrong = first["replies"]
    assert right == {
        "rewards": {"accuracy_reward": 1.0, "format_reward": 1.0, "perception": 0.0},
        **{"advantage": 0.5, "right": True, "lucky": True, "structured": True, "ended": True, "tokens": len(TOKENS)},
        **{"largest_weight": 1.812, "scored": True},
    }
    assert (wrong["right"], wrong["lucky"], wrong["scored"], wrong["largest_weight"]) == (False, None, False, None)
    replies, gaps, weights = unpacked(blobs[0], 2 * len(TOKENS))
    assert replies[0] == {"tokens": TOKENS, "roles": "".join(map(str, ROLES)), "gaps": True}
    assert replies[1]["gaps"] is False
    assert gaps[: len(TOKENS)] == pytest.approx(GAPS, rel=1e-3)
    assert weights[: len(TOKENS)] == pytest.approx(WEIGHTS, rel=1e-3)


@pytest.mark.parametrize(
    ("rewards", "right", "lucky"),
    [
        ([("accuracy_reward", 0.9), ("perception", 1.0)], False, False),
        ([("accuracy_reward", 1.0), ("mine", 0.0)], True, None),
        ([("mine", 1.0), ("format_reward", 0.0)], True, None),
        ([("mine", 1.0), ("other", 0.0)], None, None),
        ([], None, None),
    ],
)
def test_right_and_lucky_follow_from_the_rewards(tmp_path, rewards, right, lucky):
    data, _ = payload(write_run(tmp_path / "run", [rollout(rewards=rewards)]))
    reply = data["groups"][0]["replies"][0]
    assert (reply["right"], reply["lucky"]) == (right, lucky)


def test_what_is_missing_is_said_and_the_rest_is_shown(tmp_path):
    run = write_run(tmp_path / "run", finished=False)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "rew')
    (run / "rollouts" / "step_000010.parquet").write_bytes((run / "rollouts/step_000000.parquet").read_bytes()[:500])
    (run / "rollouts" / "step_000020.part").write_bytes(b"PAR1")
    (run / "environment.json").write_text("{")
    (run / "config.yaml").unlink()
    data, blobs = payload(run)
    assert len(blobs) == 2
    assert len(data["runs"][0]["series"]["reward"]) == 3
    said = "\n".join(data["runs"][0]["missing"])
    for file in ("metrics.jsonl", "step_000010", "step_000020", "environment.json", "config.yaml", "summary.json"):
        assert len(re.findall(re.escape(file), said)) == 1, (file, said)


@pytest.mark.parametrize("file", ["config.yaml", "environment.json", "summary.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1, 2]", b'"text"', b"null", b"{" * 100_000, b"- *x"])
def test_files_of_any_content_are_borne(tmp_path, file, content):
    run = write_run(tmp_path / "run")
    (run / file).write_bytes(content)
    data, blobs = payload(run)
    assert len(blobs) == 2
    page_json(data)


def test_numbers_that_json_does_not_have_are_none(tmp_path):
    huge = "9" * 400
    run = write_run(tmp_path / "run", [rollout(advantage=float("nan"), rewards=[("mine", float("inf"))])])
    (run / "config.yaml").write_text(f"credit_strength: .nan\ncredit_weight_max: {huge}\ncredit: [1]\nother: .inf\n")
    (run / "metrics.jsonl").write_text(
        f'{{"step": 1, "reward": {huge}}}\n{{"step": 2, "reward": 1}}\n{{"step": Infinity, "reward": 1}}\n'
    )
    (run / "summary.json").write_text('{"after": {"accuracy": NaN}}')
    evaluation = tmp_path / "eval"
    evaluation.mkdir()
    (evaluation / "evaluation.json").write_text(f'{{"metrics": {{"a": {{"value": NaN}}, "b": {{"value": {huge}}}}}}}')
    data, _ = payload(run, evaluation)
    page_json(data)
    shown = data["runs"][0]
    assert (shown["credit"], shown["strength"], shown["clip"]) == ("srpo", 1.0, [0.5, 2.0])
    assert shown["series"]["reward"] == [(1, None), (2, 1.0)]
    assert shown["summary"] == {"after": {"accuracy": None}}
    assert data["groups"][0]["replies"][0]["advantage"] is None
    assert data["groups"][0]["replies"][0]["rewards"] == {"mine": None}
    assert [row[1] for row in data["audit"][0]["rows"]] == ["", ""]


def test_rollouts_of_an_older_schema_and_of_odd_shapes_are_read(tmp_path):
    run = write_run(tmp_path / "run", [])
    rows = [
        rollout(gaps=[1.0], weights=None, roles=[1, None, 7, -1]),
        rollout(tokens=[], roles=[], gaps=[], weights=[]),
    ]
    old = [{k: v for k, v in row.items() if k not in ("ended", "corruption", "advantage", "row_id")} for row in rows]
    (run / "rollouts").mkdir()
    pq.write_table(pa.Table.from_pylist([{**row, "rewards": {"mine": 1.0}} for row in old]), run / "rollouts/a.parquet")
    data, _ = payload(run)
    replies = data["groups"][0]["replies"]
    assert [reply["tokens"] for reply in replies] == [len(TOKENS), 0]
    assert [reply["ended"] for reply in replies] == [None, None]
    assert data["runs"][0]["missing"] == []


def test_bytes_that_are_no_text_and_no_picture_are_shown_as_such(tmp_path):
    run = write_run(tmp_path / "run", [rollout(image=b"<svg onload=alert(1)>")])
    path = run / "rollouts" / "step_000000.parquet"
    table = pq.read_table(path)
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 3], np.int32).tobytes()), pa.py_buffer(b"a\xff\xfe")]
    )
    pq.write_table(table.set_column(table.column_names.index("question"), "question", bad), path)
    data, _ = payload(run)
    assert data["groups"][0]["question"] == "a��"
    assert data["groups"][0]["image"] is None
    assert "1 picture of rollouts cannot be read." in data["runs"][0]["missing"]


def test_long_tokens_are_cut_and_told(tmp_path):
    run = write_run(
        tmp_path / "run",
        [rollout(tokens=["x" * 1_000_000], roles=[1], gaps=[1.0], weights=[1.0], question="q" * 10**6)],
    )
    data, blobs = payload(run)
    token = unpacked(blobs[0], 1)[0][0]["tokens"][0]
    assert len(token) == 500
    assert token.endswith("[…, 1,000,000 characters in all]")
    assert len(data["groups"][0]["question"]) == 20_000


def test_no_text_ends_a_script_element_early():
    text = page_json({"</script><!--": ["\u2028 \ud800 & ü", "<SCRIPT>"]})
    assert not set(text) & set("<>&\u2028\ud800")
    assert json.loads(text) == {"</script><!--": ["\u2028 \ud800 & ü", "<SCRIPT>"]}
    text.encode("utf-8")
    assert shortened("abc", 3) == "abc"


def test_names_in_the_data_are_no_placeholders_of_the_page(tmp_path):
    (tmp_path / "page.html").write_text("<title>__TITLE__</title>__CSP__ __DATA__ <script>__SCRIPT__</script>__BLOBS__")
    (tmp_path / "2.js").write_text("second()")
    (tmp_path / "1.js").write_text("first()")
    page = render({"title": "<b>__SCRIPT__\ud800"}, ["AAAA"], tmp_path)
    assert "<title>&lt;b&gt;__SCRIPT__?</title>" in page
    assert "<script>first()\nsecond()</script>" in page
    assert '<script type="text/plain" id="blob-0">AAAA</script>' in page
    assert page.count("first()") == 1


def test_prompts_that_do_not_fit_are_left_out_evenly(tmp_path):
    run = write_run(tmp_path / "run", [])
    rng = np.random.default_rng(0)
    for step in (0, 10):
        rows = [
            rollout(step=step, row_id=str(i), tokens=[f"{x:.12f}" for x in rng.random(400)], roles=[1] * 400)
            for i in range(6)
        ]
        (run / "rollouts").mkdir(exist_ok=True)
        table = pa.Table.from_pylist([{**row, "rewards": {"mine": 1.0}} for row in rows])
        pq.write_table(table, run / "rollouts" / f"step_{step:06d}.parquet")
    whole, blobs = payload(run)
    room = len(page_json(whole)) + sum(map(len, blobs)) * 2 // 3
    data, kept = payload(run, room=room)
    assert 0 < len(kept) < len(blobs) == 12
    assert len(page_json(data)) + sum(map(len, kept)) <= room
    steps = [group["step"] for group in data["groups"]]
    assert abs(steps.count(0) - steps.count(10)) <= 1
    assert steps == sorted(steps)
    assert f"{12 - len(kept)} of 12 prompts are left out" in data["left_out"]
    assert whole["left_out"] == ""


def test_pictures_stand_in_the_page_once_and_no_larger_than_asked_for():
    pictures = Pictures(100)
    assert [pictures.add(content) for content in (picture("red", (200, 150)), None, picture("red", (200, 150)))] == [
        *(0, None, 0),
    ]
    assert [(image["width"], image["height"]) for image in pictures.images] == [(100, 75)]


def test_distributions_count_every_token_of_a_role_once(tmp_path):
    rng = np.random.default_rng(0)
    gaps = [*rng.normal(size=1000), 50.0, -50.0, float("nan")]
    rows = [rollout(tokens=["a"] * 1003, roles=[1] * 1003, gaps=gaps, weights=[1.0] * 1003), rollout()]
    run = write_run(tmp_path / "run", rows)
    groups = list(read_groups(run, []))
    found = {entry["quantity"]: entry for entry in distributions([(0, groups[0].replies)])}
    for quantity, perception in (("gap", 1004), ("weight", 1005)):
        entry = found[quantity]
        assert sum(entry["perception"]) + entry["below"]["perception"] + entry["above"]["perception"] == perception
        assert sum(entry["reasoning"]) + entry["below"]["reasoning"] + entry["above"]["reasoning"] == 2
        assert len(entry["edges"]) == len(entry["perception"]) + 1
        assert all(low < high for low, high in pairwise(entry["edges"]))
    assert found["gap"]["above"]["perception"] >= 1
    assert len(found["gap"]["edges"]) < 60
    assert distributions([(0, [])]) == []


def test_charts_name_only_metrics_that_are_there_and_all_others_too():
    series = {"reward": [(1, 0.5)], "my/metric": [(1, 1.0), (2, 2.0)], "once": [(1, 1.0)], "eval_x": [(1, 1), (2, 2)]}
    assert [chart["metrics"] for chart in charts([series])] == [[["reward", "reward"]], [["my/metric", "metric"]]]
    curve = [(i, None if i == 3 else float(i)) for i in range(2 * MOST_POINTS)]
    short = thinned(curve)
    assert len(short) == MOST_POINTS
    assert short[:3] == [(1, 0.5), (3, 2.0), (5, 4.5)]


def test_tables_of_a_markdown_page():
    text = "# Title\n\nWhy.\n\n| | a |\n|---|---:|\n| x\\|y | 0.5 |\n| z | 0.1 [0, 1] |\n\nNote.\n\n"
    text += "## Next\n\n| b |\n|---|\n"
    assert markdown_tables(text) == [
        {"title": "Title", "note": "Why. Note.", "columns": ["", "a"], "rows": [["x|y", 0.5], ["z", "0.1 [0, 1]"]]},
        {"title": "Next", "note": "", "columns": ["b"], "rows": []},
    ]


def test_an_evaluation_a_comparison_and_credits_give_tables(tmp_path):
    def estimates(value):
        return {"accuracy": {"value": value, "low": value - 0.1, "high": 0.75, "n": 8}}

    folders = [tmp_path / name for name in ("eval", "compare", "credit")]
    for folder in folders:
        folder.mkdir()
    by_task = {"math": estimates(0.5), "choice": estimates(0.25)}
    found = {"metrics": estimates(0.5), "audit": estimates(0.3), "by_task": by_task, "dataset": "shapes"}
    (folders[0] / "evaluation.json").write_text(json.dumps(found))
    for seed, reward in ((0, 0.1), (1, 0.3)):
        write_run(folders[1] / "runs" / "grpo" / f"seed-{seed}" / "train")
        entries = [{"step": 1, "reward": reward}, {"step": 2 + seed, "reward": 9.0}]
        log = folders[1] / "runs" / "grpo" / f"seed-{seed}" / "train" / "metrics.jsonl"
        log.write_text("\n".join(map(json.dumps, entries)))
    (folders[1] / "results.json").write_text("{}")
    (folders[1] / "results.md").write_text("# A against B\n\n| | a |\n|---|---|\n| x | 1 |\n")
    (folders[1] / "figure.png").write_bytes(picture())
    (folders[2] / "credit.json").write_text('{"verdict": "Better."}')
    (folders[2] / "credit.md").write_text("| credit |\n|---|\n| srpo |\n\nNote.\n")
    data, _ = payload(*folders)
    assert [(run["name"], run["kind"]) for run in data["runs"]] == [
        ("eval", "eval"),
        ("compare", "compare"),
        ("compare: grpo, mean of 2 seeds", "train"),
        ("credit", "credit"),
    ]
    assert data["runs"][2]["series"] == {"reward": [(1, 0.2)]}  # step 2 is not in both
    assert [table["title"] for table in data["audit"]] == ["Evaluation", "Grounding audit", "Evaluation by task"]
    assert data["audit"][0]["rows"] == [["accuracy", 0.5, 0.4, 0.75, 8]]
    assert data["audit"][2]["rows"] == [["math", 0.5], ["choice", 0.25]]
    compared, credits = data["comparison"]
    assert (compared["run"], credits["run"]) == (1, 3)
    assert compared["tables"][0]["rows"] == [["x", 1.0]]
    assert compared["figure"].startswith("data:image/png;base64,")
    assert (credits["tables"][0]["note"], credits["figure"]) == ("Better. Note.", None)


def test_names_tell_runs_apart(tmp_path):
    folders = [tmp_path / "srpo" / "seed-0", tmp_path / "grpo" / "seed-0", tmp_path / "other"]
    assert short_names(folders) == ["srpo/seed-0", "grpo/seed-0", "other"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ReportError, match="does not exist; name the folder"):
        read_run(tmp_path / "none", "none")
    with pytest.raises(ReportError, match="holds no file of a run"):
        read_run(tmp_path, "none")
    run = write_run(tmp_path / "run")
    with pytest.raises(ReportError, match="max_megabytes 0.5 must be 1 or more"):
        write_report([run], tmp_path / "page.html", max_megabytes=0.5)
    with pytest.raises(ReportError, match="cannot be written"):
        write_report([run], run / "config.yaml" / "page.html")


def test_defaults_are_those_of_the_credit():
    defaults = {field.name: field.default for field in fields(CreditSettings)}
    assert {name: defaults[name] for name in DEFAULTS} == DEFAULTS


def test_credits_are_told_apart_as_the_credits_are(tmp_path):
    settings = SRPOConfig(str(tmp_path), bf16=False)
    names = {name for name, credit in CREDITS.items() if credit.contexts(settings)}
    assert {*WITHOUT_GAPS} == CREDITS.keys() - names
    for name in CREDITS:
        run = RunFiles(tmp_path, "run", "train", {"credit": name})
        assert (run.strength is not None) == (name in names)
        assert (run.clip is not None) == (name in ("srpo", "perception", "reasoning"))


def test_a_report_needs_no_torch():
    code = "import sys, srpo.commands.report; print({'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
