"""Who imports whom, and how long a file and a function may be: training engines stay at the rim, and all is short."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "srpo"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 320
MAX_FUNCTION_LINES = 55
ENGINE_MODULES = ("trainer.py", "config.py", "engines/", "warmup/")
COMMAND_LINE_HELPERS = {
    "GRPOConfig",
    "ModelConfig",
    "SFTConfig",
    "TrlParser",
    "get_peft_config",
    "get_quantization_config",
    "get_soft_overlong_punishment",
}
PURE_MODULES = ("credit.py", "neighbours.py", "roles.py", "corruption.py", "token_text.py")


def name_of(path):
    return path.relative_to(SOURCE).as_posix()


def imports(path):
    """(module, imported name or None) of every import statement, also those inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            package = ["srpo", *path.relative_to(SOURCE).parts[: -node.level]] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            found |= {(module, alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_trainer_and_its_config_import_a_training_engine(path):
    engine = {(module, name) for module, name in imports(path) if module.split(".")[0] in ("trl", "verl")}
    if name_of(path).startswith("commands/"):  # may read the fields of TRL's configuration, and parse them
        engine = {(module, name) for module, name in engine if name not in COMMAND_LINE_HELPERS}
    if not name_of(path).startswith(ENGINE_MODULES):
        assert not engine


@pytest.mark.parametrize("name", PURE_MODULES)
def test_the_method_knows_nothing_of_trainers_or_of_its_callers(name):
    allowed = {"srpo.roles", "srpo.token_text"}
    for module, imported in imports(SOURCE / name):
        assert module.split(".")[0] not in ("trl", "accelerate", "peft", "datasets")
        assert "train" not in (imported or "").lower()
        assert not module.startswith("transformers.train")
        assert not module.startswith("srpo") or module in allowed


def test_nothing_below_the_command_line_imports_the_trainer():
    users = {name_of(path) for path in FILES if any(module == "srpo.trainer" for module, _ in imports(path))}
    assert {user for user in users if not user.startswith(("commands/", "engines/", "evaluation/"))} <= {"__init__.py"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 <= MAX_FUNCTION_LINES, node.name
