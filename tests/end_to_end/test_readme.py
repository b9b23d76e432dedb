"""The README's example runs as it stands, but for the names of model and data."""

import re
from pathlib import Path

from srpo.tiny import model_path

ROOT = Path(__file__).resolve().parents[2]
QUICK = "max_steps=1, per_device_train_batch_size=8, max_completion_length=16, bf16=False, report_to='none', "


def test_the_python_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for name, stand_in in (
        ("Qwen/Qwen2.5-VL-3B-Instruct", str(model_path())),
        ('load("my_folder")', 'load("shapes", rows=8)'),
        ("SRPOConfig(", f"SRPOConfig({QUICK}"),
    ):
        assert name in example
        example = example.replace(name, stand_in)
    exec(compile(example, "README.md", "exec"), {})


def test_files_that_the_readme_links_to_exist():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert len(local) >= 5
    assert [link for link in local if not (ROOT / link).exists()] == []
