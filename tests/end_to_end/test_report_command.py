"""`srpo report` through its command line: a page of one run, of several, of half a run, of a run that goes on."""

import json
import re
import shutil
import threading
from pathlib import Path

import pytest

from srpo.cli import main
from srpo.commands import report
from srpo.run.rollouts import SCHEMA
from tests.report_runs import rollout, write_run


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def data_of(page):
    """What a page shows."""
    text = Path(page).read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def refused(capsys, *arguments):
    assert main(["report", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("srpo: error: ")
    return lines[0]


def test_a_run_gets_its_page_beside_it(capsys):
    write_run(Path("runs/one"))
    assert main(["report", "runs/one"]) == 0
    assert "runs/one/report.html" in capsys.readouterr().out
    page = Path("runs/one/report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "__" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert len(data_of("runs/one/report.html")["groups"]) == 2
    assert not list(Path("runs/one").glob("*.part"))
    assert main(["report", "runs/one"]) == 0  # the page is no part of the run that it shows


def test_several_runs_share_a_page():
    write_run(Path("runs/one"))
    write_run(Path("runs/two"), config={"credit": "uniform"})
    assert main(["report", "runs/one", "runs/two", "runs/one"]) == 0
    runs = data_of("report.html")["runs"]
    assert [(run["name"], run["credit"]) for run in runs] == [("one", "srpo"), ("two", "uniform")]
    assert main(["report", "runs/one", "runs/two", "--output", "pages/both.html"]) == 0
    assert data_of("pages/both.html")["title"] == "one, two"


def test_half_a_run_gives_half_a_report(capsys):
    run = write_run(Path("run"), finished=False)
    shutil.rmtree(run / "rollouts")
    (run / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n{"step": 2, "rew')
    assert main(["report", "run"]) == 0
    shown = capsys.readouterr().out
    assert "summary.json is not there" in shown
    assert "rollouts/ holds no readable file" in shown
    assert "1 line that cannot be read" in shown
    found = data_of("run/report.html")
    assert found["runs"][0]["series"]["reward"] == [[1, 0.5]]
    assert found["groups"] == []


def test_the_page_stays_within_its_size():
    tokens = [f"{i * 7919 % 1_000_003}" for i in range(8000)]
    weights = [1 + (i * 7919 % 1_000_003) / 1e6 for i in range(8000)]
    rows = [
        rollout(row_id=str(i), tokens=tokens, roles=[2] * 8000, gaps=weights[::-1], weights=weights) for i in range(30)
    ]
    write_run(Path("run"), rows)
    assert main(["report", "run", "--max_megabytes", "1"]) == 0
    assert 800_000 < Path("run/report.html").stat().st_size <= 1_000_000
    found = data_of("run/report.html")
    assert 0 < len(found["groups"]) < 30
    assert "of 30 prompts are left out" in found["left_out"]


def test_watching_writes_the_page_anew_until_the_run_has_finished(monkeypatch, capsys):
    run = write_run(Path("run"), finished=False)
    seen = []

    def sleep(seconds):
        """The run goes on while the command waits: nothing, another step, the end."""
        seen.append(
            (data_of("run/report.html")["refresh"], len(data_of("run/report.html")["runs"][0]["series"]["reward"]))
        )
        if len(seen) == 2:
            with (run / "metrics.jsonl").open("a") as file:
                file.write('{"step": 4, "reward": 0.4}\n')
        if len(seen) == 3:
            (run / "summary.json").write_text("{}")

    monkeypatch.setattr(report.time, "sleep", sleep)
    assert main(["report", "run", "--watch", "--every", "7"]) == 0
    assert seen == [(7, 3), (7, 3), (7, 4)]
    assert data_of("run/report.html")["refresh"] is None
    assert len(re.findall(r"^\d\d:\d\d:\d\d ", capsys.readouterr().out, re.MULTILINE)) == 2


def test_watching_ends_with_ctrl_c_and_leaves_a_page_that_rests(monkeypatch):
    write_run(Path("run"), finished=False)

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(report.time, "sleep", interrupted)
    assert main(["report", "run", "--watch"]) == 0
    assert data_of("run/report.html")["refresh"] is None


def test_a_page_is_never_half_written(monkeypatch):
    run = write_run(Path("run"))
    main(["report", "run"])
    whole, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            whole.append((run / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>"))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        main(["report", "run"])
    stop.set()
    reader.join()
    assert len(whole) > 10
    assert all(whole)


def test_the_documentation_names_what_there_is():
    page = (Path(__file__).resolve().parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    of_train = {"rollouts_every", "rollouts_saved"}
    assert set(re.findall(r"--(\w+)", page)) - of_train == {"output", "watch", "every", "max_megabytes"}
    assert set(re.findall(r"--(\w+)", report.USAGE)) == {"output", "watch", "every", "max_megabytes"}
    columns = re.findall(r"^\| (`.*?`) \|", page.partition("## Rollout files")[2], re.MULTILINE)
    assert [name for cell in columns for name in re.findall(r"`(\w+)`", cell)] == SCHEMA.names


def test_a_run_that_is_named_twice_is_shown_once(tmp_path):
    write_run(Path("run"))
    Path("link").symlink_to("run")
    assert main(["report", "run", "run/", "./link", str(tmp_path / "run")]) == 0
    assert [run["name"] for run in data_of("run/report.html")["runs"]] == ["run"]


def test_what_names_hold_neither_steers_the_terminal_nor_turns_into_pictures(capsys):
    run = write_run(Path(":bug:[red]"))
    (run / "rollouts" / "x\x1b]0;pwned\x07\x1b[31m.parquet").write_bytes(b"none")
    assert main(["report", str(run), "--output", "o\x1b[31m :bug:.html"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "x⟨U+001B⟩]0;pwned⟨U+0007⟩⟨U+001B⟩[31m.parquet" in shown
    assert "o⟨U+001B⟩[31m :bug:.html" in shown
    assert ":bug:[red]: rollouts/x" in shown


def test_a_damaged_summary_does_not_end_watching(monkeypatch):
    run = write_run(Path("run"))
    (run / "summary.json").write_text('{"after": ')
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        (run / "summary.json").write_text('{"after": {"accuracy": 0.5}}')

    monkeypatch.setattr(report.time, "sleep", sleep)
    assert main(["report", "run", "--watch"]) == 0
    assert len(waited) == 1


def test_mistakes_are_told_in_a_sentence(capsys):
    write_run(Path("run"))
    assert "no run is named; name a folder" in refused(capsys)
    assert "run nowhere does not exist" in refused(capsys, "nowhere")
    assert "run run/config.yaml is a file" in refused(capsys, "run/config.yaml")
    assert "unrecognized arguments: --colour" in refused(capsys, "run", "--colour")
    assert "max_megabytes 0.1 must be 1 or more" in refused(capsys, "run", "--max_megabytes", "0.1")
    assert "max_megabytes inf must be 1 or more" in refused(capsys, "run", "--max_megabytes", "inf")
    for every in ("0", "99999999999999999999"):
        assert f"every {every} must lie between 1 and 86400 seconds" in refused(capsys, "run", "--every", every)
    assert "run/rollouts cannot be written" in refused(capsys, "run", "--output", "run/rollouts")
    assert main(["report", "--help"]) == 0
