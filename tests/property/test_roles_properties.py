"""Properties of roles on arbitrary text and token ids."""

import re

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from srpo.roles import ResponseFormat, Role, token_roles, token_spans
from tests.real_tokenizers import piece_ids, small_byte_level_tokenizer

TAGS = ["<perception>", "</perception>", "<think>", "</think>", "<answer>", "</answer>"]
TAG = "|".join(TAGS)
FORMAT = ResponseFormat()

unhurried = settings(deadline=None)  # building a tokenizer counts into the first example

untagged = st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda text: not re.search(TAG, text))
contents = st.lists(untagged, min_size=7, max_size=7)
soup = st.lists(st.sampled_from([*TAGS, "<", ">", "/", "think", "x", " ", "漢"]) | untagged, max_size=14).map("".join)
replies = contents.map(lambda parts: "".join(part + tag for part, tag in zip(parts, [*TAGS, ""], strict=True)))
row_ids = st.one_of(
    replies.map(lambda text: small_byte_level_tokenizer()(text, add_special_tokens=False).input_ids),
    st.lists(st.integers(-3, 500), max_size=20),
)


@unhurried
@given(contents)
def test_what_is_put_into_the_blocks_comes_out(parts):
    assume(parts[1].strip() and (parts[3] + parts[5]).strip())
    text = "".join(part + tag for part, tag in zip(parts, [*TAGS, ""], strict=True))
    assume([match[0] for match in re.finditer(TAG, text)] == TAGS)
    found = [(span.role, text[span.start : span.end]) for span in FORMAT.spans(text)]
    put = [(Role.PERCEPTION, parts[1]), (Role.REASONING, parts[3]), (Role.REASONING, parts[5])]
    assert found == [(role, content) for role, content in put if content]


@unhurried
@given(soup | replies)
def test_structured_is_what_one_regular_expression_says(text):
    plain = f"((?:(?!{TAG}).)*)"
    match = re.fullmatch(plain + plain.join(TAGS) + plain, text, re.DOTALL)
    structured = match and match[2].strip() and (match[4] + match[6]).strip()
    assert bool(FORMAT.spans(text)) == bool(structured)
    if structured:
        expected = [match.span(group) for group in (2, 4, 6) if match[group]]
        assert [(span.start, span.end) for span in FORMAT.spans(text)] == expected


@unhurried
@given(soup | replies)
def test_answer_is_what_the_last_closed_pair_says(text):
    pairs = re.findall("<answer>((?:(?!</?answer>).)*)</answer>", text, re.DOTALL)
    assert FORMAT.answer(text) == (pairs[-1] if pairs else None)


@unhurried
@given(st.text())
def test_any_text_is_taken(text):
    assert FORMAT.spans(text) == []
    assert FORMAT.answer(text) is None


@unhurried
@given(st.lists(row_ids, min_size=1, max_size=6), st.randoms())
def test_permuting_rows_permutes_the_result(rows, rng):
    tokenizer = small_byte_level_tokenizer()
    order = list(range(len(rows)))
    rng.shuffle(order)
    roles = token_roles(rows, tokenizer)
    assert torch.equal(token_roles([rows[i] for i in order], tokenizer), roles[order])


@unhurried
@given(row_ids, st.integers(0, 5), st.integers(0, 5))
def test_padding_changes_nothing(ids, left, right):
    tokenizer = small_byte_level_tokenizer()
    pad = tokenizer.pad_token_id
    padded = token_roles(torch.tensor([[pad] * left + ids + [pad] * right], dtype=torch.long), tokenizer)[0].tolist()
    assert padded == [0] * left + token_roles([ids], tokenizer)[0].tolist() + [0] * right


@unhurried
@given(row_ids)
def test_tokens_follow_one_another_and_cover_the_text(ids):
    tokenizer = small_byte_level_tokenizer()
    text, spans = token_spans(ids, tokenizer)
    known = [token for token in ids if 0 <= token < len(tokenizer)]
    assert text == tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert len(spans) == len(ids)
    reached = 0
    for start, end in spans:
        assert start <= reached <= end
        assert start >= reached - 1  # a token shares at most one character with those before it
        reached = end
    assert reached == len(text)


@unhurried
@given(replies)
def test_role_tokens_say_the_contents(text):
    """With one token a byte none straddles, so the tokens of a role spell exactly the contents of its blocks."""
    tokenizer, data = small_byte_level_tokenizer(), text.encode()
    roles = token_roles([piece_ids(tokenizer, [bytes([byte]) for byte in data])], tokenizer)[0].tolist()
    for role in (Role.PERCEPTION, Role.REASONING):
        said = bytes(byte for byte, token_role in zip(data, roles, strict=True) if token_role == role)
        blocks = [text[span.start : span.end] for span in FORMAT.spans(text) if span.role == role]
        assert said == "".join(blocks).encode()
