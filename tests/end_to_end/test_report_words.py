"""The report in a browser: what it says about runs, signs, scales and tables, and that narrow windows can show it."""

import json
import re

import pytest

from srpo.report import write_report
from tests.browser import PHONE, overflow
from tests.page_runs import known_run, reply, write_files, write_step

NOTE = "Of this reply no advantage is known: weights as for a right one."


def altered(report, file, change):
    """A report whose payload has been changed by `change`."""
    found = re.search(r'(?<=id="data">).*?(?=</script>)', report.read_text(encoding="utf-8"), re.DOTALL)
    data = json.loads(found[0])
    change(data)
    text = found.string[: found.start()] + json.dumps(data).replace("<", "\\u003c") + found.string[found.end() :]
    file.write_text(text, encoding="utf-8")
    return file


def of_run(**columns):
    """A change of the first run of a payload."""
    return lambda data: data["runs"][0].update(columns)


def facts(page):
    """name -> text of the first run's card."""
    pairs = "d => [d.textContent, d.nextElementSibling.textContent]"
    return dict(page.evaluate(f"[...document.querySelectorAll('.run dt')].map({pairs})"))


def unmeasured(data):
    """A run whose credit measures no gaps."""
    data["runs"][0].update(credit="uniform", strength=None, clip=None)
    for group in data["groups"]:
        for each in group["replies"]:
            each.update(scored=False, largest_weight=None)


def test_a_credit_without_gaps_shows_none(tmp_path, watch):
    run = write_files(tmp_path / "run", credit="uniform")
    write_step(run, 0, [reply(0, kind="unscored", advantage=0.75), reply(1, kind="unscored", advantage=-1.25)])
    write_report([run], run / "report.html")
    report = altered(run / "report.html", tmp_path / "report.html", unmeasured)
    page = watch().open(report, section="rollouts", colour="gap")
    assert page.locator(".colours label").all_inner_texts() == ["Weight", "Advantage", "Role only"]
    assert page.get_by_label("Order").count() == 0
    assert "max weight" not in page.locator(".rewards").first.inner_text()
    assert page.locator("input[name=colour]:checked").get_attribute("value") == "weight"
    assert page.locator(".badge", has_text="not scored").count() == 0
    page.locator(".reply .t").nth(2).hover()
    assert page.locator("#tip dd").evaluate_all("all => all.map(d => d.dataset.number)") == ["weight", "advantage"]
    page = watch().open(report, section="overview")
    assert facts(page)["credit"] == "uniform"
    assert not {"strength λ", "weights clipped to"} & set(facts(page))


def test_the_gap_of_a_token_without_a_role_is_a_dash(known, watch):
    page = watch().open(known, section="rollouts")
    for token, text in ((0, "–, neither role"), (2, " nats")):
        page.locator(".reply .t").nth(token).hover()
        assert page.locator("#tip dd[data-number=gap]").inner_text().endswith(text.strip())


def test_the_note_of_a_run_stands_above_its_replies_and_in_the_overview(tmp_path, known, watch):
    report = altered(known, tmp_path / "report.html", of_run(note=NOTE))
    page = watch().open(report, section="rollouts")
    note = page.locator(".detail .notice")
    assert note.inner_text() == NOTE
    assert note.bounding_box()["y"] < page.locator(".reply").first.bounding_box()["y"]
    assert NOTE in watch().open(report, section="overview").locator(".run").inner_text()


def test_the_overview_leads_with_the_result_of_an_evaluation(tmp_path, known, watch):
    headline = [["accuracy", 0.5312, 0.4512, 0.6, 64], ["grounded accuracy", 0.25, None, None, None]]
    shown = of_run(kind="eval", credit="", strength=None, clip=None, headline=headline, summary={"credit": "twice"})
    page = watch().open(altered(known, tmp_path / "report.html", shown), section="overview")
    assert facts(page)["accuracy"] == "0.531 (95 %: 0.451 … 0.600), 64 questions"
    assert facts(page)["grounded accuracy"] == "0.250"
    assert "strength λ" not in facts(page)
    assert "weights clipped to" not in facts(page)


def test_no_fact_of_a_run_stands_twice(tmp_path, known, watch):
    report = altered(known, tmp_path / "report.html", of_run(credit="srpo", summary={"credit": "srpo", "seconds": 3}))
    page = watch().open(report, section="overview")
    names = page.locator(".run dt").all_inner_texts()
    assert names.count("credit") == 1
    assert "seconds" in names


def test_held_out_figures_tell_of_how_many_questions(tmp_path, known, watch):
    report = altered(known, tmp_path / "report.html", of_run(held_out=1024))
    head = watch().open(report, section="overview").locator(".heldout thead")
    assert "1,024 questions" in head.inner_text()
    assert "question" not in watch().open(known, section="overview").locator(".heldout thead").inner_text()


def test_lucky_and_the_sign_of_an_empty_token_are_explained_without_a_mouse(known, watch):
    for viewport in (None, PHONE):
        page = watch(viewport=viewport).open(known, section="rollouts")
        assert "lucky: right, though the written perception is not" in page.locator(".signkey").inner_text()
        assert "∅ no text" in page.locator(".rolekey").inner_text()
        assert overflow(page) == 0
        page.locator("#help").click()
        for sentence in ("right, though the written perception is not", "a token without text"):
            assert sentence in page.locator("#keys").inner_text()


def test_the_right_filter_says_that_it_includes_the_lucky(tmp_path, known, watch):
    right = ".segmented label:has([value=right])"
    assert watch().open(known, section="rollouts").locator(right).inner_text() == "Right (lucky included) 8"

    def unlucky(data):
        for group in data["groups"]:
            for each in group["replies"]:
                each["lucky"] = None

    report = altered(known, tmp_path / "report.html", unlucky)
    assert watch().open(report, section="rollouts").locator(right).inner_text() == "Right 8"


def test_the_steps_of_rollouts_and_of_curves_are_told_apart(tmp_path, known, watch):
    series = {"reward": [[1, 0.1], [5, 0.2], [6, 0.3], [7, 0.4]]}
    report = altered(known, tmp_path / "report.html", of_run(series=series))
    page = watch().open(report, section="rollouts", step=5)
    sentence = "Step 5 was sampled after 5 optimizer steps; its rewards are part of step 6 of the curves."
    assert sentence in page.locator("aside").inner_text()
    report = altered(known, tmp_path / "report.html", of_run(series={}))
    page = watch().open(report, section="rollouts", step=5)
    assert "of the curves" not in page.locator("aside").inner_text()


def test_prompts_of_one_step_in_two_files_can_all_be_reached(tmp_path, watch):
    run = known_run(tmp_path / "run")
    (run / "rollouts" / "step_000005.parquet").rename(run / "rollouts" / "step_5.parquet")
    write_step(run, 5, [reply(7, row_id="late", question="A late one?")])
    write_report([run], run / "report.html")
    page = watch().open(run / "report.html", section="rollouts")
    asked = page.locator(".prompt .ask").all_inner_texts()
    assert len(asked) == 5
    for i, name in enumerate(asked):
        page.locator(".prompt").nth(i).click()
        assert page.locator(".words h2").inner_text() == name


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [0.99, 1.0], [0.3, 0.3]])
def test_the_axis_of_a_share_stays_between_zero_and_one(tmp_path, watch, values):
    run = write_files(tmp_path / "run", metrics={"srpo/structured/fraction": values})
    write_report([run], run / "report.html")
    page = watch().open(run / "report.html", section="curves")
    ticks = page.evaluate("[...document.querySelectorAll('.axes text[text-anchor=end]')].map(t => t.textContent)")
    numbers = [float(text.replace("−", "-")) for text in ticks if text != "step"]
    assert len(numbers) >= 2
    assert min(numbers) >= 0
    assert max(numbers) <= 1


@pytest.mark.parametrize("values", [[1e17, 1e17 + 16], [1.7e308, -1.7e308, 1.0], [5e-324, 0.0], [-1e100, 1e100]])
def test_extreme_values_are_drawn_without_nonsense(tmp_path, watch, values):
    run = write_files(tmp_path / "run", metrics={"reward": values})
    write_report([run], run / "report.html")
    page = watch().open(run / "report.html", section="curves")
    assert not re.search("NaN|Infinity|undefined", page.locator(".charts").evaluate("c => c.outerHTML"))


def test_tables_break_no_words_and_keep_their_first_column_in_view(tmp_path, known, watch):
    columns = ["figure", "value", "95 % low", "95 % high", "questions"]
    rows = [["accuracy", 0.5, 0.4, 0.6, 64], ["unsupported_share/edited_differently", 0.25, 0.2, 0.3, 64]]
    by = {
        "columns": ["family", *(f"vision_gain/corrupted_{i}" for i in range(12))],
        "rows": [["perception", *[0.5] * 12]] * 2,
    }

    def audited(data):
        data["runs"][0]["kind"] = "eval"
        data["audit"] = [
            {"run": 0, "title": "Evaluation", "note": "", "columns": columns, "rows": rows},
            {"run": 0, "title": "By family", "note": "A note.", **by},
        ]

    report = altered(known, tmp_path / "report.html", audited)
    for viewport in (None, PHONE):
        page = watch(viewport=viewport).open(report, section="audit")
        assert overflow(page) == 0
        assert page.evaluate(BROKEN) == []
        width = page.evaluate("innerWidth")
        value = page.locator("tbody tr").first.locator("td").nth(1).bounding_box()
        assert value["x"] + value["width"] < width
    page.locator(".wide").nth(1).evaluate("box => { box.scrollLeft = 500; }")
    first = page.locator(".wide").nth(1).locator("tbody tr > :first-child").first.bounding_box()
    assert 0 <= first["x"] < 40
    page = watch(viewport=PHONE).open(known, section="distributions")
    assert page.evaluate(BROKEN) == []


BROKEN = """() => [...document.querySelectorAll('th, td, .key .name')].flatMap(cell => {
  const words = [];
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    for (const match of node.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) words.push(match[0]);
    }
  }
  return words;
})"""
