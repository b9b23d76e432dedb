"""`srpo compare`: methods x seeds as child processes, then one table and one figure; the same command resumes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Console

from srpo.cli import UsageError
from srpo.commands.compare_options import CompareArguments, parse_comparison, show_help
from srpo.commands.compare_view import show_choices, show_failures, show_plan_of, show_result
from srpo.commands.lock import alone_in
from srpo.commands.output import quiet
from srpo.evaluation.comparison.figure import draw
from srpo.evaluation.comparison.methods import ComparisonError
from srpo.evaluation.comparison.places import Times, environments
from srpo.evaluation.comparison.plan import Run, check_settings
from srpo.evaluation.comparison.results import mean_curves
from srpo.evaluation.comparison.runner import Chain, Failure, Step, run_chains
from srpo.evaluation.comparison.study import Study
from srpo.evaluation.comparison.tables import markdown, to_csv
from srpo.evaluation.comparison.tuning import Choice
from srpo.run.console import clock
from srpo.run.directory import write_json
from srpo.run.terminal import Terminal


@dataclass
class Work:
    """A comparison that goes on: where its runs go, how long they take, where to say so."""

    study: Study
    places: list[dict[str, str]]
    times: Times
    console: Console

    def do(self, runs: Sequence[Run]) -> list[Failure]:
        """Bring runs to their end; one line for each finished step.

        The start model is evaluated before all others: where that fails, every evaluation would, and nothing else runs.
        """
        chains = [self.study.chain(run) for run in (self.study.start_run(), *runs)]
        total, done = len(chains), sum(not chain.pending() for chain in chains)
        if done:
            self.console.print(f"{done} of {total} runs are finished already.")

        def on_step(chain: Chain, step: Step, seconds: float, failure: Failure | None) -> None:
            if failure is None:
                self.times.add(chain.name, step.name, seconds)
            finished = sum(not other.pending() for other in chains)
            left = self.times.left(chains, len(self.places))
            rest = f", about {clock(left)} left" if left else ""
            outcome = f"failed (status {failure.status})" if failure else f"done in {clock(seconds)}"
            said = f"[{finished}/{total}] {chain.name}: {step.name} {outcome}{rest}"
            self.console.print(said, markup=False, soft_wrap=True)

        return run_chains(chains[:1], self.places[:1], on_step) or run_chains(chains[1:], self.places, on_step)


def main(arguments: Sequence[str]) -> int:
    """Run `srpo compare`; returns the exit status: 1 when runs failed, 130 when interrupted."""
    quiet()
    console = Terminal()
    if {"-h", "--help"} & set(arguments):
        show_help(console)
        return 0
    chosen, study = parse_comparison(arguments)
    try:
        work = Work(study, _places(chosen), Times(study.root / "times.jsonl"), console)
        choices, _ = study.choose_rates()
        check_settings([*study.tuning_runs(), *study.report_runs(choices), study.start_run()])
        show_plan_of(console, study, choices, work.places, work.times)
        if chosen.dry_run:
            console.print("\nDry run: options and methods were checked; nothing was run or written.")
            return 0
        with alone_in(study.root, "srpo compare"):
            return _compare(work, drop_failed=chosen.drop_failed_rates)
    except ComparisonError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{study.root} cannot be used ({error}); choose another --output_dir") from error
    except KeyboardInterrupt:
        console.print(
            f"\nInterrupted; the running children were ended. What is finished is kept in {study.root}; the same "
            "command goes on from there.",
            markup=False,
            soft_wrap=True,
        )
        return 130


def _compare(work: Work, *, drop_failed: bool) -> int:
    """Choose the learning rates, train and evaluate, write table and figure."""
    study, console, failures = work.study, work.console, []
    choices: dict[str, Choice] = {}
    held_back: dict[str, str] = {}
    if study.tuned():
        console.print("\nChoosing learning rates, on seeds that are not reported.")
        failures += work.do(study.tuning_runs())
        if not study.start_run().evaluated:
            return _stop(work, failures)
        if drop_failed:
            study.drop_failed_rates()
        choices, held_back = study.choose_rates()
        show_choices(console, study, choices)
        check_settings(study.report_runs(choices))
    console.print("\nReported runs.")
    failures += work.do(study.report_runs(choices))
    if not study.start_run().evaluated:
        return _stop(work, failures)
    summary, results = study.summary(choices, held_back)
    root = study.root
    (root / "results.md").write_text(markdown(summary), encoding="utf-8")
    (root / "results.csv").write_text(to_csv(summary), encoding="utf-8")
    write_json(root / "results.json", summary.to_json())
    if results:
        draw(summary, mean_curves(results), root)
    show_failures(console, failures)
    show_result(console, summary, root)
    return 1 if failures or summary.missing else 0


def _stop(work: Work, failures: Sequence[Failure]) -> int:
    show_failures(work.console, failures)
    work.console.print(
        "\nThe model before training could not be evaluated, so nothing else was run. Correct what the last lines say, "
        "then give the same command again.",
        soft_wrap=True,
    )
    return 1


def _places(chosen: CompareArguments) -> list[dict[str, str]]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(i) for i in range(torch.cuda.device_count())] if visible is None else visible.split(",")
    return environments(
        chosen.jobs,
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=[gpu for gpu in gpus if gpu.strip()],
        gpus_per_run=chosen.gpus_per_run,
        threads=os.environ.get("OMP_NUM_THREADS"),
    )
