"""Fixtures: small random models of every layout, and rows of the visual world for them."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from transformers.utils import logging as transformers_logging

from srpo.contrast import Context
from srpo.data import world
from srpo.scoring import Scorer
from srpo.tiny.layouts import LAYOUTS, save_random_model

torch.set_num_threads(1)
transformers_logging.disable_progress_bar()

TEXTS = [world.reply(row) + row["question"] + "system user assistant" for row in world.generate(rows=60)]


@pytest.fixture(scope="session")
def layout_folders(tmp_path_factory):
    """Layout name -> folder of a random model of that layout with its processor."""
    root = tmp_path_factory.mktemp("layouts")
    return {name: str(save_random_model(name, root / name, TEXTS)) for name in LAYOUTS}


@pytest.fixture(params=sorted(LAYOUTS))
def layout_folder(request, layout_folders):
    """The folder of each layout in turn."""
    return layout_folders[request.param]


@pytest.fixture(scope="session")
def qwen_folder(layout_folders):
    """The folder of the random Qwen2.5-VL."""
    return layout_folders["qwen2_5_vl"]


class Scoring(NamedTuple):
    """What a trainer asked of its scorer for one generation batch."""

    model: Any
    contexts: Mapping[str, Context]
    wanted: Mapping[str, torch.Tensor]
    groups: Sequence[int]

    def pixels(self, name):
        """The pixels of all rollouts under a context."""
        context = self.contexts[name]
        return context.vision(range(len(context.prompt_ids)))["pixel_values"]


@pytest.fixture
def scored(monkeypatch):
    """A `Scoring` for each generation batch that is scored."""
    calls = []
    score = Scorer.__call__

    def spy(self, model, contexts, wanted, groups):
        calls.append(Scoring(model, contexts, wanted, groups))
        return score(self, model, contexts, wanted, groups)

    monkeypatch.setattr(Scorer, "__call__", spy)
    return calls


def world_dataset(rows=8, images_per_row=(1,)):
    """Rows of the visual world as TRL wants them; the number of images of a row cycles through `images_per_row`."""
    drawn = world.generate(rows=3 * rows)
    table = []
    for i in range(rows):
        count = images_per_row[i % len(images_per_row)]
        table.append(
            {
                "prompt": [{"role": "user", "content": drawn[i]["question"]}],
                "images": [drawn[(i + k * rows) % len(drawn)]["images"][0] for k in range(count)],
                "answer": drawn[i]["answer"],
                "reference": world.reply(drawn[i]),
            }
        )
    message = {"role": Value("string"), "content": Value("string")}
    features = {
        "prompt": List(message),
        "images": List(Image()),
        "answer": Value("string"),
        "reference": Value("string"),
    }
    return Dataset.from_list(table, features=Features(features))


@pytest.fixture
def dataset():
    """Eight rows with one image each."""
    return world_dataset()
