"""Encoded prompts: the position after each, what is lent to the rollouts, and which models cannot share them."""

from contextlib import nullcontext

import pytest
import torch
import transformers as tf
from torch import nn
from transformers.cache_utils import DynamicLayer

from srpo.prompt_cache import PromptCache, _next_position, encode_prompts, sharing_obstacle

IDS = torch.zeros(2, 5, dtype=torch.long)  # two prompts of five tokens, of which the last is left to the rollouts


def test_without_positions_the_next_one_is_the_index_of_the_last_token():
    assert _next_position([], IDS).tolist() == [4, 4]
    assert _next_position([None], IDS).tolist() == [4, 4]


def test_positions_that_skip_padding_go_on_for_each_prompt():
    assert _next_position([torch.tensor([[0, 1, 2, 3], [1, 1, 0, 1]])], IDS).tolist() == [4, 2]


def test_one_row_of_positions_serves_all_prompts():
    assert _next_position([torch.tensor([[0, 1, 2, 3]])], IDS).tolist() == [4, 4]


def test_three_components_go_on_together_above_their_highest():
    # the first prompt ends in an image of 1 x 2 x 3 patches from position 1 on; the second is text behind padding
    time, row, column = [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]
    position = torch.tensor([[time, [1, 1, 0, 1]], [row, [1, 1, 0, 1]], [column, [1, 1, 0, 1]]])
    assert _next_position([position], IDS).tolist() == [[4, 2]] * 3


def test_a_fourth_component_in_front_counts_tokens_by_itself():
    position = torch.tensor([[[0, 1, 2, 3]] * 2, [[0, 1, 1, 1]] * 2, [[0, 1, 1, 2]] * 2, [[0, 1, 1, 1]] * 2])
    assert _next_position([position], IDS).tolist() == [[4, 4], [3, 3], [3, 3], [3, 3]]


def test_components_of_one_row_serve_all_prompts():
    assert _next_position([torch.tensor([[[0, 1, 2, 3]]] * 3)], IDS).tolist() == [[4, 4]] * 3


def test_the_last_call_of_the_decoder_counts():
    assert _next_position([torch.tensor([[9, 9], [9, 9]]), torch.tensor([[0, 1], [0, 2]])], IDS).tolist() == [2, 3]


def keys_of(*prompts):
    """A cache layer of one head, keys of size 1 per token; values are their negatives."""
    layer = DynamicLayer()
    keys = torch.tensor(prompts, dtype=torch.float)[:, None, :, None]
    layer.update(keys, -keys)
    return layer


def lent(index):
    """A cache over prompts with keys 1, 2 and 3, 4, for rollouts of these prompts."""
    prompts = PromptCache([keys_of([1, 2], [3, 4])], torch.ones(2, 2), torch.zeros(2), torch.zeros(2))
    return prompts, prompts.read_by(torch.tensor(index))


def test_every_rollout_reads_its_prompt_and_its_own_tokens():
    _, cache = lent([1, 0, 1])
    own = torch.tensor([[10.0], [20.0], [30.0]])[:, None, :, None]
    keys, values = cache.update(own, -own, 0)
    assert keys.flatten(1).tolist() == [[3, 4, 10], [1, 2, 20], [3, 4, 30]]
    assert values.equal(-keys)


def test_nothing_is_kept_between_passes():
    prompts, cache = lent([0])
    own = torch.full((1, 1, 3, 1), 9.0)
    cache.update(own, own, 0)
    assert cache.get_seq_length() == 2
    assert prompts.layers[0].keys.flatten(1).tolist() == [[1, 2], [3, 4]]
    keys, _ = cache.update(own, own, 0)
    assert keys.flatten(1).tolist() == [[1, 2, 9, 9, 9]]


class Decoder(nn.Module):
    def forward(self, input_ids, position_ids=None):
        return input_ids


class Model(nn.Module):
    """Says what it was called with; its decoder gets positions 7, 8, ... of every prompt."""

    def __init__(self, config=None):
        super().__init__()
        self.decoder, self.config, self.called_with = Decoder(), config, None

    def get_decoder(self):
        return self.decoder

    def forward(self, input_ids, logits_to_keep=0, **kwargs):
        if kwargs.get("fail"):
            raise RuntimeError("stopped")
        self.called_with = {"input_ids": input_ids, "logits_to_keep": logits_to_keep, **kwargs}
        self.decoder(input_ids, position_ids=(7 + torch.arange(input_ids.size(1)))[None])


def test_the_last_token_of_each_prompt_is_left_out():
    model, ids, mask = Model(), torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    made = encode_prompts(model, ids, mask, {"pixel_values": torch.ones(2)}, {"token_type_ids": ids + 10})
    assert model.called_with["input_ids"].tolist() == [[0, 1], [3, 4]]
    assert model.called_with["attention_mask"].tolist() == made.mask.tolist() == [[0, 1], [1, 1]]
    assert model.called_with["token_type_ids"].tolist() == [[10, 11], [13, 14]]
    assert model.called_with["pixel_values"].tolist() == [1, 1]
    assert model.called_with["logits_to_keep"] == 1
    assert made.last_ids.tolist() == [2, 5]
    assert made.next_position.tolist() == [9, 9]


@pytest.mark.parametrize("fail", [False, True])
def test_the_decoder_is_watched_in_the_prompt_pass_only(fail):
    model = Model()
    with pytest.raises(RuntimeError, match="stopped") if fail else nullcontext():
        encode_prompts(model, IDS, IDS + 1, {"fail": fail}, {})
    assert not model.decoder._forward_pre_hooks


class WholeLogits(Model):
    def forward(self, input_ids):
        return input_ids


class Wrapper(nn.Module):
    """As PEFT wraps a model: its own forward takes anything."""

    def __init__(self, model):
        super().__init__()
        self.base, self.config = model, model.config

    def get_base_model(self):
        return self.base

    def forward(self, *args, **kwargs):
        return self.base(*args, **kwargs)


QWEN = tf.Qwen2_5_VLConfig()
SMALL_TEXT = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
SLIDING = tf.Gemma3Config(text_config=SMALL_TEXT | {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]})
LINEAR = tf.Qwen3_5Config(text_config=SMALL_TEXT)
CONVOLUTIONS = tf.Lfm2VlConfig(text_config={"model_type": "lfm2", **SMALL_TEXT, "layer_types": ["conv"] * 4})


@pytest.mark.parametrize(
    ("model", "obstacle"),
    [
        (Model(QWEN), None),
        (Wrapper(Model(QWEN)), None),
        (Model(SLIDING), None),
        (Model(tf.T5Config()), "the model is an encoder-decoder"),
        (Model(LINEAR), "layers of type linear_attention keep a running state"),
        (Model(CONVOLUTIONS), "layers of type conv keep a running state"),
        (Model(tf.MllamaConfig()), "reads images through cross-attention layers, outside the cache"),
        (WholeLogits(QWEN), "WholeLogits.forward has no logits_to_keep, so a prompt pass would hold every logit"),
        (Wrapper(WholeLogits(QWEN)), "WholeLogits.forward has no logits_to_keep"),
    ],
    ids=["qwen", "peft", "sliding", "encoder_decoder", "linear", "conv", "cross_attention", "logits", "logits in peft"],
)
def test_what_forbids_sharing(model, obstacle):
    found = sharing_obstacle(model)
    assert found is None if obstacle is None else obstacle in found


@pytest.mark.parametrize("wrapped", [False, True])
def test_no_layout_has_a_known_obstacle(layout_folder, wrapped):
    with torch.device("meta"):
        model = tf.AutoModelForImageTextToText.from_config(tf.AutoConfig.from_pretrained(layout_folder))
    assert sharing_obstacle(Wrapper(model) if wrapped else model) is None
