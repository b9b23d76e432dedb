"""`srpo eval` as a user calls it: kinds of models, stopping and going on, refusals, lmms-eval."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from peft import LoraConfig, get_peft_model
from rich.console import Console
from transformers import AutoModelForImageTextToText, AutoProcessor

from srpo.cli import main
from srpo.commands import eval_dependency
from srpo.commands.eval_options import FREE, EvalArguments
from srpo.evaluation.benchmarks import with_system_message
from srpo.evaluation.checkpoint import Checkpoint, find_checkpoint
from srpo.roles import Role, token_roles
from srpo.tiny import model_path
from tests.interrupts import heed_interrupts

SHORT = ["--dataset", "shapes/pips", "--rows", "6", "--samples", "2", "--max_completion_length", "64"]
LONG = ["--dataset", "shapes", "--rows", "40", "--samples", "4", "--max_completion_length", "64", "--batch_size", "8"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(run):
    return json.loads((Path(run) / "evaluation.json").read_text())


def replies(run):
    """All replies of a run, without the time that they took."""
    return pq.read_table(Path(run) / "replies.parquet").drop_columns(["seconds"]).to_pylist()


def start(folder, *arguments):
    command = [sys.executable, "-m", "srpo.cli", "eval", "tiny", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, preexec_fn=heed_interrupts, **pipes)


def stop_after_first_part(folder, run, how, parts=1):
    """Start an evaluation, send it a signal once some batches are written; returns its exit status and output."""
    process = start(folder, *LONG, "--output_dir", run)
    deadline = time.monotonic() + 120
    while len(list((folder / run).glob("parts/*.parquet"))) < parts:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


class TestStopping:
    def test_interrupted_and_killed_it_goes_on_to_the_same_numbers(self, folder, capsys):
        assert main(["eval", "tiny", *LONG, "--output_dir", "whole"]) == 0
        status, output = stop_after_first_part(folder, "stopped", signal.SIGINT)
        assert status == 130
        assert "Go on with: srpo eval --resume stopped" in output
        there = len(list(Path("stopped/parts").glob("*.parquet")))
        assert 1 <= there < 20
        status, _ = stop_after_first_part(folder, "stopped", signal.SIGKILL, there + 2)
        assert status == -signal.SIGKILL
        killed = {path.name: path.stat().st_mtime_ns for path in Path("stopped/parts").glob("*.parquet")}
        assert there + 2 <= len(killed) < 20
        capsys.readouterr()
        assert main(["eval", "--resume", "stopped"]) == 0
        assert f"{8 * len(killed)} of 160 are there already" in capsys.readouterr().out
        assert replies("stopped") == replies("whole")
        assert len(replies("whole")) == 160
        whole, stopped = results("whole"), results("stopped")
        assert {**stopped, "seconds": 0} == {**whole, "seconds": 0}

    def test_two_processes_share_the_batches_and_give_the_same_replies(self, folder):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        options = [*LONG, "--rows", "9", "--output_dir", "two", "--audit"]
        environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
        command = [*launcher, "-m", "srpo.cli", "eval", "tiny", *options]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.count("4 replies each") == 1
        assert main(["eval", "tiny", *LONG, "--rows", "9", "--output_dir", "one", "--audit"]) == 0
        assert replies("two") == replies("one")
        assert "scored by one process and 2 ran; the same command in one process adds it" in finished.stdout
        two, one = results("two"), results("one")
        assert one.pop("dependency")["questions"] == 9
        assert {**two, "seconds": 0} == {**one, "seconds": 0}
        assert main(["eval", "--resume", "two"]) == 0
        assert results("two")["dependency"] == results("one")["dependency"]

    def test_the_same_command_goes_on_in_the_same_folder(self, folder, capsys):
        assert main(["eval", "tiny", *SHORT]) == 0
        (run,) = Path("runs").iterdir()
        written = (run / "replies.parquet").read_bytes()
        capsys.readouterr()
        assert main(["eval", "tiny", *SHORT]) == 0
        assert list(Path("runs").iterdir()) == [run]
        assert (run / "replies.parquet").read_bytes() == written
        assert "replies/s" not in capsys.readouterr().out
        assert main(["eval", "tiny", *SHORT, "--seed", "1"]) == 0
        assert len(list(Path("runs").iterdir())) == 2

    def test_progress_has_rate_and_time_left(self, folder, capsys):
        assert main(["eval", "tiny", *LONG[:-2], "--rows", "8"]) == 0
        assert re.search(r"replies +16/32 +\d+\.\d replies/s +left 0:\d\d", capsys.readouterr().out)

    def test_a_folder_with_other_settings_is_refused(self, folder, capsys):
        assert main(["eval", "tiny", *SHORT, "--output_dir", "a"]) == 0
        assert main(["eval", "tiny", *SHORT, "--output_dir", "a", "--temperature", "0.5"]) == 2
        error = capsys.readouterr().err
        assert "output_dir a holds an evaluation with other settings (temperature: by default there, 0.5 now)" in error
        assert main(["eval", "tiny", *SHORT, "--output_dir", "a", "--audit"]) == 0
        assert results("a")["audit"]["vision_gain/blank"]["n"] == 6

    def test_one_stopped_while_the_model_loads_goes_on_by_its_folder(self, folder, monkeypatch):
        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("srpo.commands.eval.show_plan", stop)
            assert main(["eval", "tiny", *SHORT, "--output_dir", "a"]) == 130
        assert main(["eval", "--resume", "a"]) == 0
        assert results("a")["questions"] == 6

    def test_the_corruption_decides_the_audits_replies_alone(self, folder, capsys):
        short = [*SHORT, "--output_dir", "a", "--dependency_rows", "0"]
        assert main(["eval", "tiny", *short, "--corruption", "gaussian_blur"]) == 0
        plain = replies("a")
        assert main(["eval", "tiny", *short, "--audit", "--corruption", "blank"]) == 0
        assert [row for row in replies("a") if row["variant"] == "as_is"] == plain
        audited = replies("a")
        assert main(["eval", "tiny", *short]) == 0
        capsys.readouterr()
        assert main(["eval", "tiny", *short, "--audit"]) == 2
        assert "(corruption: blank there, by default now)" in capsys.readouterr().err
        assert main(["eval", "--resume", "a"]) == 0
        assert replies("a") == audited

    def test_an_audit_that_drew_nothing_binds_none(self, folder, monkeypatch):
        """Stopped among the plain replies, which no corruption decides."""
        short = [*SHORT, "--output_dir", "a", "--dependency_rows", "0", "--audit"]

        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("srpo.commands.eval.show_plan", stop)
            assert main(["eval", "tiny", *short, "--corruption", "blank"]) == 130
        assert main(["eval", "tiny", *short]) == 0
        assert main(["eval", "tiny", *short, "--corruption", "blank"]) == 2

    def test_changed_data_is_refused(self, folder, capsys):
        for answer, status in (("4", 0), ("4", 0), ("5", 2)):
            row = {"question": "How many?", "answer": answer}
            Path("rows.jsonl").write_text(json.dumps(row))
            options = ["--samples", "1", "--split", "train", "--max_completion_length", "4", "--output_dir", "a"]
            assert main(["eval", "tiny", "--dataset", "rows.jsonl", *options]) == status
        assert re.search(r"\(data: \w+ there, \w+ now\)", capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("chat_template.jinja", "<|im_start|>", "<|im_start|> "),
            ("processor_config.json", '"longest_edge": 3', '"longest_edge": 2'),
            ("tokenizer_config.json", "{", '{"added_by_hand": 1,'),
        ],
    )
    def test_a_changed_template_processor_or_tokenizer_is_refused(self, folder, capsys, name, old, new):
        shutil.copytree(model_path(), "model")
        assert main(["eval", "model", *SHORT, "--output_dir", "a"]) == 0
        text = Path("model", name).read_text()
        assert old in text
        Path("model", name).write_text(text.replace(old, new, 1))
        assert main(["eval", "model", *SHORT, "--output_dir", "a"]) == 2
        assert re.search(rf"other settings \(files/{name}: \w{{16}} there, \w{{16}} now\);", capsys.readouterr().err)

    def test_a_changed_truth_is_refused(self, folder, capsys):
        for truth, status in (("r = 4", 0), ("r = 4", 0), ("r = 5", 2)):
            Path("rows.jsonl").write_text(json.dumps({"question": "How many?", "answer": "4", "truth": truth}))
            options = ["--samples", "1", "--split", "train", "--max_completion_length", "4", "--output_dir", "a"]
            assert main(["eval", "tiny", "--dataset", "rows.jsonl", *options]) == status
        assert re.search(r"\(truth: \w+ there, \w+ now\)", capsys.readouterr().err)

    def test_a_hub_id_is_its_commit(self, folder, capsys, monkeypatch):
        """Another commit of the same branch is another model; one of the same name is the same."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
        cached = folder / "hub" / "models--org--name"
        for commit, status in (("a" * 40, 0), ("a" * 40, 0), ("b" * 40, 2)):
            shutil.copytree(model_path(), cached / "snapshots" / commit, dirs_exist_ok=True)
            (cached / "refs").mkdir(exist_ok=True)
            (cached / "refs" / "main").write_text(commit)
            assert main(["eval", "org/name", *SHORT, "--output_dir", "a"]) == status
        assert f"(commit: {'a' * 40} there, {'b' * 40} now)" in capsys.readouterr().err

    def test_a_folder_of_an_earlier_version_goes_on(self, folder, capsys):
        """It kept no hashes of small files, of the truth and of a commit; from then on it does."""
        assert main(["eval", "tiny", *SHORT, "--output_dir", "a"]) == 0
        kept = json.loads(Path("a/identity.json").read_text())
        earlier = {name: value for name, value in kept.items() if not re.match("commit|files/|truth", name)}
        assert len(earlier) < len(kept) - 3
        Path("a/identity.json").write_text(json.dumps(earlier))
        assert main(["eval", "--resume", "a"]) == 0
        assert json.loads(Path("a/identity.json").read_text()) == kept

    def test_every_option_that_is_free_exists(self):
        assert set(EvalArguments.__dataclass_fields__) >= FREE

    def test_nothing_to_go_on_with(self, folder, capsys):
        assert main(["eval", "--resume", "nowhere"]) == 2
        assert "resume nowhere holds no evaluation to go on with" in capsys.readouterr().err


class TestRun:
    def test_what_a_run_directory_holds(self, folder):
        assert main(["eval", "tiny", *SHORT, "--output_dir", "a", "--audit"]) == 0
        found = results("a")
        assert (found["model"], found["dataset"], found["split"]) == ("tiny", "shapes/pips", "test")
        assert (found["questions"], found["samples"], found["seed"]) == (6, 2, 0)
        names = {"accuracy", "pass@2", "maj@2", "structured", "format", "ended", "tokens"}
        assert set(found["metrics"]) == names
        assert all(set(figure) == {"value", "low", "high", "n"} for figure in found["metrics"].values())
        assert set(found["by_task"]) == {"math"}
        assert set(found["by_family"]) == {"pips"}
        assert {"vision_gain/swapped", "grounded_accuracy", "lucky_rate", "reliance/edited"} <= set(found["audit"])
        assert found["audit_by_task"] == {"math": found["audit"]}
        assert found["audit_by_family"] == {"pips": found["audit"]}
        assert found["seconds"] > 0
        environment = json.loads(Path("a/environment.json").read_text())
        assert environment["command"][:3] == ["srpo", "eval", "tiny"]
        rows = replies("a")
        assert {row["variant"] for row in rows} >= {"as_is", "corrupted", "blank", "swapped", "edited"}
        assert main(["eval", "--config", "a/config.yaml", "--output_dir", "b"]) == 0
        assert results("b")["metrics"] == found["metrics"]

    def test_held_out_part_where_there_is_no_test_split(self, folder, capsys):
        lines = [json.dumps({"question": f"How many? {i}", "answer": str(i)}) for i in range(30)]
        Path("rows.jsonl").write_text("\n".join(lines))
        options = ["--samples", "1", "--max_completion_length", "4"]
        assert main(["eval", "tiny", "--dataset", "rows.jsonl", *options]) == 0
        assert "rows.jsonl, held-out part of train: 3 questions" in capsys.readouterr().out

    @pytest.mark.parametrize(("choice", "status"), [("refuse", 2), ("skip", 0)])
    def test_bad_rows(self, folder, capsys, choice, status):
        Path("rows.jsonl").write_text('{"question": "How many?", "answer": "4"}\n{"question": "Which?", "answer": ""}')
        options = ["--split", "train", "--samples", "1", "--max_completion_length", "4", "--output_dir", "a"]
        assert main(["eval", "tiny", "--dataset", "rows.jsonl", *options, "--on_bad_rows", choice]) == status
        if status == 0:
            assert results("a")["questions"] == 1
            assert json.loads(Path("a/bad_rows.json").read_text())[0]["reason"]

    def test_a_dry_run_writes_nothing(self, folder, capsys):
        assert main(["eval", "tiny", *SHORT, "--dry_run"]) == 0
        assert "prompt 1" in capsys.readouterr().out
        assert not list(folder.iterdir())

    def test_help(self, capsys):
        assert main(["eval", "--help"]) == 0
        out = capsys.readouterr().out
        for name in EvalArguments.__dataclass_fields__:
            assert (f"--{name}" in out) == (name not in ("streaming", "dataset_train_split", "dataset_test_split"))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--samples", "0"], "samples 0 must be 1 or more"),
            (["--temperature", "-1"], "temperature -1.0 must be 0"),
            (["--temperature", "0"], "say --samples 1"),
            (["--dependency_rows", "-1"], "dependency_rows -1 must be 0 (none) or more"),
            (["--top_p", "0"], "top_p 0.0 must be above 0"),
            (["--backend", "sglang"], "backend 'sglang' must be one of transformers, vllm"),
            (["--streaming", "true"], "leave it out"),
            (["--split", "nosuch"], "nosuch"),
            (["--smaples", "2"], "did you mean --samples?"),
            (["--bogus", "2"], "unknown option '--bogus'; see srpo eval --help"),
            (["--use_peft", "true"], "takes the folder of one as MODEL"),
            (["--audit", "--corruption", "nosuch"], "corruption 'nosuch' must be one of patch_mask"),
            (["--audit", "--corruption_ratio", "7"], "corruption_ratio 7.0 must lie in (0, 1]"),
            (["--corruption", "other_image"], "name one that changes the image itself"),
            (["--rows", "0"], "rows is 0; it must be at least 1; leave it out for all"),
        ],
    )
    def test_mistakes(self, folder, capsys, options, words):
        assert main(["eval", "tiny", "--dataset", "shapes", "--rows", "4", *options]) == 2
        assert words in capsys.readouterr().err
        assert not list(folder.iterdir())


class TestDependency:
    """The profile that --audit adds where the model is at hand."""

    def test_first_replies_by_their_tokens(self, folder, capsys):
        assert main(["eval", "tiny", *SHORT, "--output_dir", "a", "--audit", "--dependency_rows", "4"]) == 0
        assert "Dependency, nats a token (4 replies)" in capsys.readouterr().out
        found = results("a")["dependency"]
        assert (found["rows"], found["questions"], found["temperature"]) == (4, 4, 1.0)
        first = [row for row in replies("a") if row["variant"] == "as_is" and row["sample"] == 0][:4]
        processor = AutoProcessor.from_pretrained(model_path())
        roles = token_roles([row["token_ids"] for row in first], processor.tokenizer)
        for role in (Role.PERCEPTION, Role.REASONING):
            profile = found[role.name.lower()]
            assert sum(profile["count"]) == int((roles == role).sum()) > 0
            assert profile["overall"] > 0.2
        assert sorted(path.name for path in folder.iterdir()) == ["a"]
        assert not [path for path in Path("a").iterdir() if path.is_dir()]

    def test_it_is_measured_once_for_the_same_number_of_replies(self, folder, capsys, monkeypatch):
        assert main(["eval", "tiny", *SHORT, "--output_dir", "a"]) == 0
        assert "dependency" not in results("a")
        measured = []
        measure = eval_dependency.measure
        monkeypatch.setattr(eval_dependency, "measure", lambda *given: measured.append(given[4]) or measure(*given))
        for rows, count in (("0", 0), ("4", 1), ("4", 1), ("2", 2)):
            assert main(["eval", "tiny", *SHORT, "--output_dir", "a", "--audit", "--dependency_rows", rows]) == 0
            assert results("a").get("dependency", {"rows": 0})["rows"] == int(rows)
            assert len(measured) == count
        assert [len(given) for given in measured] == [4, 2]
        capsys.readouterr()
        assert main(["eval", "--resume", "a"]) == 0
        assert "Dependency, nats a token (2 replies)" in capsys.readouterr().out
        assert len(measured) == 2

    def test_questions_without_images_are_left_out(self, folder, capsys):
        Path("rows.jsonl").write_text(json.dumps({"question": "How many?", "answer": "4"}))
        options = ["--split", "train", "--samples", "1", "--max_completion_length", "4", "--output_dir", "a", "--audit"]
        assert main(["eval", "tiny", "--dataset", "rows.jsonl", *options]) == 0
        assert "dependency profile left out: no question has an image" in capsys.readouterr().out
        assert "dependency" not in results("a")

    @pytest.mark.parametrize("layout", ["smolvlm", "internvl"])
    def test_other_layouts_and_greedy_replies(self, folder, layout_folders, layout):
        options = ["--dataset", "shapes/pips", "--rows", "3", "--samples", "1", "--temperature", "0"]
        given = [layout_folders[layout], *options, "--max_completion_length", "12", "--output_dir", "a", "--audit"]
        assert main(["eval", *given]) == 0
        found = results("a")["dependency"]
        assert (found["questions"], found["temperature"]) == (3, 1.0)
        assert found["perception"] == {"overall": None, "mean": [None] * 10, "count": [0] * 10}  # random replies

    def test_where_it_cannot_be_measured(self):
        possible = {"quantized": False, "processes": 1, "questions": 5}
        assert eval_dependency.reason_against(EvalArguments("shapes"), **possible) is None
        vllm = EvalArguments("shapes", backend="vllm")
        assert "--backend transformers measures it" in eval_dependency.reason_against(vllm, **possible)
        for change, words in (({"processes": 2}, "2 ran"), ({"quantized": True}, "4 or 8 bits")):
            assert words in eval_dependency.reason_against(EvalArguments("shapes"), **possible | change)

    def test_without_a_structured_reply_there_is_no_table(self):
        empty = {"overall": None, "mean": [None] * 10, "count": [0] * 10}
        console = Console(file=StringIO(), width=100)
        eval_dependency.show(console, {"questions": 4, "perception": empty, "reasoning": empty})
        assert console.file.getvalue().strip() == "no dependency profile: none of 4 replies is structured"

    def test_bars(self):
        assert eval_dependency.bars([None, -1.0, 0.0, 0.5, 0.99, 1.0], 1.0) == "·▁▁▅██"
        assert eval_dependency.bars([-1.0, None], -1.0) == "▁·"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter on the tiny model that changes its replies, and the same model merged."""
    root = tmp_path_factory.mktemp("adapter")
    model = AutoModelForImageTextToText.from_pretrained(model_path())
    lora = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    lora.base_model.model.config._name_or_path = str(model_path())
    lora.save_pretrained(root / "adapter")
    lora.merge_and_unload().save_pretrained(root / "merged")
    AutoProcessor.from_pretrained(model_path()).save_pretrained(root / "merged")
    return root


class TestModels:
    def test_names(self, tmp_path):
        run = tmp_path / "run"
        (run / "model").mkdir(parents=True)
        (run / "environment.json").write_text("{}")
        assert find_checkpoint("tiny") == Checkpoint(str(model_path()))
        assert find_checkpoint("org/name") == Checkpoint("org/name")
        assert find_checkpoint(str(run)) == Checkpoint(str(run / "model"))
        (run / "model" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/name"}))
        assert find_checkpoint(str(run)) == Checkpoint("org/name", run / "model")

    def test_a_run_that_did_not_end(self, folder, capsys):
        Path("run/checkpoint-9").mkdir(parents=True)
        Path("run/checkpoint-10").mkdir()
        Path("run/environment.json").write_text("{}")
        assert main(["eval", "run", *SHORT]) == 2
        assert "did not end; name its last checkpoint run/checkpoint-10" in capsys.readouterr().err

    def test_an_adapter_answers_as_the_merged_model(self, folder, adapter):
        for name in ("adapter", "merged"):
            assert main(["eval", str(adapter / name), *SHORT, "--output_dir", name]) == 0
        assert main(["eval", "tiny", *SHORT, "--output_dir", "tiny"]) == 0
        texts = {name: [row["text"] for row in replies(name)] for name in ("adapter", "merged", "tiny")}
        assert texts["adapter"] == texts["merged"] != texts["tiny"]

    def test_digests_tell_weights_apart(self, adapter):
        found = [find_checkpoint(name).digest() for name in ("tiny", str(adapter / "adapter"), str(adapter / "merged"))]
        assert len(set(found)) == 3
        assert found[0] == find_checkpoint(str(model_path())).digest()
        assert find_checkpoint("org/name").digest() == ""

    def test_a_training_run(self, folder):
        train = ["--dataset", "shapes/pips", "--max_steps", "1", "--eval_rows", "0", "--output_dir", "run"]
        batch = ["--num_generations", "2", "--per_device_train_batch_size", "4", "--max_completion_length", "32"]
        assert main(["train", "--model", "tiny", *train, *batch]) == 0
        assert main(["eval", "run", *SHORT, "--output_dir", "a"]) == 0
        assert results("a")["model"] == "run"


class TestBenchmarks:
    def command(self, capsys, *options):
        assert main(["eval", *options, "--dry_run"]) == 0
        return shlex.split(capsys.readouterr().out)

    def test_the_command(self, folder, capsys):
        command = self.command(capsys, "tiny", "--benchmarks", "mmmu_val, mathvista_testmini", "--output_dir", "a")
        assert command[1:3] == ["-m", "lmms_eval"]
        given = dict(zip(command[3:-1:2], command[4::2], strict=True))
        assert given["--model"] == "qwen2_5_vl"
        assert given["--model_args"] == "pretrained=a/checkpoint"
        assert given["--tasks"] == "mmmu_val,mathvista_testmini"
        assert given["--gen_kwargs"] == "max_new_tokens=512,temperature=1"
        assert given["--output_path"] == "a/lmms_eval"
        assert not Path("a").exists()
        further = self.command(capsys, "tiny", "--benchmarks", "x", "--benchmark_arguments", "--limit 8")
        assert further[-2:] == ["--limit", "8"]

    def test_vllm(self, folder, capsys):
        command = self.command(capsys, "tiny", "--benchmarks", "x", "--backend", "vllm", "--output_dir", "a")
        assert command[command.index("--model") + 1] == "vllm"
        assert "model=a/checkpoint,tensor_parallel_size=1" in command[command.index("--model_args") + 1]

    def test_other_models(self, folder, capsys, layout_folders):
        assert main(["eval", layout_folders["smolvlm"], "--benchmarks", "x", "--dry_run"]) == 2
        assert "say --backend vllm, or name one of lmms-eval models with --benchmark_model" in capsys.readouterr().err
        options = ["--benchmarks", "x", "--benchmark_model", "own"]
        assert "own" in self.command(capsys, layout_folders["smolvlm"], *options)

    def test_where_it_is_missing(self, folder, capsys):
        assert main(["eval", "tiny", "--benchmarks", "mmmu_val"]) == 2
        assert "pip install 'srpo[lmms]'" in capsys.readouterr().err

    def test_it_is_given_a_model_that_asks_for_its_format(self, folder, monkeypatch, adapter):
        """A stand-in for lmms-eval loads what it is given and renders a question without a system message."""
        package = folder / "lmms_eval"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(
            "import sys\n"
            "from pathlib import Path\n"
            "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
            "folder = sys.argv[sys.argv.index('--model_args') + 1].removeprefix('pretrained=')\n"
            "AutoModelForImageTextToText.from_pretrained(folder)\n"
            "messages = [{'role': 'user', 'content': [{'type': 'image'}, {'type': 'text', 'text': 'How many?'}]}]\n"
            "text = AutoProcessor.from_pretrained(folder).apply_chat_template(messages, add_generation_prompt=True)\n"
            "Path('rendered.txt').write_text(text)\n"
            "sys.exit(7)\n"
        )
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.syspath_prepend(str(folder))
        for model in ("tiny", str(adapter / "adapter")):
            assert main(["eval", model, "--benchmarks", "mmmu_val"]) == 7
            rendered = Path("rendered.txt").read_text()
            assert "Reply in three blocks, in this order:" in rendered
            assert rendered.count("system") == 1
            assert rendered.rstrip().endswith("assistant")


def test_the_template_asks_as_in_training(layout_folder):
    """Whatever system message a conversation brings, the prompt is the one that the policy was trained behind."""
    processor = AutoProcessor.from_pretrained(layout_folder)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}

    def system(text):
        return {"role": "system", "content": [{"type": "text", "text": text}]}

    text = 'Reply "so",\nplease: {{ x }} {% y %}'
    trained = processor.apply_chat_template([system(text), user], add_generation_prompt=True)
    processor.chat_template = with_system_message(processor.chat_template, text)
    for messages in ([user], [system("You are a helpful assistant."), user]):
        assert processor.apply_chat_template(messages, add_generation_prompt=True) == trained
