"""A small byte-level BPE tokenizer: any text can be said, and the words of the visual world are short."""

from collections.abc import Iterable, Mapping

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TURN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Words with the mark or space before them, single digits with their space, whole tags: short replies, plain text.
WORD_PATTERN = r" ?</?[a-z]+>|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_template(image_text: str) -> str:
    """ChatML with `image_text` in the place of each image."""
    return CHAT_TEMPLATE.replace("IMAGE", image_text)


def build_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int = 512,
    named_tokens: Mapping[str, str] | None = None,
    extra_tokens: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with ChatML turns.

    Args:
        texts: what the merges are learned from.
        vocab_size: number of tokens, special ones included.
        named_tokens: special tokens that the processor of a layout finds by name, such as {"image_token": "<image>"}.
        extra_tokens: further special tokens.
    """
    named_tokens = dict(named_tokens or {})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*TURN_TOKENS, *named_tokens.values(), *extra_tokens],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_specific_special_tokens=named_tokens,
        padding_side="left",
    )
