"""Scripted rollouts: a small random model never writes a structured reply, so the tests put replies in its mouth.

`ScriptedGRPO` and `ScriptedSRPO` differ from TRL's and from our trainer in what is sampled, and in nothing else. A
reply depends on the prompt and on its place in the group, so ranks and micro-batches cannot change it.
"""

import random
import zlib

import torch
import transformers
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from srpo.config import SRPOConfig
from srpo.trainer import SRPOTrainer
from tests.conftest import world_dataset

KINDS = ("right", "unstructured", "wrong", "truncated", "repeated")
COLORS = ("red", "green", "blue")


def reply(kind, rng):
    """The text of one reply: structured, or not in one of the ways in which replies fail."""
    facts = [(rng.choice(COLORS), rng.randint(1, 9)) for _ in range(rng.randint(1, 3) + 2 * (kind == "wrong"))]
    seen = " ; ".join(f"{color} {number}" for color, number in facts)
    total = sum(number for _, number in facts) + (kind == "wrong")
    derived = " + ".join(str(number) for _, number in facts) + f" = {total}"
    if kind == "unstructured":
        return f"<perception> {seen} </perception> {derived} <answer> {total} </answer>"
    if kind == "truncated":
        return f"<perception> {seen} </perception><think> {derived}"
    if kind == "repeated":
        return f"<think> {seen} <think> {derived} </think><answer> {total} </answer><answer> 1 </answer>"
    text = f"<perception> {seen} </perception><think> {derived} </think><answer> {total} </answer>"
    return text + " and" if kind == "endless" else text


class ScriptedRollouts:
    """In place of sampling: `kinds` cycles over a group; from global index `plain_after` on, all are unstructured."""

    kinds = KINDS
    plain_after = None

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        completions = []
        first = self.accelerator.process_index * len(prompt_ids)
        for index, ids in enumerate(prompt_ids, start=first):
            member = index % num_generations
            prompt = self._tokenizer.decode(ids)
            rng = random.Random(f"{prompt} {member} {self.state.global_step}")
            kind = self.kinds[(member + zlib.crc32(prompt.encode())) % len(self.kinds)]
            if self.plain_after is not None and index >= self.plain_after:
                kind = "unstructured"
            completion = self._tokenizer(reply(kind, rng))["input_ids"]
            whole = kind not in ("truncated", "endless")
            completions.append([*completion, self._tokenizer.eos_token_id] if whole else completion)
        return completions, None


class Recorded:
    """Keeps what a run computed: every micro-batch loss and every generation batch that is trained on."""

    def __init__(self, *args, **kwargs):
        self.losses, self.batches = [], []
        super().__init__(*args, **kwargs)

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.detach().clone())
        return loss

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        self.batches.append({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in batch.items()})
        return batch


class SampledGRPO(Recorded, GRPOTrainer):
    pass


class SampledSRPO(Recorded, SRPOTrainer):
    pass


class ScriptedGRPO(Recorded, ScriptedRollouts, GRPOTrainer):
    pass


class ScriptedSRPO(Recorded, ScriptedRollouts, SRPOTrainer):
    pass


class Gradients(TrainerCallback):
    """The gradients of every optimizer step, by parameter name."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.steps.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})


def reward(prompts, completions, flat=None, **columns):
    """Differs between the texts of a group, but for rows whose column `flat` is true, which end with A = 0."""
    texts = [completion[0]["content"] for completion in completions]
    flat = flat or [False] * len(texts)
    return [0.5 if same else zlib.crc32(text.encode()) % 97 / 96 for text, same in zip(texts, flat, strict=True)]


def scripted_dataset(rows=8, images_per_row=(1,), flat_every=3):
    """Rows of the visual world with images of several shapes; every third one has a flat reward."""
    shapes = ((96, 96), (80, 120), (128, 72))
    data = world_dataset(rows, images_per_row)
    data = data.map(
        lambda row, i: {"images": [im.resize(shapes[(i + k) % len(shapes)]) for k, im in enumerate(row["images"])]},
        with_indices=True,
        load_from_cache_file=False,
    )
    return data.add_column("flat", [i % flat_every == flat_every - 1 for i in range(rows)])


def lora(**options):
    """A small LoRA on the language model."""
    return LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **options)


def make_trainer(
    cls,
    model,
    output_dir,
    *,
    train_dataset=None,
    reward_funcs=reward,
    peft_config=None,
    callbacks=None,
    eval_dataset=None,
    rollout_func=None,
    processing_class=None,
    **config,
):
    """A trainer with two groups of four rollouts a step and settings that keep tests short."""
    transformers.set_seed(11)
    settings = {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 64,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 3,
        "shuffle_dataset": False,
    }
    arguments = (SRPOConfig if issubclass(cls, SRPOTrainer) else GRPOConfig)(**(settings | config))
    return cls(
        model,
        reward_funcs,
        arguments,
        train_dataset=scripted_dataset() if train_dataset is None else train_dataset,
        eval_dataset=eval_dataset,
        peft_config=peft_config,
        callbacks=callbacks,
        rollout_func=rollout_func,
        processing_class=processing_class,
    )


def train(cls, model, output_dir, **options):
    """Train, and return the trainer with its `gradients` (per step) and `credits` (the CreditBatch of each batch)."""
    gradients = Gradients()
    trainer = make_trainer(cls, model, output_dir, callbacks=[gradients], **options)
    trainer.gradients, trainer.credits = gradients.steps, []
    if isinstance(trainer, SRPOTrainer):
        trainer.observers.append(trainer.credits.append)
    trainer.train()
    return trainer


def logged(trainer, name):
    """The values of a metric over the steps of a run."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]
