"""Fixtures: a browser, watched pages, and a report with known rollouts."""

import pytest

from srpo.report import write_report
from tests.browser import Watched, chromium
from tests.page_runs import known_run


@pytest.fixture(scope="module")
def browser():
    """Chromium, for one module: Playwright's event loop must not meet other tests."""
    with chromium() as started:
        yield started


@pytest.fixture
def watch(browser):
    """Open pages that must fetch nothing and say nothing; checked when the test ends."""
    opened = []

    def new(**options):
        opened.append(Watched(browser, **options))
        return opened[-1]

    yield new
    for page in opened:
        page.check()
        page.close()


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The report of a run with known rollouts."""
    run = known_run(tmp_path_factory.mktemp("known") / "run")
    write_report([run], run / "report.html")
    return run / "report.html"
