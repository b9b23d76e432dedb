"""Alignment of gradients: leave-one-out cosines by hand, intervals, sketches, the store, and what may be asked for."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from srpo.credit_settings import CreditSettings
from srpo.credits import CREDITS, Evidence
from srpo.evaluation.alignment.gradients import group_advantages, loss_normalisation
from srpo.evaluation.alignment.result import make_lines
from srpo.evaluation.alignment.sketch import Sketch
from srpo.evaluation.alignment.specs import DEFAULT_CREDITS, confidence, negated, parse_specs, settled, surprise
from srpo.evaluation.alignment.statistics import (
    alignments,
    differences,
    effective_tokens,
    jackknife_means,
    leave_one_out_cosines,
)
from srpo.evaluation.alignment.store import GradientStore, inner_products, read_records


def products_of(gradients, target=0, space="gradient", epsilon=1e-8):
    """Products of exact gradients (N, V, K) given as nested lists."""
    array = np.array(gradients, dtype=np.float32)[:, :, None]
    return inner_products(array, range(len(array)), {"reward": target}, epsilon)[space, "reward"]


THREE = [  # batch, vector (uniform, another), coordinate
    [[1.0, 0.0], [2.0, 0.0]],
    [[0.0, 1.0], [0.0, -1.0]],
    [[1.0, 1.0], [1.0, 0.0]],
]


def test_a_batch_meets_the_sum_of_the_others_by_hand():
    cosines = leave_one_out_cosines(products_of(THREE))
    # the sums of the other two uniform gradients: (1, 2), (2, 1), (1, 1)
    expected = [
        [1 / math.sqrt(5), 1 / math.sqrt(5), 1.0],
        [1 / math.sqrt(5), -1 / math.sqrt(5), 1 / math.sqrt(2)],
    ]
    torch.testing.assert_close(cosines, torch.tensor(expected, dtype=torch.float64))


def test_differences_are_paired_with_the_first_vector():
    aligned, paired = alignments(products_of(THREE)), differences(products_of(THREE))
    assert paired[0].value == paired[0].error == 0.0
    assert paired[1].value == pytest.approx(aligned[1].value - aligned[0].value)
    assert paired[1].low < paired[1].value < paired[1].high


def test_differences_may_be_paired_with_another_vector():
    """The error is that of the difference, not that of two alignments one beside the other."""
    rng = np.random.default_rng(4)
    common = rng.normal(size=(12, 1, 40)) * 3 + rng.normal(size=(1, 1, 40))
    products = products_of(np.concatenate([common, common + rng.normal(size=(12, 2, 40)) * 0.1], axis=1))
    to_first, to_second = differences(products), differences(products, 1)
    assert to_second[1].value == to_second[1].error == 0.0
    assert to_second[0].value == pytest.approx(-to_first[1].value)
    assert to_second[0].error == pytest.approx(to_first[1].error)
    assert to_second[2].value == pytest.approx(to_first[2].value - to_first[1].value)
    assert to_second[2].error < alignments(products)[2].error / 3


def test_lines_have_differences_to_the_reference():
    products = {("gradient", "reward"): products_of(np.random.default_rng(5).normal(size=(6, 3, 8)))}
    effective = dict.fromkeys(("uniform", "srpo", "vppo"), 1.0)
    uniform, srpo, vppo = make_lines(list(effective), products, effective, "srpo")
    assert uniform.to_reference == srpo.to_reference == {}
    assert vppo.to_reference == {key: differences(of_key, 1)[2] for key, of_key in products.items()}
    assert all(line.to_reference == {} for line in make_lines(list(effective), products, effective))


def test_the_jackknife_leaves_a_batch_out_of_both_roles():
    gradients = np.random.default_rng(0).normal(size=(6, 3, 5))
    means = jackknife_means(products_of(gradients))
    for j in range(6):
        without = leave_one_out_cosines(products_of(np.delete(gradients, j, axis=0))).mean(1)
        torch.testing.assert_close(means[:, j], without, atol=1e-6, rtol=0)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    """All batches share their targets, so an error bar that takes their differences for independent is too short."""
    rng = np.random.default_rng(1)
    mean = rng.normal(size=200)

    def measured():
        noise = rng.normal(size=(20, 200)) * 4
        return products_of(np.stack([mean + noise, mean + 0.5 * noise], axis=1))

    truth = np.mean([differences(measured())[1].value for _ in range(300)])
    covered, covered_by_naive = [], []
    for _ in range(200):
        products = measured()
        interval, cosines = differences(products)[1], leave_one_out_cosines(products)
        naive = 2.1 * (cosines[1] - cosines[0]).std().item() / math.sqrt(20)
        covered.append(interval.low <= truth <= interval.high)
        covered_by_naive.append(abs(interval.value - truth) <= naive)
    assert truth > 0.1
    assert np.mean(covered) > 0.93
    assert np.mean(covered_by_naive) < 0.93


@pytest.mark.parametrize("space", ["gradient", "adam"])
def test_gradients_without_a_signal_have_no_alignment(space):
    """Signs at random: the second moment holds the batch itself, and must not make up an alignment out of that."""
    rng = np.random.default_rng(2)
    scales = np.exp(rng.normal(size=50) * 2)  # heavy-tailed coordinates
    means = [
        alignments(products_of(rng.standard_t(3, size=(20, 1, 50)) * scales, space=space))[0].value for _ in range(100)
    ]
    assert abs(np.mean(means)) < 3 * np.std(means) / 10


def test_adam_divides_every_coordinate_by_the_root_of_its_second_moment():
    """The other batches' uniform gradients and the current gradient itself: for uniform, the mean over all batches."""
    gradients = [[[3.0, 0.1], [3.0, 0.0]], [[-4.0, 0.2], [0.0, 0.2]], [[5.0, 0.2], [1.0, 0.2]]]
    uniform = [math.sqrt(50 / 3), math.sqrt(0.09 / 3)]
    other = [
        [uniform[0], math.sqrt(0.08 / 3)],  # batch 0: 3² + 4² + 5² again; 0.0² in place of 0.1²
        [math.sqrt(34 / 3), uniform[1]],
        [math.sqrt(26 / 3), uniform[1]],
    ]
    scaled = [
        [
            [x / r for x, r in zip(vectors[0], uniform, strict=True)],
            [x / r for x, r in zip(vectors[1], own, strict=True)],
        ]
        for vectors, own in zip(gradients, other, strict=True)
    ]
    found = leave_one_out_cosines(products_of(gradients, space="adam", epsilon=0.0))
    torch.testing.assert_close(found, leave_one_out_cosines(products_of(scaled)), atol=1e-6, rtol=0)


def test_the_target_may_be_another_vector():
    found = leave_one_out_cosines(products_of(THREE, target=1))
    # the sums of the other two: (1, -1), (3, 0), (2, -1)
    assert found[0].tolist() == pytest.approx([1 / math.sqrt(2), 0.0, 1 / math.sqrt(10)])


def test_the_interval_of_three_batches_is_that_of_students_t_with_two_degrees():
    for found in alignments(products_of(THREE)):
        assert found.high - found.value == pytest.approx(4.30265 * found.error, rel=1e-5)
        assert found.error > 0


def test_effective_tokens_by_hand():
    factors = torch.tensor([[1.0, 1.0, 1.0, 9.0], [2.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0]])
    mask = torch.tensor([[True, True, True, False], [True, True, True, True], [False] * 4])
    assert effective_tokens(factors, mask) == pytest.approx((1.0 + 0.25) / 2)


def test_small_gradients_are_kept_whole():
    sketch = Sketch([3, 2], dimension=8)
    into = sketch.zeros(1)[0]
    sketch.add(into, 0, torch.tensor([[1.0], [2.0], [3.0]]))
    sketch.add(into, 1, torch.tensor([4.0, 5.0]))
    assert sketch.exact
    assert into.tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0]]


SIZES = (1000, 7, 40_000, 9000)


def sketched(vectors, dimension, seed=0):
    """Sketches (V, kinds, K) of vectors (V, D), piece by piece, and in two halves that add up."""
    sketch = Sketch(SIZES, dimension, seed)
    into = sketch.zeros(len(vectors))
    for v, vector in enumerate(vectors):
        for i, piece in enumerate(vector.split(SIZES)):
            for half in (0.25 * piece, 0.75 * piece):
                sketch.add(into[v], i, half)
    return into


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


@pytest.mark.parametrize("kind", [0, 1])
def test_cosines_of_sketches_agree_within_the_predicted_error(kind):
    """Hashing: whatever the gradient looks like, here with few that hold most of it. Sampling: alike coordinates."""
    generator = torch.Generator().manual_seed(3)
    scales = torch.rand(sum(SIZES), generator=generator).pow(-0.4) if kind == 0 else torch.ones(sum(SIZES))
    common = torch.randn(sum(SIZES), generator=generator)
    a, b = (scales * (common + torch.randn(sum(SIZES), generator=generator)) for _ in range(2))
    errors = []
    for seed in range(20):
        x, y = sketched([a, b], 4096, seed)[:, kind]
        errors.append(cosine(x, y) - cosine(a, b))
    errors = torch.tensor(errors)
    predicted = 1 / math.sqrt(4096)
    assert errors.square().mean().sqrt() < 1.5 * predicted
    assert errors.abs().max() > 0
    assert abs(errors.mean()) < 3 * predicted / math.sqrt(20)


def test_a_sketch_follows_from_its_seed():
    vector = [torch.arange(float(sum(SIZES)))]
    assert sketched(vector, 512, 1).equal(sketched(vector, 512, 1))
    assert not sketched(vector, 512, 1).equal(sketched(vector, 512, 2))


def test_sampled_coordinates_are_distinct_and_spread_over_all_parameters():
    index = torch.arange(1.0, sum(SIZES) + 1)
    coordinates = sketched([index], 4096)[0, 1]
    assert len(coordinates.unique()) == 4096
    shares = [
        float(((coordinates > start) & (coordinates <= start + size)).float().mean())
        for start, size in ((0, 1000), (1007, 40_000), (41_007, 9000))
    ]
    assert shares == pytest.approx([1000 / sum(SIZES), 40_000 / sum(SIZES), 9000 / sum(SIZES)], abs=0.001)


def test_a_store_goes_on_where_it_stopped(tmp_path):
    shape = (2, 1, 4)
    gradients = torch.randn(3, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    store = GradientStore(tmp_path, 3, shape)
    store.write(gradients[0], {"reward": 0.5})
    store.write(gradients[1], {"reward": 0.25})
    with (tmp_path / "batches.jsonl").open("a") as file:
        file.write('{"reward": 0.')  # the process died while it wrote
    again = GradientStore(tmp_path, 3, shape)
    assert [record["reward"] for record in again.records] == [0.5, 0.25]
    again.write(gradients[2], {"reward": 0.75})
    assert np.array_equal(again.array, gradients.numpy())
    assert [record["reward"] for record in read_records(tmp_path / "batches.jsonl")] == [0.5, 0.25, 0.75]


def test_a_store_takes_more_batches_later(tmp_path):
    gradients = torch.randn(5, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    for batches in (2, 5, 1):  # fewer than are there take nothing away
        store = GradientStore(tmp_path, batches, (2, 1, 4))
        for gradient in gradients[len(store.records) : batches]:
            store.write(gradient, {})
    assert len(GradientStore(tmp_path, 5, (2, 1, 4)).records) == 5
    assert np.array_equal(GradientStore(tmp_path, 5, (2, 1, 4)).array, gradients.numpy())


def test_records_without_gradients_do_not_count(tmp_path):
    store = GradientStore(tmp_path, 2, (1, 1, 2))
    store.write(torch.ones(1, 1, 2), {"reward": 0.5})
    store.path.unlink()
    assert GradientStore(tmp_path, 2, (1, 1, 2)).records == []


def test_batches_without_a_gradient_are_left_out(tmp_path):
    store = GradientStore(tmp_path, 4, (1, 1, 2))
    for gradient in ([1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]):
        store.write(torch.tensor([[gradient]]), {})
    assert store.products({"reward": 0}, 1e-8)["gradient", "reward"].target.shape == (3, 3)


def evidence(**changes):
    given = {
        "log_probs": {
            "original": torch.tensor([[-1.0, -2.0, -3.0]]),
            "corrupted": torch.tensor([[-4.0, -2.5, -3.0]]),
            "cut": torch.tensor([[-1.0, -2.0, -7.0]]),
        },
        "roles": torch.tensor([[1, 1, 2]]),
        "mask": torch.ones(1, 3, dtype=torch.bool),
        "advantages": torch.tensor([1.0]),
        "has_image": torch.tensor([True]),
    }
    return Evidence(**given | changes)


def test_controls_change_the_gaps_and_nothing_else():
    specs = {spec.name: spec for spec in parse_specs(["srpo", "negated", "surprise"], CreditSettings())}
    credit = specs["srpo"].credit
    assert credit.gaps(evidence(), CreditSettings()).tolist() == [[3.0, 0.5, 4.0]]
    assert credit.gaps(negated(evidence()), CreditSettings()).tolist() == [[-3.0, -0.5, -4.0]]
    assert credit.gaps(surprise(evidence()), CreditSettings()).tolist() == [[1.0, 2.0, 3.0]]
    weights = {name: spec.factors(evidence()) for name, spec in specs.items()}
    assert weights["uniform"].tolist() == [[1.0, 1.0, 1.0]]
    assert weights["srpo"].argmax() == weights["surprise"].argmax() == 2
    assert weights["negated"].argmax() == 1


def test_confidence_is_surprise_with_the_other_sign():
    gaps = CREDITS["srpo"].gaps(confidence(evidence()), CreditSettings())
    assert gaps.tolist() == [[-1.0, -2.0, -3.0]]
    spec = {spec.name: spec for spec in parse_specs(["confidence"], CreditSettings(reasoning_gap="token"))}
    assert spec["confidence"].factors(evidence()).argmax() == 0
    blamed = evidence(advantages=torch.tensor([-1.0]))
    assert spec["confidence"].factors(blamed).argmax() == 2  # a sign-aware credit blames what was thought unlikely


@pytest.mark.parametrize("control", ["surprise", "confidence", "negated"])
def test_controls_look_at_no_token_that_they_did_not_ask_for(control):
    """Without an image, perception tokens are not scored, and what stands in their place must not count."""
    spec = parse_specs([control], CreditSettings())[1]
    text_only = evidence(has_image=torch.tensor([False]))
    asked = spec.credit.tokens(text_only, spec.settings)["original"]
    assert asked.tolist() == [[False, False, True]]
    noise = {name: torch.where(asked, values, 50.0) for name, values in text_only.log_probs.items()}
    noise["original"][:, 0] = -50.0
    expected, found = spec.factors(text_only), spec.factors(evidence(has_image=text_only.has_image, log_probs=noise))
    torch.testing.assert_close(found, expected)


def test_surprise_keeps_its_meaning_under_the_blind_contrast():
    specs = parse_specs(["surprise"], CreditSettings(reasoning_contrast="blind"))
    assert specs[1].settings.reasoning_contrast == "drop"


def test_settings_and_grids_of_a_credit():
    specs = parse_specs(["srpo:temperature=0.5/2,baseline=per_role", "vppo:vppo_top_fraction=0.2"], CreditSettings())
    assert [spec.label for spec in specs] == [
        "uniform",
        "srpo:temperature=0.5,baseline=per_role",
        "srpo:temperature=2,baseline=per_role",
        "vppo:vppo_top_fraction=0.2",
    ]
    assert [spec.settings.credit_temperature for spec in specs[1:3]] == [0.5, 2.0]
    assert specs[2].settings.credit_baseline == "per_role"
    assert parse_specs(["srpo:sign_aware=true,contrast=blind"], CreditSettings())[1].settings.credit_sign_aware is True
    spreads = parse_specs(["srpo:reasoning_gap=token/block"], CreditSettings())[1:]
    assert [spec.settings.reasoning_gap for spec in spreads] == ["token", "block"]


def test_each_credit_may_have_a_corruption_of_its_own():
    texts = ["srpo", "srpo:corruption=other_image/blank", "vppo:corruption_ratio=0.5", "pgpo"]
    specs = parse_specs(texts, CreditSettings(corruption="gaussian_blur"))
    assert [spec.corruption for spec in specs] == ["", "gaussian_blur", "other_image", "blank", "gaussian_blur", ""]


@pytest.mark.parametrize(
    ("colours", "expected"), [(("red", "blue"), "other_image"), (("red", "red"), "patch_mask 0.6")]
)
def test_by_default_srpo_and_vppo_are_measured_with_their_own_corruptions(colours, expected):
    data = [{"images": [Image.new("RGB", (2, 2), colour)]} for colour in colours]
    specs = settled(parse_specs([*DEFAULT_CREDITS, "srpo:corruption_ratio=0.3/0.6"], CreditSettings()), data)
    corruptions = {spec.label: spec.corruption for spec in specs}
    assert corruptions["vppo:corruption_ratio=0.5"] == "patch_mask 0.5"
    assert corruptions["srpo:corruption_ratio=0.3"] == "patch_mask 0.3"
    assert corruptions["srpo:corruption_ratio=0.6"] == "patch_mask 0.6"
    assert corruptions["srpo"] == corruptions["perception"] == expected


def test_the_same_settings_are_measured_once():
    texts = ["srpo:weight_min=0.5", "srpo", "srpo:temperature=1/2", "srpo:temperature=2.0", "negated"]
    labels = [spec.label for spec in parse_specs(texts, CreditSettings())]
    assert labels == ["uniform", "srpo:weight_min=0.5", "srpo:temperature=2", "negated"]


def test_reasoning_alone_goes_by_its_own_gaps():
    specs = parse_specs(["reasoning", "reasoning:reasoning_gap=token"], CreditSettings(reasoning_gap="block"))
    assert [(spec.label, spec.settings.reasoning_gap) for spec in specs[1:]] == [("reasoning", "token")]


def test_uniform_comes_first_and_once():
    assert [spec.label for spec in parse_specs(["srpo", "uniform", "srpo"], CreditSettings())] == ["uniform", "srpo"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spro", "must be one of srpo"),
        ("papo", "policy gradient is that of uniform"),
        ("srpo:heat=2", "no setting 'heat'; the settings are baseline"),
        ("srpo:credit=vppo", "no setting 'credit'"),
        ("srpo:temperature", "a setting and its value"),
        ("srpo:temperature=warm", "must be a number"),
        ("srpo:sign_aware=maybe", "true or false"),
        ("srpo:temperature=-1", "must be a positive number"),
        ("srpo:baseline=mean", "must be one of shared"),
        ("srpo:contrast=keep", "must be one of"),
        ("srpo:corruption=fog", "corruption 'fog' must be one of patch_mask"),
        ("srpo:corruption_ratio=2", "corruption_ratio 2.0 must lie in"),
        ("reasoning:reasoning_gap=block", "reasoning_gap must be token; leave it out"),
    ],
)
def test_what_is_no_credit_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_specs([text], CreditSettings())


def test_normalisation_of_the_losses_by_hand():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert loss_normalisation(mask, "dapo", 10)[:, 0].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert loss_normalisation(mask, "grpo", 10)[:, 0].tolist() == pytest.approx([1 / 4, 1 / 2])
    assert loss_normalisation(mask, "dr_grpo", 10)[:, 0].tolist() == pytest.approx([1 / 20, 1 / 20])
    assert loss_normalisation(mask, "dapo", 10)[0, 2] == 0
    with pytest.raises(ValueError, match="loss_type 'vespo'"):
        loss_normalisation(mask, "vespo", 10)


def test_advantages_of_another_reward_by_hand():
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0])
    std = math.sqrt(0.5)
    assert group_advantages(rewards, 2).tolist() == pytest.approx([0.5 / (std + 1e-4), -0.5 / (std + 1e-4), 0.0, 0.0])
    assert group_advantages(rewards, 2, "none").tolist() == pytest.approx([0.5, -0.5, 0.0, 0.0])
    assert group_advantages(torch.full((4,), 0.1), 4).tolist() == [0.0] * 4
