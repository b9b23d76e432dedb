"""SRPOConfig: defaults, refusals at construction, and what credit "uniform" allows."""

import dataclasses
import math

import pytest
from trl import GRPOConfig

from srpo.config import CREDITS, SRPOConfig
from srpo.corruption import CORRUPTIONS
from srpo.credit import BASELINES
from srpo.credit_settings import CreditSettings


def config(tmp_path, **fields):
    return SRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[], **fields)


def test_defaults_are_those_of_the_method(tmp_path):
    made = config(tmp_path)
    assert (made.credit, made.credit_baseline, made.credit_strength) == ("srpo", "shared", 1.0)
    assert (made.credit_temperature, made.credit_weight_min, made.credit_weight_max) == (1.0, 0.5, 2.0)
    assert (made.corruption, made.corruption_ratio) == ("auto", 0.6)
    assert (made.reasoning_contrast, made.response_format) == ("drop", "perception,think,answer")
    assert (made.scoring, made.scoring_max_tokens) == ("shared", None)
    assert made.ban_placeholder_tokens
    assert not made.freeze_vision_tower


def test_every_field_of_grpo_keeps_its_default(tmp_path):
    ours = config(tmp_path)
    theirs = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    for field in dataclasses.fields(GRPOConfig):
        if field.name not in ("logging_dir", "run_name"):
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name


def test_every_field_of_ours_has_help():
    ours, theirs = ({field.name for field in dataclasses.fields(cls)} for cls in (SRPOConfig, GRPOConfig))
    ours -= theirs
    assert len(ours) >= 12
    for field in dataclasses.fields(SRPOConfig):
        if field.name in ours:
            assert field.metadata.get("help"), field.name
            documented = CreditSettings.__doc__ + SRPOConfig.__doc__
            assert f"        {field.name}: " in documented, field.name


SEQUENCE_LEVEL = [
    (
        {"loss_type": "vespo"},
        'loss_type \'vespo\' assumes one advantage per sequence .* use .*"dapo".* set credit="uniform"',
    ),
    ({"loss_type": "luspo"}, "loss_type 'luspo' assumes one advantage per sequence"),
    (
        {"importance_sampling_level": "sequence"},
        "importance_sampling_level 'sequence' assumes one advantage .* unset it, or set credit=\"uniform\"",
    ),
    (
        {"off_policy_mask_threshold": 0.5},
        'off_policy_mask_threshold 0.5 compares one advantage per sequence .* unset it, or set credit="uniform"',
    ),
]


@pytest.mark.parametrize("credit", [credit for credit in CREDITS if credit != "uniform"])
@pytest.mark.parametrize(("fields", "message"), SEQUENCE_LEVEL)
def test_sequence_level_options_are_refused_with_token_credit(tmp_path, fields, message, credit):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, credit=credit, **fields)


@pytest.mark.parametrize("fields", [fields for fields, _ in SEQUENCE_LEVEL])
def test_sequence_level_options_are_allowed_with_uniform_credit(tmp_path, fields):
    made = config(tmp_path, credit="uniform", **fields)
    assert all(getattr(made, name) == value for name, value in fields.items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"credit": "gae"}, f"credit 'gae' must be one of {', '.join(CREDITS)}; choose"),
        ({"corruption": "invert"}, f"corruption 'invert' must be one of {', '.join(CORRUPTIONS)}, auto; choose"),
        ({"reasoning_contrast": "mask"}, "reasoning_contrast 'mask' must be one of drop, blind; choose"),
        ({"scoring": "fast"}, "scoring 'fast' must be one of shared, plain; choose"),
        (
            {"scoring_max_tokens": 0},
            "scoring_max_tokens 0 must be positive; .* or unset to follow per_device_train_batch",
        ),
        ({"scoring_max_tokens": -5}, "scoring_max_tokens -5 must be positive"),
        ({"credit_baseline": "zero"}, f"credit_baseline 'zero' must be one of {', '.join(BASELINES)}; choose"),
        ({"credit_temperature": 0.0}, "credit_temperature 0.0 must be a positive number of nats; the default is 1.0"),
        ({"credit_temperature": math.nan}, "credit_temperature nan must be"),
        ({"credit_weight_min": 0.0}, "credit_weight_min 0.0 and .* must satisfy 1e-06 <= min <= 1 <= max"),
        ({"credit_weight_min": 1.5}, "credit_weight_min 1.5"),
        ({"credit_weight_max": 0.5}, "credit_weight_max 0.5 must satisfy"),
        ({"credit_weight_max": math.inf}, "credit_weight_max inf must satisfy"),
        ({"credit_strength": 1.5}, r"credit_strength 1.5 must lie in \[0, 1\]; 0 is GRPO"),
        ({"credit_strength": -0.1}, "credit_strength -0.1 must lie in"),
        ({"credit_strength": math.nan}, "credit_strength nan must lie in"),
        ({"vppo_top_fraction": 0.0}, r"vppo_top_fraction 0.0 must lie in \(0, 1\]; it is the share .* 0.4 by default"),
        ({"vppo_scale_min": 1.1}, "vppo_scale_min 1.1 must lie in"),
        ({"rlsd_clip": 1.0}, "rlsd_clip 1.0 must lie in"),
        ({"pgpo_threshold": -0.1}, "pgpo_threshold -0.1 must lie in"),
        ({"pgpo_gain": math.inf}, "pgpo_gain inf must be 0 or more; 0 amplifies no token, 1.0 by default"),
        ({"papo_gamma": -1.0}, "papo_gamma -1.0 must be 0 or more; 0 leaves the perception term out, 0.02 by default"),
        ({"papo_entropy_coef": math.nan}, "papo_entropy_coef nan must be 0 or more"),
        ({"corruption_ratio": 0.0}, r"corruption_ratio 0.0 must lie in \(0, 1\]; it is the share"),
        ({"corruption_ratio": 1.01}, "corruption_ratio 1.01 must lie in"),
        ({"response_format": "perception,think"}, "response format 'perception,think' must name three tags; write"),
        ({"response_format": "a,b,a"}, "tag names a, b, a must differ"),
        ({"response_format": "<a>,b,c"}, "tag name '<a>' must be a letter followed by .*; write the bare name"),
    ],
)
def test_values_out_of_range_are_refused_with_value_rule_and_remedy(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message) as refusal:
        config(tmp_path, **fields)
    assert "\n" not in str(refusal.value)


def test_bounds_that_are_in_range(tmp_path):
    made = config(tmp_path, credit_strength=0.0, corruption_ratio=1.0, credit_weight_min=1.0, credit_weight_max=1.0)
    assert made.credit_strength == 0.0
    assert config(tmp_path, scoring_max_tokens=1).scoring_max_tokens == 1
