"""What a user calls a model: a folder, a hub id, a training run, a LoRA adapter; and its weights in memory."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from srpo import tiny

ADAPTER_CONFIG = "adapter_config.json"
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
_WEIGHTS = ("*.safetensors", "*.bin")
_SMALL_FILES = ("*config.json", "chat_template*", "*token*", "vocab*", "merges.txt", "*.model")
_SAMPLES, _SAMPLE_BYTES = 64, 4096  # of each file of weights, for its digest


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's weights are.

    Attributes:
        model: folder or hub id of a whole model.
        adapter: folder of a LoRA adapter on it, None for none.
    """

    model: str
    adapter: Path | None = None

    @property
    def processor(self) -> str:
        """Folder or hub id of the processor: the adapter's where it brings one."""
        brings = self.adapter is not None and any((self.adapter / name).exists() for name in _PROCESSOR_FILES)
        return str(self.adapter) if brings else self.model

    def digest(self) -> str:
        """A short hash of the weights in folders here, "" for a hub id: samples of every file, not all of it."""
        folders = [Path(self.model), *([self.adapter] if self.adapter else [])]
        files = [path for folder in folders for kind in _WEIGHTS for path in sorted(folder.glob(kind))]
        return hashlib.sha256(b"".join(map(_sample, files))).hexdigest()[:16] if files else ""

    def files(self) -> dict[str, str]:
        """Name -> hash of each small file in folders here that shapes prompts and draws: {} for a hub id.

        They are those of config, chat template, processor and tokenizer; an adapter's are named "adapter/...".
        """
        folders = {"": Path(self.model)} | ({"adapter/": self.adapter} if self.adapter else {})
        return {
            prefix + path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for prefix, folder in folders.items()
            for path in sorted({path for kind in _SMALL_FILES for path in folder.glob(kind) if path.is_file()})
        }

    def commit(self, revision: str | None = None) -> str:
        """The commit that a revision of a hub id, once its config is loaded, stands for; "" for a folder."""
        if Path(self.model).exists():
            return ""
        config = try_to_load_from_cache(self.model, "config.json", revision=revision)
        return Path(config).parent.name if isinstance(config, str) else ""


def find_checkpoint(given: str) -> Checkpoint:
    """The checkpoint that a user names: "tiny", a model folder, a hub id, a run of `srpo train`, an adapter folder.

    Raises:
        ValueError: for a run without a trained model, and for an adapter that does not name its base model.
    """
    folder = Path(given)
    if given == tiny.NAME and not folder.exists():
        return Checkpoint(str(tiny.model_path()))
    if (folder / "environment.json").exists() and not (folder / "config.json").exists():
        if not (folder / "model").is_dir():
            checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: (len(path.name), path.name))
            instead = f"; name its last checkpoint {checkpoints[-1]}" if checkpoints else ""
            raise ValueError(f"run {given} has no folder model, because it did not end{instead}, or let it end first")
        folder = folder / "model"
    if not (folder / ADAPTER_CONFIG).exists():
        return Checkpoint(str(folder) if folder.exists() else given)
    base = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"adapter {folder} must name its model in {ADAPTER_CONFIG} (base_model_name_or_path); add it")
    return Checkpoint(str(base), folder)


def default_dtype() -> str:
    """bfloat16 on a GPU that computes in it, else float32."""
    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def load_model(checkpoint: Checkpoint, device: torch.device, **options: Any) -> Any:
    """The whole model in evaluation mode on a device, a LoRA adapter merged into it.

    Args:
        checkpoint: where it is.
        device: where it goes.
        options: of `from_pretrained`, such as dtype, revision, attn_implementation.

    Raises:
        ValueError: for weights that do not fit the model's config, and a package that is missing.
    """
    if device.type == "cuda":  # straight to the GPU: the processes of a machine share its memory
        options["device_map"] = {"": device}
    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(checkpoint.model, **options)
        if checkpoint.adapter is not None:
            model = PeftModel.from_pretrained(model, str(checkpoint.adapter)).merge_and_unload()
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return (model if device.type == "cuda" else model.to(device)).eval()


@contextmanager
def whole_folder(checkpoint: Checkpoint, processor: Any, **options: Any) -> Iterator[str]:
    """The folder or hub id of the whole model; a LoRA adapter is merged into a folder that goes afterwards."""
    if checkpoint.adapter is None:
        yield checkpoint.model
        return
    with TemporaryDirectory(prefix="srpo-merged-") as folder:
        load_model(checkpoint, torch.device("cpu"), **options).save_pretrained(folder)
        processor.save_pretrained(folder)
        yield folder


def _sample(path: Path) -> bytes:
    """Name, size and some bytes of a file; training changes weights everywhere, so that samples tell files apart."""
    size = path.stat().st_size
    found = [path.name.encode(), str(size).encode()]
    with path.open("rb") as file:
        for i in range(_SAMPLES):
            file.seek(size * i // _SAMPLES)
            found.append(file.read(_SAMPLE_BYTES))
    return b"".join(found)
