"""The tables of evaluations, of comparisons and of measured credits."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from srpo.audit_legend import legend
from srpo.report.pictures import data_uri
from srpo.report.runs import RunFiles
from srpo.report.text import finite, shortened

Table = dict[str, Any]
LARGEST_FIGURE = 2_000_000  # bytes
_COLUMNS = ["figure", "value", "95 % low", "95 % high", "questions"]
_INTERVALS = "The 95 % interval is over questions: how far a figure may move with another choice of them."
_TENTHS = "From the first to the last tenth of a role's tokens."
_FIGURES = {"compare": "figure.png", "credit": "credit.png"}
_MARKDOWN = {"compare": "results.md", "credit": "credit.md"}
_PNG = b"\x89PNG\r\n\x1a\n"


def audit_tables(run: RunFiles) -> list[Table]:
    """The figures of an evaluation with their 95 % intervals, those of the audit, and both by task and family."""
    found, tables = run.result or {}, []
    for part, title in (("metrics", "Evaluation"), ("audit", "Grounding audit")):
        rows = list(_estimates(found.get(part)))
        if rows:
            meanings = legend([row[0] for row in rows]) if part == "audit" else []
            note = "\n".join([_INTERVALS, *(f"{meaning}." for meaning in meanings)])
            tables.append({"title": title, "note": note, "columns": _COLUMNS, "rows": rows})
    for column in ("task", "family"):
        for part, title in ((f"by_{column}", "Evaluation"), (f"audit_by_{column}", "Grounding audit")):
            groups = found.get(part)
            if isinstance(groups, Mapping) and len(groups) > 1:
                tables.append(_by_group(f"{title} by {column}", column, groups))
    return [*tables, *_dependency(found.get("dependency"))]


def headline(run: RunFiles) -> list[list[Any]]:
    """(label, value, low, high, questions) of what an evaluation is about; None for what is unknown."""
    found = run.result or {}
    wanted = (("metrics", "accuracy", "accuracy"), ("audit", "grounded_accuracy", "grounded accuracy"))
    return [
        [label, *(None if cell == "" else cell for cell in cells)]
        for part, wanted_name, label in wanted
        for name, *cells in _estimates(found.get(part))
        if name == wanted_name and cells[0] != ""
    ]


def comparison(run: RunFiles) -> dict[str, Any] | None:
    """Tables and figure of a comparison or of measured credits; None where there are none."""
    if run.kind not in _MARKDOWN:
        return None
    figure = _figure(run.path / _FIGURES[run.kind])
    try:
        text = (run.path / _MARKDOWN[run.kind]).read_bytes().decode("utf-8", "replace")
    except OSError:
        text = ""
    tables = markdown_tables(text)
    verdict = (run.result or {}).get("verdict")
    if tables and isinstance(verdict, str):
        tables[0]["note"] = f"{shortened(verdict)} {tables[0]['note']}".strip()
    return {"tables": tables, "figure": figure} if tables or figure else None


def markdown_tables(text: str) -> list[Table]:
    """The tables of a Markdown page, each with the heading above it and the text below."""
    tables: list[Table] = []
    title, notes = "", list[str]()
    for line in text.splitlines():
        if line.startswith("#"):
            title, notes = line.strip("# "), []
        elif line.startswith("|"):
            cells = [_cell(cell) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if not tables or tables[-1]["open"] is False or tables[-1]["title"] != title:
                tables.append({"title": title, "note": " ".join(notes), "columns": cells, "rows": [], "open": True})
            elif set("".join(map(str, cells))) - set("-: "):
                tables[-1]["rows"].append(cells)
        else:
            said = line.strip("- *")
            if tables:
                tables[-1]["open"] = False
                tables[-1]["note"] = f"{tables[-1]['note']} {said}".strip()
            elif said:
                notes.append(said)
    return [{name: table[name] for name in ("title", "note", "columns", "rows")} for table in tables]


def _cell(text: str) -> str | float:
    text = text.strip().replace("\\|", "|")
    try:
        known = finite(float(text))
    except ValueError:
        known = None
    return shortened(text, 500) if known is None else known


def _figure(path: Path) -> str | None:
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGEST_FIGURE else b""
    except OSError:
        return None
    return data_uri("image/png", content) if content.startswith(_PNG) else None


def _estimates(of: Any) -> Iterator[list[Any]]:
    for name, estimate in of.items() if isinstance(of, Mapping) else ():
        if isinstance(estimate, Mapping) and isinstance(estimate.get("value"), (int, float)):
            figures = [_rounded(estimate.get(part)) for part in ("value", "low", "high", "n")]
            yield [shortened(str(name), 200), *figures]


def _by_group(title: str, column: str, groups: Mapping[str, Any]) -> Table:
    rows = {group: {name: value for name, value, *_ in _estimates(of)} for group, of in groups.items()}
    names = list(dict.fromkeys(name for of_group in rows.values() for name in of_group))
    cells = [[shortened(str(group), 200), *(of.get(name, "") for name in names)] for group, of in rows.items()]
    return {"title": title, "note": "", "columns": [column, *names], "rows": cells}


def _dependency(profile: Any) -> list[Table]:
    """Mean gaps of each role by tenths of its tokens."""
    of_roles = {role: profile.get(role) for role in ("perception", "reasoning")} if isinstance(profile, Mapping) else {}
    rows = [
        [role, _rounded(of_role.get("overall")), *map(_rounded, of_role["mean"])]
        for role, of_role in of_roles.items()
        if isinstance(of_role, Mapping) and isinstance(of_role.get("mean"), list)
    ]
    if not rows:
        return []
    tenths = [f"tenth {i}" for i in range(1, max(map(len, rows)) - 1)]
    columns = ["role", "all tokens", *tenths]
    return [{"title": "Dependency, mean gap in nats a token", "note": _TENTHS, "columns": columns, "rows": rows}]


def _rounded(value: Any) -> float | str:
    known = finite(value, 6 if isinstance(value, int) else 4)
    return "" if known is None else known
