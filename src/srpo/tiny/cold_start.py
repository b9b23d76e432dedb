"""Cold start of the tiny VLM: supervised steps on reference replies of the visual world.

    python -m srpo.tiny.cold_start FOLDER

writes the model folder that ships with the package (`srpo.tiny.model_path()`), so that a reinforcement learning run
starts from a policy that follows the response format and is right about half of the time.

The demonstrations are imperfect, as collected ones are: some state a wrong fact, some of these derive the answer from
the image all the same, some slip in the arithmetic. Reinforcement learning has these habits to unlearn.
"""

import argparse
import json
import logging
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from srpo.data import world
from srpo.prompts import build_prompt, instruction
from srpo.tiny.layouts import save_random_model

logger = logging.getLogger(__name__)

TEXT_SIZE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "initializer_range": 0.08,
}
VISION_SIZE = {"depth": 2, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "initializer_range": 0.08}
INSTRUCTED_SHARE = 0.2  # share of batches whose prompts spell the response format out, so that the model knows both
WRONG_FACT = 0.08  # chance that a stated fact is wrong
UNGROUNDED = 0.5  # chance that the derivation ignores wrong facts and uses the true ones
SLIP = 0.12  # chance that the last result of a derivation is wrong


def training_texts(rows: int = 3000) -> list[str]:
    """Texts from which the tokenizer learns its merges."""
    texts = [instruction()] * 20
    for row in world.generate("train", rows=rows):
        texts += [row["question"], world.reply(row)]
    return texts + ["system user assistant"] * 50


def make_batch(rows: list[dict[str, Any]], processor: Any, rng: random.Random) -> dict[str, torch.Tensor]:
    """Model inputs with labels on the reply only."""
    style = "system" if rng.random() < INSTRUCTED_SHARE else "none"
    prompts = [build_prompt(row["question"], 1, style=style, structured=True) for row in rows]
    conversations = [processor.apply_chat_template(prompt, add_generation_prompt=True) for prompt in prompts]
    replies = [demonstration(row, rng) + processor.tokenizer.eos_token for row in rows]
    inputs = processor(
        images=[row["images"] for row in rows],
        text=[prompt + reply for prompt, reply in zip(conversations, replies, strict=True)],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    labels = inputs["input_ids"].clone()
    for label, reply in zip(labels, replies, strict=True):
        label[: -len(processor.tokenizer(reply)["input_ids"])] = -100
    return {**inputs, "labels": labels}


def demonstration(row: dict[str, Any], rng: random.Random) -> str:
    """An imperfect reply to a row of the world, in the default response format."""
    truth = world.read_truth(row["truth"])
    family = world.FAMILIES[truth["family"]]
    facts = [rng.choice(family.alternatives(fact)) if rng.random() < WRONG_FACT else fact for fact in truth["facts"]]
    stated = world.recompute(truth, facts)
    solution = world.recompute(truth, truth["facts"]) if rng.random() < UNGROUNDED else stated
    derivation, answer = solution.derivation, solution.answer
    if rng.random() < SLIP:
        unit = 30 if truth["family"] == "angle" else 1
        slipped = str(max(0, int(answer) + unit * rng.choice((-1, 1))))
        derivation, answer = derivation.removesuffix(answer) + slipped, slipped
    return f"<perception> {stated.perception} </perception><think> {derivation} </think><answer> {answer} </answer>"


def batches(batch_size: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Endless batches of training rows of all families."""
    rng = random.Random(seed)
    block = 0
    while True:
        rows = world.generate("train", rows=100 * batch_size, seed=seed + block)
        rng.shuffle(rows)
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]
        block += 1


def train(folder: Path, *, steps: int, batch_size: int, learning_rate: float, seed: int) -> None:
    """Train the model in `folder` in place."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    warmup = 100
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / warmup) * (0.55 + 0.45 * math.cos(math.pi * min(step / steps, 1.0))),
    )
    rng = random.Random(seed)
    for step, rows in zip(range(1, steps + 1), batches(batch_size, seed), strict=False):
        loss = model(**make_batch(rows, processor, rng)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("step %d of %d: loss %.3f", step, steps, loss.item())
    store(model, folder)


def store(model: Any, folder: Path) -> None:
    """Save the weights in float16, at half the size; the config says float32, so that they load as float32."""
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Build and train the tiny model."""
    parser = argparse.ArgumentParser(description="Build the tiny VLM that ships with srpo.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    save_random_model(
        "qwen2_5_vl",
        options.folder,
        training_texts(),
        seed=options.seed,
        vocab_size=640,
        text=TEXT_SIZE,
        vision=VISION_SIZE,
        patch=16,
        max_pixels=192 * 192,
    )
    train(
        options.folder,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
