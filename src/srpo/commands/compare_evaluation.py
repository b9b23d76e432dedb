"""The options of `srpo eval` in a comparison: those of training that it shares, and what is asked of every model."""

import dataclasses
from typing import Any

from srpo.commands.arguments import DataArguments
from srpo.commands.eval_options import EvalArguments
from srpo.commands.rows import load_questions
from srpo.config import SRPOConfig
from srpo.data.loading import splits_of
from srpo.data.sources import canonical_split
from srpo.evaluation.comparison.methods import ComparisonError
from srpo.roles import ResponseFormat

# Options of training that an evaluation needs as well. Not the corruption: all models are audited with the same one,
# whatever a method trains with, and not every corruption of training can audit.
FOR_EVALUATION = (
    *({field.name for field in dataclasses.fields(DataArguments)} - {"rows", "streaming", "dataset_train_split"}),
    *("response_format", "data_seed", "temperature", "top_p"),
    *("dtype", "attn_implementation", "trust_remote_code"),
)


def evaluation_options(
    train: dict[str, Any], dataset: str, *, samples: int, split: str | None, batch_size: int | None, backend: str
) -> dict[str, Any]:
    """Options of `srpo eval`: data and generation as in training, the comparison's questions and audit.

    Args:
        train: options of `srpo train` that all methods share.
        dataset: the data set.
        samples: replies to each question.
        split: to ask; None for the default of `srpo eval`.
        batch_size: replies that are drawn together; None for as many as in the evaluation of a training run.
        backend: what draws.

    Raises:
        ComparisonError: for no samples, no replies together, and no questions.
    """
    for name, count in (("eval_samples", samples), ("eval_batch_size", batch_size)):
        if count is not None and count < 1:
            raise ComparisonError(f"{name} {count} must be 1 or more")
    questions = train.get("eval_rows", 256)
    if isinstance(questions, bool) or not isinstance(questions, int) or questions < 1:
        raise ComparisonError(
            f"eval_rows {questions} must be a whole number of 1 or more, because a comparison needs held-out questions"
        )
    defaults = {field.name: field.default for field in dataclasses.fields(SRPOConfig)}
    as_in_training = train.get("per_device_eval_batch_size") if backend == "transformers" else None
    given = {"split": split, "batch_size": as_in_training if batch_size is None else batch_size}
    return {
        **{name: train[name] for name in sorted(FOR_EVALUATION) if name in train},
        **{name: value for name, value in given.items() if value is not None},
        "dataset_name": dataset,
        "max_completion_length": train.get("max_completion_length", defaults["max_completion_length"]),
        "rows": questions,
        "samples": samples,
        "backend": backend,
        "audit": True,
    }


def check_questions(arguments: EvalArguments) -> None:
    """Read the questions as `srpo eval` will: an unknown data set or split must not show after hours of training.

    Raises:
        UsageError: in the words of the loader.
    """
    load_questions(arguments, arguments.split, ResponseFormat.parse(arguments.response_format), arguments.data_seed)


def same_questions(train: dict[str, Any], evaluate: dict[str, Any]) -> bool:
    """Do training runs measure held-out accuracy on the split that is reported?"""
    kinds = {canonical_split(split) for split in splits_of(str(evaluate["dataset_name"]), train.get("preset"))}
    named = train.get("dataset_test_split")
    chooses = named or next((kind for kind in ("validation", "test") if kind in kinds), None)
    reports = evaluate.get("split") or named or next((kind for kind in ("test", "validation") if kind in kinds), None)
    return chooses == reports
