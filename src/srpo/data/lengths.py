"""How many tokens a prompt has for a model, from the sizes of its images alone: nothing is decoded or resized."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from srpo.data.problems import RowProblem

PROBES = 4  # sizes for which the processor's formula is compared with what it makes of a blank picture
_ONE_IMAGE = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
# What a formula may raise for a size; the processor is then asked itself.
_FORMULA_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    NotImplementedError,
)

Size = tuple[int, int]


class ImageRefusal(ValueError):
    """The model's processor does not take an image of this size."""


class PromptMeter:
    """Token counts of prompts: those of the rendered text, one placeholder an image replaced by the image's tokens.

    tokens = tokens(text) + sum over images of (tokens(width, height) - 1)

    The tokens of an image come from the processor's own formula (`_get_num_multimodal_tokens`) where it has one that
    agrees with a blank picture of the same size, else from such a picture, once for every size.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self._by_size: dict[Size, int | ImageRefusal] = {}
        self._uses_formula = hasattr(processor, "_get_num_multimodal_tokens")
        self._probes = PROBES
        tokenizer = processor.tokenizer
        special = {str(token) for token in tokenizer.all_special_tokens}
        special |= {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special = re.compile("|".join(map(re.escape, sorted(filter(str.strip, special), key=len, reverse=True))))

    def rendered(self, prompt: Sequence[Mapping[str, Any]]) -> str:
        """The prompt after the chat template, with one placeholder an image."""
        return self.processor.apply_chat_template(prompt, add_generation_prompt=True)

    def text_tokens(self, texts: Sequence[str], *, special: bool = True) -> list[int]:
        """Token counts of texts, with the special tokens that a sequence begins or ends with unless told otherwise."""
        return [len(ids) for ids in self.processor.tokenizer(list(texts), add_special_tokens=special)["input_ids"]]

    def special_tokens(self, text: str) -> list[str]:
        """The special tokens of the tokenizer that a text spells out."""
        return list(dict.fromkeys(self._special.findall(text))) if self._special.pattern else []

    def image_tokens(self, width: int, height: int) -> int:
        """The tokens that an image of this size is to the model.

        Raises:
            ImageRefusal: when the processor does not take it.
        """
        size = (width, height)
        if size not in self._by_size:
            self._by_size[size] = self._tokens(size)
        known = self._by_size[size]
        if isinstance(known, ImageRefusal):
            raise known
        return known

    def _tokens(self, size: Size) -> int | ImageRefusal:
        by_formula = self._formula(size) if self._uses_formula else None
        if by_formula is not None and not self._probes:
            return by_formula
        measured = self._measured(size)
        if by_formula is not None:
            self._probes -= 1
            self._uses_formula = measured == by_formula
        return measured

    def _formula(self, size: Size) -> int | None:
        try:
            return int(self.processor._get_num_multimodal_tokens(image_sizes=[size[::-1]])["num_image_tokens"][0])
        except _FORMULA_ERRORS:
            return None

    def _measured(self, size: Size) -> int | ImageRefusal:
        text = self.rendered(_ONE_IMAGE)
        try:
            return self._replaced(text, size)
        except ImageRefusal as refusal:
            return refusal

    def _replaced(self, text: str, size: Size) -> int:
        """What a blank picture makes of the placeholder in a text."""
        try:
            ids = self.processor(images=[[Image.new("RGB", size)]], text=[text])["input_ids"][0]
        except Exception as error:  # a processor may raise anything for a size that it was not made for
            raise ImageRefusal(" ".join(str(error).split()) or type(error).__name__) from error
        return len(ids) - self.text_tokens([text])[0] + 1


@dataclass(frozen=True)
class ModelView:
    """What of a model decides whether it can read a row.

    Attributes:
        name: how the report calls it.
        meter: counts its tokens.
        context: the most tokens of prompt and completion, None where its config names none.
        completion: tokens that a reply may have.
    """

    name: str
    meter: PromptMeter
    context: int | None
    completion: int


def special_token_problems(meter: PromptMeter, row: Mapping[str, Any]) -> list[RowProblem]:
    """Special tokens that the user's part of a prompt spells out; the model would read them as such."""
    texts = [part["text"] for message in row["prompt"] if message["role"] == "user" for part in message["content"]]
    found = meter.special_tokens("\n".join(text for text in texts if text))
    if not found:
        return []
    reason = f"the question holds {', '.join(map(repr, found))}, which the model reads as special tokens"
    return [RowProblem("question_token", reason, "write them in another way or remove the row")]


def length_problems(model: ModelView, length: int) -> list[RowProblem]:
    """Whether prompt and completion fit into the model's context."""
    if model.context is None or length + model.completion <= model.context:
        return []
    reason = (
        f"the prompt has {length:,} tokens, which with {model.completion:,} for the completion is more than the "
        f"model's context of {model.context:,}"
    )
    remedy = "shorten the question, shrink its images, or lower max_completion_length"
    return [RowProblem("prompt_length", reason, remedy)]
