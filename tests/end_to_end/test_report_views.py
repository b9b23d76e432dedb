"""The report in a browser, beside its rollouts: curves, what is missing, watching a run, theme and keys."""

import re

from srpo.report import write_report
from tests.page_runs import known_run, reply, write_files, write_step

LOOKS = """c => [...c.querySelectorAll('.plot path')].map(
  p => [getComputedStyle(p).stroke, p.getAttribute('stroke-dasharray')])"""
READ = "c => [c.querySelector('.at').textContent, ...[...c.querySelectorAll('output')].map(o => o.textContent)]"


def test_a_nonsensical_address_shows_the_report_all_the_same(known, watch):
    nonsense = {"section": "<b>", "run": 77, "step": -3, "prompt": 99, "colour": "constructor", "show": "__proto__"}
    page = watch().open(known, **nonsense, token=10**8, off="x.1", smooth=999999)
    page.locator("#nav a", has_text="Rollouts").click()
    assert page.locator(".reply").count() == 4


def test_curves_of_several_runs_differ_by_colour_and_dash_and_tell_their_values(tmp_path, watch):
    rewards = [0.1, 0.5, 0.3], [0.2, None, 0.9], [0.4, 0.4, 0.4]
    runs = [write_files(tmp_path / f"run-{i}", metrics={"reward": values}) for i, values in enumerate(rewards)]
    write_report(runs, tmp_path / "report.html")
    page = watch().open(tmp_path / "report.html", section="curves")
    chart = page.locator(".chart", has_text="Reward").first
    looks = chart.evaluate(LOOKS)
    assert len(looks) == len({look[0] for look in looks}) == len({look[1] for look in looks}) == 3
    assert chart.evaluate(READ) == ["step 2", "0.3", "0.9", "0.4"]
    box = chart.locator(".plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.12, box["y"] + box["height"] / 2)
    assert chart.evaluate(READ) == ["step 0", "0.1", "0.2", "0.4"]
    page.mouse.move(5, 5)
    chart.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    assert chart.evaluate(READ)[:2] == ["step 1", "0.5"]
    assert "0.5" in page.locator("#said").inner_text()
    page.locator(".runboxes label", has_text="run-1").click()
    assert page.locator(".chart", has_text="Reward").first.locator(".plot path").count() == 2
    assert "off=1" in page.evaluate("location.hash")


def test_what_is_missing_is_told_and_what_is_there_is_shown(tmp_path, watch):
    run = write_files(tmp_path / "run")
    write_step(run, 0, [reply(0, kind="unscored"), reply(1, kind="unscored")])
    (run / "summary.json").unlink()
    (run / "rollouts" / "step_000005.parquet").write_bytes(b"PAR1 half a file")
    write_report([run], run / "report.html")
    page = watch().open(run / "report.html")
    notice = page.locator(".notice").inner_text()
    assert "step_000005.parquet" in notice
    page.locator("#nav a", has_text="Rollouts").click()
    assert page.locator(".reply .badge", has_text="not scored").count() == 2
    assert page.locator("input[name=colour][value=gap]").is_disabled()
    page.locator(".reply .t").nth(2).hover()
    assert page.locator("#tip dd[data-number=gap]").inner_text() == "not scored"


def test_replies_that_cannot_be_decoded_leave_a_sentence(tmp_path, known, watch):
    page_text = known.read_text(encoding="utf-8")
    broken = re.sub('(id="blob-0">)[^<]*', r"\1bm8gemxpYg==", page_text)
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    page = watch().open(tmp_path / "broken.html", section="rollouts")
    assert "cannot be read" in page.locator(".replies .notice").inner_text()
    page.keyboard.press("]")
    page.wait_for_selector(".reply .t")


def test_a_watched_report_reads_itself_again_and_stays_where_it_was(tmp_path, watch):
    run = known_run(tmp_path / "run")
    write_report([run], run / "report.html", refresh=1)
    page = watch().open(run / "report.html", section="rollouts", step=5, prompt=1, colour="gap")
    write_step(run, 9, [reply(7, question="A new one?")])
    write_report([run], run / "report.html", refresh=1)
    page.wait_for_selector(".ask:text-is('A new one?')", state="attached")
    page.wait_for_selector(".reply .t")
    assert page.locator(".words h2").inner_text() == "Question 1 of step 5?"
    assert page.locator("input[name=colour]:checked").get_attribute("value") == "gap"


def test_the_theme_follows_the_system_until_it_is_chosen(known, watch):
    page = watch(scheme="dark").open(known)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != dark
    page.keyboard.press("t")
    assert page.evaluate(ground) == dark


def test_question_mark_shows_the_keys(known, watch):
    page = watch().open(known)
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
