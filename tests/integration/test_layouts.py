"""Weights, corruption and the ban of placeholder tokens, end to end, in every layout through its real processor."""

import hashlib
import math

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.data_utils import prepare_multimodal_messages
from trl.trainer.utils import shuffle_sequence_dict, split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from srpo.corruption import corrupt, corruption_seed
from srpo.vision import placeholder_token_ids
from tests.scripted import SampledSRPO, ScriptedGRPO, ScriptedSRPO, make_trainer, scripted_dataset, train

TEMPERATURE = 0.8
PLACEHOLDERS = {
    "qwen2_5_vl": ["<|image_pad|>", "<|video_pad|>"],
    "qwen3_vl": ["<|image_pad|>", "<|video_pad|>"],
    "smolvlm": ["<image>", "<video>"],
    "llava": ["<image>"],
    "internvl": ["<IMG_CONTEXT>", "<video>"],
}
CLIP = (0.97, 1.03)  # narrow, so that the clip acts on the small gaps of a random model


@pytest.fixture(scope="module")
def rows():
    return scripted_dataset(8, (1, 2))


class BareModel:
    """Log-probabilities of one completion by one forward pass of the bare model: no padding, no TRL."""

    def __init__(self, folder):
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def text(self, row):
        messages = prepare_multimodal_messages(row["prompt"], images=row["images"])
        return self.processor.apply_chat_template(messages, add_generation_prompt=True)

    @torch.no_grad()
    def log_probs(self, row, images, completion):
        inputs = self.processor(text=[self.text(row)], images=[images] if images else None, return_tensors="pt")
        start = inputs["input_ids"].size(1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([completion])], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        for name in ("mm_token_type_ids", "token_type_ids"):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.zeros(1, len(completion), dtype=torch.long)], dim=1)
        logits = self.model(**inputs).logits[0, start - 1 : -1] / TEMPERATURE
        return logits.log_softmax(-1)[range(len(completion)), completion].tolist()

    def patch(self, image):
        """(width, height) of a patch of the model in pixels of an image, by what each processor does with its size."""
        width, height = image.size
        layout = self.model.config.model_type
        if layout in ("qwen2_5_vl", "qwen3_vl"):
            _, rows, columns = self.processor.image_processor([image], return_tensors="pt")["image_grid_thw"][
                0
            ].tolist()
            return width / columns, height / rows
        if layout == "smolvlm":  # patches of 16 on an image whose longest edge is 128
            return (16 * max(width, height) / 128,) * 2
        if layout == "llava":  # patches of 16 on an image whose shortest edge is 64
            return (16 * min(width, height) / 64,) * 2
        cut = self.processor.image_processor(images=[image], crop_to_patches=True, return_tensors="pt")
        tiles = int(cut["num_patches"][0])
        tiles -= tiles > 1  # the thumbnail
        grids = [(columns, tiles // columns) for columns in range(1, tiles + 1) if tiles % columns == 0]
        columns, rows = min(grids, key=lambda grid: abs(grid[0] / grid[1] - width / height))
        return 8 * width / (32 * columns), 8 * height / (32 * rows)  # internvl: patches of 8 in tiles of 32 x 32

    def corrupted(self, row, run_seed, step):
        digest = hashlib.blake2b(self.text(row).encode(), digest_size=16)
        for image in row["images"]:
            digest.update(f"({image.size}, '{image.mode}')".encode() + image.tobytes())
        seed = corruption_seed(run_seed, step, digest.digest())
        return [
            corrupt(image, "patch_mask", seed=seed + i, ratio=0.6, patch_size=self.patch(image))
            for i, image in enumerate(row["images"])
        ]


def gaps_by_hand(bare, row, completion, roles, run_seed, contrast):
    """The gaps of one rollout, token by token."""
    corrupted = bare.corrupted(row, run_seed, step=0)
    original = bare.log_probs(row, row["images"], completion)
    blinded = bare.log_probs(row, corrupted, completion)
    kept = [t for t, role in enumerate(roles) if role != 1]
    shown = corrupted if contrast == "blind" else row["images"]
    cut = dict(zip(kept, bare.log_probs(row, shown, [completion[t] for t in kept]), strict=True))
    whole = blinded if contrast == "blind" else original
    return [{0: 0.0, 1: original[t] - blinded[t], 2: whole[t] - cut.get(t, 0.0)}[role] for t, role in enumerate(roles)]


def weights_by_hand(gaps, roles, advantage):
    """Method, section 3, in plain Python: one gap for the reasoning block, turned round where A < 0."""
    chosen = [t for t, role in enumerate(roles) if role]
    if not chosen:
        return [1.0] * len(roles)
    block = [gaps[t] for t in chosen if roles[t] == 2]
    s = {t: sum(block) / len(block) if roles[t] == 2 else gaps[t] for t in chosen}
    b = sum(s.values()) / len(s)
    sign = 1 if advantage > 0 else -1
    w = {t: min(max(math.exp(sign * (s[t] - b)), CLIP[0]), CLIP[1]) for t in chosen}
    mean = sum(w.values()) / len(w)
    return [w[t] / mean if t in w else 1.0 for t in range(len(roles))]


def check_by_hand(folder, trainer):
    """Compare the first batch of a run with gaps and weights computed row by row; where A = 0, with none."""
    bare, credit = BareModel(folder), trainer.credits[0]
    clipped = 0
    for i, row in enumerate(credit.rows):
        length = int(credit.batch["completion_mask"][i].sum())
        completion = credit.batch["completion_ids"][i, :length].tolist()
        if credit.advantages[i] == 0:
            assert credit.gaps[i].eq(0).all()
            assert credit.weights[i].eq(1).all()
            continue
        roles = credit.roles[i, :length].tolist()
        gaps = gaps_by_hand(bare, row, completion, roles, trainer.args.seed, trainer.args.reasoning_contrast)
        torch.testing.assert_close(credit.gaps[i, :length], torch.tensor(gaps), atol=1e-5, rtol=0)
        weights = weights_by_hand(gaps, roles, credit.advantages[i])
        clipped += sum(w > 1.01 for w in weights)
        torch.testing.assert_close(credit.weights[i, :length], torch.tensor(weights), atol=1e-5, rtol=0)
    assert ((credit.roles != 0).any(1) & (credit.advantages != 0)).sum() >= 3
    assert clipped >= 3
    assert credit.batch["advantages"].equal(credit.advantages[:, None] * credit.weights)
    return credit


NARROW = {
    "temperature": TEMPERATURE,
    "credit_weight_min": CLIP[0],
    "credit_weight_max": CLIP[1],
    "corruption": "patch_mask",
    "max_steps": 1,
}


@pytest.mark.parametrize("images_per_row", [(1, 2), (0, 1)], ids=["one_and_two_images", "text_and_image"])
def test_gaps_weights_and_advantages_by_hand(layout_folder, tmp_path, images_per_row):
    data = scripted_dataset(4, images_per_row)
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    trainer = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=data, **NARROW, **split)
    credit = check_by_hand(layout_folder, trainer)
    images = torch.tensor([len(row["images"]) for row in credit.rows])
    assert set(images.tolist()) == set(images_per_row)
    perception = credit.roles == 1
    assert credit.gaps[(images > 0)[:, None] & perception].abs().max() > 0.01
    text = (images == 0)[:, None] & perception
    assert not text.any() or credit.gaps[text].abs().max() < 1e-5


@pytest.mark.parametrize("size", [8, 4, 2], ids=["whole_batch", "halves", "quarters"])
def test_as_many_images_as_rollouts_in_a_layout_of_one_row_of_pixels_per_rollout(layout_folders, tmp_path, size):
    data = scripted_dataset(4, (0, 2))
    split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
    trainer = train(ScriptedSRPO, layout_folders["smolvlm"], tmp_path, train_dataset=data, **NARROW, **split)
    credit = check_by_hand(layout_folders["smolvlm"], trainer)
    assert sum(len(row["images"]) for row in credit.rows) == len(credit.rows)
    batch = trainer.batches[0]
    shuffled = unsplit_pixel_values_by_grid(shuffle_sequence_dict(split_pixel_values_by_grid(batch)))
    for ids, pixels in zip(shuffled["completion_ids"], shuffled["pixel_values"], strict=True):
        (origin,) = (batch["completion_ids"] == ids).all(1).nonzero().flatten().tolist()
        assert pixels.equal(batch["pixel_values"][origin])


def test_blind_contrast_by_hand(qwen_folder, tmp_path, rows):
    options = {"train_dataset": rows, "reasoning_contrast": "blind"}
    check_by_hand(qwen_folder, train(ScriptedSRPO, qwen_folder, tmp_path, **NARROW, **options))


def test_invariants_on_real_batches(layout_folder, tmp_path, rows):
    trainer = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=rows, max_steps=2)
    for credit in trainer.credits:
        role_tokens, structured = credit.roles != 0, (credit.roles != 0).any(1)
        assert structured.any()
        assert not structured.all()
        for tensor in (credit.gaps, credit.weights, credit.batch["advantages"]):
            assert tensor.shape == credit.batch["completion_ids"].shape
            assert not tensor.requires_grad
        assert credit.weights.isfinite().all()
        assert (credit.weights > 0).all()
        assert credit.weights[~role_tokens].eq(1).all()
        assert credit.weights[credit.advantages == 0].eq(1).all()
        means = (credit.weights * role_tokens).sum(1)[structured] / role_tokens.sum(1)[structured]
        torch.testing.assert_close(means, torch.ones_like(means))
        signs = credit.advantages.sign()[:, None].expand_as(credit.weights)
        assert credit.batch["advantages"].sign().equal(signs)
        assert not (credit.roles * (1 - credit.batch["completion_mask"])).any()
    seen = {sign for credit in trainer.credits for sign in credit.advantages.sign().tolist()}
    assert seen == {0.0, 1.0, -1.0}


def images_of(context, per_row):
    """The pixels of each image of a context, in order."""
    vision = context.vision(range(len(context.prompt_ids)))
    pixels = vision["pixel_values"]
    if "image_grid_thw" in vision:
        return list(pixels.split(vision["image_grid_thw"].prod(-1).tolist()))
    if context.num_tiles is not None:  # rows of tiles; both images of a row together
        return list(pixels.split(context.num_tiles))
    if pixels.dim() == 5:
        return list(pixels)
    return list(pixels.split(per_row))


def test_corruption_changes_every_image_and_never_the_batch(layout_folder, tmp_path, rows, scored):
    srpo_run = train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=rows, max_steps=1)
    grpo_run = train(ScriptedGRPO, layout_folder, tmp_path, train_dataset=rows, max_steps=1)
    (call,) = scored
    original, corrupted, cut = (call.contexts[name] for name in ("original", "corrupted", "cut"))
    per_row = srpo_run.batches[0]["num_images"]
    views = (images_of(context, per_row) for context in (original, corrupted, cut))
    for before, after, same in zip(*views, strict=True):
        assert before.shape == after.shape
        assert not before.equal(after)
        assert same.equal(before)
    assert corrupted.completion_ids.equal(original.completion_ids)
    assert not cut.completion_ids.equal(original.completion_ids)
    ours, theirs = srpo_run.batches[0], grpo_run.batches[0]
    assert ours.keys() == theirs.keys()
    rewritten = {"advantages"} | ({"num_images"} if ours["pixel_values"].dim() == 5 else set())
    for name in ours.keys() - rewritten:
        same = ours[name].equal(theirs[name]) if isinstance(ours[name], torch.Tensor) else ours[name] == theirs[name]
        assert same, name
    assert ours["pixel_values"].equal(call.pixels("original"))
    assert theirs["advantages"].equal(srpo_run.credits[0].advantages)


def test_one_corruption_per_prompt_and_another_one_each_step(layout_folder, tmp_path, scored):
    one_prompt = scripted_dataset(1, flat_every=9)
    for seed in (3, 3, 4):
        train(ScriptedSRPO, layout_folder, tmp_path, train_dataset=one_prompt, per_device_train_batch_size=4, seed=seed)
    corrupted = [call.pixels("corrupted") for call in scored]
    first, second, first_again, second_again, first_of_other_seed, _ = corrupted
    for pixels in corrupted:
        copies = pixels.reshape(4, -1)  # the four rollouts of the prompt
        assert copies.equal(copies[:1].expand_as(copies))
    assert first.equal(first_again)
    assert second.equal(second_again)
    assert not first.equal(second)
    assert not first.equal(first_of_other_seed)


def test_placeholders_are_never_sampled(layout_folder, tmp_path, rows):
    trainer = make_trainer(SampledSRPO, layout_folder, tmp_path, max_completion_length=6)
    tokens = PLACEHOLDERS[trainer.model.config.model_type]
    banned = set(trainer.processing_class.tokenizer.convert_tokens_to_ids(tokens))
    assert banned == set(placeholder_token_ids(trainer.model.config, trainer.processing_class))

    def prefer_placeholders(module, args, logits):
        return logits.index_add(-1, torch.tensor(sorted(banned)), torch.full((*logits.shape[:-1], len(banned)), 1e3))

    def sampled():
        prompts = [prepare_multimodal_messages(row["prompt"], row["images"]) for row in rows]
        _, completion_ids, *_ = trainer._generate(prompts)
        return {token for ids in completion_ids for token in ids}

    trainer.model.get_output_embeddings().register_forward_hook(prefer_placeholders)
    assert not banned & sampled()
    trainer.generation_config.suppress_tokens = trainer.generation_kwargs["suppress_tokens"] = None
    assert sampled() == banned
