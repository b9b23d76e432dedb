"""The parts of `srpo data check`: spreads, duplicates, answers as a set, prompt lengths, and the report of all."""

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

from srpo.data.answers import MANY, Answered, answer_figures, answer_problems, answer_remarks, same_answer
from srpo.data.check import check
from srpo.data.duplicates import RowKey, repeated_rows, rows_in_evaluation
from srpo.data.lengths import ImageRefusal, ModelView, PromptMeter, length_problems, special_token_problems
from srpo.data.loading import open_rows
from srpo.data.problems import KINDS
from srpo.data.spread import Spread
from srpo.tiny import model_path
from srpo.tiny.layouts import LAYOUTS


def png(seed=0, size=(12, 10)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def row(**cells):
    empty = {"options": [], "alternatives": [], "perception": "", "reasoning": "", "task": "math"}
    return {"id": "r", "question": "Q?", "answer": "4", **empty, **cells}


def test_the_documented_kinds_are_those_of_the_code():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    table = text.partition("| kind | what it is |")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (\w+) \| \w+ \|$", table, re.MULTILINE)
    assert {kind: (effect, what) for kind, what, effect in rows} == KINDS


class TestSpread:
    def test_by_hand(self):
        assert Spread.of([3, 1, 2]) == Spread(1, 2, 3, 3)
        assert Spread.of(range(1, 201)) == Spread(1, 101, 199, 200)
        assert Spread.of([0.5]) == Spread(0.5, 0.5, 0.5, 0.5)
        assert Spread.of([]) is None


class TestDuplicates:
    def key(self, row, question="How many?", images=("x",), answer="4", options=()):
        return RowKey.of(row, question, options, images, answer)

    def kinds(self, *keys):
        return [(find.row, find.kind) for find in repeated_rows(keys, same_answer)]

    def test_repeated_and_contradicting_rows_name_the_first(self):
        keys = [self.key("a"), self.key("b"), self.key("c", answer="5"), self.key("d", question=" how  MANY? ")]
        found = repeated_rows(keys, same_answer)
        assert [(find.row, find.kind) for find in found] == [
            ("b", "row_repeated"),
            ("c", "row_contradicts"),
            ("d", "row_repeated"),
        ]
        assert all("row a" in find.reason for find in found)
        assert "'5' and not '4'" in found[1].reason

    def test_other_questions_images_and_options_are_other_rows(self):
        assert self.kinds(self.key("a"), self.key("b", question="Why?"), self.key("c", images=("y",))) == []
        assert self.kinds(self.key("a"), self.key("b", images=("x", "x")), self.key("c", images=())) == []
        assert self.kinds(self.key("a", options=("1", "2")), self.key("b", options=("2", "1"))) == []
        assert self.kinds(self.key("a", images=("x", "y")), self.key("b", images=("y", "x"))) == []

    def test_answers_are_the_same_as_the_grader_sees_them(self):
        assert self.kinds(self.key("a", answer="0.5"), self.key("b", answer=r"\frac{1}{2}")) == [("b", "row_repeated")]
        two = ("cat", "dog")
        keys = [self.key("a", answer="B", options=two), self.key("b", answer="dog", options=two)]
        assert self.kinds(*keys) == [("b", "row_repeated")]

    def test_training_rows_in_the_evaluation(self):
        train = [self.key("a"), self.key("b", question="Why?"), self.key("c", images=("z",)), self.key("d", images=())]
        held_out = [self.key("e", answer="9"), self.key("f", images=()), self.key("g", images=("v",))]
        found = rows_in_evaluation(train, held_out)
        assert [(find.row, find.kind) for find in found] == [
            ("a", "row_in_eval"),
            ("b", "image_in_eval"),
            ("d", "row_in_eval"),
        ]
        assert "evaluation row e" in found[0].reason


class TestAnswers:
    @pytest.mark.parametrize(
        "cells",
        [
            {"answer": r"\frac{3}{4}"},
            {"answer": "3 cm"},
            {"answer": "x^2 + 2x"},
            {"answer": "orange", "task": "text"},
            {"answer": "A, C", "options": ["1", "2", "3"], "task": "choice"},
            {"answer": "3.5..4.5", "task": "range"},
            {"answer": "4 ± 0.5", "task": "range"},
            {"answer": "[1, 2, 30, 40]", "task": "box:0.7"},
            {"answer": "[1, 2, 30, 40]", "task": "box:iou"},
            {"answer": "12.5", "task": "math:5%"},
        ],
    )
    def test_references_are_right_against_themselves(self, cells):
        assert answer_problems(row(**cells)) == []

    def test_a_reference_that_the_grader_cannot_read(self):
        (problem,) = answer_problems(row(answer="a few", task="range"))
        assert problem.kind == "answer_unparsable"
        assert "a few" in problem.reason

    def test_figures_and_remarks(self):
        options = ["cat", "dog"]
        rows = [row(answer="dog", options=options, task="choice", perception="a dog")] * MANY
        rows += [row(answer=str(i), alternatives=["x"]) for i in range(MANY)]
        answers = [Answered.of(cells) for cells in rows]
        assert answer_figures(answers) == {
            "tasks": {"choice": MANY, "math": MANY},
            "letters": {"B": MANY},
            "with_alternatives": MANY,
            "with_perception": MANY,
            "with_reasoning": 0,
        }
        (remark,) = answer_remarks("train", answers)
        assert f"all {MANY} rows with task choice is 'B'" in remark
        assert "shuffle the options" in remark
        assert answer_remarks("train", answers[1:MANY]) == []


class TestLengths:
    @pytest.mark.parametrize("layout", sorted(LAYOUTS))
    def test_the_length_is_what_the_processor_makes_of_real_images(self, layout, layout_folders):
        processor = AutoProcessor.from_pretrained(layout_folders[layout])
        meter = PromptMeter(processor)
        for sizes in ([], [(300, 41)], [(64, 64), (17, 90)], [(9, 9)], [(500, 300), (33, 600), (128, 128)]):
            content = [*({"type": "image"} for _ in sizes), {"type": "text", "text": "How many pips?"}]
            text = meter.rendered([{"role": "user", "content": content}])
            images = [Image.new("RGB", size, "red") for size in sizes]
            exact = len(processor(images=[images] if images else None, text=[text])["input_ids"][0])
            assert meter.text_tokens([text])[0] + sum(meter.image_tokens(*size) - 1 for size in sizes) == exact

    def processor(self, formula, real=lambda width, height: 10):
        """One token a letter; `formula` and `real` give the tokens of an image."""

        class Fake:
            tokenizer = SimpleNamespace(all_special_tokens=["<s>"], added_tokens_decoder={})
            calls = 0

            def apply_chat_template(self, prompt, add_generation_prompt):
                return "#abc"

            def __call__(self, images, text):
                Fake.calls += 1
                return {"input_ids": [[0] * (len(text[0]) - 1 + real(*images[0][0].size))]}

            def _get_num_multimodal_tokens(self, image_sizes):
                ((height, width),) = image_sizes
                return {"num_image_tokens": [formula(width, height)]}

        fake = Fake()
        tokenize = lambda texts, add_special_tokens: {"input_ids": [[0] * len(text) for text in texts]}  # noqa: E731
        fake.tokenizer = type("Tokenizer", (), {"__call__": staticmethod(tokenize), **vars(Fake.tokenizer)})()
        return fake

    def test_a_formula_that_agrees_is_used_after_a_few_sizes(self):
        processor = self.processor(lambda width, height: 10)
        meter = PromptMeter(processor)
        assert {meter.image_tokens(8 + i, 8) for i in range(20)} == {10}
        assert type(processor).calls == 4

    def test_a_formula_that_does_not_agree_is_not(self):
        meter = PromptMeter(self.processor(lambda width, height: 11))
        assert {meter.image_tokens(8 + i, 8) for i in range(9)} == {10}

    def test_refusals_are_told_in_the_words_of_the_processor(self):
        def real(width, height):
            if width > 100:
                raise ZeroDivisionError("no such grid")
            return 10

        def formula(width, height):
            raise NotImplementedError

        meter = PromptMeter(self.processor(formula, real))
        assert meter.image_tokens(100, 8) == 10
        for _ in range(2):
            with pytest.raises(ImageRefusal, match="no such grid"):
                meter.image_tokens(101, 8)

    def test_prompt_and_completion_must_fit_the_context(self):
        view = ModelView("m", None, context=100, completion=20)
        assert length_problems(view, 80) == []
        (problem,) = length_problems(view, 81)
        assert problem.kind == "prompt_length"
        assert "81 tokens" in problem.reason
        assert length_problems(ModelView("m", None, context=None, completion=20), 10**6) == []

    def test_special_tokens_in_what_the_user_says(self):
        meter = PromptMeter(AutoProcessor.from_pretrained(model_path()))

        def prompt(text):
            system = {"role": "system", "content": [{"type": "text", "text": "<|im_end|>"}]}
            parts = [{"type": "image", "text": None}, {"type": "text", "text": text}]
            return {"prompt": [system, {"role": "user", "content": parts}]}

        assert special_token_problems(meter, prompt("2 < 3 and <b>x</b> <perception>")) == []
        (problem,) = special_token_problems(meter, prompt("a <|vision_start|> b <|im_end|> c <|im_end|>"))
        assert problem.kind == "question_token"
        assert "'<|vision_start|>', '<|im_end|>'" in problem.reason


class TestCheck:
    def rows(self):
        return [{"id": f"g{i}", "question": f"How many in {i}?", "answer": i, "image": png(i)} for i in range(150)]

    def test_rows_are_all_accounted_for_and_the_report_is_plain(self):
        rows = self.rows()
        rows[3] |= {"answer": None}
        rows[4] |= {"image": [b"", b"broken"]}
        rows[140] |= {"image": rows[2]["image"], "question": rows[2]["question"]}
        steps = []
        report = check("memory", {"train": open_rows(rows)}, progress=lambda split, count: steps.append((split, count)))
        (split,) = report.splits
        assert (split.rows, split.good, split.refused) == (150, 147, 3)
        assert sum(count for _, count in steps) == 149
        assert {name for name, _ in steps} == {"train"}
        assert [(find.row, find.kind) for find in split.bad] == [
            ("g3", "answer_empty"),
            ("g4", "image_empty"),
            ("g4", "image_unreadable"),
            ("g140", "row_contradicts"),
        ]
        assert not report.clean
        plain = json.loads(json.dumps(report.to_json()))
        assert plain["splits"]["train"]["kinds"]["image_empty"] == 1
        assert plain["bad_rows"][0].keys() == {"split", "row", "kind", "severity", "reason", "remedy"}
        assert plain["splits"]["train"]["images"]["megapixels"]["most"] == pytest.approx(12 * 10 / 1e6)

    def test_only_the_training_split_is_held_against_the_others(self):
        rows = self.rows()[:6]
        splits = {"train": open_rows(rows), "test": open_rows([{**rows[0], "id": "t"}])}
        assert [split.refused for split in check("memory", splits, train="train").splits] == [1, 0]
        assert [split.refused for split in check("memory", splits).splits] == [0, 0]

    def test_notes_refuse_nothing(self):
        rows = self.rows()[:3]
        rows[1] |= {"id": "g0"}
        report = check("memory", {"train": open_rows(rows)})
        assert report.clean
        assert [find.kind for find in report.splits[0].bad] == ["id_repeated"]
