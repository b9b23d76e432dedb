"""`srpo inspect` as a user runs it: the terminal, the folder, the page, kinds of models, and mistakes."""

import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from srpo.cli import main
from srpo.data import world
from srpo.evaluation.replay import ReplayTrainer
from srpo.rewards import accuracy_reward, format_reward
from srpo.run.rollouts import SCHEMA
from srpo.scoring import Scorer
from srpo.tiny import model_path
from srpo.tiny.layouts import save_random_model
from srpo.visible import visible
from tests.real_tokenizers import qwen_tokenizer
from tests.scripted import make_trainer

PIPS, OTHER = world.generate("test", rows=2, seed=3, families=["pips"])
ASK = ["--image", "pips.png", "--question", PIPS["question"], "--max_completion_length", "48"]
REPLY = "<perception> red {} ; red 2 </perception><think> {} + 2 = {} </think><answer> {} </answer>"
RIGHT, WRONG = REPLY.format(5, 5, 7, 7), REPLY.format(4, 4, 6, 6)


@pytest.fixture(autouse=True)
def _in_a_folder_with_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    PIPS["images"][0].save("pips.png")
    OTHER["images"][0].save("other.png")


def inspect(*arguments):
    return main(["inspect", *map(str, arguments)])


def refused(capsys, *arguments):
    """The one sentence on standard error of a call that must be refused."""
    assert inspect(*arguments) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("srpo: error: ")]
    assert len(said) == 1
    assert not Path("runs").exists()
    return said[0]


def result(run):
    return json.loads((Path(run) / "inspection.json").read_text())


def rollouts(run):
    return pq.read_table(Path(run) / "rollouts" / "step_000000.parquet").to_pylist()


class TestTheTinyModel:
    def test_terminal_folder_and_page(self, capsys):
        assert inspect("tiny", *ASK, "--answer", "7", "--replies", RIGHT, WRONG, RIGHT, "none") == 0
        shown = capsys.readouterr().out
        for text in ("pips.png (96 x 96)", PIPS["question"], "accuracy 1, format 1", "replies 1, 3", "Highest gaps"):
            assert text in shown
        assert "no token has a role: <perception> is missing" in shown
        assert "\nweight ▁ <0.67  ▂ <0.83  ▃ <0.95  ▄ 1  ▅ >1.05  ▆ >1.2  ▇ >1.5" in shown
        assert re.search(r"  <perception> red 5 ; red 2 </perception>.*\n {14}[▁▂▃▄▅▆▇]{14} ", shown)
        found, rows = result("runs/inspect"), rollouts("runs/inspect")
        assert found["weights_assume"] == ""
        assert [reply["rewards"]["accuracy_reward"] for reply in found["replies"]] == [1, 0, 1, 0]
        assert [reply["structured"] for reply in found["replies"]] == [True, True, True, False]
        assert pq.read_schema("runs/inspect/rollouts/step_000000.parquet").names == SCHEMA.names
        assert [row["completion"] for row in rows] == [RIGHT, WRONG, RIGHT, "none"]
        assert rows[0]["image"] != rows[0]["corrupted"] != rows[1]["corrupted"]
        assert rows[0]["corruption"] == "patch_mask 0.6"
        assert sum(row["advantage"] for row in rows) == pytest.approx(0, abs=1e-5)
        page = Path("runs/inspect/report.html").read_text()
        assert PIPS["question"] in page

    def test_the_file_holds_the_numbers_of_the_trainer(self, tmp_path):
        assert inspect("tiny", *ASK, "--answer", "7", "--temperature", "1.5", "--seed", "1", "--output_dir", "out") == 0
        data = Path("data.jsonl")
        row = {"question": PIPS["question"], "image": "pips.png", "answer": "7"}
        data.write_text(json.dumps(row) + "\n")
        from srpo.data import load

        trainer = make_trainer(
            ReplayTrainer,
            str(model_path()),
            tmp_path / "trainer",
            train_dataset=load(str(data), instruction="none"),
            reward_funcs=[accuracy_reward, format_reward],
            processing_class=AutoProcessor.from_pretrained(model_path(), padding_side="left"),
            **{"num_generations": 8, "temperature": 1.5, "seed": 1, "reward_weights": [0.9, 0.1]},
        )
        seen = []
        trainer.observers.append(seen.append)
        replies = [reply["ids"] for reply in result("out")["replies"]]
        found = trainer.rollouts([trainer.train_dataset[0]] * 8, step=0, seed="any", replies=replies)
        assigned = trainer._assigner(trainer.model, found.view, found.roles, found.mask, found.advantages)
        assert found.learns.sum() > 0
        for i, row in enumerate(rollouts("out")):
            length = len(row["tokens"])
            assert row["advantage"] == pytest.approx(seen[0].advantages[i].item(), abs=1e-6)
            assert row["gaps"] == pytest.approx(assigned.gaps[i, :length].tolist(), abs=1e-5)
            assert row["weights"] == pytest.approx(assigned.weights[i, :length].tolist(), abs=1e-5)

    def test_another_image_as_the_contrast(self, capsys):
        contrast = ["--corruption", "other_image", "--other_image", "other.png"]
        assert inspect("tiny", *ASK, *contrast, "--replies", RIGHT, WRONG) == 0
        assert "image corrupted by other_image" in capsys.readouterr().out
        (row, _) = rollouts("runs/inspect")
        with Image.open(BytesIO(row["corrupted"])) as shown:
            assert shown.tobytes() == OTHER["images"][0].convert("RGB").tobytes()
        assert row["corruption"] == "other_image"
        assert inspect("--config", "runs/inspect/config.yaml") == 0
        assert (
            inspect("tiny", *ASK, "--other_image", "other.png", "--output_dir", "auto", "--replies", RIGHT, WRONG) == 0
        )
        assert rollouts("auto")[0]["corruption"] == "other_image"

    def test_without_an_answer_it_says_what_the_weights_are(self, capsys):
        assert inspect("tiny", *ASK, "--num_generations", "2") == 0
        shown = capsys.readouterr().out
        assert "Without --answer there are no rewards: weights are those of a right reply" in shown
        assert "accuracy" not in shown
        rows = rollouts("runs/inspect")
        assert [row["advantage"] for row in rows] == [None, None]
        assert all(row["reference"] == "" and row["gaps"] and len(set(row["weights"])) > 2 for row in rows)

    def test_equal_rewards_are_told(self, capsys):
        assert inspect("tiny", *ASK, "--answer", "11", "--replies", RIGHT, WRONG, "--colour", "advantage") == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "All 2 replies got the same rewards, so A = 0 and training would learn nothing from them" in shown
        assert "A 0, accuracy 0, format 1" in shown

    def test_unstructured_replies_are_told_with_a_remedy(self, capsys):
        assert inspect("tiny", *ASK, "--replies", "it is 7", "7") == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "None of 2 replies is structured, so no token has a role" in shown
        assert "srpo warmup --model tiny" in shown
        assert "Highest gaps" not in shown

    def test_options_and_several_images_reach_the_model(self, monkeypatch, capsys):
        asked = []
        score = Scorer.__call__

        def spy(self, model, contexts, wanted, groups):
            asked.append(contexts["corrupted"].num_images)
            return score(self, model, contexts, wanted, groups)

        monkeypatch.setattr(Scorer, "__call__", spy)
        given = ["--image", "pips.png", "--image", "other.png", "--corruption", "blank", "--credit", "perception"]
        question = ["--question", PIPS["question"], "--options", "six", "seven", "--answer", "seven"]
        assert inspect("tiny", *given, *question, "--replies", RIGHT, RIGHT.replace("7", "B")) == 0
        assert asked == [[2, 2]]
        rows = rollouts("runs/inspect")
        assert dict(rows[1]["rewards"])["accuracy_reward"] == 1
        assert rows[0]["corruption"] == "blank"
        assert rows[0]["options"] == ["six", "seven"]
        weights = [w for w, role in zip(rows[1]["weights"], rows[1]["roles"], strict=True) if role == 2]
        assert set(weights) == {1.0}
        assert "other.png (96 x 96)" in capsys.readouterr().out

    def test_a_dry_run_writes_nothing(self, capsys):
        assert inspect("tiny", *ASK, "--instruction", "user", "--dry_run") == 0
        assert "Reply in three blocks" in capsys.readouterr().out
        assert not Path("runs").exists()

    def test_a_dry_run_without_an_answer_names_no_reference(self, capsys):
        assert inspect("tiny", *ASK, "--dry_run") == 0
        assert re.search(r"\d+ tokens; images 96 x 96\n", capsys.readouterr().out)
        assert inspect("tiny", *ASK, "--answer", "7", "--dry_run") == 0
        assert re.search(r"images 96 x 96; task math; reference '7'\n", capsys.readouterr().out)

    @pytest.mark.parametrize("text", ["[bold]hi[/bold] [/x] [/INST]", "[red] :bug:", "\x1b]0;owned\x07 \u202e?"])
    def test_questions_and_folders_are_shown_as_they_are(self, text, capsys):
        question = ["--question", text, "--image", "pips.png", "--answer", f"7 {text}"]
        assert inspect("tiny", *question, "--output_dir", "out[red]y:bug:", "--replies", RIGHT, WRONG) == 0
        shown = capsys.readouterr().out
        assert f"question  {visible(text)}" in shown
        assert f"answer    7 {visible(text)}" in shown
        assert "\npage       out[red]y:bug:/report.html\n" in shown
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
        assert inspect("tiny", *question, "--dry_run") == 0
        prompt = capsys.readouterr().out.partition("<|im_start|>")[2]
        assert visible(text.replace("\x1b", "").replace("\x07", "")) in prompt  # without what data loading takes out

    def test_a_folder_whose_name_is_not_utf8(self, capsys):
        assert inspect("tiny", *ASK, "--output_dir", "o\udcff", "--replies", RIGHT, WRONG) == 0
        assert "page       o⟨U+DCFF⟩/report.html" in capsys.readouterr().out
        assert Path("o\udcff/report.html").is_file()

    @pytest.mark.parametrize("credit", ["uniform", "papo"])
    def test_gaps_that_are_not_measured_are_not_shown(self, credit, capsys):
        assert inspect("tiny", *ASK, "--answer", "7", "--replies", RIGHT, WRONG, "--credit", credit) == 0
        shown = capsys.readouterr().out
        assert "Highest gaps" not in shown
        assert "0.000" not in shown
        assert all(row["gaps"] is None for row in rollouts("runs/inspect"))

    def test_a_narrow_terminal_shows_every_figure_of_the_highest_gaps(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        longer = RIGHT.replace("red 2", "red_2_and_several_words_that_the_tokenizer_does_not_know, red 2")
        replies = [RIGHT, longer, WRONG, RIGHT] * 4
        assert inspect("tiny", *ASK, "--answer", "7", "--replies", *replies) == 0
        table = capsys.readouterr().out.partition("Highest gaps")[2].partition("Gap:")[0]
        assert "…" not in table
        for heading in ("token", "role", "reply", "gap", "weight", "advantage"):
            assert f" {heading} " in table
        assert re.search(r"│ [+-]\d+\.\d{3} │ +\d\.\d\d │ +[+-]\d\.\d\d │", table)

    def test_its_own_config_repeats_it(self):
        assert inspect("tiny", *ASK, "--seed", "3", "--credit_temperature", "2", "--temperature", "1.3") == 0
        assert inspect("--config", "runs/inspect/config.yaml") == 0
        assert rollouts("runs/inspect") == rollouts("runs/inspect-2")

    def test_hostile_text_runs_nothing_in_the_terminal(self, capsys):
        hostile = RIGHT.replace("red 2", "\x1b]0;owned\x07\u202ered 2")
        assert inspect("tiny", *ASK, "--replies", hostile, WRONG) == 0
        shown = capsys.readouterr().out
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)


class TestModels:
    def test_a_real_tokenizer(self, capsys):
        folder = save_random_model("qwen2_5_vl", "qwen", tokenizer=qwen_tokenizer())
        assert inspect(folder, *ASK, "--answer", "7", "--replies", RIGHT, "<think> 🦊語 </think>", WRONG) == 0
        rows = rollouts("runs/inspect")
        assert "".join(rows[0]["tokens"]) == RIGHT
        assert max(map(abs, rows[0]["gaps"])) > 0
        assert "🦊語" in capsys.readouterr().out
        assert inspect(folder, *ASK, "--num_generations", "2", "--max_completion_length", "4") == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "let replies end (--max_completion_length above 4)" in shown
        assert f"srpo warmup --model {folder}" in shown

    def test_a_lora_adapter(self):
        model = AutoModelForImageTextToText.from_pretrained(model_path())
        adapter = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
        adapter.peft_config["default"].base_model_name_or_path = str(model_path())
        adapter.save_pretrained("adapter")
        assert inspect("adapter", *ASK, "--instruction", "none", "--replies", RIGHT, WRONG) == 0
        assert inspect("tiny", *ASK, "--replies", RIGHT, WRONG) == 0
        assert rollouts("runs/inspect")[0]["gaps"] != pytest.approx(rollouts("runs/inspect-2")[0]["gaps"], abs=1e-3)

    def test_the_settings_of_a_training_run_are_the_defaults(self, capsys):
        shutil.copytree(model_path(), "run/model")
        Path("run/environment.json").write_text('{"command": ["srpo", "train"]}')
        trained = {
            "model_name_or_path": "elsewhere",
            "dataset_name": "shapes",
            "response_format": "see,reason,solution",
            "credit": "uniform",
            "corruption": "blank",
            "num_generations": 4,
            "max_steps": 3,
            "instruction": "none",
        }
        Path("run/config.yaml").write_text(yaml.safe_dump(trained))
        tagged = [RIGHT, WRONG]
        for old, new in {"perception>": "see>", "think>": "reason>", "answer>": "solution>"}.items():
            tagged = [text.replace(old, new) for text in tagged]
        assert inspect("run", *ASK, "--corruption_ratio", "0.5", "--replies", *tagged) == 0
        assert "as run/config.yaml" in capsys.readouterr().out
        assert all(reply["structured"] for reply in result("runs/inspect")["replies"])
        assert rollouts("runs/inspect")[0]["corruption"] == "blank"
        settings = yaml.safe_load(Path("runs/inspect/config.yaml").read_text())
        assert "credit" not in settings  # srpo, the default, where the run had no token credit
        assert inspect("run/model", *ASK, "--dry_run") == 0
        assert "4 sampled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--image", "pips.png"], "question is missing; say what to ask"),
        (["--question", "?", "--image", "nope.png"], "image nope.png is no file; check the path"),
        (["--question", "?", "--image", "text.png"], "image text.png cannot be read"),
        (
            ["--question", "Is <image2> so?", "--image", "pips.png"],
            "names <image2>, and the number of images is 1; add it to",
        ),
        (
            ["--question", "<image 1>, <image 3>?", "--image", "pips.png", "pips.png"],
            "names <image3>, and the number of images is 2",
        ),
        (["--question", "<image1>?"], "names <image1>, and the number of images is 0"),
        ([*ASK, "--num_generations", "1"], "num_generations 1 must be 2 or more"),
        (["--question", "?", "--image", "q\udcff.png"], "image q⟨U+DCFF⟩.png is not UTF-8; rename the file"),
        ([*ASK, "--answer", "\udcff"], "answer ⟨U+DCFF⟩ is not UTF-8"),
        ([*ASK, "--credit", "uniform", "--colour", "gap"], "needs a credit that measures gaps, and uniform does not"),
        (["--question", "<image> <image>?", "--image", "pips.png"], "its question has 2 <image> placeholders"),
        ([*ASK, "--colour", "advantage"], "colour 'advantage' needs rewards; give the right answer with --answer"),
        ([*ASK, "--color", "heat"], "colour 'heat' must be one of weight, gap, advantage"),
        ([*ASK, "--options", "red"], "must be two or more"),
        ([*ASK, "--options", "red", "blue", "--answer", "green"], "names none of the 2 options"),
        ([*ASK, "--task", "sums"], "'sums'"),
        ([*ASK, "--replies", RIGHT], "give two or more"),
        ([*ASK, "--credit", "rlsd"], "shows the policy the right answer; give it with --answer"),
        ([*ASK, "--corruption", "other_image"], "here is one question; name an image of another question with --other"),
        (
            [*ASK, "--other_image", "other.png", "--corruption", "blank"],
            "is for --corruption other_image, and the corruption is blank",
        ),
        (
            [*ASK, "--other_image", "other.png", "--credit", "vppo"],
            "is for --corruption other_image, and the corruption is patch_mask",
        ),
        ([*ASK, "--corruption", "other_image", "--other_image", "no.png"], "other_image no.png is no file"),
        ([*ASK, "--corruption", "other_image", "--other_image", "pips.png"], "shows the same pixels as the image"),
        ([*ASK, "--use_peft", "true"], "use_peft is for training; leave it out"),
        ([*ASK, "--alternatives", "7"], "give the first one with --answer"),
        ([*ASK, "--instruction", "loud"], "must be one of system, user, none"),
        ([*ASK, "--answr", "7"], "did you mean --answer?"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, sentence, capsys):
    Path("text.png").write_text("no picture")
    PIPS["images"][0].save("q\udcff.png")
    assert sentence in refused(capsys, "tiny", *arguments)


def test_help_lists_the_options(capsys):
    assert inspect("--help") == 0
    shown = capsys.readouterr().out
    for option in ("--image", "--question", "--answer", "--colour", "--num_generations", "--credit", "--corruption"):
        assert f"  {option} " in shown
