"""The supervised run in every layout through its real processor: labels, images, batches, sampling."""

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import ModelConfig, SFTConfig
from trl.data_utils import prepare_multimodal_messages

from srpo.data import load, world
from srpo.roles import ResponseFormat
from srpo.vision import vision_tower
from srpo.warmup.demonstrations import Demonstration, true_reply
from srpo.warmup.sampling import Sampler
from srpo.warmup.training import (
    end_of_turn,
    generation_defaults,
    make_trainer,
    save,
    training_examples,
    whole_model,
)

FORMAT = ResponseFormat()
SHAPES = ((96, 96), (80, 120), (128, 72))
MIXES = {"one_and_two_images": (1, 2), "text_and_image": (0, 1), "text": (0, 0)}


def rows(images_per_row):
    """Rows of the world with images of several shapes; the number of images cycles through `images_per_row`."""
    table = []
    for i, drawn in enumerate(world.generate(rows=4)):
        pictures = [drawn["images"][0].resize(SHAPES[(i + k) % 3]) for k in range(images_per_row[i % 2])]
        named = {name: drawn[name] for name in ("id", "question", "answer", "perception", "truth")}
        table.append({**named, "images": pictures, "reply": true_reply(drawn, FORMAT)})
    return load(table, "train", response_format=FORMAT), [row["reply"] for row in table]


class Setting:
    """A layout's processor and the trainer of a run on some rows."""

    def __init__(self, folder, output, images_per_row=(1, 2), peft=False, **options):
        self.folder, self.model = folder, ModelConfig(model_name_or_path=folder, use_peft=peft, lora_r=4)
        self.processor = AutoProcessor.from_pretrained(folder, padding_side="left")
        self.dataset, self.replies = rows(images_per_row)
        self.ending = end_of_turn(self.processor, generation_defaults(folder, self.model, None))
        shown = [Demonstration(i, reply, "truth") for i, reply in enumerate(self.replies)]
        self.examples = training_examples(self.dataset, shown, self.processor, self.ending)
        settings = {
            "per_device_train_batch_size": 2,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "gradient_checkpointing": False,
            "train_sampling_strategy": "sequential",
        }
        freeze, callbacks = options.pop("freeze_vision", False), options.pop("callbacks", ())
        self.config = SFTConfig(
            str(output),
            use_cpu=True,
            bf16=False,
            max_length=None,
            report_to=[],
            save_strategy="no",
            remove_unused_columns=False,
            **(settings | options),
        )
        self.trainer = make_trainer(
            folder, self.model, self.config, self.processor, self.examples, freeze_vision=freeze, callbacks=callbacks
        )

    def collate(self, *indices):
        return self.trainer.data_collator([self.examples[i] for i in indices])


@pytest.fixture(params=MIXES.values(), ids=list(MIXES))
def mix(request):
    return request.param


def test_labels_are_the_reply_and_its_end_of_turn(layout_folder, tmp_path, mix):
    setting = Setting(layout_folder, tmp_path, mix)
    tokenizer = setting.processor.tokenizer
    batch = setting.collate(0, 1)
    for i in range(2):
        ids, labels = batch["input_ids"][i], batch["labels"][i]
        learned = labels != -100
        assert labels[learned].equal(ids[learned])
        assert tokenizer.decode(labels[learned]) == setting.replies[i] + tokenizer.eos_token
        assert labels[learned].tolist()[-1] == tokenizer.eos_token_id
        places = learned.nonzero().flatten()
        assert places.tolist() == list(range(int(places[0]), int(places[-1]) + 1))
        row = setting.dataset[i]
        messages = prepare_multimodal_messages([strip(message) for message in row["prompt"]], images=row["images"])
        policy = setting.processor.apply_chat_template(
            [messages], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        before = ids[: places[0]][batch["attention_mask"][i, : places[0]].bool()]
        assert before.tolist() == list(policy["input_ids"][0])  # the prompt as GRPO's policy meets it


def strip(message):
    """A message without the empty fields that Arrow adds."""
    return {**message, "content": [{k: v for k, v in part.items() if v is not None} for part in message["content"]]}


def losses(setting, batch):
    """The mean negative log-probability of the labels of each row, from the logits of the bare model."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        log_probs = setting.trainer.model.eval()(**inputs).logits[:, :-1].log_softmax(-1)
    labels = batch["labels"][:, 1:]
    chosen = log_probs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return [-row[keep].mean().item() for row, keep in zip(chosen, labels != -100, strict=True)]


def sharpen(model):
    """Larger weights, so that a small random model depends on its input."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)


def test_each_row_sees_its_own_images(layout_folder, tmp_path):
    setting = Setting(layout_folder, tmp_path, (2, 1))
    sharpen(setting.trainer.model)
    plain = losses(setting, setting.collate(0, 1))
    for row, place in ((0, 0), (0, 1), (1, 0)):
        examples = [setting.examples[i] for i in (0, 1)]
        examples[row]["images"][place] = Image.effect_noise(examples[row]["images"][place].size, 90).convert("RGB")
        changed = losses(setting, setting.trainer.data_collator(examples))
        assert abs(changed[row] - plain[row]) > 1e-4
        assert changed[1 - row] == pytest.approx(plain[1 - row], abs=1e-5)


def test_a_text_row_is_the_same_beside_an_image_row(layout_folder, tmp_path):
    setting = Setting(layout_folder, tmp_path, (0, 1))
    sharpen(setting.trainer.model)
    together = losses(setting, setting.collate(0, 1))
    alone = [losses(setting, setting.collate(i))[0] for i in (0, 1)]
    assert together == pytest.approx(alone, abs=1e-4)


def test_the_loss_is_the_mean_over_the_tokens_of_replies(layout_folder, tmp_path, mix):
    setting = Setting(layout_folder, tmp_path, mix, max_steps=5, learning_rate=3e-3)
    batch = setting.collate(0, 1)
    counts = (batch["labels"] != -100).sum(1).tolist()
    expected = sum(loss * count for loss, count in zip(losses(setting, batch), counts, strict=True)) / sum(counts)
    setting.trainer.train()
    logged = [entry["loss"] for entry in setting.trainer.state.log_history if "loss" in entry]
    assert logged[0] == pytest.approx(expected, abs=1e-4)
    assert logged[4] < logged[0] - 0.1  # steps 1, 3 and 5 see the same batch


@pytest.mark.parametrize("freeze", [False, True])
def test_the_vision_tower_learns_unless_it_is_frozen(layout_folder, tmp_path, freeze):
    setting = Setting(layout_folder, tmp_path, freeze_vision=freeze)
    before = {name: value.clone() for name, value in vision_tower(setting.trainer.model).state_dict().items()}
    setting.trainer.train()
    after = vision_tower(setting.trainer.model).state_dict()
    assert all(after[name].equal(value) for name, value in before.items()) == freeze


def test_gradient_checkpointing_gives_the_same_losses(layout_folder, tmp_path):
    runs = []
    for checkpointing in (False, True):
        setting = Setting(layout_folder, tmp_path, (0, 1), gradient_checkpointing=checkpointing)
        setting.trainer.train()
        runs.append([entry["loss"] for entry in setting.trainer.state.log_history if "loss" in entry])
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


def test_an_adapter_is_merged_into_a_model_of_its_own(layout_folder, tmp_path):
    setting = Setting(layout_folder, tmp_path, peft=True)
    setting.trainer.train()
    with torch.no_grad():
        batch = setting.collate(0, 1)
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        trained = setting.trainer.model.eval()(**inputs).logits
    save(setting.trainer, setting.folder, setting.model, tmp_path)
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    start = AutoModelForImageTextToText.from_pretrained(setting.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(merged(**inputs).logits, trained, atol=1e-4, rtol=1e-4)
        assert (start(**inputs).logits - trained).abs().max() > 1e-2
    assert AutoProcessor.from_pretrained(tmp_path / "model").tokenizer.eos_token == setting.ending
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def sampler(folder, tmp_path, batch_size, length=12):
    setting = Setting(folder, tmp_path, (1, 2))
    model = whole_model(folder, setting.model, setting.config)
    sharpen(model)
    return setting, Sampler(
        model, setting.processor, FORMAT, max_completion_length=length, batch_size=batch_size, seed=3
    )


def test_replies_repeat_and_depend_on_the_draw(layout_folder, tmp_path):
    setting, draw = sampler(layout_folder, tmp_path, batch_size=2)
    first = draw(setting.dataset, [0, 1, 2], "x")
    assert len(first) == 3
    assert draw(setting.dataset, [0, 1, 2], "x") == first
    assert draw(setting.dataset, [0, 1, 2], "y") != first
    assert draw(setting.dataset, [0, 1, 2], "x", explicit=True) != first
    assert draw(setting.dataset, [], "x") == []


def test_the_tokens_of_images_are_never_sampled(layout_folder, tmp_path):
    """A model that wants nothing else must say something else."""
    setting, draw = sampler(layout_folder, tmp_path, batch_size=2)
    banned = draw.draw.config.suppress_tokens
    assert banned
    head, asked = draw.draw.model.get_output_embeddings(), []

    def want(module, args, output):
        output[..., banned] = 1e4
        return output

    head.register_forward_hook(want)
    generate = draw.draw.model.generate
    draw.draw.model.generate = lambda **inputs: (
        asked.append(generate(**inputs)[:, inputs["input_ids"].size(1) :])
        or (torch.cat([inputs["input_ids"], asked[-1]], dim=1))
    )
    draw(setting.dataset, [0, 1], "x")
    assert not torch.isin(asked[0], torch.tensor(banned)).any()


def test_a_reply_that_is_cut_off_has_not_ended(layout_folder, tmp_path):
    setting, draw = sampler(layout_folder, tmp_path, batch_size=2, length=3)
    end = setting.processor.tokenizer.eos_token_id
    draw.draw.model.generation_config.suppress_tokens = [*draw.draw.config.suppress_tokens, end]
    assert [reply.ended for reply in draw(setting.dataset, [0, 1], "x")] == [False, False]
    head = draw.draw.model.get_output_embeddings()
    head.register_forward_hook(lambda module, args, output: output.index_fill(-1, torch.tensor([end]), 1e4))
    draw.draw.model.generation_config.suppress_tokens = []
    assert draw(setting.dataset, [0, 1], "x") == [draw(setting.dataset, [0], "x")[0]] * 2
    assert all(reply.ended and reply.text == "" for reply in draw(setting.dataset, [0, 1], "x"))
