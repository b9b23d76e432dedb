"""A comparison as a whole: its runs, the choice of learning rates, and the summary of what is finished."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srpo.evaluation.comparison.methods import Options
from srpo.evaluation.comparison.notes import drawing_notes, fairness_notes, tuning_notes, version_notes
from srpo.evaluation.comparison.plan import (
    START,
    Run,
    prepare_evaluation,
    prepare_training,
    read_settings,
    report_folder,
    tuning_folder,
)
from srpo.evaluation.comparison.results import Result, add_steps_to_baseline, evaluation_figures, read_result
from srpo.evaluation.comparison.runner import Chain, Step, srpo_command
from srpo.evaluation.comparison.summary import Summary, summarize
from srpo.evaluation.comparison.tuning import Choice, choose, held_out_accuracy, read_dropped, write_dropped


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
        """The runs that choose learning rates, seed by seed; those at rates that were dropped are left out."""
        dropped = read_dropped(self.root)
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
            if rate not in dropped.get(method, [])
        ]

    def report_runs(self, choices: Mapping[str, Choice]) -> list[Run]:
        """The reported runs, seed by seed; methods whose learning rate is still to be chosen are left out."""
        ready = [method for method in self.methods if method not in self.tuned() or method in choices]
        return [self._report_run(method, seed, choices.get(method)) for seed in self.seeds for method in ready]

    def start_run(self) -> Run:
        """The evaluation of the model before training, which has no training run; it keeps the seed that it had."""
        folder = self.root / "start"
        seed = int(read_settings(folder / "eval.yaml").get("seed", self.seeds[0]))
        revision = {name: self.train[name] for name in ("model_revision",) if name in self.train}
        return Run(START, seed, folder, {}, self.evaluate | {"seed": seed} | revision)

    def chain(self, run: Run) -> Chain:
        """The commands of a run."""
        steps = []
        if run.method != START:
            steps.append(Step("train", lambda: self._train_command(run), lambda: run.trained, run.folder / "train.log"))
        if run.evaluate is not None:
            steps.append(Step("eval", lambda: self._eval_command(run), lambda: run.evaluated, run.folder / "eval.log"))
        return Chain(run.name, steps)

    def drop_failed_rates(self) -> None:
        """Record the rates at which a tuning run did not finish, so that no later call tries or chooses them.

        A choice that reported runs rest on stays what it is. A method without any finished rate keeps all.
        """
        dropped, runs = read_dropped(self.root), self.tuning_runs()
        for method in self.tuned():
            rates = {run.train["learning_rate"] for run in runs if run.method == method}
            lost = {run.train["learning_rate"] for run in runs if run.method == method and not run.finished}
            if lost and lost != rates:
                dropped[method] = sorted({*dropped.get(method, []), *lost})
        write_dropped(self.root, dropped)

    def choose_rates(self) -> tuple[dict[str, Choice], dict[str, str]]:
        """The choice for each method whose tuning runs are finished; for the others, why there is none."""
        choices: dict[str, Choice] = {}
        held_back: dict[str, str] = {}
        runs = self.tuning_runs()
        for method in self.tuned():
            of_method = [run for run in runs if run.method == method]
            unfinished = next((run for run in of_method if not run.finished), None)
            if unfinished:
                held_back[method] = f"its learning rate is not chosen, because {unfinished.name} did not finish"
                continue
            accuracies: dict[float, list[float]] = {}
            for run in of_method:
                accuracies.setdefault(run.train["learning_rate"], []).append(held_out_accuracy(run))
            choices[method] = choose(accuracies)
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
        dropped = {method: of for method, of in read_dropped(self.root).items() if method in choices}
        summary.notes += self.plan_notes()
        summary.notes += tuning_notes(choices, dropped, self.rates, self.tune_seeds, same_questions=self.same_questions)
        summary.notes += version_notes(runs)
        return summary, results

    def plan_notes(self) -> list[str]:
        """What a reader must know before anything is run."""
        dataset = str(self.evaluate["dataset_name"])
        return drawing_notes(self.train) + fairness_notes(self.methods, self.rates, dataset, self.seeds)

    def _settings(self, method: str, choice: Choice | None) -> Options:
        shared = {"learning_rate": self.train["learning_rate"]} if "learning_rate" in self.train else {}
        return shared | self.methods[method] | ({"learning_rate": choice.rate} if choice else {})

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
