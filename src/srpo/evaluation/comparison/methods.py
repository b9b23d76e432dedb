"""The methods of a comparison: a name and the options of `srpo train` that it sets; nothing that changes the budget."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Options = dict[str, Any]

UNIFORM: Options = {"credit": "uniform"}
METHODS: dict[str, Options] = {
    "grpo": UNIFORM,
    "srpo": {"credit": "srpo"},
    "srpo-perception": {"credit": "perception"},
    "srpo-reasoning": {"credit": "reasoning"},
    "srpo-per-role": {"credit": "srpo", "credit_baseline": "per_role"},
    "srpo-no-baseline": {"credit": "srpo", "credit_baseline": "none"},
    "srpo-plain": {"credit": "srpo", "credit_sign_aware": False, "reasoning_gap": "token"},
    "srpo-no-sign": {"credit": "srpo", "credit_sign_aware": False},
    "srpo-token": {"credit": "srpo", "reasoning_gap": "token"},
    "srpo-blind": {"credit": "srpo", "reasoning_contrast": "blind"},
    "srpo-patches": {"credit": "srpo", "corruption": "patch_mask"},
    "srpo-other": {"credit": "srpo", "corruption": "other_image"},  # the default where the data have other images
    "vppo": {"credit": "vppo", "corruption_ratio": 0.5},
    "papo": {"credit": "papo", "papo_gamma": 0.01},  # PAPO's γ where there is no KL penalty, as here
    "papo-full": {"credit": "papo", "papo_gamma": 0.01, "papo_corrupted_gradient": True},
    "rlsd": {"credit": "rlsd"},
    "pgpo": {"credit": "pgpo"},
    "dr-grpo": UNIFORM | {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo-clip": UNIFORM | {"loss_type": "dapo", "epsilon_high": 0.28},  # DAPO's clip, without its dynamic sampling
}
# The same for every method: model, data, rewards, seeds, and how many rollouts are drawn from which prompts and how.
SHARED_OPTIONS = frozenset(
    [
        *("model_name_or_path", "model_revision", "dataset_name", "dataset_train_split", "dataset_test_split"),
        *("preset", "columns", "image_root", "instruction", "task", "hint", "max_pixels", "answer_base", "rows"),
        *("streaming", "on_bad_rows", "eval_rows", "seed", "data_seed", "max_steps", "num_train_epochs"),
        *("num_generations", "per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"),
        *("generation_batch_size", "num_iterations", "max_completion_length", "response_format", "output_dir"),
        *("shuffle_dataset", "resume_from_checkpoint", "dry_run"),
        *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "generation_kwargs", "chat_template_kwargs"),
        *("reward_funcs", "reward_weights"),
        *("logging_steps", "per_device_eval_batch_size", "num_generations_eval", "log_policy_kl"),
    ]
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ComparisonError(ValueError):
    """A comparison that cannot be made as asked, or that does not fit what its folder holds."""


def read_methods(given: str) -> dict[str, Options]:
    """Methods from names separated by commas, or from a YAML file of name: {option: value} entries.

    An entry under a built-in name starts from that method's options; `name:` alone is the built-in method.

    Raises:
        ComparisonError: for a file that cannot be read, an unknown or repeated name, an entry that is no mapping, or
            an option that all methods must share.
    """
    if Path(given).suffix in (".yaml", ".yml"):
        entries = _read_file(Path(given))
    else:
        names = [name.strip() for name in given.split(",") if name.strip()]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated:
            raise ComparisonError(f"methods name {repeated} more than once; name each method once")
        entries = dict.fromkeys(names)
    if not entries:
        raise ComparisonError("methods is empty; name methods such as grpo,srpo, or a YAML file of them")
    return {str(name): _resolve(str(name), options) for name, options in entries.items()}


def check_baseline(methods: Mapping[str, Options], baseline: str) -> None:
    """ComparisonError where the baseline is not among the methods."""
    if baseline not in methods:
        raise ComparisonError(
            f"baseline {baseline} is not among the methods {', '.join(methods)}; add it, or name one with --baseline"
        )


def shared_options(names: Sequence[str]) -> list[str]:
    """Those of the option names that no method may set."""
    return [name for name in names if name in SHARED_OPTIONS]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ComparisonError(f"methods {path} cannot be read ({' '.join(str(error).split())}); check it") from error
    if not isinstance(entries, dict):
        raise ComparisonError(f"methods {path} must hold name: {{option: value}} entries; see docs/compare.md")
    return entries


def _resolve(name: str, options: Any) -> Options:
    if not NAME.fullmatch(name):
        raise ComparisonError(
            f"method name {name!r} must be letters, digits, '.', '_' and '-', because a folder is named after it"
        )
    if options is None and name not in METHODS:
        raise ComparisonError(
            f"unknown method {name!r}; choose from {', '.join(METHODS)}, or define it in a YAML file with its options"
        )
    if not isinstance(options or {}, dict):
        raise ComparisonError(f"method {name} is {options!r} and must be a mapping of options, such as credit: srpo")
    options = METHODS.get(name, {}) | {str(key): value for key, value in (options or {}).items()}
    for option in shared_options(list(options)):
        raise ComparisonError(
            f"method {name} sets {option}, which all methods must share; give it in --config or on the command line"
        )
    return options
