"""Shared scoring of a model that FSDP2 shards over two ranks, against plain scoring of the whole model.

python tests/sharded_run.py MODEL_FOLDER OUTPUT_FOLDER SCENARIO
"""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from torch.distributed import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from srpo.scoring import Scorer, evaluation_mode
from srpo.shared_scoring import shared_log_probs
from srpo.vision import vision_tower
from tests.both_scorings import generate_batch, plain, sharp_trainer
from tests.conftest import Scoring
from tests.scripted import ScriptedSRPO, scripted_dataset

EVERY_ROW = slice(None)
IMAGES = {"images_per_row": (1, 2), "rows_per_rank": 4, "max_tokens": 60}
SCENARIOS = {  # `scored`: the rows of each rank of which tokens are wanted
    "first_idle": {**IMAGES, "scored": (slice(0), EVERY_ROW)},
    "second_idle": {**IMAGES, "scored": (EVERY_ROW, slice(0))},
    "both_idle": {**IMAGES, "scored": (slice(0), slice(0))},
    "more_blocks_on_one": {**IMAGES, "rows_per_rank": 8, "scored": (EVERY_ROW, slice(1))},
    "text_before_image_on_idle": {
        **IMAGES,
        "images_per_row": (0, 1),
        "rows_per_rank": 8,
        "scored": (slice(4, 8), slice(0)),
    },
    "text_on_one": {**IMAGES, "images_per_row": (0, 1), "rows_per_rank": 8, "scored": (slice(4), slice(4, 8))},
}


def shard(model):
    """Shard every layer of language model and vision tower as a unit of its own, and the rest as one."""
    mesh = init_device_mesh("cpu", (2,))
    tower = vision_tower(model)
    encoder = tower.blocks if hasattr(tower, "blocks") else tower.encoder.layers
    for layer in (*model.get_decoder().layers, *encoder):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())


def caught_batch(trainer):
    """What the trainer's scorer is asked for."""
    calls = []
    score = Scorer.__call__
    Scorer.__call__ = lambda self, *args: calls.append(Scoring(*args)) or score(self, *args)
    generate_batch(trainer)
    Scorer.__call__ = score
    return calls[0]


def main(folder, output, scenario):
    """Score one batch in both ways; save what was wanted, found and expected, one file per rank."""
    options = SCENARIOS[scenario]
    data, rows = scripted_dataset(4, options["images_per_row"], flat_every=9), options["rows_per_rank"]
    trainer = sharp_trainer(ScriptedSRPO, folder, output, train_dataset=data, per_device_train_batch_size=rows)
    rank, call = trainer.accelerator.process_index, caught_batch(trainer)
    expected = plain(trainer, call)
    shard(trainer.model)
    chosen = torch.zeros(rows, 1, dtype=torch.bool)
    chosen[options["scored"][rank]] = True
    wanted = {name: at & chosen for name, at in call.wanted.items()}
    scored = {"max_tokens": options["max_tokens"], "agree": trainer._agree}
    with evaluation_mode(trainer.model):
        found = shared_log_probs(trainer.model, call.contexts, wanted, call.groups, **scored)
    results = {name: (wanted[name], found[name], expected[name]) for name in found}
    torch.save(results, Path(output) / f"rank{rank}.pt")
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
