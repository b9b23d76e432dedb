"""Parameter counts and layer widths of a vision-language model, from its config alone."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from srpo.vision import vision_tower


@dataclass(frozen=True)
class LayerShape:
    """One stack of transformer layers.

    Attributes:
        layers: number of layers.
        hidden: width of the residual stream.
        intermediate: width inside the MLP.
        heads: query heads.
        queries: query heads times head size.
        keys: key-value heads times head size.
        gated: whether the MLP has a gate (three matrices instead of two).
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    queries: int
    keys: int
    gated: bool


@dataclass(frozen=True)
class ModelShape:
    """What the memory of a model depends on.

    Attributes:
        text: layers of the language model.
        vision: layers of the vision tower.
        parameters: all parameters, tied ones once.
        vision_parameters: those of the vision tower.
        head_parameters: those of the output head, vocabulary times width (tied or not).
        tied_head: whether the head is the embedding matrix.
        linear_layers: name, inputs and outputs of every linear layer but the output head.
        patch: side of a patch in pixels of the processed image.
    """

    text: LayerShape
    vision: LayerShape
    parameters: int
    vision_parameters: int
    head_parameters: int
    tied_head: bool
    linear_layers: tuple[tuple[str, int, int], ...]
    patch: int

    def adapter_parameters(self, rank: int, target_modules: str | Iterable[str], among: str = ".*") -> int:
        """Parameters of a LoRA adapter: rank * (inputs + outputs) for each linear layer that PEFT would choose.

        Args:
            rank: r of the adapter.
            target_modules: as PEFT takes it: "all-linear", a regular expression for whole names, or a list of endings.
            among: a regular expression for the names of the layers to count.
        """
        layers = [layer for layer in self.linear_layers if re.fullmatch(among, layer[0])]
        return sum(rank * (i + o) for name, i, o in layers if _is_target(name, target_modules))


def model_shape(config: Any) -> ModelShape:
    """The shape of a transformers config, with a model built on the meta device: no memory, a fraction of a second.

    Raises:
        ValueError: for a config without a vision-language model, and for a model without a vision tower.
    """
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    head = model.get_output_embeddings()
    tower = vision_tower(model)
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    vision_config = config.vision_config
    patch = vision_config.patch_size
    return ModelShape(
        text=_layer_shape(config.get_text_config(), _has_gate(model.get_decoder())),
        vision=_layer_shape(vision_config, _has_gate(tower)),
        parameters=_count(model),
        vision_parameters=_count(tower),
        head_parameters=head.weight.numel(),
        tied_head=head.weight is model.get_input_embeddings().weight,
        linear_layers=tuple((name, m.in_features, m.out_features) for name, m in linear.items() if m is not head),
        patch=patch[0] if isinstance(patch, (list, tuple)) else patch,
    )


def _layer_shape(config: Any, gated: bool) -> LayerShape:
    """Config classes of vision towers use two sets of names."""
    hidden = config.hidden_size
    heads = getattr(config, "num_attention_heads", None) or config.num_heads
    head = getattr(config, "head_dim", None) or hidden // heads
    experts = getattr(config, "num_experts_per_tok", None)
    width = config.moe_intermediate_size * experts if experts else config.intermediate_size
    return LayerShape(
        layers=getattr(config, "num_hidden_layers", None) or config.depth,
        hidden=hidden,
        intermediate=width,
        heads=heads,
        queries=heads * head,
        keys=(getattr(config, "num_key_value_heads", None) or heads) * head,
        gated=gated,
    )


def _has_gate(module: nn.Module) -> bool:
    return any(name.rsplit(".", 1)[-1].startswith("gate_") for name, _ in module.named_modules())


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_target(name: str, target_modules: str | Iterable[str]) -> bool:
    if target_modules == "all-linear":
        return True
    if isinstance(target_modules, str):
        return re.fullmatch(target_modules, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in target_modules)
