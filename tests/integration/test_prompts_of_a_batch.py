"""Which rollouts share an encoded prompt, and prompts that are not chats with images."""

import random

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from tests.both_scorings import sharpen
from tests.scripted import ScriptedSRPO, make_trainer, reply, scripted_dataset

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def first_credit(trainer):
    """The credit of the first batch of a run of one step."""
    credits = []
    trainer.observers.append(credits.append)
    trainer.train()
    return credits[0]


def hinted(prompts, trainer):
    """A rollout function of TRL's that puts another hint before the question of every rollout of a group."""
    tokenizer, rollouts = trainer._tokenizer, {"prompt_ids": [], "completion_ids": [], "logprobs": []}
    for i, _ in enumerate(prompts):
        rng = random.Random(i)
        hint = " ".join(rng.choice(["red", "green", "blue", "1", "2"]) for _ in range(6))
        chat = [{"role": "user", "content": f"{hint} how many"}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        completion = [*tokenizer(reply("right", rng))["input_ids"], tokenizer.eos_token_id]
        rollouts["prompt_ids"].append(list(prompt))
        rollouts["completion_ids"].append(completion)
        rollouts["logprobs"].append([0.0] * len(completion))
    return rollouts


def test_rollouts_of_a_group_that_read_different_tokens_share_no_prompt(qwen_folder, tmp_path):
    data, found = scripted_dataset(4, (0,), flat_every=9).remove_columns("images"), {}
    for scoring in ("shared", "plain"):
        trainer = make_trainer(
            ScriptedSRPO, qwen_folder, tmp_path, train_dataset=data, scoring=scoring, max_steps=1, rollout_func=hinted
        )
        sharpen(trainer.model)
        found[scoring] = first_credit(trainer)
    assert found["plain"].gaps.abs().max() > 0.1
    torch.testing.assert_close(found["shared"].gaps, found["plain"].gaps, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prompt", ["how many red?", [{"role": "user", "content": "how many red?"}]])
def test_a_language_model_and_plain_prompts(qwen_folder, tmp_path, prompt):
    tokenizer = AutoTokenizer.from_pretrained(qwen_folder)
    tokenizer.chat_template = TEMPLATE
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes))
    trainer = make_trainer(
        ScriptedSRPO,
        model,
        tmp_path,
        train_dataset=Dataset.from_list([{"prompt": prompt}] * 4),
        reward_funcs=lambda completions, **columns: [float(i % 2) for i in range(len(completions))],
        processing_class=tokenizer,
        max_steps=1,
    )
    credit = first_credit(trainer)
    assert trainer._scorer.shared
    assert credit.gaps[credit.roles == 1].eq(0).all()
    assert credit.gaps[credit.roles == 2].abs().max() > 0
    assert (credit.weights != 1).any()
    assert torch.isfinite(credit.weights).all()
