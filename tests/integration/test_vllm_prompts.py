"""What a colocated vLLM is asked to sample from, with a stand-in for vLLM that keeps what it is given."""

import pytest
from transformers import AutoProcessor
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

from srpo import SRPOTrainer
from srpo.vision import placeholder_token_ids
from tests.conftest import world_dataset
from tests.scripted import make_trainer


class Sampler:
    """Answers every prompt with the end of the turn."""

    def __init__(self, end):
        self.end, self.asked = end, []

    def sync_weights(self):
        """Nothing to copy."""

    def generate(self, prompts, images, num_generations, profiler):
        self.asked.append((prompts, images))
        return None, [[self.end] for _ in prompts], [[[0.0]] for _ in prompts], None


def sampled(kind, folder, tmp_path, images_per_row=(1,), mode="colocate"):
    """The trainer, the prompts as it reads them, and what its sampler was given."""
    data = world_dataset(4, images_per_row)
    trainer = make_trainer(kind, folder, tmp_path, train_dataset=data)
    trainer.use_vllm, trainer.vllm_mode, trainer._last_loaded_step = True, mode, -1
    trainer.vllm_generation = Sampler(trainer._tokenizer.eos_token_id)
    prompts = [prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in data]
    prompt_ids, *_ = trainer._generate(prompts)
    (given, images), *_ = trainer.vllm_generation.asked
    return trainer, prompt_ids, given, images


@pytest.mark.parametrize("images_per_row", [(1,), (2, 1), (1, 0)])
def test_vllm_gets_what_the_processor_makes_the_prompt_from(layout_folder, tmp_path, images_per_row):
    """Expanding what vLLM is given, as its processor does, gives the prompt that the policy is trained on."""
    trainer, prompt_ids, given, images = sampled(SRPOTrainer, layout_folder, tmp_path, images_per_row)
    processor = AutoProcessor.from_pretrained(layout_folder)
    placeholders = set(placeholder_token_ids(trainer.model.config, processor))
    for ids, raw, shown in zip(prompt_ids, given, images, strict=True):
        count = len(shown or [])
        assert sum(token in placeholders for token in raw) == count
        text = processor.tokenizer.decode(raw, skip_special_tokens=False)
        assert list(processor(images=shown or None, text=text)["input_ids"][0]) == list(ids)


@pytest.mark.parametrize(("kind", "mode"), [(GRPOTrainer, "colocate"), (SRPOTrainer, "server")])
def test_without_the_mixin_and_with_a_server_vllm_gets_expanded_prompts(qwen_folder, tmp_path, kind, mode):
    """When this fails for GRPOTrainer, TRL has repaired huggingface/trl#6294 and srpo.rollout_prompts can go."""
    _, prompt_ids, given, _ = sampled(kind, qwen_folder, tmp_path, mode=mode)
    assert given == prompt_ids
