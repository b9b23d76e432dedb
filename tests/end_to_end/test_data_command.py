"""`srpo data check` as a user runs it: one data set for every way to be bad, and what the report says of good ones."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoProcessor

from srpo.cli import main
from srpo.commands.prompt_view import prompt_ids
from srpo.data import DataError, load
from srpo.data.problems import KINDS
from srpo.tiny import model_path
from tests.bad_rows import BAD_ROWS, GOOD, good_row, picture

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check(*arguments):
    status = main(["data", "check", *map(str, arguments), "--json", "report.json"])
    return status, json.loads(Path("report.json").read_text(encoding="utf-8"))


def refused(capsys, *arguments):
    assert main(["data", *map(str, arguments)]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("srpo: error: ")
    assert len(captured.strip().splitlines()) == 1
    return captured


def test_there_is_a_data_set_for_every_kind():
    assert {bad.kind for bad in BAD_ROWS.values()} == set(KINDS)
    assert len(KINDS) >= 30


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_with_reason_and_remedy(name, tmp_path, capsys):
    bad = BAD_ROWS[name]
    folder = tmp_path / "set"
    folder.mkdir()
    bad.write(folder)
    status, report = check(folder, *bad.arguments)
    found = {find["kind"]: find for find in report["bad_rows"] if find["split"] == "train"}
    assert set(found) == {bad.kind, *bad.also}
    find = found[bad.kind]
    assert len(report["bad_rows"]) == len(found)
    assert find["row"] not in {f"good{i}" for i in range(GOOD)}
    assert find["severity"] == KINDS[bad.kind][0]
    assert status == (1 if find["severity"] == "refused" else 0)
    train = report["splits"]["train"]
    assert train["rows"] == GOOD + 1
    assert train["good"] + train["refused"] == train["rows"]
    assert train["refused"] == (1 if find["severity"] == "refused" else 0)
    shown = capsys.readouterr().out
    for part in (bad.kind, KINDS[bad.kind][1], f"row {find['row']} (train): {find['reason']}", find["remedy"]):
        assert part in shown
    assert len(find["reason"]) > 10
    assert len(find["remedy"]) > 5


# What loading cannot see, because it needs the model's tokens, or all rows at once.
BY_THE_CHECK = ("question_token", "prompt_length", "row_contradicts", "row_in_eval")
REFUSED_NAMES = [name for name, bad in BAD_ROWS.items() if KINDS[bad.kind][0] == "refused"]
BY_LOADING = [name for name in REFUSED_NAMES if not BAD_ROWS[name].pictures and BAD_ROWS[name].kind not in BY_THE_CHECK]


@pytest.mark.parametrize("name", BY_LOADING)
def test_loading_refuses_the_row_or_skips_just_this_one(name, tmp_path):
    BAD_ROWS[name].write(tmp_path)
    with pytest.raises(DataError, match="srpo data check"):
        load(tmp_path)
    assert load(tmp_path, on_bad_rows="skip")["id"][:] == [f"good{i}" for i in range(GOOD)]


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_training_refuses_the_row_or_skips_just_this_one(name, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    BAD_ROWS[name].write(tmp_path / "set")
    eval_rows = "8" if BAD_ROWS[name].evaluation else "0"
    train = ["train", "--model", "tiny", "--dataset", "set", "--eval_rows", eval_rows, "--dry_run", "true"]
    train += [*BAD_ROWS[name].arguments, "--bf16", "false"]
    train += ["--per_device_train_batch_size", "2", "--num_generations", "2"]
    assert main(train) == 2
    said = capsys.readouterr().err
    assert "srpo data check" in said
    assert "--on_bad_rows skip" in said
    assert main([*train, "--on_bad_rows", "skip"]) == 0
    shown = capsys.readouterr().out
    assert f"{GOOD} rows to train on" in shown
    assert re.search(r"1 bad rows? left out", shown)


class TestGoodSets:
    @pytest.fixture
    def rows(self):
        for i in range(12):
            picture(i, 40 + i, 50).save(f"good{i}.png")
        return [good_row(i) for i in range(12)]

    def write(self, rows, name="rows.jsonl"):
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def test_figures(self, rows, capsys):
        rows[0] |= {"image": ["good0.png", "good1.png"], "perception": "noise"}
        rows[1] |= {"image": None}
        rows[2] |= {"options": ["x", "y", "z"], "answer": "B"}
        Image.open("good3.png").save("good3.jpg")
        rows[3] |= {"image": "good3.jpg"}
        self.write(rows)
        status, report = check("rows.jsonl")
        assert status == 0
        assert report["clean"] is True
        train = report["splits"]["train"]
        assert (train["rows"], train["good"], train["refused"]) == (12, 12, 0)
        assert train["images"]["count"] == 12
        assert train["images"]["per_row"] == {"least": 0, "median": 1, "p99": 2, "most": 2}
        assert train["images"]["formats"] == {"PNG": 11, "JPEG": 1}
        assert train["images"]["width"] == {"least": 40, "median": 46, "p99": 51, "most": 51}
        assert train["images"]["height"]["median"] == 50
        assert train["answers"]["tasks"] == {"math": 11, "choice": 1}
        assert train["answers"]["letters"] == {"B": 1}
        assert train["answers"]["with_perception"] == 1
        assert train["lengths"]["prompt_tokens"] is None
        shown = capsys.readouterr().out
        assert "Training uses all 12 rows." in shown
        assert "add --model NAME" in shown
        assert "Progress" not in shown

    def test_lengths_are_those_that_the_model_reads(self, rows):
        rows[5]["question"] += " Count twice, please."
        self.write(rows)
        _, report = check("rows.jsonl", "--model", "tiny")
        lengths = report["splits"]["train"]["lengths"]
        processor = AutoProcessor.from_pretrained(model_path())
        exact = [len(prompt_ids(processor, row)) for row in load("rows.jsonl")]
        assert lengths["prompt_tokens"]["most"] == max(exact)
        assert lengths["prompt_tokens"]["least"] == min(exact)
        assert lengths["longest_prompt"] == "good5"

    def test_one_letter_for_all_is_remarked(self, rows, capsys):
        self.write([{**row, "options": ["x", "y"], "answer": "B"} for row in rows])
        _, report = check("rows.jsonl")
        (remark,) = report["remarks"]
        assert "all 12 rows with task choice is 'B'" in remark
        assert remark in capsys.readouterr().out

    def test_both_splits_are_checked(self, rows):
        self.write(rows[:8], "train.jsonl")
        self.write([*rows[8:], rows[0]], "test.jsonl")
        status, report = check(".")
        assert status == 1
        assert {name: split["rows"] for name, split in report["splits"].items()} == {"train": 8, "test": 5}
        assert [(find["row"], find["kind"]) for find in report["bad_rows"]] == [("good0", "row_in_eval")]

    def test_headers_only(self, rows, capsys):
        Path("good0.png").write_bytes(Path("good0.png").read_bytes()[:3000])
        self.write(rows)
        assert check("rows.jsonl")[0] == 1
        assert check("rows.jsonl", "--decode", "false")[0] == 0
        assert "only headers of images were read" in capsys.readouterr().out

    def test_a_yaml_file_of_training_can_be_given(self, rows):
        self.write(rows)
        Path("run.yaml").write_text("dataset: rows.jsonl\nmodel: tiny\nlearning_rate: 1e-6\ncredit: srpo\n")
        status, report = check("--config", "run.yaml")
        assert status == 0
        assert report["model"] == "tiny"

    def test_many_finds_are_counted_and_the_first_shown(self, rows, capsys):
        self.write([{**row, "answer": ""} for row in rows[:10]] + rows[10:])
        status, report = check("rows.jsonl", "--shown", 2)
        assert status == 1
        assert len(report["bad_rows"]) == 10
        shown = capsys.readouterr().out
        assert len(re.findall(r"row good\d+ \(train\)", shown)) == 2
        assert "and 8 more" in shown
        assert "Training refuses 10 of 12 rows" in shown

    def test_every_row_bad(self, rows, capsys):
        self.write([{**row, "answer": ""} for row in rows])
        status, report = check("rows.jsonl", "--model", "tiny")
        assert status == 1
        assert report["splits"]["train"]["good"] == 0

    def test_names_with_square_brackets(self, rows, capsys):
        self.write(
            [{**row, "id": f"[red]{row['id']}[/x]"} for row in rows[:2]] + [{**rows[2], "answer": "", "id": "[/]"}]
        )
        Path("rows.jsonl").rename("[bold].jsonl")
        assert check("[bold].jsonl")[0] == 1
        shown = capsys.readouterr().out
        assert "[bold].jsonl" in shown
        assert "row [/] (train)" in shown


class TestCalls:
    def test_help(self, capsys):
        assert main(["data", "--help"]) == main(["data", "check", "--help"]) == 0
        shown = capsys.readouterr().out
        for word in ("srpo data check DATASET", "--json", "--columns", "--model", "Exit status"):
            assert word in shown

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["chek"], "unknown command 'data chek'"),
            (["check"], "no data set is named"),
            (["check", "nowhere.jsonl"], "nowhere.jsonl"),
            (["check", "shapes", "--colums", "a=b"], "did you mean --columns"),
            (["check", "shapes/pips", "--rows", "4", "--json", "no/such/folder.json"], "no/such/folder.json cannot be"),
            (["check", "shapes", "--model", "./nope"], "model './nope' is neither"),
            (["check", "shapes", "--shown", "-1"], "shown -1 must be 0 or more"),
        ],
    )
    def test_mistakes(self, arguments, words, capsys):
        assert words in refused(capsys, *arguments)

    def test_the_report_file_is_tried_first(self, capsys):
        for place in ("no/such/folder.json", "."):
            words = refused(capsys, "check", "nowhere.jsonl", "--json", place)
            assert f"json {place} cannot be written" in words
        assert "nowhere.jsonl" in refused(capsys, "check", "nowhere.jsonl", "--json", "report.json")
        assert not Path("report.json").exists()

    def test_files_that_are_not_read_are_named(self, capsys):
        for name in ("train", "more"):
            Path(f"{name}.jsonl").write_text(json.dumps({"question": name, "answer": "1"}))
        Path("settings.json").write_text(json.dumps({"size": 3}, indent=1))
        _, report = check(".")
        assert report["remarks"][-2:] == [
            "settings.json is not read: it holds no rows",
            "more.jsonl is not read: its name holds no split, as train.jsonl does",
        ]
        assert "more.jsonl is not read" in capsys.readouterr().out

    def test_the_built_in_world_is_clean(self):
        status, report = check("shapes", "--rows", 64, "--model", "tiny")
        assert status == 0
        assert {"train", "validation"} <= set(report["splits"])
        assert report["splits"]["train"]["answers"]["with_perception"] == 64


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the third-party data at {SHARED} is missing")
@pytest.mark.parametrize(("name", "rows"), [("puzzlevqa", 400), ("mathv", 304)])
def test_third_party_sets(name, rows):
    status, report = check(SHARED / name, "--model", "tiny")
    (split,) = report["splits"].values()
    assert split["rows"] == rows
    assert split["images"]["count"] >= split["good"]
    assert status == (1 if split["refused"] else 0)
