"""Reading the weights of a checkpoint back into a model that is being trained."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel


def load_weights(model: nn.Module, folder: str | Path) -> bool:
    """Load the weights that `save_pretrained` wrote, through the renaming that `from_pretrained` does.

    Many vision-language models are saved under the names of their published checkpoints. transformers' Trainer looks
    these up among the names inside the model and leaves out what differs, with a warning only (transformers issue
    43701), so that a resumed run goes on from the initial weights.

    Args:
        model: the model; its device and dtype stay.
        folder: a checkpoint folder.

    Returns:
        Whether weights were loaded: False for an adapter, and for a folder without whole weights in safetensors.

    Raises:
        ValueError: when the folder lacks a weight of the model.
    """
    if not isinstance(model, PreTrainedModel) or not any(Path(folder).glob("model*.safetensors")):
        return False
    loaded: Any = type(model).from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
    saved, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"checkpoint {folder} has no weights for {missing[0]} and {len(missing) - 1} others, but must have all of "
            f"{type(model).__name__}; resume from a complete checkpoint"
        )
    model.load_state_dict(saved.state_dict())
    return True
