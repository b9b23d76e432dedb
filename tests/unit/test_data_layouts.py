"""Every layout of other trainers and evaluators, as a small local file: what its rows become."""

import base64
import csv
import io
import json

import pytest
from datasets import Dataset
from PIL import Image

from srpo.cli import UsageError
from srpo.commands.arguments import DataArguments
from srpo.commands.rows import load_options
from srpo.data import DataError, load
from srpo.data.choices import AMBIGUOUS, Choices, position_base, to_letter, to_options
from srpo.data.loading import open_rows
from srpo.data.questions import fit_placeholders, is_conversation, read_question
from srpo.data.repair import repair
from srpo.data.values import task_of, to_answer, to_answers
from srpo.roles import ResponseFormat


def picture(color="red", size=(8, 6)):
    return Image.new("RGB", size, color)


def png(color="red", size=(8, 6)):
    buffer = io.BytesIO()
    picture(color, size).save(buffer, "PNG")
    return buffer.getvalue()


def base64_png(color="red"):
    return base64.b64encode(png(color)).decode()


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def write_table(path, rows, delimiter="\t"):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def text_of(message):
    return "".join(part["text"] or "<IMAGE>" for part in message["content"])


def colors(row):
    names = {(255, 0, 0): "red", (0, 0, 255): "blue", (0, 128, 0): "green"}
    return [names[image.getpixel((0, 0))] for image in row["images"]]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for color in ("red", "blue"):
        picture(color).save(tmp_path / "images" / f"{color}.png")
    return tmp_path


class TestTrainers:
    def test_easyr1_parquet_with_image_bytes(self, tmp_path):
        rows = {
            "images": [[{"bytes": png("blue"), "path": None}]],
            "problem": ["<image>Find x."],
            "answer": [r"2 \sqrt { 221 }"],
        }
        Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
        (row,) = load(tmp_path)
        assert (row["question"], row["answer"], row["task"]) == ("<image>Find x.", r"2 \sqrt { 221 }", "math")
        assert colors(row) == ["blue"]
        assert text_of(row["prompt"][1]) == "<IMAGE>Find x."

    def test_verl_parquet_with_a_nested_answer(self, tmp_path):
        row = {
            "data_source": "hiyouga/geometry3k",
            "prompt": [{"role": "user", "content": "<image>Find x."}],
            "images": [{"bytes": png(), "path": None}],
            "ability": "math",
            "reward_model": {"ground_truth": "48", "style": "rule"},
            "extra_info": {"index": 7, "split": "train", "question": "<image>Find y."},
        }
        Dataset.from_list([row, row]).to_parquet(tmp_path / "train.parquet")
        first, second = load(tmp_path / "train.parquet")
        assert (first["id"], first["question"], first["answer"]) == ("7", "<image>Find x.", "48")
        assert second["id"] == "7#2"
        assert colors(first) == ["red"]
        mapped = load(tmp_path, columns={"question": "extra_info.question", "answer": "reward_model.ground_truth"})
        assert mapped["question"][:] == ["<image>Find y."] * 2
        assert load([row])["answer"][:] == ["48"]

    def test_trl_prompt_as_text_and_as_conversation(self):
        system = {"role": "system", "content": "You are a pirate."}
        parts = [{"type": "text", "text": "Is "}, {"type": "image"}, {"type": "text", "text": " red?"}]
        rows = [
            {"prompt": "How many?", "image": picture("blue"), "solution": "<answer> 3 </answer>"},
            {"prompt": [system, {"role": "user", "content": "Why?"}], "image": picture("blue"), "solution": "because"},
            {"prompt": [{"role": "user", "content": parts}], "image": picture("red"), "solution": "yes"},
        ]
        text, plain, structured = load(rows)
        assert (text["answer"], text["task"]) == ("3", "math")
        assert [text_of(message) for message in plain["prompt"]][1:] == ["<IMAGE>Why?"]
        assert "pirate" not in text_of(plain["prompt"][0])
        assert "<IMAGE>" in text_of(structured["prompt"][1])
        assert text_of(structured["prompt"][1]).startswith("Is")

    def test_images_inside_the_parts_of_messages(self, tmp_path):
        image = [{"type": "image", "image": picture("red")}, {"type": "image", "image": picture("blue")}]
        content = [*image, {"type": "text", "text": "Which is red?"}]
        (row,) = load([{"prompt": [{"role": "user", "content": content}], "answer": "the first"}])
        assert colors(row) == ["red", "blue"]
        assert text_of(row["prompt"][1]) == "<IMAGE><IMAGE>Which is red?"
        url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64_png('blue')}"}}
        message = {"role": "user", "content": [url, {"type": "text", "text": "What colour?"}]}
        (row,) = load(write_lines(tmp_path / "d.jsonl", [{"messages": [message], "answer": "blue"}]))
        assert colors(row) == ["blue"]

    def test_ms_swift_messages(self, folder):
        turns = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "<image>What colour?"},
            {"role": "assistant", "content": "<think>It is red.</think><answer>red</answer>"},
        ]
        rows = [
            {"messages": turns, "images": ["images/red.png"]},
            {"messages": turns[:2], "images": [{"bytes": None, "path": "images/blue.png"}], "solution": "blue"},
        ]
        with_reply, with_solution = (
            load(write_lines(folder / "s.jsonl", rows[:1]))[0],
            load(write_lines(folder / "t.jsonl", rows[1:]))[0],
        )
        assert (with_reply["answer"], with_solution["answer"]) == ("red", "blue")
        assert (colors(with_reply), colors(with_solution)) == (["red"], ["blue"])
        assert [message["role"] for message in with_reply["prompt"]] == ["system", "user"]

    def test_llava_conversations(self, folder):
        talk = [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "3"}]
        rows = [{"id": "a", "image": "red.png", "conversations": talk}, {"id": "b", "conversations": [*talk, *talk]}]
        loaded = open_rows(write_lines(folder / "d.json", rows))
        assert [(find.row, find.kind) for find in loaded.bad] == [("b", "question_turns")]
        (row,) = loaded.dataset
        assert (row["id"], row["question"], row["answer"], colors(row)) == ("a", "<image>\nHow many?", "3", ["red"])

    def test_several_image_columns_and_placeholders_with_a_space(self):
        cells = {f"image_{i}": None for i in range(3, 8)}
        row = {"image_1": picture("red"), "image_2": picture("blue"), **cells}
        rows = [
            {"question": "Is <image 1> like <image 2>?", "answer": "B", "options": "['yes', 'no']", **row},
            {"question": "See <image 2>, then <image 1>.", "answer": "A", "options": "['<image 1>', 'no']", **row},
            {"question": "Which?", "answer": "A", "options": "['<image 1>', '<image 2>']", **row},
        ]
        both, turned, among_options = load(rows, hint="", instruction="none")
        assert colors(both) == ["red", "blue"]
        assert text_of(both["prompt"][0]) == "Is <IMAGE> like <IMAGE>?\nA. yes\nB. no"
        assert text_of(turned["prompt"][0]) == "<IMAGE><IMAGE>See image 2, then image 1.\nA. image 1\nB. no"
        assert text_of(among_options["prompt"][0]) == "<IMAGE><IMAGE>Which?\nA. image 1\nB. image 2"


class TestEvaluators:
    def test_vlmevalkit_table(self, tmp_path):
        rows = [
            {"index": 1, "question": "How many?", "hint": "Count the dots.", "A": 2, "B": 3, "C": "", "answer": "B"},
            {"index": 2, "question": "And here?", "hint": "", "A": "x", "B": "y", "C": "z", "answer": "z"},
            {"index": 3, "question": "Both?", "hint": "", "A": "yes", "B": "no", "C": "", "answer": "A"},
        ]
        images = [base64_png("red"), "1", json.dumps([base64_png("blue"), base64_png("green")])]
        for row, image in zip(rows, images, strict=True):
            row |= {"category": "counting", "image": image}
        data = load(write_table(tmp_path / "bench.tsv", rows), hint="", instruction="none")
        assert data["id"][:] == ["1", "2", "3"]
        assert data["options"][:] == [["2", "3"], ["x", "y", "z"], ["yes", "no"]]
        assert data["answer"][:] == ["B", "z", "A"]
        assert [colors(row) for row in data] == [["red"], ["red"], ["blue", "green"]]
        assert text_of(data[0]["prompt"][0]) == "<IMAGE>Count the dots.\nHow many?\nA. 2\nB. 3"

    def test_cells_longer_than_the_limit_of_csv(self, tmp_path):
        before = csv.field_size_limit()
        noise = Image.effect_noise((400, 400), 90)
        buffer = io.BytesIO()
        noise.save(buffer, "PNG")
        cell = base64.b64encode(buffer.getvalue()).decode()
        assert len(cell) > before
        file = write_table(tmp_path / "b.tsv", [{"index": 0, "question": "Q", "answer": "1", "image": cell}])
        assert load(file)[0]["images"][0].size == (400, 400)
        assert csv.field_size_limit() == before

    def test_a_gap_in_the_options_is_a_bad_row(self, tmp_path):
        row = {"index": 0, "question": "Q", "A": "x", "B": "", "C": "z", "answer": "C"}
        assert [find.kind for find in open_rows(write_table(tmp_path / "b.tsv", [row])).bad] == ["options_empty"]


class TestPlainFiles:
    @pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
    def test_table_with_an_image_folder(self, folder, suffix):
        rows = [{"question": "Q", "answer": "1", "image": "red.png"}, {"question": "R", "answer": "2", "image": ""}]
        if suffix == "jsonl":
            write_lines(folder / "d.jsonl", rows)
        elif suffix == "csv":
            write_table(folder / "d.csv", rows, ",")
        else:
            Dataset.from_list(rows).to_parquet(folder / "d.parquet")
        for name in (folder, folder / f"d.{suffix}"):
            assert [colors(row) for row in load(name)] == [["red"], []]

    def test_data_folder_beside_the_image_folder(self, folder):
        write_lines(folder / "data" / "train.jsonl", [{"question": "Q", "answer": "1", "image": "images/red.png"}])
        assert colors(load(folder)[0]) == ["red"]

    def test_an_image_folder_with_metadata(self, folder):
        write_table(folder / "metadata.csv", [{"file_name": "images/blue.png", "question": "Q", "answer": 1}], ",")
        assert colors(load(folder)[0]) == ["blue"]

    def test_an_object_of_rows(self, folder):
        (folder / "d.json").write_text(json.dumps({"7": {"question": "Q", "answer": 1}}, indent=1))
        assert load(folder / "d.json")["id"][:] == ["7"]

    def test_a_layout_of_ones_own_with_columns_alone(self, folder):
        rows = [{"nr": 5, "stem": "Look.", "ask": "What?", "key": ["1", "one"], "pic": "red.png", "why": "I saw it."}]
        columns = {"id": "nr", "question": "stem+ask", "answer": "key", "image": "pic", "reasoning": "why"}
        (row,) = load(write_lines(folder / "d.jsonl", rows), columns=columns)
        assert (row["id"], row["question"], row["answer"], row["alternatives"]) == ("5", "Look.\nWhat?", "1", ["one"])
        assert (row["reasoning"], colors(row)) == ("I saw it.", ["red"])

    def test_a_column_that_is_not_to_be_read(self, folder):
        file = write_lines(folder / "d.jsonl", [{"question": "Q", "answer": "1", "choices": ["1", "2"]}])
        assert load(file)["options"][:] == [["1", "2"]]
        assert load(file, columns={"options": "-"})["options"][:] == [[]]


class TestAnswers:
    def test_positions_are_told_from_texts_by_the_whole_set(self):
        pets, numbers = ["cat", "dog", "cow"], ["2", "3", "4"]
        assert position_base([0, 2], [pets, pets]) == 0
        assert position_base([1, 3], [pets, pets]) == 1
        assert position_base([2, 4], [numbers, numbers]) is None
        assert position_base([2, 0], [numbers, numbers]) == 0
        assert position_base(["1", "2"], [pets, pets]) == AMBIGUOUS
        assert position_base([7, 0], [pets, pets]) == 0
        assert position_base([7], [pets]) is None
        assert position_base(["A", "cat"], [pets, pets]) is None
        assert to_letter("2", Choices(numbers), 0) == "C"
        assert to_letter("3", Choices(pets), 1) == "C"

    def test_several_answers(self):
        assert to_answers(["A", "C"], str) == ("A, C", [])
        assert to_answers(["4", "four", "4"]) == ("4", ["four"])
        assert to_answers(["4"]) == ("4", [])
        (row,) = load([{"question": "Q", "options": ["x", "y", "z"], "answer": ["A", "C"]}])
        assert (row["answer"], row["task"]) == ("A, C", "choice")

    @pytest.mark.parametrize(
        ("cell", "answer"),
        [
            (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
            (r"\boxed{1} or \boxed{2}", r"\boxed{1} or \boxed{2}"),
            ("<think>x</think> <answer>4</answer>", "4"),
            ("\x0crac{1}{2}", r"\frac{1}{2}"),
        ],
    )
    def test_wrapped_answers(self, cell, answer):
        assert to_answer(cell) == answer

    @pytest.mark.parametrize(
        ("text", "options"),
        [
            ("A. 2; B. 3", ["2", "3"]),
            ("A. 3 cm; B. 4 cm; C. No correct answer;", ["3 cm", "4 cm", "No correct answer"]),
            ("A．2；B．3", ["2", "3"]),
            ("(A) cat\n(B) dog", ["cat", "dog"]),
            ("['a', 'b']", ["a", "b"]),
        ],
    )
    def test_options_in_one_text(self, text, options):
        assert to_options(text) == options
        assert to_options({"text": options, "label": ["A", "B", "C"]}) == options

    def test_letters_of_choices_inside_the_question(self):
        question = "How long is AB?\nChoices:\nA:3\nB:4"
        assert task_of("B", [], question) == "choice"
        assert task_of("A, C", [], question) == "choice"
        assert task_of("B", [], "Which point is nearest?") == "text"

    def test_tasks_of_a_set_and_of_a_row(self):
        rows = [
            {"question": "Q", "answer": "12", "task": None},
            {"question": "Q", "answer": "Yes", "task": ""},
            {"question": "Q", "answer": "3", "task": "math:0.01"},
            {"question": "Q", "answer": [1, 2, 3, 4], "task": "box"},
        ]
        assert load(rows, task="math:5%")["task"][:] == ["math:5%", "text", "math:0.01", "box"]
        assert load(rows)["answer"][3] == "[1, 2, 3, 4]"
        with pytest.raises(DataError, match="task 'maths' must be one of"):
            load(rows, task="maths")

    def test_a_column_named_task_that_holds_something_else(self, caplog):
        rows = [{"question": "Q", "answer": "1", "task": "figure question answering"}]
        assert load(rows)["task"][:] == ["math"]
        assert "names no task" in caplog.text
        rows.append({"question": "Q", "answer": "1", "task": "math"})
        assert [find.kind for find in open_rows(rows).bad] == ["task_unknown"]


class TestRepair:
    @pytest.mark.parametrize(
        ("broken", "whole"),
        [
            ("\x0crac{1}{2}", r"\frac{1}{2}"),
            ("2\times 3", r"2\times 3"),
            ("\x08oxed{4}", r"\boxed{4}"),
            ("(x\right)", r"(x\right)"),
            ("\theta + \beta".replace("\\b", "\x08"), r"\theta + \beta"),
            ("a \neq b", r"a \neq b"),
            ("\x07lpha", r"\alpha"),
            ("a\x00b\x7f", "ab"),
        ],
    )
    def test_commands(self, broken, whole):
        assert repair(broken) == whole

    @pytest.mark.parametrize("text", ["two\nlines\tand a tab", "a\r\nb", "one\nunder\ntwo", "x\tand y", "x\nless", ""])
    def test_text_stays(self, text):
        assert repair(text) == text

    def test_more_is_known_of_answers(self):
        assert repair("\nu", formula=True) == r"\nu"
        assert repair("let\nu be") == "let\nu be"


class TestQuestions:
    def test_conversation_of_no_user(self):
        assert is_conversation([{"role": "user", "content": "Q"}])
        assert not is_conversation(["Q"])
        assert not is_conversation([{"bytes": b""}])
        assert read_question(["A", None, "B"]).question == "A\nB"

    @pytest.mark.parametrize(
        ("question", "images", "fitted"),
        [
            ("<image 1> and <image 2>", 2, "<image1> and <image2>"),
            ("<image 2> and <image 1>", 2, "image 2 and image 1"),
            ("only <image 2>", 2, "only image 2"),
            ("<image 3>", 2, "<image3>"),
            ("<image>", 2, "<image>"),
            ("sheet <image1> <image2>", 1, "sheet <image1> <image2>"),
        ],
    )
    def test_placeholders(self, question, images, fitted):
        assert fit_placeholders(question, images) == fitted


class TestImageColumns:
    def test_some_images_by_path_and_some_absent(self, folder):
        stored = {"bytes": png("blue"), "path": None}
        by_path = {"bytes": None, "path": "images/red.png"}
        cells = [[stored, by_path], [stored], [], None, [by_path]]
        rows = {"question": ["Q"] * 5, "answer": ["1"] * 5, "images": cells}
        Dataset.from_dict(rows).to_parquet(folder / "d.parquet")
        assert [colors(row) for row in load(folder / "d.parquet")] == [["blue", "red"], ["blue"], [], [], ["red"]]

    def test_a_bad_cell_leaves_the_others(self, folder):
        cells = [{"bytes": png("blue"), "path": None}, {"bytes": None, "path": "nowhere.png"}, None]
        rows = {"question": ["Q"] * 3, "answer": ["1"] * 3, "image": cells}
        Dataset.from_dict(rows).to_parquet(folder / "d.parquet")
        loaded = open_rows(folder / "d.parquet")
        found = [("d-1", "image_missing"), ("d-2", "image_none")]
        assert [(find.row, find.kind) for find in loaded.bad] == found
        assert [colors(row) for row in loaded.dataset] == [["blue"], []]

    def test_what_was_loaded_can_be_saved_and_loaded_again(self, folder, tmp_path):
        rows = [{"question": "Q", "answer": ["1", "one"], "task": "math:0.1", "image": "images/red.png"}]
        data = load(write_lines(folder / "d.jsonl", rows))
        data.save_to_disk(tmp_path / "saved")
        again = load(tmp_path / "saved")
        assert again.column_names == data.column_names
        for column in set(data.column_names) - {"images"}:
            assert again[column][:] == data[column][:]
        assert colors(again[0]) == ["red"]
        data.to_parquet(tmp_path / "one.parquet")
        assert colors(load(tmp_path / "one.parquet")[0]) == ["red"]

    def test_paths_of_rows_in_memory_must_exist(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        rows = [{"question": "Q", "answer": "1", "image": name} for name in ("images/red.png", "green.png")]
        assert [(find.row, find.kind) for find in open_rows(rows).bad] == [("row-1", "image_missing")]
        rows[1]["image"] = "https://example.org/x.png"
        assert [find.kind for find in open_rows(rows).bad] == ["image_url"]

    def test_loading_leaves_rows_in_memory_as_they_are(self):
        rows = [{"question": "Q", "answer": "1", "image": picture("red")}]
        assert len(load(rows)) == len(load(rows)) == 1
        assert set(rows[0]) == {"question", "answer", "image"}


class TestBadRows:
    def test_every_bad_row_is_collected(self, folder):
        rows = [{"id": i, "question": f"Q{i}", "answer": "1", "image": "red.png"} for i in range(6)]
        rows[1]["answer"], rows[2]["image"], rows[4]["question"] = None, "../x.png", ""
        rows[5] |= {"answer": "", "image": 7}
        loaded = open_rows(write_lines(folder / "d.jsonl", rows))
        found = sorted((find.row, find.kind) for find in loaded.bad)
        expected = [("1", "answer_empty"), ("2", "image_outside"), ("4", "question_empty")]
        assert found == [*expected, ("5", "answer_empty"), ("5", "image_type")]
        assert loaded.dataset["id"][:] == ["0", "3"]
        assert [colors(row) for row in loaded.dataset] == [["red"], ["red"]]

    def test_skipping_counts_and_lists(self, folder, caplog):
        rows = [{"question": "Q", "answer": "1"}, {"question": "Q", "answer": None}]
        file = write_lines(folder / "d.jsonl", rows)
        assert len(load(file, on_bad_rows="skip")) == 1
        assert "1 bad rows are left out (1 answer_empty)" in caplog.text
        assert "row d-1: the answer is empty; fill it in or remove the row" in caplog.text
        with pytest.raises(DataError, match="has no row that can be used: row d-0"):
            load(write_lines(folder / "d.jsonl", rows[1:]), on_bad_rows="skip")
        with pytest.raises(DataError, match="on_bad_rows 'drop' must be one of refuse, skip"):
            load(file, on_bad_rows="drop")

    def test_ids_count_lines_that_cannot_be_read(self, folder):
        (folder / "d.jsonl").write_text('{"question": "Q", "answer": 1}\n{\n\n{"question": "R", "answer": 2}\n')
        loaded = open_rows(folder / "d.jsonl")
        assert loaded.dataset["id"][:] == ["d-0", "d-2"]
        assert [(find.row, find.kind) for find in loaded.bad] == [("d.jsonl, line 2", "line")]
        assert open_rows(folder / "d.jsonl", rows=1).bad == []

    def test_a_file_of_broken_lines_only(self, folder):
        (folder / "d.jsonl").write_text("{\n}\n")
        assert len(open_rows(folder / "d.jsonl").bad) == 2
        with pytest.raises(DataError, match="line 1.*line 2"):
            load(folder / "d.jsonl")

    def test_repeated_ids_are_noted_and_used(self):
        loaded = open_rows([{"id": "x", "question": "Q", "answer": "1"}] * 2)
        assert [(find.row, find.severity) for find in loaded.bad] == [("x#2", "noted")]
        assert loaded.dataset["id"][:] == ["x", "x#2"]
        assert loaded.refused == []


def found(rows, **options):
    """(the answers of good rows, {row: kind} of the refused ones)."""
    loaded = open_rows([{"question": f"Q{i}", "id": str(i), **row} for i, row in enumerate(rows)], **options)
    return loaded.dataset["answer"][:], {find.row: find.kind for find in loaded.refused}


class TestPositions:
    def rows(self, *answers, options=("w", "x", "y", "z")):
        return [{"question": "Q", "options": list(options), "answer": answer} for answer in answers]

    def test_an_outlier_does_not_move_the_others(self):
        assert found(self.rows(1, 2, 3, 4, 9)) == (["A", "B", "C", "D"], {"4": "answer_option"})
        assert found(self.rows(0, 1, -1, 3)) == (["A", "B", "D"], {"2": "answer_option"})

    def test_what_no_row_shows_is_refused(self):
        loaded = open_rows(self.rows(1, 2, 3, "y"))
        assert loaded.dataset["answer"][:] == ["y"]
        assert [find.kind for find in loaded.bad] == ["answer_option"] * 3
        assert loaded.bad[1].reason == (
            "the answer 2 is a position, and no row shows whether they are counted from 0 or from 1"
        )
        assert loaded.bad[1].remedy == "say --answer_base 0 or 1"

    def test_the_user_says_it(self):
        assert found(self.rows(1, 2, 3), answer_base=0) == (["B", "C", "D"], {})
        assert found(self.rows(1, 2, 3), answer_base=1) == (["A", "B", "C"], {})
        assert found(self.rows("1", 4), answer_base=0) == (["B"], {"1": "answer_option"})
        with pytest.raises(DataError, match="answer_base 2 must be 0 or 1"):
            load(self.rows(1), answer_base=2)

    def test_the_command_line_says_it(self):
        given = load_options(DataArguments(answer_base=1), ResponseFormat())
        assert given["answer_base"] == 1
        with pytest.raises(UsageError, match="answer_base 2 must be 0 or 1"):
            load_options(DataArguments(answer_base=2), ResponseFormat())

    def test_a_set_is_read_in_one_way(self):
        digits = ("1", "2", "3", "4")
        assert found(self.rows(1, 2, 4, 3, options=digits)) == (["1", "2", "4", "3"], {})
        assert found(self.rows(1, 2, 0, 3, options=digits)) == (["B", "C", "A", "D"], {})
        assert found(self.rows(-1, 2, 0, 3, options=digits)) == (["C", "A", "D"], {"0": "answer_option"})
        numbers = ["2", "3", "4", "5"]
        assert found(self.rows(*numbers, *numbers, 7, options=numbers)) == (numbers * 2, {"8": "answer_option"})

    def test_several_positions(self):
        assert found(self.rows([0, 2], "[0, 2]", "AC")) == (["A, C", "A, C", "AC"], {})
        assert found(self.rows("[1, 4]"))[0] == ["A, D"]


class TestLabels:
    @pytest.mark.parametrize(
        ("options", "answer", "texts", "letter"),
        [
            ({"B": "beta", "A": "alpha"}, "A", ["alpha", "beta"], "A"),
            ("{'B': 'w', 'A': 'y'}", "A", ["y", "w"], "A"),
            ({"1": "one", "2": "two", "3": "three"}, "2", ["one", "two", "three"], "B"),
            ({"2": "two", "10": "ten", "1": "one"}, 10, ["one", "two", "ten"], "C"),
            ({"0": "one", "1": "two"}, 1, ["one", "two"], "B"),
            ({"text": ["x", "y"], "label": ["B", "A"]}, "A", ["y", "x"], "A"),
            ({"text": ["x", "y"], "label": ["1", "2"]}, "1", ["x", "y"], "A"),
            ({"text": ["x", "y"], "label": None}, "B", ["x", "y"], "B"),
            (["B. w", "A. y"], "A", ["y", "w"], "A"),
            ({"a": "w", "b": "x"}, "b", ["w", "x"], "B"),
            ({"F": "w", "G": "x", "H": "y"}, "F, H", ["w", "x", "y"], "A, C"),
            ({"A": "b", "B": "a"}, "b", ["b", "a"], "b"),
            ({"A": "w", "B": "x", "C": None, "D": ""}, "B", ["w", "x"], "B"),
            ({"A": None, "B": None, "1": "w", "2": "x"}, "2", ["w", "x"], "B"),
        ],
    )
    def test_an_answer_is_a_label_first(self, options, answer, texts, letter):
        (row,) = load([{"question": "Q", "options": options, "answer": answer}])
        assert (row["options"], row["answer"], row["task"]) == (texts, letter, "choice")

    def test_what_cannot_be_read(self):
        rows = [
            {"options": {"A": "w", "B": None, "C": "y", "D": "z"}, "answer": "C"},
            {"options": {"F": "w", "G": "x"}, "answer": "A"},
            {"options": {"text": ["x", "y"], "label": ["A"]}, "answer": "A"},
            {"options": {"A": "w", "a": "x"}, "answer": "A"},
        ]
        kinds = ["options_empty", "answer_option", "options_type", "options_type"]
        assert list(found(rows)[1].values()) == kinds

    def test_in_parquet(self, tmp_path):
        rows = [
            {"question": "Q", "options": {"A": "w", "B": "x", "C": None, "D": "z"}, "answer": "D"},
            {"question": "R", "options": {"A": "w", "B": "x", "C": "y", "D": None}, "answer": "C"},
        ]
        Dataset.from_list(rows).to_parquet(tmp_path / "d.parquet")
        loaded = open_rows(tmp_path / "d.parquet")
        assert [(find.row, find.kind) for find in loaded.bad] == [("d-0", "options_empty")]
        assert loaded.dataset["options"][:] == [["w", "x", "y"]]

    def test_initials_are_no_labels(self):
        names = ["G. Washington", "A. Lincoln"]
        assert to_options(names) == names


class TestAnswersElsewhere:
    def test_annotators(self):
        rows = [
            {"answers": [{"answer": "yes", "answer_id": 1}, {"answer": "no", "answer_id": 2}, {"answer": "yes"}]},
            {"answers": {"answer": "red"}},
            {"answers": {"value": "red"}},
            {"answers": [{"value": "red"}, {"value": "blue"}]},
        ]
        loaded = open_rows([{"question": "Q", **row} for row in rows])
        assert loaded.dataset["answer"][:] == ["yes", "red"]
        assert loaded.dataset["alternatives"][:] == [["no"], []]
        assert [find.kind for find in loaded.bad] == ["answer_type"] * 2

    def test_a_derivation_is_no_answer_where_there_is_one(self):
        (row,) = load([{"question": "Q", "solution": "We add 3 and 4.", "gt": "7"}])
        assert (row["answer"], row["reasoning"]) == ("7", "We add 3 and 4.")

    def test_only_a_reply_to_the_question_is_the_answer(self):
        greeting, question = {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Q?"}
        reply = {"role": "assistant", "content": "7"}
        rows = [{"question": "Q", "messages": turns} for turns in ([greeting, question], [greeting, question, reply])]
        assert found(rows, columns={"question": "messages"}) == (["7"], {"0": "answer_empty"})

    def test_choices_that_end_the_question(self):
        question = "Which?\nA. red\nB. blue"
        rows = [{"question": question, "answer": answer} for answer in ("blue", "B", "green")]
        text, letter, other = load(rows, instruction="none", hint="")
        assert (text["question"], text["options"], text["task"]) == ("Which?", ["red", "blue"], "choice")
        assert text_of(text["prompt"][0]) == text_of(letter["prompt"][0]) == question
        assert (letter["task"], letter["options"]) == ("choice", [])
        assert (other["task"], other["options"]) == ("text", [])


class TestHints:
    def test_only_a_table_of_vlmevalkit_has_one(self, tmp_path):
        row = {"index": 1, "hint": "The answer is 7.", "question": "Q", "answer": "7"}
        assert load(write_lines(tmp_path / "d.jsonl", [row]))["question"][:] == ["Q"]
        assert load(write_table(tmp_path / "d.tsv", [row]))["question"][:] == ["The answer is 7.\nQ"]
        rows = [{**row, "A": "7", "B": "8"}, {**row, "index": 2, "hint": "nan", "A": "7", "B": "8"}]
        assert load(write_lines(tmp_path / "e.jsonl", rows))["question"][:] == ["The answer is 7.\nQ", "Q"]


class TestMedia:
    @pytest.mark.parametrize(
        "row",
        [
            {"question": "<video> Q"},
            {"question": "Q <audio>"},
            {"question": "Q", "videos": ["a.mp4"]},
            {"question": "Q", "audios": [{"bytes": b"x", "path": None}]},
            {"question": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}, {"type": "text"}]}]},
        ],
    )
    def test_a_row_with_a_video_or_a_sound_is_refused(self, row, tmp_path):
        assert found([{"answer": "1", **row}])[1] == {"0": "media"}
        Dataset.from_list([{"answer": "1", **row}]).to_parquet(tmp_path / "d.parquet")
        with pytest.raises(DataError, match="remove the row"):
            list(load(tmp_path / "d.parquet", streaming=True))

    def test_empty_columns_of_them_do_not_matter(self):
        assert found([{"answer": "1", "videos": [], "audios": None}]) == (["1"], {})


def test_the_line_end_of_windows_is_no_command():
    assert repair("a tangent\r\neq") == "a tangent\r\neq"
    assert repair("a \neq b") == r"a \neq b"
    assert repair("x\r\nu", formula=True) == "x\r\nu"
