"""The report in a browser: what a reader sees, clicks, hovers and types."""

import math
import re

import pyarrow.parquet as pq
import pytest

from srpo.cli import main
from srpo.report import write_report
from tests.browser import PHONE, overflow
from tests.page_runs import reply, write_files, write_step

SECTIONS = ("overview", "curves", "rollouts", "distributions", "config")
ROLES = ("neither role", "perception", "reasoning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short real run of the demo, and its report."""
    run = tmp_path_factory.mktemp("trained") / "run"
    small = {"rows": 64, "per_device_train_batch_size": 16, "num_generations": 8, "max_completion_length": 48}
    more = {"eval_rows": 8, "per_device_eval_batch_size": 8, "max_steps": 2, "seed": 1, "rollouts_every": 1}
    options = {**small, **more, "gradient_accumulation_steps": 1, "steps_per_generation": 1, "output_dir": run}
    assert main(["train", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]) == 0
    write_report([run], run / "report.html")
    return run


def value_of(text):
    """The number that a text of the page shows, without its unit."""
    return float(text.replace("−", "-").replace(",", "").removesuffix(" nats"))


def shown_numbers(page):
    """name -> text of the numbers under the pointer."""
    return dict(page.evaluate("[...document.querySelectorAll('#tip dd')].map(d => [d.dataset.number, d.textContent])"))


def questions(page):
    return page.locator(".prompt .ask").all_inner_texts()


def headline(page):
    return page.locator(".words h2").inner_text()


def levels(page):
    """The level of each token of the first reply, 0 to 20."""
    return [int(re.search(r"c(\d+)", name)[1]) for name in page.evaluate(TOKEN_CLASSES)]


TOKEN_CLASSES = "[...document.querySelector('.tokens').children].map(t => t.className)"


def test_tokens_of_a_real_run_tell_the_numbers_of_its_rollouts(trained, watch):
    rows = pq.read_table(trained / "rollouts" / "step_000000.parquet").to_pylist()
    scored = [row for row in rows[:8] if row["gaps"]] or pytest.fail("no reply of the first prompt was scored")
    page = watch().open(trained / "report.html", section="rollouts")
    assert headline(page) == rows[0]["question"]
    assert page.locator(".reply").count() == 8
    assert page.locator(".pictures img").count() == 2
    for row in (scored[0], scored[-1]):
        tokens = page.locator(".tokens").nth(rows.index(row)).locator(".t")
        assert tokens.count() == len(row["tokens"])
        for i in (1, len(row["tokens"]) // 2, len(row["tokens"]) - 3):
            tokens.nth(i).hover()
            numbers = shown_numbers(page)
            assert value_of(numbers["weight"]) == pytest.approx(row["weights"][i], rel=6e-4)
            assert value_of(numbers["gap"]) == pytest.approx(row["gaps"][i], rel=6e-4)
            assert value_of(numbers["advantage"]) == pytest.approx(row["advantage"] * row["weights"][i], rel=2e-3)
            assert ROLES[row["roles"][i]] in page.locator("#tip .where").inner_text()
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_every_section_shows_on_a_laptop_and_on_a_phone_in_both_themes(trained, watch):
    for viewport, scheme in ((None, "dark"), (PHONE, "light"), (PHONE, "dark")):
        watched = watch(viewport=viewport, scheme=scheme)
        for section in SECTIONS:
            page = watched.open(trained / "report.html", section=section)
            assert page.locator("main > section:visible").count() == 1
            assert page.locator("#nav a[aria-current]").get_attribute("data-section") == section
            assert overflow(page) == 0
        assert page.locator("#nav a").count() == len(SECTIONS)  # those without data are absent


def test_colourings_switch_by_mouse_and_by_key(known, watch):
    rows = pq.read_table(known.parent / "rollouts" / "step_000000.parquet").to_pylist()
    page = watch().open(known, section="rollouts")
    weights = levels(page)
    assert [level > 10 for level in weights] == [w > 1.06 for w in rows[0]["weights"]]
    assert [level < 10 for level in weights] == [w < 0.94 for w in rows[0]["weights"]]
    assert "≥ 3" in page.locator(".ticks").inner_text()
    page.locator("label", has_text="Gap").click()
    gaps = levels(page)
    assert gaps != weights
    assert all((level - 10) * gap >= 0 for level, gap in zip(gaps, rows[0]["gaps"], strict=True))
    assert "≥ 8" in page.locator(".ticks").inner_text()
    page.keyboard.press("c")
    assert page.locator("input[name=colour]:checked").get_attribute("value") == "advantage"
    assert min(levels(page)) > 10  # a right reply: every token is made likelier
    page.keyboard.press("c")
    assert set(levels(page)) == {10}
    assert page.locator(".legend .scale").count() == 0
    page.keyboard.press("c")
    assert levels(page) == weights


def test_a_tinted_token_can_be_read_and_its_role_seen_without_colour(known, watch):
    for scheme in ("light", "dark"):
        page = watch(scheme=scheme).open(known, section="rollouts")
        for level in range(21):
            ratio = page.evaluate(CONTRAST, level)
            assert ratio >= 4.5, (scheme, level, ratio)
        style = "getComputedStyle(document.querySelector('.tokens .t.%s')).textDecorationStyle"
        assert [page.evaluate(style % role) for role in "pr"] == ["solid", "dotted"]


CONTRAST = """level => {
  const token = document.querySelector('.tokens .t.p');
  token.className = tokenClass(1, level);
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const light = (...colours) => {
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const card = getComputedStyle(token.closest('.reply')).backgroundColor;
  const style = getComputedStyle(token);
  const [low, high] = [light(card, style.backgroundColor), light(style.color)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}"""


def test_filters_keep_the_replies_of_a_kind(known, watch):
    page = watch().open(known, section="rollouts")
    counts = {
        text.split()[0]: int(text.split()[-1]) for text in page.locator("aside .segmented span").all_inner_texts()
    }
    assert counts == {"All": 16, "Right": 8, "Wrong": 8, "Lucky": 2, "Unstructured": 2}
    for name, prompts, replies in (("Right", 4, 2), ("Lucky", 2, 1), ("Unstructured", 2, 1), ("All", 4, 4)):
        page.locator(f"aside label:has([value={name.lower()}])").click()
        page.wait_for_selector(".reply")
        assert len(questions(page)) == prompts
        assert page.locator(".reply").count() == replies
    page.locator("aside label:has([value=lucky])").click()
    assert page.locator(".reply h3").inner_text().split() == ["Reply", "3", "lucky"]
    page.get_by_text("Show all").click()
    assert page.locator(".reply").count() == 4


def test_the_largest_weights_come_first_when_asked_for(known, watch):
    page = watch().open(known, section="rollouts", order="weight")
    shown = [float(text) for text in page.locator(".rewards div:last-child dd").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    rows = [
        row for step in (0, 5) for row in pq.read_table(known.parent / f"rollouts/step_{step:06d}.parquet").to_pylist()
    ]
    largest = max((row for row in rows), key=lambda row: max(row["weights"]))
    assert headline(page) == largest["question"]


def test_stepping_through_prompts_by_mouse_and_by_keys(known, watch):
    page = watch().open(known, section="rollouts")
    names = [f"Question {prompt} of step {step}?" for step in (0, 5) for prompt in (0, 1)]
    assert questions(page) == names
    page.get_by_label("Next prompt").click()
    assert headline(page) == names[1]
    page.keyboard.press("]")
    assert headline(page) == names[2]
    page.keyboard.press("[")
    assert headline(page) == names[1]
    page.locator(".prompt").nth(3).click()
    assert headline(page) == names[3]
    page.keyboard.press("]")  # the last one stays
    assert headline(page) == names[3]
    page.keyboard.press("ArrowUp")
    assert headline(page) == names[2]
    assert page.evaluate("document.activeElement.matches('.prompt[aria-current]')")
    page.get_by_label("Step").select_option("0")
    assert headline(page) == names[0]


def test_arrow_keys_move_among_tokens_and_say_their_numbers(known, watch):
    row = pq.read_table(known.parent / "rollouts" / "step_000000.parquet").to_pylist()[0]
    page = watch().open(known, section="rollouts")
    tokens = page.locator(".tokens").first
    assert tokens.locator("[tabindex]").count() == 1  # one tab stop a reply
    tokens.locator(".t").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.locator("#said").inner_text()
    assert said.startswith(row["tokens"][2].strip())
    assert "perception" in said
    assert value_of(re.search(r"weight (\S+),", said)[1]) == pytest.approx(row["weights"][2], rel=6e-4)
    assert shown_numbers(page)["weight"] in said
    place = "document.activeElement.index"
    top = "boxOf(document.activeElement).top"
    above = page.evaluate(top)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(top) > above
    page.keyboard.press("ArrowUp")
    assert page.evaluate(top) == above
    page.keyboard.press("End")
    assert page.evaluate(place) == len(row["tokens"]) - 1
    page.keyboard.press("ArrowRight")
    assert page.evaluate(place) == len(row["tokens"]) - 1
    page.keyboard.press("Home")
    assert page.evaluate(place) == 0
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.reply').getAttribute('aria-label')").startswith("Reply 2")


def test_the_address_keeps_what_is_looked_at(known, watch):
    page = watch().open(known, section="rollouts")
    page.locator("aside label", has_text="Wrong").click()
    page.locator(".prompt").nth(3).click()
    page.locator(".colours label", has_text="Gap").click()
    page.keyboard.press("t")
    page.locator(".reply .t").nth(3).click()
    before = page.evaluate("[location.hash, document.documentElement.dataset.theme]")
    page.reload()
    page.wait_for_selector(".reply .t")
    assert page.evaluate("[location.hash, document.documentElement.dataset.theme]") == before
    assert headline(page) == "Question 1 of step 5?"
    assert page.locator("input[name=show]:checked").get_attribute("value") == "wrong"
    assert page.locator("input[name=colour]:checked").get_attribute("value") == "gap"
    assert page.evaluate("document.querySelector('.linked').index") == 3
    page.locator("#nav a", has_text="Curves").click()
    page.go_back()
    assert page.locator("#nav a[aria-current]").inner_text() == "Rollouts"


def test_numbers_survive_packing_exactly_enough(tmp_path, watch):
    values = [1.0, 0.5, 1e-7, -12345.678, 3.3333333, -1e-30, 0.0, math.nan]
    row = {"tokens": [f"t{i}" for i in range(8)], "roles": [1] * 8, "gaps": values, "weights": [1.0] * 8}
    run = write_files(tmp_path / "run")
    write_step(run, 0, [reply(0) | row])
    write_report([run], run / "report.html")
    page = watch().open(run / "report.html", section="rollouts")
    for i, value in enumerate(values):
        page.locator(".reply .t").nth(i).hover()
        text = shown_numbers(page)["gap"]
        if math.isnan(value):
            assert text.startswith("–")
        else:
            assert value_of(text) == pytest.approx(value, rel=6e-4)
