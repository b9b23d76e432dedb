"""Which credits to compare: `srpo:temperature=0.5/1/2,weight_max=5` names a credit and its settings, or a grid of them.

Controls beside the credits of `srpo.credits`, all of them SRPO's weights on other gaps:
    negated: the gaps with their sign changed, so that weight goes where the evidence says least;
    surprise: -log π of a token as its gap, which needs no contrast;
    confidence: log π as its gap: a sign-aware credit then blames what the policy itself thought unlikely.
Where a prompt has no image, perception tokens have the gap 0 in all of them, as in SRPO.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from srpo.credit_settings import AUTO_CORRUPTION, CreditSettings
from srpo.credits import CREDITS, Credit, Evidence, corruption_of, settled_corruption
from srpo.pixels import has_other_images

DEFAULT_CREDITS = (
    "uniform",
    "srpo",
    "srpo:baseline=per_role",
    "srpo:baseline=none",
    "perception",
    "reasoning",
    "srpo:contrast=blind",
    "srpo:sign_aware=false",
    "srpo:reasoning_gap=token",
    "srpo:sign_aware=false,reasoning_gap=token",
    "vppo:corruption_ratio=0.5",  # its own (docs/method.md)
    "surprise",
    "confidence",
    "negated",
)
SHORT_NAMES = {"contrast": "reasoning_contrast"}  # the others lose their prefix credit_
BOOLEANS = {"true": True, "false": False}


def negated(evidence: Evidence) -> Evidence:
    """Evidence in which every gap has the other sign."""
    log_probs = {name: -values for name, values in evidence.log_probs.items()}
    return dataclasses.replace(evidence, log_probs=log_probs)


def surprise(evidence: Evidence) -> Evidence:
    """Evidence in which the gap of every token is -log π under the original context."""
    return _own_gap(evidence, -1.0)


def confidence(evidence: Evidence) -> Evidence:
    """Evidence in which the gap of every token is log π under the original context."""
    return _own_gap(evidence, 1.0)


def _own_gap(evidence: Evidence, factor: float) -> Evidence:
    original = evidence.log_probs["original"]
    log_probs = dict.fromkeys(evidence.log_probs, torch.zeros_like(original)) | {"original": factor * original}
    return dataclasses.replace(evidence, log_probs=log_probs)


CONTROLS: dict[str, Callable[[Evidence], Evidence]] = {
    "negated": negated,
    "surprise": surprise,
    "confidence": confidence,
}


@dataclass(frozen=True)
class Spec:
    """A credit or control with its settings, called `label` in tables."""

    label: str
    name: str
    settings: CreditSettings

    @property
    def credit(self) -> Credit:
        """The credit whose contexts and weights it uses."""
        return CREDITS[self.settings.credit]

    @property
    def corruption(self) -> str:
        """What it does to images, such as "patch_mask 0.6"; "" where it corrupts none."""
        return corruption_of(self.settings)

    def factors(self, evidence: Evidence) -> torch.Tensor:
        """(B, T) factors of the advantage."""
        change = CONTROLS.get(self.name)
        return self.credit.factors(change(evidence) if change else evidence, self.settings)


def parse_specs(texts: Sequence[str], base: Any) -> list[Spec]:
    """Read credits from a command line; "uniform" comes first whether named or not, the same settings only once.

    Args:
        texts: such as "srpo", "srpo:temperature=2,baseline=per_role" or, for a grid, "srpo:temperature=0.5/1/2".
        base: settings where a text is silent: a `CreditSettings` or anything with its fields, such as an `SRPOConfig`.

    Raises:
        ValueError: for an unknown credit, setting or value, and for a credit without token factors.
    """
    fields = {field.name: field for field in dataclasses.fields(CreditSettings) if field.name != "credit"}
    given = {name: getattr(base, name) for name in fields}
    specs: dict[Any, Spec] = {}
    for text in ("uniform", *texts):
        name, _, options = text.strip().partition(":")
        _check_name(name)
        for overrides in _grid(name, options, fields):
            label = name + ":" * bool(overrides) + ",".join(f"{key}={value}" for key, value in overrides.items())
            chosen = {_full_name(key, fields, name): value for key, value in overrides.items()}
            values = {key: _value(key, value, fields[key].default) for key, value in chosen.items()}
            if "corruption_ratio" in values and given["corruption"] == AUTO_CORRUPTION:
                values.setdefault("corruption", "patch_mask")  # 0.6 in a grid, too
            settings = CreditSettings(**{**given, **values, **_fixed(name, values)})
            settings.check()
            specs.setdefault((name, dataclasses.astuple(settings)), Spec(label, name, settings))
    return list(specs.values())


def settled(specs: Sequence[Spec], dataset: Any) -> list[Spec]:
    """The credits with the corruption that "auto" stands for on a data set."""
    has_others = functools.cache(lambda: has_other_images(dataset))
    return [
        dataclasses.replace(
            spec,
            settings=dataclasses.replace(spec.settings, corruption=settled_corruption(spec.settings, has_others)),
        )
        for spec in specs
    ]


def _fixed(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Settings that a credit has whatever those of the run are.

    Raises:
        ValueError: where the user's own values ask for another.
    """
    if name == "reasoning":
        if values.get("reasoning_gap") == "block":
            raise ValueError(
                "credit 'reasoning' weighs one role alone, where one gap for the whole block weighs nothing, so "
                "reasoning_gap must be token; leave it out"
            )
        return {"credit": name, "reasoning_gap": "token"}
    if name in ("surprise", "confidence"):  # where both gaps are log π(original) minus something
        return {"credit": "srpo", "reasoning_contrast": "drop"}
    return {"credit": "srpo" if name in CONTROLS else name}


def _check_name(name: str) -> None:
    known = [credit for credit in CREDITS if credit != "papo"] + list(CONTROLS)
    if name == "papo":
        raise ValueError(
            "credit 'papo' adds a term to the loss and leaves every token the advantage of its rollout, so its policy "
            "gradient is that of uniform; leave it out"
        )
    if name not in known:
        raise ValueError(f"credit {name!r} must be one of {', '.join(known)}; choose one of these")


def _grid(name: str, options: str, fields: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every combination of the values that "key=a/b,other=c" lists."""
    listed: dict[str, list[str]] = {}
    for option in filter(None, options.split(",")):
        key, equals, values = option.partition("=")
        if not equals or not values:
            raise ValueError(f"{option!r} in credit {name!r} must be a setting and its value, such as temperature=2")
        listed[key.strip()] = values.split("/")
    return [dict(zip(listed, values, strict=True)) for values in product(*listed.values())]


def _full_name(key: str, fields: Mapping[str, Any], name: str) -> str:
    for candidate in (key, f"credit_{key}", SHORT_NAMES.get(key, "")):
        if candidate in fields:
            return candidate
    known = [field.removeprefix("credit_") for field in fields]
    raise ValueError(f"credit {name!r} has no setting {key!r}; the settings are {', '.join(known)}")


def _value(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in BOOLEANS:
            raise ValueError(f"{name} {text!r} must be true or false")
        return BOOLEANS[text.lower()]
    if isinstance(default, (int, float)):
        try:
            return type(default)(text)
        except ValueError:
            raise ValueError(f"{name} {text!r} must be a number, such as {default}") from None
    return text
