"""Which characters of the decoded text each token holds, for any transformers tokenizer.

T tokens. Character offsets are half-open, as in slices: text[start:end].
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers.decoders import ByteLevel
from transformers import ProcessorMixin

CharSpan = tuple[int, int]

_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"


def token_spans(ids: Sequence[int], tokenizer: Any) -> tuple[str, list[CharSpan]]:
    """The text of token ids without special tokens, and the characters text[start:end] that each token holds.

    A character whose bytes are split over several tokens lies in the span of each of them; this is exact for byte-level
    BPE. Special tokens and ids outside the vocabulary have an empty span. Never raises on any integer ids.

    Args:
        ids: T token ids.
        tokenizer: a transformers tokenizer, or the processor that holds it.
    """
    ids = [int(token) for token in ids]
    tokens = TokenText(tokenizer)
    text = tokens.decode(ids)
    return text, tokens.spans(ids, text)


Pieces = dict[int, bytes | None]


class TokenText:
    """Decodes ids of one tokenizer as TRL decodes completions, without special tokens, and aligns tokens and text."""

    def __init__(self, tokenizer: Any) -> None:
        tokenizer = tokenizer.tokenizer if isinstance(tokenizer, ProcessorMixin) else tokenizer
        self._tokenizer = tokenizer
        state = (len(tokenizer), *tokenizer.all_special_ids)
        if tokenizer not in _CACHE or _CACHE[tokenizer][0] != state:
            _CACHE[tokenizer] = (state, self._read_pieces())
        self._pieces = _CACHE[tokenizer][1]

    def _read_pieces(self) -> Pieces:
        """Every id that decodes to text, with its bytes where the tokenizer is byte-level and None elsewhere."""
        vocabulary = self._tokenizer.get_vocab()
        added = {*self._tokenizer.get_added_vocab().values(), *self._tokenizer.all_special_ids}
        silent = {token for token in added.intersection(vocabulary.values()) if not self._decode_known([token])}
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        byte_level = isinstance(getattr(backend, "decoder", None), ByteLevel)
        return {
            token: _piece_bytes(piece) if byte_level else None
            for piece, token in vocabulary.items()
            if piece and token not in silent
        }

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; special tokens and ids outside the vocabulary are left out."""
        return self._decode_known([token for token in ids if token in self._pieces])

    def spans(self, ids: Sequence[int], text: str) -> list[CharSpan]:
        """Characters of `text`, which is `self.decode(ids)`, that each token holds."""
        kept = [token for token in ids if token in self._pieces]
        spans = _byte_spans([self._pieces[token] for token in kept], text)
        found = iter(self._window_spans(kept, text) if spans is None else spans)
        aligned, end = [], 0
        for token in ids:
            start, end = next(found) if token in self._pieces else (end, end)
            aligned.append((start, end))
        return aligned

    def _decode_known(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _window_spans(self, ids: list[int], text: str) -> list[CharSpan]:
        """Spans for any tokenizer, by decoding a short window that ends at each token, as text streamers do.

        A window that is not what `text` says ends in an unfinished character, which every token up to its end touches.
        The window starts anew behind text that decodes alone as it does in its place, else it grows.
        """
        spans: list[CharSpan] = []
        first = read = 0  # the window starts at ids[first]; ids[:read] are finished
        base = reached = 0  # the window starts at text[base]; text[:reached] is finished
        for stop in range(1, len(ids) + 1):
            window = self._decode_known(ids[first:stop])
            if text.startswith(window, base):
                spans.append((reached, max(reached, base + len(window))))
                reached = spans[-1][1]
                tail = self._decode_known(ids[read:stop])
                if tail and _UNDECODABLE not in tail and text.startswith(tail, reached - len(tail)):
                    first, base = read, reached - len(tail)
                read = stop
            else:
                start = reached
                while reached - base < len(window) and text.startswith(window[: reached - base + 1], base):
                    reached += 1
                spans.append((start, min(reached + 1, len(text))))
        return spans


# pieces of each tokenizer, and the size and special tokens that it had when they were read
_CACHE: WeakKeyDictionary[Any, tuple[tuple[int, ...], Pieces]] = WeakKeyDictionary()


def _byte_spans(chunks: Sequence[bytes | None], text: str) -> list[CharSpan] | None:
    """Spans of tokens with known bytes: the characters that their bytes touch; None where these do not make `text`."""
    known = [chunk for chunk in chunks if chunk is not None]
    data = b"".join(known)
    if len(known) < len(chunks) or data.decode("utf-8", "replace") != text:
        return None
    owner = range(len(data)) if data.isascii() else _character_of_byte(data)
    spans, begin = [], 0
    for chunk in known:
        stop = begin + len(chunk)
        spans.append((owner[begin], owner[stop - 1] + 1))
        begin = stop
    return spans


def _character_of_byte(data: bytes) -> list[int]:
    """Index of the character of data.decode("utf-8", "replace") that each byte is part of."""
    owner: list[int] = []
    char, rest = -1, data
    while rest:
        try:
            rest.decode()
            good, bad = len(rest), 0
        except UnicodeDecodeError as error:
            good, bad = error.start, error.end - error.start
        for byte in rest[:good]:
            char += byte & 0xC0 != 0x80
            owner.append(char)
        if bad:
            char += 1
            owner.extend([char] * bad)
        rest = rest[good + bad :]
    return owner


def _byte_alphabet() -> dict[int, int]:
    """Code point -> byte in the alphabet of byte-level BPE: a byte that prints is itself, the n-th other is 256 + n.

    Source: bytes_to_unicode in OpenAI's GPT-2 encoder.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: byte for byte in printable} | {256 + n: byte for n, byte in enumerate(hidden)}


_ALPHABET = _byte_alphabet()


def _piece_bytes(piece: str) -> bytes:
    """Bytes of a byte-level piece; one with a character outside the alphabet (an added token) is its literal text."""
    try:
        return bytes([_ALPHABET[ord(char)] for char in piece])
    except KeyError:
        return piece.encode("utf-8", "replace")
