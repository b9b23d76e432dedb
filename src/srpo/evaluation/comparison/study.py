"""A comparison as a whole: its runs, the choice of learning rates, and the summary of what is finished."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srpo.evaluation.comparison.methods import ComparisonError, Options
from srpo.evaluation.comparison.plan import (
    START,
    Run,
    prepare_evaluation,
    prepare_training,
    read_json,
    report_folder,
    tuning_folder,
)
from srpo.evaluation.comparison.results import (
    Result,
    add_steps_to_baseline,
    evaluation_figures,
    read_result,
)
from srpo.evaluation.comparison.runner import Chain, Step, srpo_command
from srpo.evaluation.comparison.summary import Summary, summarize
from srpo.evaluation.comparison.tuning import Choice, choose, held_out_accuracy

# Options of drawing that `srpo train` knows and `srpo eval` does not.
TRAINING_ONLY = ("top_k", "min_p", "repetition_penalty", "generation_kwargs")


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        root: the folder of the comparison.
        methods: name -> options of `srpo train` that the method sets.
        seeds: reported.
        baseline: the method that the others are compared with.
        primary: the figure whose p-values are adjusted for the number of methods.
        train: options of `srpo train` that all share.
        evaluate: options of `srpo eval` that all share.
        rates: learning rates to choose from; none chooses nothing.
        tune_seeds: of the runs that choose; never reported.
        launcher: arguments of `python -m` that start a training run on several GPUs.
        same_questions: are learning rates chosen on the held-out questions that are reported?
    """

    root: Path
    methods: dict[str, Options]
    seeds: list[int]
    baseline: str
    primary: str
    train: Options
    evaluate: Options
    rates: list[float]
    tune_seeds: list[int]
    launcher: tuple[str, ...] = ()
    same_questions: bool = False

    def tuned(self) -> list[str]:
        """Methods whose learning rate is chosen: with a grid, those that set none of their own."""
        return [name for name, options in self.methods.items() if self.rates and "learning_rate" not in options]

    def tuning_runs(self) -> list[Run]:
        """The runs that choose learning rates, seed by seed."""
        return [
            Run(
                method,
                seed,
                tuning_folder(self.root, method, rate, seed),
                self._options(method, seed) | {"learning_rate": rate},
                None,
            )
            for seed in self.tune_seeds
            for method in self.tuned()
            for rate in self.rates
        ]

    def report_runs(self, choices: Mapping[str, Choice]) -> list[Run]:
        """The reported runs, seed by seed; methods whose learning rate is still to be chosen are left out."""
        ready = [method for method in self.methods if method not in self.tuned() or method in choices]
        return [self._report_run(method, seed, choices.get(method)) for seed in self.seeds for method in ready]

    def start_run(self) -> Run:
        """The evaluation of the model before training, which has no training run."""
        revision = {name: self.train[name] for name in ("model_revision",) if name in self.train}
        evaluate = self.evaluate | {"seed": self.seeds[0]} | revision
        return Run(START, self.seeds[0], self.root / "start", {}, evaluate)

    def chain(self, run: Run) -> Chain:
        """The commands of a run."""
        steps = []
        if run.method != START:
            steps.append(Step("train", lambda: self._train_command(run), lambda: run.trained, run.folder / "train.log"))
        if run.evaluate is not None:
            steps.append(Step("eval", lambda: self._eval_command(run), lambda: run.evaluated, run.folder / "eval.log"))
        return Chain(run.name, steps)

    def choose_rates(self, *, drop_failed: bool) -> tuple[dict[str, Choice], dict[str, str]]:
        """The choice for each method whose tuning runs are finished; for the others, why there is none.

        Args:
            drop_failed: choose among the rates whose runs all finished, instead of waiting for all rates.
        """
        choices: dict[str, Choice] = {}
        held_back: dict[str, str] = {}
        runs = self.tuning_runs()
        for method in self.tuned():
            of_method = [run for run in runs if run.method == method]
            failed = [run for run in of_method if not run.finished]
            if failed and not drop_failed:
                held_back[method] = f"its learning rate is not chosen, because {failed[0].name} did not finish"
                continue
            lost = {run.train["learning_rate"] for run in failed}
            accuracies: dict[float, list[float]] = {}
            for run in of_method:
                if run.train["learning_rate"] not in lost:
                    accuracies.setdefault(run.train["learning_rate"], []).append(held_out_accuracy(run))
            try:
                choices[method] = choose(accuracies)
            except ComparisonError as error:
                held_back[method] = str(error)
        return choices, held_back

    def summary(self, choices: Mapping[str, Choice], held_back: Mapping[str, str]) -> tuple[Summary, list[Result]]:
        """What the finished runs say, and what is missing."""
        runs = self.report_runs(choices)
        results = [read_result(run) for run in runs if run.finished]
        target = add_steps_to_baseline(results, self.baseline)
        start = self.start_run()
        summary = summarize(
            results,
            methods=list(self.methods),
            seeds=self.seeds,
            baseline=self.baseline,
            primary=self.primary,
            start=evaluation_figures(start.folder / "eval" / "evaluation.json") if start.evaluated else {},
            target=target,
        )
        summary.missing = [f"{run.name}, see {run.folder}" for run in runs if not run.finished]
        summary.missing += [f"{method}: {reason}" for method, reason in held_back.items()]
        summary.settings = {method: self._settings(method, choices.get(method)) for method in self.methods}
        summary.tuning = {method: asdict(choice) for method, choice in choices.items()}
        summary.notes += self.drawing_notes() + self._tuning_notes(choices) + _version_notes(runs)
        return summary, results

    def drawing_notes(self) -> list[str]:
        """A sentence where training draws replies in a way that the evaluation does not follow."""
        given = dict.fromkeys(
            name for of in (self.train, *self.methods.values()) for name in TRAINING_ONLY if name in of
        )
        return (
            [f"{', '.join(given)}: of training only; the evaluation draws by temperature and top_p."] if given else []
        )

    def _settings(self, method: str, choice: Choice | None) -> Options:
        shared = {"learning_rate": self.train["learning_rate"]} if "learning_rate" in self.train else {}
        return shared | self.methods[method] | ({"learning_rate": choice.rate} if choice else {})

    def _tuning_notes(self, choices: Mapping[str, Choice]) -> list[str]:
        if not choices:
            return []
        seeds, grid = ", ".join(map(str, self.tune_seeds)), ", ".join(f"{rate:g}" for rate in self.rates)
        notes = [
            f"Learning rates were chosen from {grid} on seeds {seeds}, which are not reported, by the highest mean "
            "held-out accuracy after training; the lower rate on a tie."
        ]
        if self.same_questions:
            notes.append(
                "These rates were chosen on the held-out questions that are also reported, because the data have one "
                "such split only; the seeds differ."
            )
        edges = [method for method, choice in choices.items() if choice.at_edge]
        if edges:
            notes.append(
                f"The rate chosen for {', '.join(edges)} is at the edge of the grid; a wider one may do better."
            )
        return notes

    def _report_run(self, method: str, seed: int, choice: Choice | None) -> Run:
        options = self._options(method, seed) | ({"learning_rate": choice.rate} if choice else {})
        return Run(method, seed, report_folder(self.root, method, seed), options, self.evaluate | {"seed": seed})

    def _options(self, method: str, seed: int) -> dict[str, Any]:
        return self.train | self.methods[method] | {"seed": seed}

    def _train_command(self, run: Run) -> Sequence[str]:
        return srpo_command(prepare_training(run), self.launcher)

    def _eval_command(self, run: Run) -> Sequence[str]:
        model = self.train.get("model_name_or_path") or "tiny" if run.method == START else None
        return srpo_command(prepare_evaluation(run, model))


def _version_notes(runs: Sequence[Run]) -> list[str]:
    """A sentence where the finished runs were made with different versions of a package."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        environment = run.folder / "train" / "environment.json"
        if run.finished and environment.exists():
            for package, version in read_json(environment).get("versions", {}).items():
                versions.setdefault(package, set()).add(str(version))
    mixed = [f"{package} {' and '.join(sorted(of))}" for package, of in versions.items() if len(of) > 1]
    return [f"The runs were made with different versions: {', '.join(mixed)}."] if mixed else []
