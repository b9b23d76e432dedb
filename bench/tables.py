"""Write the tables of docs/performance.md from the JSON results of the benches.

    python -m bench.tables [--results bench/results] [--page docs/performance.md]

Each `<!-- bench: NAME -->` ... `<!-- end -->` of the page is filled from RESULTS/NAME.json, if there is one.
"""

import argparse
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

MARKED = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rows_of(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [header, ["---:"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(quotient: dict[str, float], digits: int) -> str:
    """Median and range of a ratio; the median alone where there was one round."""
    low, middle, high = (f"{quotient[name]:.{digits}f}" for name in ("min", "median", "max"))
    return middle if low == high else f"{middle} ({low} to {high})"


def last_slope(values: list[float], seconds: list[float]) -> float:
    """Slope of log time over log value between the two largest values."""
    return math.log(seconds[-1] / seconds[-2]) / math.log(values[-1] / values[-2])


def scoring(results: list[dict[str, Any]]) -> str:
    """Plain against shared, one line a setting."""
    header = ["G", "image", "completion", "perception", "A = 0", "plain s", "shared s", "faster", "× floor"]
    header += ["MiB plain", "MiB shared", "largest difference (nats)"]
    rows = []
    for one in results:
        setting, memory = one["setting"], one["peak_bytes"]
        rows.append(
            [
                *(str(setting[name]) for name in ("rollouts_per_group", "image_tokens", "completion_tokens")),
                str(setting["perception_tokens"]),
                f"{setting['zero_advantage']:.0%}" + ", scattered" * setting["scattered"],
                *(f"{statistics.median(one['seconds'][name]):.2f}" for name in ("plain", "shared")),
                spread(one["speedup"], 1) + "×",
                spread(one["over_floor"], 2),
                *(f"{memory[name] / 2**20:.0f}" for name in ("plain", "shared")),
                f"{one['largest_difference_nats']:.0e}",
            ]
        )
    return rows_of(header, rows)


def share(seconds: dict[str, list[float]]) -> str:
    """Contrasts over the rest of the same step, which noise between runs does not touch: mean and range in percent."""
    parts = [
        contrasts / (step - contrasts) for contrasts, step in zip(seconds["contrasts"], seconds["step"], strict=True)
    ]
    return f"{statistics.mean(parts):.1%} ({min(parts):.1%} to {max(parts):.1%})"


def step(results: dict[str, Any]) -> str:
    """Seconds of each phase, one line a way."""
    phases = list(next(iter(results.values()))["seconds"])
    rows = [
        [
            way,
            *(f"{statistics.median(one['seconds'][phase]):.2f}" for phase in phases),
            share(one["seconds"]),
            spread(one["ratio"], 2),
        ]
        for way, one in results.items()
    ]
    return rows_of(["", *phases, "contrasts over the rest", "× GRPO"], rows)


def scaling(results: dict[str, Any]) -> str:
    """Seconds and exponent, one line an axis."""
    rows = [
        [
            axis.replace("_", " "),
            ", ".join(map(str, one["values"])),
            ", ".join(f"{seconds:.2f}" for seconds in one["seconds"]),
            f"{one['exponent']:.2f}",
            f"{last_slope(one['values'], one['seconds']):.2f}",
        ]
        for axis, one in results.items()
    ]
    return rows_of(["axis", "values", "seconds", "exponent", "of the last two"], rows)


def memory(results: list[dict[str, Any]]) -> str:
    """Measured and estimated MiB, one line a setting and phase."""
    rows = [
        [
            one["setting"],
            one["phase"],
            *(f"{one[name] / 2**20:.0f}" for name in ("measured", "predicted")),
            f"{one['predicted'] / one['measured']:.2f}",
        ]
        for one in results
    ]
    return rows_of(["setting", "phase", "measured MiB", "estimate MiB", "estimate / measured"], rows)


def report(results: dict[str, float]) -> str:
    """What making, opening and looking at a report costs, in one line."""
    columns = {
        "rollouts in the page": ("rollouts", "{:.0f}"),
        "MB": ("megabytes", "{:.1f}"),
        "made in s": ("seconds", "{:.0f}"),
        "peak GiB": ("peak_gib", "{:.2f}"),
        "opened in s": ("open_seconds", "{:.1f}"),
        "other colouring in ms": ("switch_ms", "{:.0f}"),
    }
    cells = [style.format(results[name]) if name in results else "-" for name, style in columns.values()]
    return rows_of(list(columns), [cells])


def section(name: str, folder: Path) -> str:
    """The table of one result file and how it was made."""
    record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    kind = record["bench"].split("-")[0]
    tables = {"scoring": scoring, "step": step, "scaling": scaling, "memory": memory, "report": report}
    made = tables[kind](record["results"])
    options = " ".join(
        f"--{k} {v}" for k, v in record["options"].items() if k != "output" and v not in ("False", "True")
    )
    options += "".join(f" --{k}" for k, v in record["options"].items() if v == "True")
    versions = ", ".join(f"{package} {number}" for package, number in record["versions"].items())
    note = f"`python -m bench.{kind} {options}`, {record['machine']}, {versions}, {record['date']}."
    return f"{made}\n\n{note}\n"


def main() -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"))
    options = parser.parse_args()
    page = options.page.read_text(encoding="utf-8")

    def fill(found: re.Match[str]) -> str:
        known = (options.results / f"{found[2]}.json").exists()
        return f"{found[1]}{section(found[2], options.results)}{found[3]}" if known else found[0]

    filled = MARKED.sub(fill, page)
    options.page.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
