"""The small vision-language model that makes everything run on a laptop.

A real Qwen2.5-VL of about 1.7M parameters with its real processor, cold-started on the visual world; for every other
part of the package it is a local model folder like any other.
"""

from pathlib import Path

NAME = "tiny"


def model_path() -> Path:
    """The folder of the model that ships with the package."""
    return Path(__file__).parent / "model"
