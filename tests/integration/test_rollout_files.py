"""The rollouts that a run saves: the corrupted twin is the picture that was scored; replies that were cut."""

import io

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from srpo.run.rollouts import RolloutFile
from tests.scripted import ScriptedSRPO, make_trainer, scripted_dataset


def saved(folder, path, **config):
    """Trainer and rows of the rollout file of one step."""
    trainer = make_trainer(
        ScriptedSRPO, folder, path, train_dataset=scripted_dataset(flat_every=2), max_steps=1, **config
    )
    trainer.observers.append(RolloutFile(path / "run", trainer.processing_class.tokenizer, every=1, count=100))
    trainer.train()
    return trainer, pq.read_table(path / "run" / "rollouts" / "step_000000.parquet").to_pylist()


def picture(content):
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("corruption", ["patch_mask", "other_image"])
def test_the_corrupted_twin_is_what_was_scored(qwen_folder, tmp_path, scored, corruption):
    trainer, rows = saved(qwen_folder, tmp_path, corruption=corruption)
    context = scored[0].contexts["corrupted"]
    with_twin = [i for i, row in enumerate(rows) if row["corrupted"]]
    assert with_twin == [0, 4]  # the first rollout of each prompt, also where A = 0
    for i in with_twin:
        twin = picture(rows[i]["corrupted"])
        assert twin.size == picture(rows[i]["image"]).size
        pixels = trainer.processing_class.image_processor(images=[twin], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels, context.vision([i])["pixel_values"], atol=1e-6, rtol=0)
    assert {row["corruption"] for row in rows} == {"patch_mask 0.6" if corruption == "patch_mask" else corruption}


def test_a_credit_that_corrupts_nothing_has_no_twin(qwen_folder, tmp_path):
    _, rows = saved(qwen_folder, tmp_path, credit="uniform")
    assert any(row["image"] for row in rows)
    assert {(row["corrupted"], row["corruption"]) for row in rows} == {(None, "")}


@pytest.mark.parametrize(("credit", "measures"), [("uniform", False), ("papo", False), ("rlsd", True)])
def test_gaps_are_null_where_the_credit_measures_none(qwen_folder, tmp_path, credit, measures):
    _, rows = saved(qwen_folder, tmp_path, credit=credit)
    learning = [row for row in rows if row["advantage"]]
    assert learning
    assert all((row["gaps"] is not None) is measures for row in learning)


def test_ended_tells_replies_that_were_cut(qwen_folder, tmp_path):
    _, rows = saved(qwen_folder, tmp_path, credit="uniform")
    ended = [row["ended"] for row in rows]
    assert ended == ["</answer>" in row["completion"] for row in rows]  # the scripted reply that is cut has none
    assert True in ended
    assert False in ended
