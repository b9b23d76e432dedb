"""`srpo eval` through the real vLLM, on a CPU: `make test-vllm` runs these in an environment of its own."""

import json
import os
from dataclasses import replace
from importlib.util import find_spec

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from srpo.cli import main
from srpo.data import load
from srpo.evaluation.run import PlainRequests
from srpo.evaluation.sampling import Request, TransformersSampler
from srpo.evaluation.vllm_sampler import VllmSampler, start_engine
from srpo.tiny import model_path
from srpo.vision import placeholder_token_ids

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm installs it"),
]
ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR"}


@pytest.fixture(scope="module", autouse=True)
def cpu():
    os.environ.update(ON_CPU)


@pytest.fixture(scope="module")
def samplers(tmp_path_factory):
    """A function: options -> a transformers and a vLLM sampler of the tiny model, tempted to draw tokens of images."""
    folder = tmp_path_factory.mktemp("model")
    model = AutoModelForImageTextToText.from_pretrained(model_path()).eval()
    processor, config = AutoProcessor.from_pretrained(model_path()), AutoConfig.from_pretrained(model_path())
    generation = model.generation_config
    first = processor.tokenizer("<perception>")["input_ids"][0]  # of every reply
    with torch.no_grad():  # their embeddings are not read as input, where images stand in for them
        head = model.get_output_embeddings().weight
        for token in placeholder_token_ids(config, processor):
            head[token] = 2 * head[first]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    engine = start_engine(folder, images=2, dtype="float32", max_length=768)

    def make(**options):
        options = {"max_completion_length": 64, "temperature": 0.0} | options
        slow = TransformersSampler(model, processor, **options)
        return slow, VllmSampler(engine, processor, config, generation, **options)

    return make


@pytest.fixture(scope="module")
def requests():
    """One question of each family, a question of text, one with two images, and one that goes on from a perception."""
    plain = list(PlainRequests(load("shapes", "test", rows=12), 1))
    first, second = plain[:2]
    text = [{"role": "user", "content": [{"type": "text", "text": "How many red?"}]}]
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "How many red?"}]
    several = Request("two", [{"role": "user", "content": parts}], [*first.images, *second.images])
    prefix = replace(plain[0], key="prefix", prefix="<perception> red 4 ; blue 2 </perception>")
    return [*plain, Request("text", text), several, prefix]


def test_greedy_replies_are_those_of_transformers(samplers, requests):
    slow, fast = samplers()
    assert fast(requests, "a") == slow(requests, "a")


def test_a_reply_that_is_cut_off_has_not_ended(samplers, requests):
    slow, fast = samplers(max_completion_length=3)
    assert fast(requests[:2], "a") == slow(requests[:2], "a")
    assert [(reply.ended, reply.tokens) for reply in fast(requests[:2], "a")] == [(False, 3)] * 2


def test_draws_follow_from_the_seed(samplers, requests):
    _, fast = samplers(temperature=1.0)
    first = fast(requests, "a")
    assert fast(requests, "a") == first
    assert fast(requests, "b") != first
    assert fast([], "a") == []


def test_tokens_of_images_are_never_drawn(samplers, requests):
    """The model of these tests likes them better than the first token of every reply."""
    slow, fast = samplers(temperature=1.0)
    banned = set(placeholder_token_ids(slow.model.config, slow.processor))
    assert not banned & {token for reply in fast(requests * 4, "a") for token in reply.token_ids}
    slow.config.suppress_tokens = None
    assert banned & {token for reply in slow(requests, "a") for token in reply.token_ids}


def test_the_command(tmp_path):
    """Both backends give the same figures under greedy decoding, audit included."""
    options = ["--dataset", "shapes", "--rows", "12", "--samples", "1", "--temperature", "0", "--audit"]
    options += ["--max_completion_length", "64", "--dtype", "float32"]
    for backend in ("transformers", "vllm"):
        run = tmp_path / backend
        length = ["--max_model_length", "768"] if backend == "vllm" else []
        arguments = ["eval", "tiny", *options, "--backend", backend, *length, "--output_dir", str(run)]
        assert main(arguments) == 0
    figures = [json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("transformers", "vllm")]
    assert figures[0]["metrics"] == figures[1]["metrics"]
    assert figures[0]["audit"] == figures[1]["audit"]
    columns = ["variant", "row_id", "prefix", "text"]
    tables = [pq.read_table(tmp_path / name / "replies.parquet", columns=columns) for name in ("transformers", "vllm")]
    assert tables[0].to_pylist() == tables[1].to_pylist()
