"""What a reader of a comparison must know about how its runs were made, in sentences."""

from collections.abc import Mapping, Sequence

from srpo.evaluation.comparison.methods import Options
from srpo.evaluation.comparison.plan import Run, read_json
from srpo.evaluation.comparison.tuning import Choice

# Options of drawing that `srpo train` knows and `srpo eval` does not.
TRAINING_ONLY = ("top_k", "min_p", "repetition_penalty", "generation_kwargs")
# Families of the built-in world that chose SRPO's defaults, and those whose runs of some seeds chose its corruption;
# docs/results.md tells how.
CHOSE_DEFAULTS = ("pips", "chain", "compare")
CHOSE_CORRUPTION, ON_SEEDS = ("angle", "chart", "count"), range(12)


def drawing_notes(train: Options) -> list[str]:
    """Where training draws replies in a way that the evaluation does not follow."""
    given = [name for name in TRAINING_ONLY if name in train]
    return [f"{', '.join(given)}: of training only; the evaluation draws by temperature and top_p."] if given else []


def fairness_notes(
    methods: Mapping[str, Options], rates: Sequence[float], dataset: str, seeds: Sequence[int]
) -> list[str]:
    """Where no method has a learning rate of its own, and where data and seeds helped to choose SRPO's defaults."""
    notes = []
    if not rates and len(methods) > 1 and not any("learning_rate" in options for options in methods.values()):
        notes.append("All methods train at one learning rate; --learning_rates first chooses one for each.")
    world, _, picked = dataset.partition("/")
    names = picked.split(",") if picked else (*CHOSE_DEFAULTS, *CHOSE_CORRUPTION)
    families = [name for name in CHOSE_DEFAULTS if name in names]
    if world == "shapes" and families:
        notes.append(
            f"{', '.join(families)} helped to choose the defaults of SRPO, which favours it here; angle, chart and "
            "count chose its corruption alone."
        )
    used = [str(seed) for seed in seeds if seed in ON_SEEDS]
    if world == "shapes" and used and set(names) & set(CHOSE_CORRUPTION):
        notes.append(
            f"Runs of seed {', '.join(used)} on angle, chart and count helped to choose SRPO's corruption, which may "
            "favour it here; seeds from 12 on did not."
        )
    return notes


def tuning_notes(
    choices: Mapping[str, Choice],
    dropped: Mapping[str, Sequence[float]],
    rates: Sequence[float],
    seeds: Sequence[int],
    *,
    same_questions: bool,
) -> list[str]:
    """How learning rates were chosen.

    Args:
        choices: method -> the rate chosen.
        dropped: method -> rates that were left out.
        rates: the grid.
        seeds: of the runs that chose.
        same_questions: were they chosen on the held-out questions that are reported?
    """
    if not choices:
        return []
    grid = ", ".join(f"{rate:g}" for rate in rates)
    notes = [
        f"Learning rates were chosen from {grid} on seeds {', '.join(map(str, seeds))}, which are not reported, by the "
        "highest mean held-out accuracy after training; the lower rate on a tie."
    ]
    if same_questions:
        notes.append(
            "These rates were chosen on the held-out questions that are also reported, because the data have one such "
            "split only; the seeds differ."
        )
    if dropped:
        left_out = "; ".join(f"{method} at {', '.join(f'{r:g}' for r in of)}" for method, of in dropped.items())
        notes.append(f"Left out of the choice because a run failed: {left_out}.")
    edges = [method for method, choice in choices.items() if choice.at_edge]
    if edges:
        notes.append(f"The rate chosen for {', '.join(edges)} is at the edge of the grid; a wider one may do better.")
    return notes


def version_notes(runs: Sequence[Run]) -> list[str]:
    """Where the finished runs were made with different versions of a package."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        environment = run.folder / "train" / "environment.json"
        if run.finished and environment.exists():
            for package, version in read_json(environment).get("versions", {}).items():
                versions.setdefault(package, set()).add(str(version))
    mixed = [f"{package} {' and '.join(sorted(of))}" for package, of in versions.items() if len(of) > 1]
    return [f"The runs were made with different versions: {', '.join(mixed)}."] if mixed else []
