"""The other methods inside the trainer: what they see, in every layout, and what becomes of the loss."""

import pytest
import torch

from srpo import SRPOConfig
from srpo.credits import CREDITS
from srpo.rewording import HINT, reference_answer, with_answer, without_images
from tests.both_scorings import generate_batch, sharp_trainer
from tests.integration.test_layouts import TEMPERATURE, BareModel
from tests.scripted import ScriptedGRPO, ScriptedSRPO, logged, lora, make_trainer, scripted_dataset, train

TOKEN_CREDITS = ["vppo", "rlsd", "pgpo"]


@pytest.fixture(scope="module")
def rows():
    return scripted_dataset(12)


def other_log_probs(bare, credit, row, completion):
    """Log-probabilities of a completion in the context that a credit compares with, by the bare model alone."""
    if credit == "vppo":
        return bare.log_probs(row, bare.corrupted(row, 3, step=0), completion)
    if credit == "pgpo":
        return bare.log_probs({**row, "images": []}, [], completion)
    (message,) = row["prompt"]
    told = {**row, "prompt": [{**message, "content": message["content"] + HINT.format(answer=row["answer"])}]}
    return bare.log_probs(told, row["images"], completion)


@pytest.mark.parametrize("credit", TOKEN_CREDITS)
def test_gaps_by_hand_in_every_layout(layout_folder, tmp_path, credit):
    """The hint stands at the end of the user's message, so adding it to the question gives the same prompt."""
    data = scripted_dataset(4, (1, 2))
    options = {"train_dataset": data, "max_steps": 1, "temperature": TEMPERATURE, "credit": credit}
    (batch,) = train(ScriptedSRPO, layout_folder, tmp_path, **options).credits
    bare, largest = BareModel(layout_folder), 0.0
    for i, row in enumerate(batch.rows):
        length = int(batch.batch["completion_mask"][i].sum())
        completion = batch.batch["completion_ids"][i, :length].tolist()
        gaps = batch.gaps[i, :length]
        if batch.advantages[i] == 0:
            assert gaps.eq(0).all()
            continue
        original = torch.tensor(bare.log_probs(row, row["images"], completion))
        expected = original - torch.tensor(other_log_probs(bare, credit, row, completion))
        torch.testing.assert_close(gaps, expected, atol=1e-5, rtol=0)
        largest = max(largest, gaps.abs().max().item())
    assert largest > 1e-3


@pytest.mark.parametrize("credit", [*TOKEN_CREDITS, "papo"])
def test_strength_zero_is_grpo(qwen_folder, tmp_path, rows, credit):
    options = {"train_dataset": rows, "max_steps": 3}
    grpo = train(ScriptedGRPO, qwen_folder, tmp_path, **options)
    zero = train(ScriptedSRPO, qwen_folder, tmp_path, credit=credit, credit_strength=0.0, **options)
    assert torch.stack(zero.losses).equal(torch.stack(grpo.losses))
    one = train(ScriptedSRPO, qwen_folder, tmp_path, credit=credit, **options)
    assert not torch.stack(one.losses).equal(torch.stack(grpo.losses))
    for ours, theirs in zip(zero.gradients, grpo.gradients, strict=True):
        assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize("credit", TOKEN_CREDITS)
def test_advantages_keep_their_sign_and_their_zeros(qwen_folder, tmp_path, rows, credit):
    data = scripted_dataset(8, (0, 1))
    for batch in train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, credit=credit).credits:
        product = batch.batch["advantages"] * batch.advantages[:, None]
        assert (product >= 0).all()
        assert credit == "vppo" or (product > 0).any(1).equal(batch.advantages != 0)
        assert batch.weights[batch.advantages == 0].eq(1).all()
        assert batch.weights.isfinite().all()


def test_rollouts_of_equal_prompts_with_other_answers_get_their_own_hint(qwen_folder, tmp_path, scored):
    data = scripted_dataset(1, flat_every=9)
    data = data.select([0, 0]).remove_columns("answer").add_column("answer", ["3", "17"])
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, credit="rlsd")
    generate_batch(trainer)
    assert scored[-1].groups == [0] * 4 + [4] * 4


def test_a_row_without_a_reference_answer_is_refused():
    with pytest.raises(ValueError, match="no reference answer, which credit 'rlsd' shows .* give every row one in"):
        reference_answer({"prompt": [], "answer": None})
    assert reference_answer({"answer": None, "solution": 7}) == "7"


def test_prompts_in_other_words():
    image, question = {"type": "image", "image": 1}, {"type": "text", "text": "How many?"}
    system, prompt = {"role": "system", "content": "Be brief."}, {"role": "user", "content": [image, question]}
    hint = HINT.format(answer="4")
    told = with_answer([system, prompt], "4")
    assert told == [system, {"role": "user", "content": [image, question, {"type": "text", "text": hint}]}]
    assert prompt["content"] == [image, question]  # the row stays as it is
    assert without_images([system, prompt]) == [system, {"role": "user", "content": [question]}]
    assert with_answer("How many?", "4") == "How many?" + hint
    assert with_answer([{"role": "user", "content": "How many?"}], "4")[0]["content"] == "How many?" + hint
    with pytest.raises(ValueError, match="without a user message has no place for the reference answer"):
        with_answer([system], "4")


def term_by_hand(trainer, batch, rows):
    """PAPO's term over a whole generation batch with one bare forward pass for each rollout, with gradient."""
    view, args = trainer._perception._generation, trainer.args
    total, tokens = 0.0, 0
    for i in range(len(rows)):
        passes = []
        for vision in (view.original.vision([i]), view.corrupted([i])):
            ids = torch.cat([batch["prompt_ids"][i], batch["completion_ids"][i]])[None]
            mask = torch.cat([batch["prompt_mask"][i], batch["completion_mask"][i]])[None]
            types = {name: batch[name][i : i + 1] for name in ("mm_token_type_ids", "token_type_ids") if name in batch}
            length = batch["completion_ids"].size(1)
            logits = trainer.model(input_ids=ids, attention_mask=mask, **vision, **types).logits[0, -length - 1 : -1]
            logits = logits / args.temperature
            every = logits.log_softmax(-1)
            entropy = -(every.exp() * every).sum(-1)
            passes.append((every.gather(1, batch["completion_ids"][i][:, None])[:, 0], entropy))
        (seen, entropy), (corrupted, corrupted_entropy) = passes
        at = batch["completion_mask"][i].bool()
        d = (corrupted - seen)[at]
        kl = (d.exp() - d - 1).clamp(0, 10)
        shown = view.original.has_image[i]
        entropies = entropy[at].sum() + shown * corrupted_entropy[at].sum()
        total = total + args.papo_entropy_coef * entropies - args.papo_gamma * shown * kl.sum()
        tokens += int(at.sum())
    return total / tokens


SPLITS = {
    "whole": {"per_device_train_batch_size": 8},
    "micro-batches": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_papo_gradient_is_that_of_its_term_plus_that_of_grpo(layout_folder, tmp_path, split):
    """At the first step; with TRL's mean over tokens for the rest of the loss."""
    data = scripted_dataset(4, (0, 1, 2))
    options = {"train_dataset": data, "max_steps": 1, "learning_rate": 0.0, "max_grad_norm": 0, "loss_type": "dapo"}
    plain = train(ScriptedSRPO, layout_folder, tmp_path, credit="uniform", **options, **split)
    settings = {"credit": "papo", "papo_gamma": 2.0, "papo_entropy_coef": 0.5, "papo_corrupted_gradient": True}
    papo = train(ScriptedSRPO, layout_folder, tmp_path, **settings, **options, **split)
    papo.model.eval()
    papo.model.zero_grad()
    batch = papo.batches[0]
    term = term_by_hand(papo, batch, papo.credits[0].rows)
    term.backward()
    assert sum(papo.losses).item() == pytest.approx(sum(plain.losses).item() + term.item(), abs=1e-5)
    by_hand = {name: p.grad for name, p in papo.model.named_parameters() if p.grad is not None}
    largest = max(gradient.abs().max().item() for gradient in by_hand.values())
    assert largest > 1e-3
    for name, theirs in plain.gradients[0].items():
        expected = theirs + by_hand.get(name, 0.0)
        torch.testing.assert_close(papo.gradients[0][name], expected, atol=1e-4 * largest, rtol=1e-3, msg=name)


def test_papo_sees_its_corrupted_images_in_every_iteration_and_leaves_the_batch_alone(qwen_folder, tmp_path):
    """Two micro-batches a generation, each trained on twice: a corrupted pass has the pixels of its own rollouts."""
    pixels = {"original": [], "corrupted": []}

    class Watched(ScriptedSRPO):
        def _get_per_token_logps_and_entropies(self, model, input_ids, *args, **kwargs):
            if kwargs.get("compute_entropy"):
                kinds = ("original", "corrupted")
                kind = kinds[len(pixels["original"]) > len(pixels["corrupted"])]
                pixels[kind].append((input_ids.clone(), kwargs["pixel_values"].clone()))
            return super()._get_per_token_logps_and_entropies(model, input_ids, *args, **kwargs)

    options = {"per_device_train_batch_size": 4, "steps_per_generation": 2, "num_iterations": 2, "max_steps": 4}
    options |= {"train_dataset": scripted_dataset(4, (1, 2)), "gradient_accumulation_steps": 1}
    trainer = train(Watched, qwen_folder, tmp_path, credit="papo", **options)
    assert len(trainer.batches) == 1
    assert len(pixels["original"]) == len(pixels["corrupted"]) == 4
    for (ids, seen), (again, corrupted) in zip(pixels["original"], pixels["corrupted"], strict=True):
        assert ids.equal(again)
        assert seen.shape == corrupted.shape
        assert not seen.equal(corrupted)
    for first, second in ((0, 2), (1, 3)):
        for kind in pixels.values():
            assert kind[first][1].equal(kind[second][1])
    assert not pixels["original"][0][0].equal(pixels["original"][1][0])
    black = [(corrupted - seen).abs().amax(1).gt(0).float().mean() for (_, seen), (_, corrupted) in
             zip(pixels["original"], pixels["corrupted"], strict=True)]  # fmt: skip
    assert all(0.4 < share < 0.8 for share in black)  # of the patches, for a ratio of 0.6


def test_papo_without_gradient_through_the_corrupted_pass(qwen_folder, tmp_path, rows):
    options = {"train_dataset": rows, "max_steps": 1, "credit": "papo", "papo_gamma": 1.0, "papo_entropy_coef": 0.0}
    both = train(ScriptedSRPO, qwen_folder, tmp_path, papo_corrupted_gradient=True, **options)
    one = train(ScriptedSRPO, qwen_folder, tmp_path, **options)
    assert one.losses[0].item() == pytest.approx(both.losses[0].item(), abs=1e-6)
    assert any(not one.gradients[0][name].allclose(value) for name, value in both.gradients[0].items())


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"peft_config": lora()}, {"loss_type": "grpo"}])
def test_papo_with_options_of_grpo(qwen_folder, tmp_path, rows, options):
    trainer = train(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows, credit="papo", **options)
    assert all(loss.isfinite() for loss in trainer.losses)
    for name in ("srpo/papo/kl", "srpo/papo/corrupted_entropy"):
        assert all(value > 0 for value in logged(trainer, name))


@pytest.mark.parametrize("fields", [{}, {"papo_entropy_coef": 0.0}, {"papo_gamma": 0.0}])
def test_papo_and_skipping_are_refused_together(tmp_path, fields):
    with pytest.raises(ValueError, match="credit 'papo' cannot be combined with skip_zero_advantage"):
        SRPOConfig(str(tmp_path), bf16=False, credit="papo", skip_zero_advantage=True, **fields)


def test_papo_without_a_term_may_skip(tmp_path):
    config = SRPOConfig(
        str(tmp_path), bf16=False, credit="papo", skip_zero_advantage=True, papo_gamma=0.0, papo_entropy_coef=0.0
    )
    assert not config.adds_perception_term


def test_the_kl_that_a_generation_moved_the_policy_by(qwen_folder, tmp_path, rows):
    """By hand between the policies of two steps; nothing before the first step, 0 where nothing is learned."""
    options = {"train_dataset": rows, "max_steps": 2, "credit": "uniform", "log_policy_kl": True}
    trainer = make_trainer(ScriptedSRPO, qwen_folder, tmp_path, **options)
    policies = []
    trainer.observers.append(lambda batch: policies.append(log_probs_of(trainer, trainer.batches_seen[0])))
    trainer.batches_seen = []
    trainer.observers.insert(0, lambda batch: trainer.batches_seen.append(batch.batch))
    trainer.train()
    old, new = policies
    mask = trainer.batches[0]["completion_mask"].bool()
    d = (new - old)[mask]
    (kl,) = logged(trainer, "srpo/policy/kl")
    assert kl > 1e-5
    assert kl == pytest.approx((d.exp() - 1 - d).mean().item(), rel=1e-3)
    still = train(ScriptedSRPO, qwen_folder, tmp_path, learning_rate=0.0, **options)
    assert logged(still, "srpo/policy/kl") == pytest.approx([0.0], abs=1e-9)


def log_probs_of(trainer, batch):
    """(B, T) log-probabilities of a generation batch under the policy as it is."""
    names = ("pixel_values", "image_grid_thw", "mm_token_type_ids", "num_images")
    with torch.no_grad():
        log_probs, *_ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            batch["completion_ids"].size(1),
            **{name: batch[name] for name in names if name in batch},
        )
    return log_probs


def test_measuring_the_kl_changes_nothing(qwen_folder, tmp_path, rows):
    options = {"train_dataset": rows, "num_iterations": 2, "max_steps": 3}
    without = train(ScriptedSRPO, qwen_folder, tmp_path, **options)
    measured = train(ScriptedSRPO, qwen_folder, tmp_path, log_policy_kl=True, **options)
    assert torch.stack(measured.losses).equal(torch.stack(without.losses))


@pytest.mark.parametrize(
    "options", [{"credit_baseline": "none"}, {"credit_sign_aware": False}, {"reasoning_gap": "token"}]
)
def test_ablations_of_srpo(qwen_folder, tmp_path, rows, options):
    narrow = {
        "credit_weight_min": 0.97,
        "credit_weight_max": 1.03,
    }  # without a clip, b would cancel
    if "reasoning_gap" in options:
        narrow = {}
    narrow |= {"train_dataset": rows, "max_steps": 1, "corruption": "patch_mask"}
    plain = train(ScriptedSRPO, qwen_folder, tmp_path, **narrow).credits[0]
    changed = train(ScriptedSRPO, qwen_folder, tmp_path, **narrow, **options).credits[0]
    assert changed.gaps.equal(plain.gaps)
    roles, advantages = plain.roles != 0, plain.advantages[:, None]
    positive, negative = roles & (advantages > 0), roles & (advantages < 0)
    assert not changed.weights[negative].equal(plain.weights[negative])
    if "credit_sign_aware" in options:
        torch.testing.assert_close(changed.weights[positive], plain.weights[positive])


def test_credits_are_scored_together(qwen_folder, tmp_path, rows, scored):
    """One call for all of them, with the contexts and tokens of each."""
    trainer = sharp_trainer(ScriptedSRPO, qwen_folder, tmp_path, train_dataset=rows)
    batch = generate_batch(trainer)
    inputs = trainer.batches[0] | {"advantages": batch["advantages"]}
    view = trainer._assigner.view(next(iter(trainer.get_train_dataloader())), inputs, step=0)
    mask = inputs["completion_mask"].bool()
    roles, advantages = torch.zeros_like(inputs["completion_ids"]), torch.ones(8)
    roles[:, 3:6] = 1
    count = len(scored)
    evidence = trainer._assigner.evidence(trainer.model, view, list(CREDITS.values()), roles * mask, mask, advantages)
    assert len(scored) == count + 1
    assert set(evidence.log_probs) == {"original", "corrupted", "cut", "hinted", "text_only"}
    for name in TOKEN_CREDITS:
        assert CREDITS[name].factors(evidence, trainer.args).isfinite().all()
    for name in ("original", "corrupted", "hinted", "text_only"):
        assert evidence.log_probs[name].isfinite().equal(mask)
