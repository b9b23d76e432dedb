"""Streams and mixtures: the same rows as loading gives, read as they are asked for, and several sets in one."""

import base64
import csv
import io
import json
import pickle

import datasets
import pytest
from datasets import Dataset, IterableDataset
from PIL import Image

from srpo.data import DataError, load, load_splits
from srpo.data.schema import COLUMNS


def png(color="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(buffer, "PNG")
    return buffer.getvalue()


def write_lines(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def write_tsv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path):
    for color in ("red", "blue"):
        (tmp_path / f"{color}.png").write_bytes(png(color))
    return tmp_path


def rows_of(count, start=0):
    return [
        {"id": f"q{i}", "question": f"Q{i}?", "answer": i, "image": f"{('red', 'blue')[i % 2]}.png"}
        for i in range(start, start + count)
    ]


class TestStreams:
    @pytest.mark.parametrize("kind", ["jsonl", "tsv", "parquet", "saved", "rows", "shapes"])
    def test_a_stream_has_the_rows_that_loading_gives(self, folder, kind):
        rows = rows_of(300)
        if kind == "jsonl":
            name = write_lines(folder / "d.jsonl", rows)
        elif kind == "tsv":
            for row in rows:
                row["image"] = base64.b64encode(png()).decode()
            name = write_tsv(folder / "d.tsv", rows)
        elif kind == "parquet":
            stored = [{**row, "image": {"bytes": png(), "path": None}} for row in rows]
            Dataset.from_list(stored).to_parquet(folder / "d.parquet")
            name = folder / "d.parquet"
        elif kind == "saved":
            Dataset.from_list(rows).save_to_disk(folder / "saved")
            for color in ("red", "blue"):
                (folder / "saved" / f"{color}.png").write_bytes(png(color))
            name = folder / "saved"
        else:
            name = rows_in_memory(rows) if kind == "rows" else "shapes"
        whole, stream = load(name, rows=40), load(name, rows=40, streaming=True)
        assert isinstance(stream, IterableDataset)
        assert list(stream.features) == list(COLUMNS)
        read = list(stream)
        assert len(read) == 40
        for one, other in zip(whole, read, strict=True):
            assert {key: one[key] for key in COLUMNS if key != "images"} == {
                key: other[key] for key in COLUMNS if key != "images"
            }
            assert [image.tobytes() for image in one["images"]] == [image.tobytes() for image in other["images"]]

    def test_nothing_is_read_before_it_is_asked_for(self, folder):
        file = write_lines(folder / "d.jsonl", [*rows_of(1000), "{broken", *rows_of(10, 1000)])
        stream = load(file, streaming=True)
        assert [row["answer"] for row in stream.take(3)] == ["0", "1", "2"]
        with pytest.raises(DataError, match=r"row d.jsonl, line 1001: it is not valid JSON.*--on_bad_rows skip"):
            list(stream)

    def test_bad_rows_are_refused_when_met_or_skipped_and_counted(self, folder, caplog):
        rows = rows_of(6)
        rows[2]["answer"] = ""
        rows[4]["image"] = "green.png"
        file = write_lines(folder / "d.jsonl", rows)
        with pytest.raises(DataError, match="row q2: the answer is empty"):
            list(load(file, streaming=True))
        skipping = load(file, streaming=True, on_bad_rows="skip")
        assert [row["id"] for row in skipping] == ["q0", "q1", "q3", "q5"]
        assert "row q4: image 'green.png' does not exist" in caplog.text
        assert "the 2. bad row" in caplog.text

    def test_bad_rows_of_parquet(self, folder):
        rows = [{**row, "answer": str(row["answer"])} for row in rows_of(40)]
        rows[20]["answer"] = ""
        Dataset.from_list(rows).to_parquet(folder / "d.parquet")
        with pytest.raises(DataError, match="row q20: the answer is empty"):
            list(load(folder, streaming=True))
        assert len(list(load(folder, streaming=True, on_bad_rows="skip"))) == 39

    def test_the_hub(self, monkeypatch):
        asked = []

        def load_dataset(name, config=None, split=None, streaming=False):
            asked.append((name, config, split, streaming))
            labels = datasets.ClassLabel(names=["no", "yes"])
            types = {"image": datasets.Image(), "question": datasets.Value("string"), "label": labels}
            rows = [
                {"image": {"bytes": png("blue"), "path": None}, "question": f"Q{i}", "label": i % 2} for i in range(40)
            ]
            return Dataset.from_list(rows, features=datasets.Features(types)).to_iterable_dataset()

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        rows = list(load("org/set:easy", "test", streaming=True))
        assert asked == [("org/set", "easy", "test", True)]
        assert [row["answer"] for row in rows[:3]] == ["no", "yes", "no"]
        assert (rows[-1]["id"], rows[0]["images"][0].getpixel((0, 0))) == ("row-39", (0, 0, 255))

    def test_positions_are_seen_in_the_first_rows(self, folder):
        rows = [{"question": "Q", "options": ["x", "y"], "answer": i % 2 + 1} for i in range(10)]
        stream = load(write_lines(folder / "d.jsonl", rows), streaming=True)
        assert [row["answer"] for row in stream.take(2)] == ["A", "B"]

    def test_a_stream_can_be_sent_to_another_process(self, folder):
        stream = load(write_lines(folder / "d.jsonl", rows_of(3)), streaming=True)
        assert [row["id"] for row in pickle.loads(pickle.dumps(stream))] == ["q0", "q1", "q2"]
        assert [row["id"] for row in stream.shuffle(seed=1, buffer_size=10)] != []

    def test_splits(self, folder):
        file = write_lines(folder / "d.jsonl", rows_of(3))
        train, held_out = load_splits(file, streaming=True)
        assert (len(list(train)), held_out) == (3, None)
        write_lines(folder / "train.jsonl", rows_of(3))
        write_lines(folder / "test.jsonl", rows_of(2))
        file.unlink()
        train, held_out = load_splits(folder, streaming=True, eval_rows=1)
        assert (len(list(train)), len(list(held_out))) == (3, 1)

    def test_an_empty_file(self, folder):
        with pytest.raises(DataError, match="no readable row"):
            load(write_lines(folder / "d.jsonl", []), streaming=True)


def rows_in_memory(rows):
    return [{**row, "image": png()} for row in rows]


class TestMixtures:
    def write(self, folder, *lines):
        (folder / "mix.yaml").write_text("\n".join(lines), encoding="utf-8")
        return folder / "mix.yaml"

    def test_rows_come_in_proportion_to_the_weights_and_none_twice(self, folder):
        write_lines(folder / "a.jsonl", [{"question": f"a{i}", "answer": "1"} for i in range(900)])
        write_lines(folder / "b.jsonl", [{"problem": f"b{i}", "gt": "yes"} for i in range(900)])
        file = self.write(
            folder,
            "- {data: a.jsonl, weight: 3, task: 'math:1%'}",
            "- {data: b.jsonl, weight: 1, columns: 'question=problem,answer=gt', rows: 500}",
        )
        mixed = load(file, seed=7)
        questions = mixed["question"][:]
        assert len(set(questions)) == len(questions)
        share = sum(question[0] == "a" for question in questions) / len(questions)
        assert 0.7 < share < 0.8
        assert questions == load(file, seed=7)["question"][:]
        assert questions != load(file, seed=8)["question"][:]
        assert set(mixed["task"]) == {"math:1%", "text"}
        assert mixed.select(range(10))["question"][:] == load(file, seed=7, rows=10)["question"][:]
        # as many rows as until the first set is used up
        assert sum(question[0] == "a" for question in questions) == 900

    def test_ids_stay_unique(self, folder):
        for name in ("one", "two"):
            write_lines(folder / f"{name}.jsonl", rows_of(20))
        ids = load(self.write(folder, "- data: one.jsonl", "- data: two.jsonl"))["id"][:]
        assert len(set(ids)) == len(ids)
        assert {row_id.split("/")[0] for row_id in ids} == {"one", "two"}
        ids = load(self.write(folder, "- data: one.jsonl", "- data: one.jsonl"))["id"][:]
        assert {row_id.split("/")[0] for row_id in ids} == {"one-1", "one-2"}

    def test_the_built_in_world_beside_other_data(self, folder):
        write_lines(folder / "a.jsonl", rows_of(30))
        mixed = load(self.write(folder, "- {data: shapes/pips, rows: 30}", "- data: a.jsonl"))
        families = dict(zip(mixed["id"], mixed["family"], strict=True))
        assert set(families.values()) == {"pips", ""}
        assert mixed[0]["images"][0].mode == "RGB"
        assert not any("/" in row_id for row_id in families)

    def test_streams_are_mixed(self, folder):
        for name in ("one", "two"):
            write_lines(folder / f"{name}.jsonl", rows_of(50))
        file = self.write(folder, "- data: one.jsonl", "- data: two.jsonl", "- {data: shapes/pips, rows: 40}")
        rows = list(load(file, streaming=True, rows=60))
        assert {row["id"].split("/")[0] for row in rows} == {"one", "two", "pips"}
        assert len({row["id"] for row in rows}) == len(rows) == 60

    def test_bad_rows_of_a_part(self, folder):
        rows = rows_of(20)
        rows[3]["answer"] = None
        write_lines(folder / "a.jsonl", rows)
        file = self.write(folder, "- data: a.jsonl", "- {data: shapes/pips, rows: 20}")
        with pytest.raises(DataError, match="row q3: the answer is empty"):
            load(file)
        assert "q3" not in load(file, on_bad_rows="skip")["id"][:]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("data: a.jsonl", "must be a list of data sets"),
            ("[]", "must be a list of data sets"),
            ("- a.jsonl", "entry 1 names no data set"),
            ("- {data: a.jsonl, wait: 1}", "unknown key 'wait'; the keys are data, weight"),
            ("- {data: a.jsonl, weight: 0}", "weight 0; it must be a positive number"),
            ("- {data: other.yaml}", "is a mixture itself"),
            ("- [", "is not YAML"),
            ("- {data: ./nothing.jsonl}", "there is no file or folder"),
        ],
    )
    def test_mistakes(self, folder, text, message):
        with pytest.raises(DataError, match=message):
            load(self.write(folder, text))


class TestColumnsThatComeLate:
    """A stream takes its columns from its first rows; loading takes them from all."""

    def write(self, folder, late, count=300):
        rows = [{"id": f"r{i}", "question": f"q{i}", "answer": "7"} for i in range(count)]
        return write_lines(folder / "d.jsonl", [*rows, {"id": "late", "question": "q", "answer": "7", **late}])

    @pytest.mark.parametrize(
        ("late", "column"),
        [
            ({"image": "red.png"}, "image"),
            ({"options": ["1", "7"]}, "options"),
            ({"A": "1", "B": "7"}, "A"),
            ({"image_1": "red.png"}, "image_1"),
            ({"extra_info": {"image_path": "red.png"}}, "extra_info.image_path"),
        ],
    )
    @pytest.mark.parametrize("on_bad_rows", ["refuse", "skip"])
    def test_one_that_would_be_read_ends_the_stream(self, folder, late, column, on_bad_rows):
        stream = load(self.write(folder, late), streaming=True, on_bad_rows=on_bad_rows)
        with pytest.raises(DataError, match=f"row late.* column '{column}'.*without streaming"):
            list(stream)

    @pytest.mark.parametrize(
        "late", [{"notes": "x"}, {"image": None}, {"images": []}, {"A": "1"}, {"problem": "another name"}]
    )
    def test_others_do_not(self, folder, late):
        assert len(list(load(self.write(folder, late), streaming=True))) == 301

    def test_options_in_columns_of_several_rows(self, folder):
        rows = [{"id": f"r{i}", "question": f"q{i}", "answer": "7"} for i in range(300)]
        late = [{**rows[0], "A": "1"}, {**rows[0], "B": "7"}]
        with pytest.raises(DataError, match="column 'A'"):
            list(load(write_lines(folder / "d.jsonl", [*rows, *late]), streaming=True))

    def test_a_mapped_column_keeps_its_place(self, folder):
        file = self.write(folder, {"image": "nowhere.png"})
        assert len(list(load(file, streaming=True, columns={"image": "-"}))) == 301


class TestPositionsInStreams:
    def test_what_the_head_does_not_show_is_refused_at_the_row(self, folder):
        rows = [{"id": "a", "question": "Q", "options": ["x", "y", "z"], "answer": "x"}]
        rows += [{**rows[0], "id": "b", "answer": 1}, {**rows[0], "id": "c", "answer": 2}]
        file = write_lines(folder / "d.jsonl", rows)
        stream = iter(load(file, streaming=True))
        assert next(stream)["answer"] == "x"
        with pytest.raises(DataError, match="row b: the answer 1 is a position.*--answer_base 0 or 1"):
            next(stream)
        assert [row["answer"] for row in load(file, streaming=True, answer_base=1)] == ["x", "A", "B"]

    def test_a_part_of_a_mixture_says_it(self, folder):
        rows = [{"question": "Q", "options": ["x", "y", "z"], "answer": 1}]
        write_lines(folder / "d.jsonl", rows)
        (folder / "mix.yaml").write_text("- data: d.jsonl\n  answer_base: 0\n")
        assert load(folder / "mix.yaml")["answer"][:] == ["B"]
        assert [row["answer"] for row in load(folder / "mix.yaml", streaming=True)] == ["B"]
