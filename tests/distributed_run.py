"""Run of scripted trainings on the ranks of a launcher, or on one process; saves what each rank computed.

python tests/distributed_run.py MODEL_FOLDER OUTPUT_FOLDER
"""

import os
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from tests.scripted import ScriptedSRPO, scripted_dataset, train

ROLLOUTS = 8  # of a generation batch, over all ranks
SCENARIOS = {
    "images": {},
    "two_micro_batches": {"steps_per_generation": 2, "gradient_accumulation_steps": 2},
    "last_half_unstructured": {"plain_after": ROLLOUTS // 2},
    "last_half_flat": {"flat_every": 2},
    "group_over_all_ranks": {"num_generations": ROLLOUTS},
    "skipping_uneven": {
        "flat_every": 2,
        "skip_zero_advantage": True,
        "steps_per_generation": 2,
        "gradient_accumulation_steps": 2,
    },
    "vppo": {"credit": "vppo", "images_per_row": (0, 1)},
    "rlsd": {"credit": "rlsd"},
    "pgpo": {"credit": "pgpo"},
    "papo": {
        "credit": "papo",
        "images_per_row": (0, 1),
        "steps_per_generation": 2,
        "gradient_accumulation_steps": 2,
        "log_policy_kl": True,
    },
    "small_passes": {"scoring_max_tokens": 60},
    "text_and_images": {"images_per_row": (0, 1)},
    "text_and_images_checkpointed": {"images_per_row": (0, 1), "gradient_checkpointing": True},
}


class Watched(ScriptedSRPO):
    """Notes the kind of every forward pass of scoring, and whether it has an image."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passes, self.scoring = [], False
        self.model.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, module, args, kwargs):
        if self.scoring:
            kind = "plain" if "labels" in kwargs else "completions" if "shift_labels" in kwargs else "prompts"
            self.passes.append((kind, "pixel_values" in kwargs))

    def _assign_credit(self, *args, **kwargs):
        self.scoring = True
        assigned = super()._assign_credit(*args, **kwargs)
        self.scoring = False
        return assigned


def run(model, output, scenario):
    """One training of two steps; what this rank's rollouts got."""
    options = dict(SCENARIOS[scenario])
    data = scripted_dataset(6, options.pop("images_per_row", (1, 2)), options.pop("flat_every", 3))
    rows = ROLLOUTS // int(os.environ.get("WORLD_SIZE", "1")) // options.get("steps_per_generation", 1)
    cls = type("Rollouts", (Watched,), {"plain_after": options.pop("plain_after", None)})
    trainer = train(cls, model, output, train_dataset=data, per_device_train_batch_size=rows, **options)
    rollouts = []
    for credit in trainer.credits:
        lengths = credit.batch["completion_mask"].sum(1).tolist()
        for i, length in enumerate(lengths):
            tensors = (credit.batch["completion_ids"], credit.roles, credit.gaps, credit.weights, credit.advantages)
            ids, roles, gaps, weights, advantage = (tensor[i] for tensor in tensors)
            rollouts.append([ids[:length], roles[:length], gaps[:length], weights[:length], advantage])
    history = [{k: v for k, v in entry.items() if "seconds" not in k} for entry in trainer.state.log_history]
    return {"rollouts": rollouts, "per_batch": len(lengths), "history": history, "passes": trainer.passes}


def main(model, output):
    """Every scenario, one file per rank."""
    results = {scenario: run(model, Path(output) / scenario, scenario) for scenario in SCENARIOS}
    torch.save(results, Path(output) / f"rank{PartialState().process_index}.pt")
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
