"""Hostile text in a run directory is shown as text in the report, and nothing of it runs or fetches anything."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from srpo.report import write_report
from srpo.run.rollouts import SCHEMA
from tests.browser import PHONE, Watched, overflow
from tests.page_runs import pictures, reply, write_files, write_step

SECTIONS = ("overview", "curves", "rollouts", "distributions", "config")
ATTACKS = (
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "</script><script>window.hit = 1</script>",
    "<!--<script>",
    "]]><svg onload=window.hit=1>",
    '" autofocus onfocus="window.hit=1" x="',
    "javascript:window.hit=1",
    "<a href='javascript:window.hit=1'>here</a>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<meta http-equiv=refresh content='0;url=https://attack.invalid/'>",
    "<link rel=stylesheet href=https://attack.invalid/a.css>",
    "<style>@import 'https://attack.invalid/a.css'; * { display: none }</style>",
    "url(https://attack.invalid/a.png)",
    "__SCRIPT__ __DATA__ __BLOBS__ \\1 $& ${window.hit = 1} {{7*7}}",
    "&lt;b&gt; &amp; &#60;script&#62;",
    "__proto__",
    "constructor",
)
BIDI = "\u202eesrever\u202c \u2066isolate\u2069 \u200fmark"
UNSEEN = "\u0000\u001b[31m\u200b\ufeff\u00ad\U000e0041\u2028"
ZALGO = "Z" + "\u0301\u0316" * 200
HUGE = "w" * 1_000_000


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The report of a run whose every text attacks: names of files, runs, metrics, rewards, settings, and rollouts."""
    run = tmp_path_factory.mktemp("hostile") / "a <img src=x onerror=window.hit=1> & \u202e\"'run"
    metrics = {name: [0.1, 0.2, 0.3] for name in (*ATTACKS, BIDI, "reward", f"rewards/{ATTACKS[0]}/mean", "w" * 3000)}
    write_files(run, metrics=metrics, **{name: name for name in ATTACKS}, nested={ATTACKS[0]: [ATTACKS[1], BIDI]})
    (run / "environment.json").write_text(json.dumps({"versions": {attack: attack for attack in ATTACKS}}))
    tokens = [*ATTACKS, BIDI, UNSEEN, ZALGO, HUGE, "\ufffd", "\n\n\n", "\t", "مرحبا", "end"]
    texts = {
        "row_id": ATTACKS[5],
        "question": " ".join(ATTACKS) + BIDI + UNSEEN,
        "reference": ATTACKS[1],
        "task": ATTACKS[0],
    }
    first = reply(0) | texts | pictures() | {"options": [*ATTACKS, HUGE], "corruption": ATTACKS[1]}
    first |= {"rewards": [(name, 1.0) for name in ATTACKS], "tokens": tokens, "roles": [1] * len(tokens)}
    first |= {"gaps": [0.5] * len(tokens), "weights": [1.5] * len(tokens)}
    write_step(run, 0, [first, reply(1) | texts])
    (run / "rollouts" / f"step_{ATTACKS[0].replace('/', '')}.parquet").write_bytes(b"PAR1")
    write_report([run], run.parent / "report.html")
    return run.parent / "report.html"


def test_hostile_text_is_shown_as_text_and_runs_nothing(hostile, watch):
    for viewport in (None, PHONE):
        watched = watch(viewport=viewport)
        for section in SECTIONS:
            page = watched.open(hostile, section=section)
            assert overflow(page) == 0, section
            assert page.evaluate("typeof window.hit") == "undefined"
            foreign = "main :is(script, iframe, meta, link, style, a, object, embed, form:not([method=dialog]))"
            assert page.locator(foreign).count() == 0
            assert page.locator("main [onerror], main [onload], main [onfocus]").count() == 0
            assert all(uri.startswith("data:image/") for uri in page.evaluate("[...document.images].map(i => i.src)"))


def test_every_character_of_a_hostile_token_can_be_read(hostile, watch):
    page = watch().open(hostile, section="rollouts")
    shown = page.evaluate("[...document.querySelector('.tokens').children].map(t => t.textContent)")
    assert shown[: len(ATTACKS)] == list(ATTACKS)
    assert shown[len(ATTACKS)] == "⟨U+202E⟩esrever⟨U+202C⟩ ⟨U+2066⟩isolate⟨U+2069⟩ ⟨U+200F⟩mark"
    assert shown[len(ATTACKS) + 1] == ("⟨U+0000⟩⟨U+001B⟩[31m⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩⟨U+E0041⟩⟨U+2028⟩")
    huge = shown[len(ATTACKS) + 3]
    assert len(huge) < 600
    assert "1,000,000 characters" in huge
    assert shown[len(ATTACKS) + 4] == "\ufffd"
    assert page.locator(".words h2").inner_text().startswith(ATTACKS[0])
    assert page.evaluate("getComputedStyle(document.querySelector('.tokens .t')).unicodeBidi") == "isolate"
    tokens = page.locator(".tokens").first.locator(".t")
    tokens.nth(1).hover()
    assert page.locator("#tip .quote").inner_text() == ATTACKS[1]
    tokens.nth(1).click()
    assert ATTACKS[1] in page.locator("#said").text_content()


def test_lone_surrogates_of_a_reply_are_shown_by_their_numbers(tmp_path, watch, hostile):
    """They cannot come through UTF-8, but JSON can hold them: a title stands for all text of the payload."""
    text = hostile.read_text(encoding="utf-8")
    start = text.index('"title":"') + len('"title":"')
    (tmp_path / "report.html").write_text(text[:start] + "\\ud800x\\udc00 " + text[start:], encoding="utf-8")
    page = watch().open(tmp_path / "report.html")
    assert page.locator("#title").text_content().startswith("⟨U+D800⟩x⟨U+DC00⟩ ")


def test_bytes_that_are_no_text_show_as_replacement_characters(tmp_path, watch):
    run = write_files(tmp_path / "run")
    rows = [reply(0, question="bytes \ufffe here")]
    write_step(run, 0, rows)
    path = run / "rollouts" / "step_000000.parquet"
    plain = pq.read_table(path)
    spoilt = pa.array([b"cut \xe2\x82 and \xff\xfe"]).view(pa.string())
    table = plain.set_column(SCHEMA.get_field_index("question"), "question", spoilt)
    pq.write_table(table, path)
    write_report([run], run / "report.html")
    page = watch().open(run / "report.html", section="rollouts")
    assert page.locator(".words h2").inner_text() == "cut \ufffd and \ufffd\ufffd"


def test_an_injected_script_is_refused_by_the_page_itself(hostile, browser, tmp_path):
    """The policy holds even where text were put in as markup."""
    text = hostile.read_text(encoding="utf-8")
    attack = (
        "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'><img src='https://attack.invalid/a.png'>"
    )
    (tmp_path / "injected.html").write_text(text.replace("<body>", f"<body>{attack}"), encoding="utf-8")
    watched = Watched(browser)
    page = watched.open(tmp_path / "injected.html")
    assert page.evaluate("typeof window.hit") == "undefined"
    assert any("Content Security Policy" in said for said in watched.said)
    assert watched.refused == dict.fromkeys(watched.requests, "csp")
    watched.close()
