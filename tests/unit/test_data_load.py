"""Loading of third-party data: columns, cell types, images, splits, and one clear sentence for every problem."""

import csv
import io
import json
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from srpo.data import DataError, check_images, load, load_splits, parse_columns
from srpo.data.choices import Choices, to_letter, to_options
from srpo.data.loading import open_rows
from srpo.data.questions import to_question
from srpo.data.schema import COLUMNS
from srpo.data.sources import left_out, locate
from srpo.data.values import task_of, to_answer, to_text
from srpo.roles import ResponseFormat

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the third-party data at {SHARED} is missing")


def picture(color="red", size=(8, 6), mode="RGB"):
    return Image.new(mode, size, color)


def png(color="red"):
    buffer = io.BytesIO()
    picture(color).save(buffer, "PNG")
    return buffer.getvalue()


def write_lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def text_of(message):
    return "".join(part["text"] or "<IMAGE>" for part in message["content"])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for color in ("red", "blue"):
        picture(color).save(tmp_path / "images" / f"{color}.png")
    return tmp_path


class TestCells:
    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            (4.0, "4"),
            (2.5, "2.5"),
            (7, "7"),
            ("4.0", "4.0"),
            (" a ", "a"),
            (None, ""),
            (float("nan"), ""),
            (["x"], "x"),
        ],
    )
    def test_text(self, cell, text):
        assert to_text(cell) == text

    @pytest.mark.parametrize(
        ("cell", "options"),
        [
            ([4, 2.0, "x"], ["4", "2", "x"]),
            ("['4', '5']", ["4", "5"]),
            ('["4", 5]', ["4", "5"]),
            ({"A": "cat", "B": "dog", "C": None}, ["cat", "dog"]),
            (["A. cat", "B. dog"], ["cat", "dog"]),
            (["(A) cat", "(B) dog"], ["cat", "dog"]),
            (["A. cat", "dog"], ["A. cat", "dog"]),
            (["A", "B"], ["A", "B"]),
            (None, []),
            ("", []),
        ],
    )
    def test_options(self, cell, options):
        assert to_options(cell) == options

    @pytest.mark.parametrize("cell", [7, "cat or dog", "4"])
    def test_options_that_are_no_list(self, cell):
        with pytest.raises(ValueError, match="list"):
            to_options(cell)

    @pytest.mark.parametrize(
        ("cell", "options", "answer"),
        [
            ("<answer> 3 </answer>", [], "3"),
            (4.0, [], "4"),
            (1, ["4", "8", "1"], "1"),
            (1, ["cat", "dog"], "1"),
            (5, ["cat", "dog"], "5"),
            ("1", ["cat", "dog"], "1"),
            (True, ["yes", "no"], "True"),
        ],
    )
    def test_answer(self, cell, options, answer):
        assert to_answer(cell, lambda text: to_letter(text, Choices(options), None)) == answer

    @pytest.mark.parametrize("cell", [None, "", "  ", ["a", "b"], []])
    def test_answer_that_is_none_or_many(self, cell):
        with pytest.raises(ValueError, match="the answer is"):
            to_answer(cell)

    @pytest.mark.parametrize(
        ("answer", "options", "task"),
        [("4", ["4", "5"], "choice"), ("4", [], "math"), (r"\frac{1}{2}", [], "math"), ("orange", [], "text")],
    )
    def test_task(self, answer, options, task):
        assert task_of(answer, options) == task

    def test_question_of_a_conversation(self):
        parts = [{"type": "image", "text": None}, {"type": "text", "text": "How many?"}]
        assert to_question([{"role": "system", "content": "x"}, {"role": "user", "content": parts}]) == "How many?"
        assert to_question([{"role": "user", "content": " Why? "}]) == "Why?"
        with pytest.raises(ValueError, match="conversation with a user message"):
            to_question([{"role": "assistant", "content": "x"}])


class TestColumns:
    def test_parse(self):
        assert parse_columns("question=problem, answer = gt") == {"question": "problem", "answer": "gt"}
        assert parse_columns("") == parse_columns(None) == {}

    @pytest.mark.parametrize("text", ["question", "question=", "=gt"])
    def test_parse_error(self, text):
        with pytest.raises(DataError, match="question=problem"):
            parse_columns(text)

    @pytest.mark.parametrize(
        ("question", "answer", "image"),
        [("problem", "solution", "image_path"), ("query", "gt", "images"), ("prompt", "label", "image_paths")],
    )
    def test_usual_names(self, folder, question, answer, image):
        data = load(write_lines(folder / "d.jsonl", [{question: "Q?", answer: 3, image: "images/red.png"}]))
        assert data.column_names == list(COLUMNS)
        assert (data[0]["question"], data[0]["answer"], len(data[0]["images"])) == ("Q?", "3", 1)

    def test_mapping_comes_before_usual_names(self, folder):
        file = write_lines(folder / "d.jsonl", [{"question": "no", "text": "yes", "answer": "1", "key": "2"}])
        row = load(file, columns={"question": "text", "answer": "key"})[0]
        assert (row["question"], row["answer"]) == ("yes", "2")

    def test_missing_column_names_the_present_ones_and_the_remedy(self, folder):
        file = write_lines(folder / "d.jsonl", [{"problem": "Q?", "result": "1"}])
        with pytest.raises(DataError, match=r"no answer column.*problem, result.*--columns answer=<column>"):
            load(file)

    def test_mapping_to_a_column_that_is_not_there(self, folder):
        file = write_lines(folder / "d.jsonl", [{"problem": "Q?", "result": "1"}])
        with pytest.raises(DataError, match=r"no column 'outcome'.*problem, result"):
            load(file, columns={"answer": "outcome"})
        with pytest.raises(DataError, match=r"'reply'.*can be mapped"):
            load(file, columns={"reply": "result"})


class TestFiles:
    ROWS = (
        {"id": "a", "question": "One?", "answer": 1, "image": "images/red.png"},
        {"id": "b", "question": "Two?", "answer": "x"},
    )

    def check(self, name):
        data = load(name)
        assert data["id"][:] == ["a", "b"]
        assert data["answer"][:] == ["1", "x"]
        assert data["task"][:] == ["math", "text"]
        assert [len(images) for images in data["images"]] == [1, 0]
        assert data[0]["images"][0].getpixel((0, 0)) == (255, 0, 0)

    def test_json_lines_and_array(self, folder):
        self.check(write_lines(folder / "lines.jsonl", self.ROWS))
        self.check(write_lines(folder / "lines.json", self.ROWS))
        (folder / "array.json").write_text(json.dumps(self.ROWS, indent=1))
        self.check(str(folder / "array.json"))

    @pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
    def test_tables(self, folder, suffix, delimiter):
        with (folder / f"t.{suffix}").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "question", "answer", "image"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(self.ROWS)
        self.check(str(folder / f"t.{suffix}"))

    def test_parquet_with_paths(self, folder):
        rows = [{**row, "answer": str(row["answer"]), "image": row.get("image")} for row in self.ROWS]
        Dataset.from_list(rows).to_parquet(folder / "p.parquet")
        self.check(folder / "p.parquet")

    def test_folder_of_files_with_mixed_types(self, folder):
        write_lines(folder / "a.json", [{"question": "Q", "options": [1, 2], "answer": "2"}])
        write_lines(folder / "b.json", [{"question": "Q", "options": ["1", "2"], "answer": 2.0}])
        data = load(folder)
        assert data["id"][:] == ["a-0", "b-0"]
        assert data["options"][:] == [["1", "2"]] * 2
        assert data["answer"][:] == ["2", "2"]

    def test_repeated_and_missing_ids_become_unique(self, folder):
        rows = [{"id": i, "question": "Q", "answer": "1"} for i in ("x", "x", None)]
        assert load(write_lines(folder / "d.jsonl", rows))["id"][:] == ["x", "x#2", "row-2"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("d.jsonl", '{"question": "Q", "answer": 1}\n{"question": ', "row d.jsonl, line 2: it is not valid JSON"),
            ("d.jsonl", '{"question": "Q", "answer": 1}\n7', "line 2: it is a int"),
            ("d.json", '[{"question": "Q"}', "not valid JSON"),
            ("d.json", "[1]", "element 0: it is a int"),
            ("d.csv", "question,answer\nQ,1,2\n", "line 2: it has 3 cells and the header 2"),
            ("d.jsonl", "", "no rows"),
            ("d.parquet", "no parquet", "cannot be read as parquet"),
            ("d.txt", "", "no data file"),
        ],
    )
    def test_unreadable_files(self, tmp_path, name, content, message):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=message):
            load(str(tmp_path / name))

    def test_file_that_is_not_utf8(self, tmp_path):
        (tmp_path / "d.csv").write_bytes(b"question,answer\n\xff\xfe,1\n")
        with pytest.raises(DataError, match="UTF-8"):
            load(str(tmp_path / "d.csv"))

    @pytest.mark.parametrize("name", ["./nothing", "/nothing/at/all", "nothing.jsonl", "~/nothing"])
    def test_missing_paths_are_not_looked_up_at_the_hub(self, name, monkeypatch):
        monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("asked the hub"))
        with pytest.raises(DataError, match="there is no file or folder"):
            load(name)

    def test_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match="holds no data file"):
            load(tmp_path)

    def test_rows_takes_the_first(self, folder):
        rows = [{"question": "Q", "answer": i} for i in range(5)]
        assert load(write_lines(folder / "d.jsonl", rows), rows=2)["answer"][:] == ["0", "1"]
        with pytest.raises(DataError, match="rows is 0"):
            load(str(folder / "d.jsonl"), rows=0)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"question": "Q", "answer": None}, "row d-1: the answer is empty"),
            ({"question": " ", "answer": "1"}, "row d-1: .*question"),
            ({"question": "Q", "answer": "1", "options": "x"}, "row d-1: the options"),
            (
                {"question": "<image> or <image>?", "answer": "1", "image": "images/red.png"},
                "row d-1: it has 1 image .* 2 <image>",
            ),
            ({"question": "<image>?", "answer": "1"}, "row d-1: it has 0 images"),
        ],
    )
    def test_bad_rows_are_named(self, folder, row, message):
        with pytest.raises(DataError, match=message):
            load(write_lines(folder / "d.jsonl", [{"question": "Q", "answer": "1"}, row]))


class TestImages:
    def load_cell(self, folder, cell, **options):
        return load(write_lines(folder / "d.jsonl", [{"question": "Q", "answer": "1", "image": cell}]), **options)

    def test_several_images_one_and_none(self, folder):
        both = ["images/red.png", "images/blue.png"]
        rows = [{"question": "Q", "answer": "1", "images": cell} for cell in (both, both[0], None, [], "")]
        data = load(write_lines(folder / "d.jsonl", rows))
        assert [len(images) for images in data["images"]] == [2, 1, 0, 0, 0]
        assert data[0]["images"][1].getpixel((0, 0)) == (0, 0, 255)
        counts = [sum(part["type"] == "image" for part in row["prompt"][-1]["content"]) for row in data]
        assert counts == [2, 1, 0, 0, 0]

    def test_images_are_rgb_whatever_the_file_has(self, folder):
        picture(128, mode="L").save(folder / "grey.png")
        picture("red").convert("P").save(folder / "palette.png")
        for name in ("grey.png", "palette.png"):
            assert self.load_cell(folder, name)[0]["images"][0].mode == "RGB"

    @pytest.mark.parametrize("kind", ["binary", "struct", "list", "image", "images"])
    def test_parquet_with_stored_images(self, tmp_path, kind):
        stored = {"bytes": png("blue"), "path": "x.png"}
        cells = {
            "binary": [png("blue"), None],
            "struct": [stored, None],
            "list": [[stored, stored], []],
            "image": [picture("blue"), None],
            "images": [[picture("blue"), picture("blue")], []],
        }[kind]
        data = Dataset.from_dict({"question": ["Q", "R"], "answer": ["1", "2"], "image": cells})
        if kind == "image":
            data = data.cast_column("image", datasets.Image())
        data.to_parquet(tmp_path / "p.parquet")
        loaded = load(tmp_path / "p.parquet")
        assert [len(images) for images in loaded["images"]] == [2 if kind in ("list", "images") else 1, 0]
        assert loaded[0]["images"][0].getpixel((0, 0)) == (0, 0, 255)
        check_images(loaded, decode=True)
        picked = Dataset.from_parquet(str(tmp_path / "p.parquet")).select([1, 0, 1])
        assert [len(images) for images in load(picked)["images"]] == [0, len(loaded[0]["images"]), 0]
        assert [len(images) for images in load(picked.select([1, 2]), rows=1)["images"]] == [len(loaded[0]["images"])]

    def test_rows_in_memory(self):
        rows = [
            {"question": "Q", "answer": 1, "image": picture("blue")},
            {"question": "<image><image>", "answer": 1, "image": [png(), {"bytes": png(), "path": None}]},
            {"question": "Q", "answer": 1},
        ]
        data = load(rows)
        assert data["id"][:] == ["row-0", "row-1", "row-2"]
        assert [len(images) for images in data["images"]] == [1, 2, 0]
        assert data[0]["images"][0].getpixel((0, 0)) == (0, 0, 255)
        selected = Dataset.from_list([{**row, "image": None} for row in rows[2:]] * 3).select([2, 0])
        assert len(load(selected)) == 2

    def test_paths_may_not_leave_the_data_folder(self, folder):
        data = folder / "data"
        data.mkdir()
        outside = folder / "images" / "red.png"
        (data / "link.png").symlink_to(outside)
        (data / "folder").symlink_to(folder / "images")
        for cell in (str(outside), "../images/red.png", "link.png", "folder/red.png", {"path": str(outside)}):
            with pytest.raises(DataError, match=r"row d-0: image path .* leaves the data folder"):
                self.load_cell(data, cell)
        for cell in (str(outside), "images/red.png", "data/../images/red.png"):
            assert len(self.load_cell(data, cell, image_root=folder)[0]["images"]) == 1

    def test_paths_stored_in_parquet_may_not_leave_the_data_folder(self, folder):
        data = folder / "data"
        data.mkdir()
        for path in (str(folder / "images" / "red.png"), "../images/red.png"):
            cells = [{"bytes": None, "path": path}]
            Dataset.from_dict({"question": ["Q"], "answer": ["1"], "image": cells}).to_parquet(data / "p.parquet")
            with pytest.raises(DataError, match="leaves the data folder"):
                load(data / "p.parquet")

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ("images/green.png", r"row d-0: image 'images/green.png' does not exist.*image_root"),
            ("images", "does not exist"),
            ("https://example.org/x.png", "is a URL"),
            (7, "an image is a int"),
            ({"url": "x"}, "an image is a dict"),
        ],
    )
    def test_bad_cells(self, folder, cell, message):
        with pytest.raises(DataError, match=message):
            self.load_cell(folder, cell)

    def test_unreadable_image_is_found_by_the_check_and_not_by_loading(self, folder):
        (folder / "broken.png").write_bytes(b"no image")
        data = self.load_cell(folder, "broken.png")
        with pytest.raises(DataError, match=r"row d-0: image .*broken.png cannot be read .*or remove the row"):
            check_images(data)

    def test_truncated_image_is_found_by_the_full_check(self, folder):
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
        noise.save(folder / "whole.png")
        (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:2000])
        data = self.load_cell(folder, "cut.png")
        check_images(data)
        with pytest.raises(DataError, match=r"cut\.png ends early"):
            check_images(data, decode=True)

    def test_decompression_bombs_are_refused(self, folder, monkeypatch):
        data = self.load_cell(folder, "images/red.png")
        check_images(data)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
        with pytest.raises(DataError, match="more than Pillow's limit"):
            check_images(data)

    def test_check_needs_loaded_data(self):
        with pytest.raises(DataError, match=r"srpo\.data\.load"):
            check_images(Dataset.from_dict({"id": ["a"]}))

    def test_loading_does_not_grow_with_the_images(self, folder):
        rows = [{"question": f"Q {i}", "answer": i, "image": "images/red.png"} for i in range(20000)]
        file = write_lines(folder / "d.jsonl", rows)
        start = time.process_time()
        assert len(load(file)) == 20000
        assert time.process_time() - start < 6


class TestPrompts:
    def test_instruction_styles(self, folder):
        file = write_lines(folder / "d.jsonl", [{"question": "Q?", "answer": "1", "image": "images/red.png"}])
        tags = ResponseFormat("see", "why", "so")
        system = load(file, response_format=tags)[0]["prompt"]
        assert [message["role"] for message in system] == ["system", "user"]
        assert "<see>" in text_of(system[0])
        assert text_of(system[1]) == "<IMAGE>Q?"
        (user,) = load(file, response_format=tags, instruction="user")[0]["prompt"]
        assert text_of(user).startswith("<IMAGE>Q?")
        assert "<why>" in text_of(user)
        (none,) = load(file, instruction="none")[0]["prompt"]
        assert text_of(none) == "<IMAGE>Q?"

    def test_placeholders_and_options(self, folder):
        rows = [
            {"question": "Look: <image> What?", "answer": "B", "options": ["x", "y"], "image": "images/red.png"},
            {"question": "Is <image1> like <image2>?", "answer": "no", "image": ["images/red.png", "images/blue.png"]},
        ]
        first, second = load(write_lines(folder / "d.jsonl", rows), instruction="none", hint="")["prompt"]
        assert text_of(first[0]) == "Look: <IMAGE> What?\nA. x\nB. y"
        assert text_of(second[0]) == "Is <IMAGE> like <IMAGE>?"


class TestSplits:
    def test_world(self):
        assert len(load("shapes", "test", rows=12)) == 12
        assert load("shapes", "val", rows=6)["id"][0].startswith("count-validation")
        assert set(load("shapes/pips, chain", rows=4)["family"]) == {"pips", "chain"}
        assert set(load("shapes", rows=4, families=["angle"])["family"]) == {"angle"}
        row = load("shapes/pips", rows=1)[0]
        assert json.loads(row["truth"])["facts"] == row["perception"].split(" ; ")

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("shapes/pip", {}, "unknown family 'pip'"),
            ("shapes", {"split": "dev2"}, "unknown split 'dev2'"),
            ("shapes/pips", {"families": ["chain"]}, "both pick families"),
            ([{"question": "Q", "answer": "1"}], {"families": ["chain"]}, "only the built-in world"),
        ],
    )
    def test_world_errors(self, name, options, message):
        with pytest.raises(DataError, match=message):
            load(name, **{"rows": 1, **options})

    def test_file_has_one_split(self, folder):
        file = write_lines(folder / "d.jsonl", [{"question": "Q", "answer": "1"}])
        with pytest.raises(DataError, match="no split 'test'; it has train"):
            load(file, "test")

    def test_file_names_of_a_folder_are_its_splits(self, folder):
        for name in ("train-1", "train-2", "my_val", "test", "notes"):
            write_lines(folder / f"{name}.jsonl", [{"question": name, "answer": "1"}])
        assert load(folder)["question"][:] == ["train-1", "train-2"]
        assert load(folder, "validation")["question"][:] == ["my_val"]
        assert load(folder, "test")["question"][:] == ["test"]
        train, held_out = load_splits(folder)
        assert (len(train), held_out["question"][:]) == (2, ["my_val"])

    def test_saved_data_sets(self, tmp_path):
        world = load("shapes/pips", rows=5)
        world.save_to_disk(tmp_path / "one")
        again = load(tmp_path / "one")
        assert again.column_names == world.column_names
        for column in set(world.column_names) - {"images"}:
            assert again[column][:] == world[column][:]
        assert [a[0].tobytes() for a in again["images"]] == [b[0].tobytes() for b in world["images"]]
        DatasetDict({"train": world, "val": world.select([0])}).save_to_disk(tmp_path / "two")
        assert (len(load(tmp_path / "two")), len(load(tmp_path / "two", "validation"))) == (5, 1)
        with pytest.raises(DataError, match="no split 'test'; it has train, validation"):
            load(tmp_path / "two", "test")

    def test_held_out_rows(self, folder):
        rows = [
            {"question": f"Q{i % 45}", "answer": "1", "image": f"images/{('red', 'blue')[i % 2]}.png"}
            for i in range(90)
        ]
        file = write_lines(folder / "d.jsonl", [*rows, rows[0]])
        train, held_out = load_splits(file)
        assert len(train) + len(held_out) == 91
        assert 8 <= len(held_out) <= 9
        assert load_splits(file, seed=5)[1]["id"][:] == held_out["id"][:]
        # a copy of a question with its image never lies on the other side
        contents = [{(row["question"], row["images"][0].tobytes()) for row in side} for side in (train, held_out)]
        assert not contents[0] & contents[1]
        small_train, small_eval = load_splits(file, rows=10, eval_rows=2)
        assert small_train["id"][:] == train["id"][:10]
        assert small_eval["id"][:] == held_out["id"][:2]

    def test_at_most_256_rows_are_held_out(self, folder):
        rows = [{"question": f"Q{i}", "answer": "1"} for i in range(3000)]
        train, held_out = load_splits(write_lines(folder / "d.jsonl", rows))
        assert (len(train), len(held_out)) == (3000 - 256, 256)

    def test_one_row_cannot_be_split(self, folder):
        with pytest.raises(DataError, match="none of 1 rows can be held out"):
            load_splits(write_lines(folder / "d.jsonl", [{"question": "Q", "answer": "1"}]))

    def test_world_splits(self):
        train, held_out = load_splits("shapes/pips", rows=4, eval_rows=3)
        assert [i.rsplit("-", 2)[0] for i in (train["id"][0], held_out["id"][0])] == ["pips-train", "pips-validation"]
        assert (len(train), len(held_out)) == (4, 3)


class TestHub:
    def test_hub_id_goes_to_load_dataset(self, monkeypatch):
        asked = []

        def load_dataset(name, config=None, split=None):
            asked.append((name, config, split))
            return Dataset.from_dict({"problem": ["<image>Q"], "answer": ["1"], "images": [[picture("blue")]]})

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        data = load("org/set", "train[:5]")
        assert (data["id"][:], data[0]["images"][0].getpixel((0, 0))) == (["train[:5]-0"], (0, 0, 255))
        load("org/set:easy", "test")
        assert asked == [("org/set", None, "train[:5]"), ("org/set", "easy", "test")]

    def test_class_labels_become_names(self):
        features = datasets.Features(
            {"question": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        )
        data = Dataset.from_dict({"question": ["Q", "R"], "label": [1, 0]}, features=features)
        assert load(data)["answer"][:] == ["yes", "no"]

    def test_hub_splits(self, monkeypatch):
        def load_dataset(name, config=None, split=None):
            return Dataset.from_dict({"question": [f"{split} {i}" for i in range(20)], "answer": ["1"] * 20})

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, config: ["train", "dev", "test"])
        train, held_out = load_splits("org/set", eval_rows=3)
        assert (train["question"][0], held_out["question"][:]) == ("train 0", ["dev 0", "dev 1", "dev 2"])
        monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, config: ["train"])
        assert [len(part) for part in load_splits("org/set")] == [18, 2]

    @pytest.mark.parametrize(
        "error",
        [ConnectionError("offline"), ValueError('Unknown split "x"'), datasets.exceptions.DatasetNotFoundError("no")],
    )
    def test_hub_errors(self, monkeypatch, error):
        def fail(*args, **kwargs):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        monkeypatch.setattr(datasets, "get_dataset_split_names", fail)
        with pytest.raises(DataError, match=r"'shape' is no built-in world, file or folder, .*correct the name"):
            load("shape")
        with pytest.raises(DataError, match="'org/set' is no built-in world"):
            load_splits("org/set")


@needs_shared
class TestThirdParty:
    def test_puzzlevqa(self):
        start = time.process_time()
        data = load(SHARED / "puzzlevqa")
        assert time.process_time() - start < 5
        assert len(data) == len(set(data["id"])) == 400
        assert set(data["task"]) == {"choice"}
        assert all(row["answer"] in row["options"] for row in data.select_columns(["answer", "options"]))
        assert all(data["perception"])
        check_images(data, decode=True)
        row = data[0]
        assert row["perception"].startswith("There are 6 numbered circles")
        options = "A. 6\nB. 3\nC. 4\nD. 2\nThe answer is the letter of the right option."
        assert text_of(row["prompt"][1]) == f"<IMAGE>{row['question']}\n{options}"
        train, held_out = load_splits(SHARED / "puzzlevqa")
        assert (len(train), len(held_out)) == (360, 40)

    def test_mathv(self):
        for name in (SHARED / "mathv" / "testmini.jsonl", SHARED / "mathv"):
            data = load(name)
            assert len(data) == 304
            assert sum(task == "choice" for task in data["task"]) == 190
        check_images(data)
        for row in data.select_columns(["prompt", "question"]):
            parts = row["prompt"][-1]["content"]
            assert sum(part["type"] == "image" for part in parts) == 1
            assert "<image" not in text_of(row["prompt"][-1])
        assert text_of(data[0]["prompt"][1]) == "How many different digits can you find in this picture?\n<IMAGE>"


class TestFilesAsUsersHaveThem:
    """Tables and JSON files as other programs write them."""

    def write(self, folder, name, content):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("d.csv", "question;answer;image\nHow many, really?;3,5;images/red.png\n"),
            ("d.csv", "question\tanswer\timage\nHow many, really?\t3,5\timages/red.png\n"),
            ("d.tsv", "question;answer;image\nHow many, really?;3,5;images/red.png\n"),
        ],
    )
    def test_another_separator_is_seen_in_the_header(self, folder, name, content):
        row = load(self.write(folder, name, content))[0]
        assert (row["question"], row["answer"], len(row["images"])) == ("How many, really?", "3,5", 1)

    @pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
    def test_utf16_is_refused_as_such(self, folder, name):
        file = self.write(folder, name, "question,answer\nQ,1\n".encode("utf-16"))
        with pytest.raises(DataError, match="UTF-16; save it as UTF-8"):
            load(file)

    def test_a_repeated_column_is_refused(self, folder):
        file = self.write(folder, "d.csv", "question,answer,answer\nQ,3,4\n")
        with pytest.raises(DataError, match="two columns 'answer'"):
            load(file)

    def test_a_line_with_too_few_cells_is_refused(self, folder):
        file = self.write(folder, "d.csv", "question,answer,image\nQ,3\nR,4,images/red.png\n")
        with pytest.raises(DataError, match=r"d.csv, line 2: it has 2 cells and the header 3"):
            load(file)
        assert load(file, on_bad_rows="skip")["question"][:] == ["R"]

    def test_backslashes_in_paths(self, folder):
        file = self.write(folder, "d.csv", "question,answer,image\nQ,3,images\\red.png\n")
        assert load(file)["images"][0][0].getpixel((0, 0)) == (255, 0, 0)
        picture().save(folder / "outside.png")
        with pytest.raises(DataError, match="leaves the data folder"):
            load(self.write(folder / "images", "e.csv", "question,answer,image\nQ,3,..\\outside.png\n"))

    @pytest.mark.parametrize("indent", [None, 1])
    def test_rows_under_one_key(self, folder, indent):
        rows = [{"question": f"Q{i}", "answer": i} for i in range(2)]
        file = self.write(folder, "d.json", json.dumps({"data": rows}, indent=indent))
        assert load(file)["answer"][:] == ["0", "1"]
        file = self.write(folder, "d.json", '{"data": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n")
        assert load(file)["answer"][:] == ["0", "1"]

    def test_a_lone_conversation_is_a_row(self, folder):
        turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "7"}]
        file = self.write(folder, "d.json", json.dumps({"messages": turns}))
        assert load(file)["answer"][:] == ["7"]


class TestMissingImages:
    def test_a_row_without_an_image_among_rows_with_one_is_noted(self, folder):
        rows = [{"id": "a", "question": "Q", "answer": "7", "image": cell} for cell in (None, "images/red.png")]
        loaded = open_rows(write_lines(folder / "d.jsonl", rows))
        assert [len(images) for images in loaded.dataset["images"]] == [0, 1]
        assert [(find.row, find.kind, find.severity) for find in loaded.bad] == [
            ("a#2", "id_repeated", "noted"),
            ("a", "image_none", "noted"),
        ]

    def test_also_in_parquet(self, folder):
        cells = [{"bytes": png(), "path": None}, None, {"bytes": png("blue"), "path": None}]
        rows = [{"id": str(i), "question": "Q", "answer": "7", "image": cell} for i, cell in enumerate(cells)]
        Dataset.from_list(rows).to_parquet(folder / "d.parquet")
        assert [(find.row, find.kind) for find in open_rows(folder / "d.parquet").bad] == [("1", "image_none")]

    def test_a_set_of_texts_is_not_noted(self, folder):
        rows = [{"question": "Q", "answer": "7", "image": None}] * 2
        assert open_rows(write_lines(folder / "d.jsonl", rows)).bad == []

    @pytest.mark.parametrize("cell", [["images/red.png", None], [None], ["images/red.png", ""]])
    def test_a_gap_in_a_list_of_images_is_refused(self, folder, cell):
        file = write_lines(folder / "d.jsonl", [{"id": "a", "question": "Q", "answer": "7", "images": cell}])
        assert [(find.row, find.kind) for find in open_rows(file).bad] == [("a", "image_type")]

    def test_and_in_parquet(self, folder):
        cells = [[{"bytes": png(), "path": None}, None], [{"bytes": png(), "path": None}]]
        rows = [{"id": str(i), "question": "Q", "answer": "7", "images": cell} for i, cell in enumerate(cells)]
        Dataset.from_list(rows).to_parquet(folder / "d.parquet")
        assert [(find.row, find.kind) for find in open_rows(folder / "d.parquet").bad] == [("0", "image_type")]

    def test_an_empty_numbered_column_is_no_gap(self, folder):
        row = {"question": "Q", "answer": "7", "image_1": "images/red.png", "image_2": None}
        assert open_rows(write_lines(folder / "d.jsonl", [row])).bad == []


class TestFolders:
    def rows(self, name):
        return [{"question": name, "answer": "1"}]

    def test_a_file_without_a_split_beside_others_is_named(self, folder, caplog):
        for name in ("train", "more"):
            write_lines(folder / f"{name}.jsonl", self.rows(name))
        assert load(folder)["question"][:] == ["train"]
        assert "more.jsonl is not read: its name holds no split" in caplog.text
        assert left_out(str(folder)) == ["more.jsonl is not read: its name holds no split, as train.jsonl does"]

    def test_a_name_of_two_splits_is_refused(self, folder):
        write_lines(folder / "train_val.jsonl", self.rows("x"))
        with pytest.raises(DataError, match=r"train_val.jsonl names two splits \(train, val\)"):
            load(folder)
        assert len(load(folder / "train_val.jsonl")) == 1

    @pytest.mark.parametrize("indent", [None, 1])
    def test_a_report_in_the_folder_is_no_data(self, folder, caplog, indent):
        write_lines(folder / "rows.jsonl", self.rows("x"))
        report = {"dataset": "x", "splits": {"train": {}}, "bad_rows": [{"row": "a"}]}
        (folder / "report.json").write_text(json.dumps(report, indent=indent))
        (folder / "config.json").write_text(json.dumps({"size": 3}, indent=indent))
        assert load(folder)["question"][:] == ["x"]
        assert "report.json is not read: it holds no rows" in caplog.text
        assert "config.json is not read: it holds no rows" in caplog.text

    def test_json_files_of_every_layout_are_read(self, folder):
        (folder / "a.json").write_text(json.dumps(self.rows("a")))
        (folder / "b.json").write_text(json.dumps({"data": self.rows("b")}, indent=1))
        (folder / "c.json").write_text(json.dumps({"1": self.rows("c")[0]}, indent=1))
        (folder / "d.json").write_text(json.dumps(self.rows("d")[0]))
        (folder / "e.json").write_text("\n".join(json.dumps({"ask": i, "answer": 1}) for i in range(2)))
        names = [Path(file).name for file in locate(str(folder), "train").files]
        assert names == ["a.json", "b.json", "c.json", "d.json", "e.json"]

    def test_folders_named_like_splits(self, folder):
        for split, color in (("train", "red"), ("val", "blue")):
            (folder / split).mkdir()
            picture(color).save(folder / split / "own.png")
            row = {"question": split, "answer": "1", "images": ["own.png", "images/blue.png"]}
            write_lines(folder / split / "a.jsonl", [row])
        train, held_out = load_splits(folder)
        assert (train["question"][:], held_out["question"][:]) == (["train"], ["val"])
        assert [image.getpixel((0, 0)) for image in held_out[0]["images"]] == [(0, 0, 255)] * 2
        assert train[0]["images"][0].getpixel((0, 0)) == (255, 0, 0)
