"""Demonstrations, rejection sampling and the pieces of the supervised run, by hand."""

import copy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import ModelConfig, SFTConfig

from srpo.commands.warmup_options import parse
from srpo.data import load, world
from srpo.generation import end_token_ids, seeded
from srpo.prompts import build_prompt
from srpo.roles import ResponseFormat
from srpo.tiny import model_path
from srpo.warmup.collection import assign, from_truth, joined, jsonl_rows
from srpo.warmup.demonstrations import (
    Demonstration,
    SpecialTokens,
    Verdict,
    judge,
    true_reply,
    write_reply,
)
from srpo.warmup.rejection import sample_demonstrations
from srpo.warmup.sampling import Reply, Sampler, with_example
from srpo.warmup.training import (
    check_config,
    end_of_turn,
    generation_defaults,
    training_examples,
)

FORMAT = ResponseFormat()
OTHER = ResponseFormat("see", "reason", "solution")


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(model_path(), padding_side="left")


@pytest.fixture(scope="module")
def model_config():
    return AutoModelForImageTextToText.from_pretrained(model_path()).config


def rows_with(**columns):
    """Rows in memory with one picture each and the given columns."""
    count = len(next(iter(columns.values())))
    table = [
        {"image": Image.new("RGB", (32, 32), (40 * i, 0, 0)), **{name: values[i] for name, values in columns.items()}}
        for i in range(count)
    ]
    return load(table, "train", response_format=FORMAT)


class TestReplies:
    def test_a_reply_has_the_tags_of_the_format(self):
        assert write_reply("red 4", "4 = 4", "4", FORMAT) == (
            "<perception> red 4 </perception><think> 4 = 4 </think><answer> 4 </answer>"
        )
        assert write_reply("red 4", "4 = 4", "4", OTHER) == (
            "<see> red 4 </see><reason> 4 = 4 </reason><solution> 4 </solution>"
        )

    def test_it_is_the_reference_reply_of_the_built_in_world(self):
        for row in world.generate(rows=6):
            assert true_reply(row, OTHER) == world.reply(row, OTHER)

    @pytest.mark.parametrize(("perception", "reasoning"), [("", "4 = 4"), ("red 4", ""), ("red 4", None), (" ", "x")])
    def test_without_perception_or_reasoning_there_is_none(self, perception, reasoning):
        assert true_reply({"perception": perception, "reasoning": reasoning, "answer": "4"}, FORMAT) is None

    def test_the_reasoning_column_comes_before_the_truth_of_the_world(self):
        row = world.generate(rows=1)[0] | {"reasoning": "it is plain"}
        assert "<think> it is plain </think>" in true_reply(row, FORMAT)

    @pytest.mark.parametrize(
        ("answer", "options", "stated"),
        [
            ("4", ["6", "3", "4", "2"], "C"),
            ("B", ["6", "3"], "B"),
            ("A, C", ["x", "y", "z"], "A, C"),
            ("large", ["small", "Large"], "B"),
            ("4", [], "4"),
        ],
    )
    def test_the_answer_among_options_is_its_letter(self, answer, options, stated):
        row = {"perception": "red 4", "reasoning": "4 = 4", "answer": answer, "options": options}
        assert f"<answer> {stated} </answer>" in true_reply(row, FORMAT)

    def test_verdicts(self):
        good = write_reply("red 4", "4 = 4", "4", FORMAT)
        replies = [good, "<answer> 4 </answer>", write_reply("red 4", "5", "5", FORMAT), "", good]
        rows = [{"answer": "4", "options": [], "task": "math", "images": ["not read"]}] * 4
        verdicts = judge(replies, [*rows, rows[0] | {"answer": ""}], FORMAT)
        assert verdicts == [
            Verdict(True, True),
            Verdict(False, True),
            Verdict(True, False),
            Verdict(False, False),
            Verdict(True, False),
        ]
        assert [verdict.good for verdict in verdicts] == [True, False, False, False, False]
        assert judge([], [], FORMAT) == []

    def test_multiple_choice_is_judged_by_its_options(self):
        row = {"answer": "B", "options": ["red", "blue"], "task": "choice"}
        replies = [write_reply("x", "y", answer, FORMAT) for answer in ("B", "blue", "A")]
        assert [verdict.right for verdict in judge(replies, [row] * 3, FORMAT)] == [True, True, False]

    def test_special_tokens_are_found_in_text(self, processor, model_config):
        special = SpecialTokens(model_config, processor)
        assert not special.inside(write_reply("red 4 <image>", "a < b", "4", FORMAT))
        for token in ("<|image_pad|>", "<|im_end|>", "<|video_pad|>"):
            assert special.inside(f"<perception> red {token}")


class Script:
    """Gives out replies from a table {row: [reply, reply, ...]}, and notes what it was asked for."""

    def __init__(self, **table):
        self.table = {int(name[1:]): list(replies) for name, replies in table.items()}
        self.asked = []

    def __call__(self, rows, number):
        self.asked.append((number, list(rows)))
        return [self.table[row].pop(0) for row in rows]


def good(text):
    return Reply(text, True, Verdict(True, True))


WRONG = Reply("wrong", True, Verdict(True, False))
PLAIN = Reply("plain", True, Verdict(False, True))
ENDLESS = Reply("endless", False, Verdict(True, True))


class TestRejection:
    def keep(self, draw, samples=3, keep=2):
        return sample_demonstrations(
            sorted(draw.table),
            draw,
            lambda text: "<image>" in text,
            samples_per_prompt=samples,
            keep_per_prompt=keep,
        )

    def test_only_rows_that_are_short_are_drawn_again(self):
        draw = Script(
            r3=[good("a"), good("b"), good("never")], r7=[WRONG, good("c"), PLAIN], r9=[ENDLESS, WRONG, WRONG]
        )
        shown, fates = self.keep(draw)
        assert draw.asked == [(0, [3, 7, 9]), (1, [3, 7, 9]), (2, [7, 9])]
        assert shown == [Demonstration(row, text, "samples") for row, text in ((3, "a"), (3, "b"), (7, "c"))]
        assert fates == {"kept": 3, "wrong answer": 3, "not structured": 1, "cut off": 1}

    def test_a_repeated_reply_is_kept_once(self):
        shown, fates = self.keep(Script(r0=[good("a b"), good("a  b\n"), good("a c")]))
        assert [demonstration.reply for demonstration in shown] == ["a b", "a c"]
        assert fates == {"kept": 2, "repeated": 1}

    def test_the_same_reply_to_two_questions_is_kept_for_both(self):
        shown, _ = self.keep(Script(r0=[good("a")], r1=[good("a")]), samples=1)
        assert [demonstration.row for demonstration in shown] == [0, 1]

    def test_a_special_token_in_text_is_not_kept(self):
        shown, fates = self.keep(Script(r0=[good("see <image>")]), samples=1)
        assert (shown, fates) == ([], Counter({"special token": 1}))

    def test_nothing_is_drawn_without_rows(self):
        assert self.keep(Script()) == ([], Counter())


class TestCollection:
    def test_truth_where_it_is_known_and_samples_elsewhere(self):
        dataset = rows_with(
            question=["a?", "b?", "c?"],
            answer=["4", "5", "6"],
            perception=["red 4", "", "red 6"],
            reasoning=["4 = 4", "5 = 5", ""],
        )
        assignment = assign(dataset, "auto", FORMAT)
        assert assignment.replies == {0: write_reply("red 4", "4 = 4", "4", FORMAT)}
        assert assignment.to_sample == [1, 2]
        assert assign(dataset, "truth", FORMAT).to_sample == []
        samples = assign(dataset, "samples", FORMAT)
        assert (samples.replies, samples.to_sample) == ({}, [0, 1, 2])

    def test_what_would_teach_a_wrong_habit_is_refused_and_counted(self, processor, model_config):
        dataset = load("shapes/pips", rows=4)
        right = write_reply("red 4", "4", dataset[0]["answer"], FORMAT)
        replies = {
            0: right,
            1: write_reply("red 4 </perception>", "4", dataset[1]["answer"], FORMAT),
            2: write_reply("red 4", "4", "99", FORMAT),
            3: write_reply("red <|image_pad|>", "4", dataset[3]["answer"], FORMAT),
        }
        found = from_truth(dataset, replies, FORMAT, SpecialTokens(model_config, processor))
        assert found.demonstrations == [Demonstration(0, right, "truth")]
        assert found.refused == {"not structured": 1, "wrong answer": 1, "special token": 1}
        sampled = copy.deepcopy(found)
        sampled.demonstrations = [Demonstration(2, "x", "samples"), Demonstration(2, "y", "samples")]
        sampled.refused, sampled.fates = Counter(), Counter({"kept": 2, "cut off": 3})
        both = joined(sampled, found)
        assert [shown.row for shown in both.demonstrations] == [0, 2, 2]
        assert both.figures(rows=4) == {
            "total": 3,
            "from_truth": 1,
            "from_samples": 2,
            "rows": 4,
            "rows_without": 2,
            "truth_refused": dict(found.refused),
            "sampled_replies": 5,
            "sampled_fates": {"kept": 2, "cut off": 3},
        }
        lines = jsonl_rows(dataset, both.demonstrations)
        assert [line["source"] for line in lines] == ["truth", "samples", "samples"]
        assert lines[1] == {
            "id": dataset[2]["id"],
            "question": dataset[2]["question"],
            "answer": dataset[2]["answer"],
            "source": "samples",
            "reply": "x",
        }


class TestSamplingPrompt:
    @pytest.mark.parametrize("structured", [True, False])
    def test_the_example_stands_behind_the_question(self, structured):
        messages = build_prompt("How many?", 1, response_format=OTHER, style="system", structured=structured)
        before = copy.deepcopy(messages)
        asked = with_example(messages, OTHER)
        assert messages == before
        assert asked[0] == messages[0]
        content = asked[1]["content"]
        text = content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
        assert text.startswith("How many?")
        example = text.splitlines()[-1]
        assert len(OTHER.spans(example)) == 3
        assert OTHER.answer(example) == " 5 "
        if structured:
            assert content[0]["type"] == "image"

    def test_the_example_names_no_tag_of_another_format(self):
        text = with_example([{"role": "user", "content": "?"}], OTHER)[0]["content"]
        assert "think" not in text
        assert "<answer>" not in text


class TestGeneration:
    def test_sampling_is_plain_whatever_the_model_brings(self, processor):
        model = AutoModelForImageTextToText.from_pretrained(model_path())
        model.generation_config.update(temperature=0.1, top_k=1, top_p=0.001, repetition_penalty=1.05, min_p=0.2)
        Sampler(model, processor, FORMAT, max_completion_length=7, batch_size=1, seed=0)
        config, _ = model._prepare_generation_config(None)
        assert (config.do_sample, config.temperature, config.top_k, config.top_p) == (True, 1.0, 0, 1.0)
        assert (config.repetition_penalty, config.max_new_tokens) == (1.0, 7)
        assert not config.min_p
        vocabulary = processor.tokenizer.get_vocab()
        assert config.suppress_tokens == sorted(vocabulary[token] for token in ("<|image_pad|>", "<|video_pad|>"))

    def test_every_declared_end_ends_a_reply(self):
        tokenizer = SimpleNamespace(eos_token_id=3)
        for declared, ends in ((None, [3]), (3, [3]), (7, [3, 7]), ([7, 3], [3, 7])):
            assert end_token_ids(SimpleNamespace(eos_token_id=declared), tokenizer) == ends

    def test_seeded_draws_repeat_and_leave_the_global_generator_alone(self):
        cpu = torch.device("cpu")
        torch.manual_seed(1)
        undisturbed = torch.rand(2)
        torch.manual_seed(1)
        with seeded("0/x/0", cpu):
            first = torch.rand(4)
        assert torch.rand(2).equal(undisturbed)
        with seeded("0/x/0", cpu):
            assert torch.rand(4).equal(first)
        with seeded("0/x/8", cpu):
            assert not torch.rand(4).equal(first)


REPLY = "{% if m['role'] == 'assistant' %}{{ m['content'][0]['text'] }}"
USER = "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'][0]['text'] }} {% endif %}"
TEMPLATES = {
    "a newline behind the end": (REPLY + "<|im_end|>\n{% endif %}", "<|im_end|>"),
    "no end, as LLaVA-1.5": (REPLY + " {% endif %}", "<|im_end|>"),
    "another token that ends generation": (REPLY + "<|endoftext|>{% endif %}", "<|endoftext|>"),
    "the reply rewritten": ("{% if m['role'] == 'assistant' %}something else<|endoftext|>{% endif %}", "<|im_end|>"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_token_that_ends_a_turn(name):
    processor = AutoProcessor.from_pretrained(model_path())
    rendered, expected = TEMPLATES[name]
    processor.chat_template = USER + rendered + "{% endfor %}"
    ends = [processor.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert end_of_turn(processor, SimpleNamespace(eos_token_id=ends)) == expected


def test_a_token_that_does_not_end_generation_does_not_end_a_turn():
    processor = AutoProcessor.from_pretrained(model_path())
    processor.chat_template = USER + TEMPLATES["another token that ends generation"][0] + "{% endfor %}"
    assert end_of_turn(processor, SimpleNamespace(eos_token_id=None)) == "<|im_end|>"


def test_examples_hold_prompt_and_reply_and_open_images_when_used(processor, monkeypatch):
    dataset = load("shapes/pips", rows=3)
    opened = []
    decode = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda self: opened.append(self) or decode(self))
    shown = [Demonstration(2, "first", "truth"), Demonstration(0, "second", "samples"), Demonstration(2, "3", "truth")]
    examples = training_examples(dataset, shown, processor, "<|im_end|>")
    assert opened == []
    assert examples.column_names == ["row", "prompt", "completion"]
    row = examples[1]
    assert set(row) == {"images", "prompt", "completion"}
    assert row["completion"] == "second<|im_end|>"
    assert row["prompt"].endswith("<|im_start|>assistant\n")
    assert dataset[0]["question"] in row["prompt"]
    assert row["images"][0].tobytes() == dataset[0]["images"][0].tobytes()
    assert [row["completion"] for row in examples] == ["first<|im_end|>", "second<|im_end|>", "3<|im_end|>"]


def sft(tmp_path, **options):
    return SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to=[], **({"max_length": None} | options))


@pytest.mark.parametrize(
    "option",
    [
        {"max_length": 1024},
        {"packing": True},
        {"padding_free": True},
        {"assistant_only_loss": True},
        {"completion_only_loss": False},
    ],
)
def test_options_that_break_images_are_refused(tmp_path, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} .* leave {name} out"):
        check_config(sft(tmp_path, **option))


def test_an_unbroken_config_is_not_refused(tmp_path):
    check_config(sft(tmp_path))


def test_several_gpus_of_one_process_are_refused(tmp_path):
    config = sft(tmp_path)
    config._n_gpu = 4
    with pytest.raises(ValueError, match="4 GPUs are visible to one process.*accelerate launch"):
        check_config(config)


@pytest.mark.parametrize(("flags", "rate"), [([], 1e-5), (["--use_peft"], 1e-4), (["--learning_rate", "3e-6"], 3e-6)])
def test_the_learning_rate_follows_what_is_trained(flags, rate):
    job = parse(["--model", "tiny", "--dataset", "shapes", *flags])
    assert job.config.learning_rate == rate
    assert (job.config.max_length, job.config.num_train_epochs) == (None, 1)


def test_the_commands_of_the_documentation_parse():
    lines = (Path(__file__).parents[2] / "docs" / "warmup.md").read_text(encoding="utf-8").splitlines()
    commands = [line.strip().removeprefix("srpo warmup") for line in lines if line.startswith("    srpo warmup")]
    assert len(commands) >= 5
    for options in commands:
        parse(options.split())


def test_a_model_without_a_generation_config(tmp_path, model_config):
    generation = generation_defaults(str(tmp_path), ModelConfig(), model_config)
    assert generation.eos_token_id == model_config.get_text_config().eos_token_id
