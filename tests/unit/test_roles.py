"""Roles by hand: spans, answers and formats on text; the majority rule on tokens of a crafted tokenizer."""

import pickle

import pytest
import torch

from srpo.roles import ResponseFormat, Role, Span, token_roles, token_spans
from tests.real_tokenizers import crafted_tokenizer, piece_ids

GOOD = "<perception>3 dots</perception><think>so 3</think><answer>3</answer>"
P, R = Role.PERCEPTION, Role.REASONING


def contents(text: str, *tags: str) -> list[tuple[Role, str]]:
    return [(span.role, text[span.start : span.end]) for span in ResponseFormat(*tags).spans(text)]


def test_role_numbers_are_the_contract():
    assert [int(role) for role in (Role.NEUTRAL, Role.PERCEPTION, Role.REASONING)] == [0, 1, 2]


def test_spans_of_a_well_formed_response():
    assert ResponseFormat().spans(GOOD) == [Span(P, 12, 18), Span(R, 38, 42), Span(R, 58, 59)]
    assert [GOOD[12:18], GOOD[38:42], GOOD[58:59]] == ["3 dots", "so 3", "3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n<perception>\n a \n</perception>\n\n<think> b </think> <answer> c </answer>\n", ["\n a \n", " b ", " c "]),
        ("Sure! " + GOOD + " Done.", ["3 dots", "so 3", "3"]),
        (GOOD.replace("</perception><think>", "</perception> and so <think>"), ["3 dots", "so 3", "3"]),
        (GOOD.replace("so 3", "so <b>3</b> < 4 </ think>"), ["3 dots", "so <b>3</b> < 4 </ think>", "3"]),
        (GOOD.replace("3 dots", "漢字 👩‍👩‍👧 é"), ["漢字 👩‍👩‍👧 é", "so 3", "3"]),
        (GOOD.replace("so 3", ""), ["3 dots", "3"]),
        (GOOD.replace("<answer>3", "<answer>"), ["3 dots", "so 3"]),
        (GOOD.replace("so 3", " \n"), ["3 dots", " \n", "3"]),
    ],
    ids=[
        "white space",
        "stray text around",
        "stray text between",
        "other tags",
        "unicode",
        "no think",
        "no answer",
        "blank",
    ],
)
def test_structured_text(text, expected):
    assert [content for _, content in contents(text)] == expected
    assert contents(text)[0][0] == P
    assert {role for role, _ in contents(text)[1:]} == {R}


TAGS = ["<perception>", "</perception>", "<think>", "</think>", "<answer>", "</answer>"]


@pytest.mark.parametrize("tag", TAGS)
def test_each_tag_is_needed_and_only_once(tag):
    assert contents(GOOD.replace(tag, "")) == []
    assert contents(GOOD.replace(tag, tag + tag)) == []
    assert contents(GOOD + tag) == []
    assert contents(tag + GOOD) == []
    assert contents(GOOD.replace(tag, tag[:-1])) == []
    assert contents(GOOD.replace(tag, tag.upper())) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        GOOD + GOOD,
        "<think>so 3</think><perception>3 dots</perception><answer>3</answer>",
        "<perception>3 dots</perception><answer>3</answer><think>so 3</think>",
        "<perception>3 dots<think>so 3</think></perception><answer>3</answer>",
        "<perception>3 dots</perception><think>so 3<answer>3</answer></think>",
        "</perception>3 dots<perception><think>so 3</think><answer>3</answer>",
        GOOD.replace("3 dots", " \n\t"),
        GOOD.replace("3 dots", ""),
        "<perception>3 dots</perception><think> </think><answer>\n</answer>",
        GOOD.replace("so 3", "so <answer>2</answer> 3"),
        *(GOOD[:end] for end in range(len(GOOD))),
    ],
)
def test_unstructured_text_has_no_spans(text):
    assert contents(text) == []


def test_custom_tags():
    seen = ResponseFormat("see", "why-so", "final_1")
    text = "<see>a</see><why-so>b</why-so><final_1>c</final_1>"
    assert contents(text, *seen.tags) == [(P, "a"), (R, "b"), (R, "c")]
    assert contents(GOOD, *seen.tags) == []
    assert seen.block("perception") == ("<see>", "</see>")
    assert seen.block("reasoning") == ("<why-so>", "</why-so>")
    assert seen.block("answer") == ("<final_1>", "</final_1>")
    assert seen.answer(GOOD + text) == "c"


def test_one_tag_may_begin_with_another():
    text = "<a>1</a><ab>2</ab><abc>3</abc>"
    assert contents(text, "a", "ab", "abc") == [(P, "1"), (R, "2"), (R, "3")]


def test_parse_and_str_are_inverse():
    assert str(ResponseFormat()) == "perception,think,answer"
    assert ResponseFormat.parse("perception,think,answer") == ResponseFormat()
    assert ResponseFormat.parse(" see , why , end ") == ResponseFormat("see", "why", "end")
    assert str(ResponseFormat.parse("see,why,end")) == "see,why,end"
    assert hash(ResponseFormat()) == hash(ResponseFormat.parse("perception,think,answer"))
    used = ResponseFormat("see", "why", "end")
    used.spans("")
    assert pickle.loads(pickle.dumps(used)) == used


@pytest.mark.parametrize("name", ["", " see", "1st", "<think>", "a b", "é", "a>", "a|b", "-a", None])
def test_bad_tag_names_are_refused(name):
    with pytest.raises(ValueError, match=r"tag name .* must be a letter followed by .*; write the bare name"):
        ResponseFormat(perception=name)


def test_bad_formats_are_refused():
    with pytest.raises(ValueError, match="tag names a, b, a must differ from one another; rename"):
        ResponseFormat("a", "b", "a")
    with pytest.raises(ValueError, match="'a,b' must name three tags; write them as in"):
        ResponseFormat.parse("a,b")
    with pytest.raises(ValueError, match="'think' must be one of perception, reasoning, answer; blocks go by role"):
        ResponseFormat().block("think")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (GOOD, "3"),
        ("<answer> 3\n</answer>", " 3\n"),
        ("<answer>2</answer> no, <answer>3</answer>", "3"),
        ("<answer>2</answer> no, <answer>3", "2"),
        ("<answer>2 <answer>3</answer>", "3"),
        ("<answer>3</answer></answer>", "3"),
        ("</answer><answer>3</answer>", "3"),
        ("<think><answer>3</answer>", "3"),
        ("<answer>a <think>b</think></answer>", "a <think>b</think>"),
        ("<answer></answer>", ""),
        ("<answer>3", None),
        ("3</answer>", None),
        ("</answer>3<answer>", None),
        ("3", None),
        ("", None),
    ],
)
def test_answer_is_the_content_of_the_last_closed_block(text, answer):
    assert ResponseFormat().answer(text) == answer


SHORT = ResponseFormat("p", "t", "a")


def roles_of(*pieces: str | bytes) -> list[int]:
    chunks = tuple(piece.encode() if isinstance(piece, str) else piece for piece in pieces)
    tokenizer = crafted_tokenizer(*dict.fromkeys(chunk for chunk in chunks if len(chunk) > 1))
    return token_roles([piece_ids(tokenizer, chunks)], tokenizer, SHORT)[0].tolist()


def test_tokens_inside_the_blocks_have_their_role():
    assert roles_of("<p>", "ab", "c", "</p>", "\n", "<t>", "de", "</t>", "<a>", "f", "</a>") == (
        [0, 1, 1, 0, 0, 0, 2, 0, 0, 2, 0]
    )


REST = ("</p>", "<t>", "d", "</t>", "<a>", "e", "</a>")
REST_ROLES = [0, 0, 2, 0, 0, 2, 0]


@pytest.mark.parametrize(
    ("opening", "straddling", "role"),
    [
        ("<p", ">ab", 1),  # 1 neutral and 2 perception characters
        ("<p", ">a", 0),  # a tie
        ("<", "p>ab", 0),  # a tie
        ("<", "p>abc", 1),
        ("x<", "p>a", 0),  # 2 neutral and 1 perception character
        ("<", "p>漢字é", 1),  # characters count, not bytes
        ("<p", ">漢", 0),  # a tie of characters, though 3 bytes to 1
    ],
)
def test_a_token_across_an_opening_tag_goes_with_the_majority_of_its_characters(opening, straddling, role):
    assert roles_of(opening, straddling, "z", *REST) == [0, role, 1, *REST_ROLES]


@pytest.mark.parametrize(
    ("straddling", "closing", "role"),
    [
        ("ab<", "/p>", 1),
        ("a<", "/p>", 0),
        ("abc</", "p>", 1),
        ("é漢字</", "p>", 1),
        ("a</p>", "\n", 0),
        ("ab</", "p>", 0),
    ],
)
def test_a_token_across_a_closing_tag_goes_with_the_majority_of_its_characters(straddling, closing, role):
    assert roles_of("<p>", "z", straddling, closing, *REST[1:]) == [0, 1, role, 0, *REST_ROLES[1:]]


def test_a_token_over_two_roles_is_neutral_unless_one_prevails():
    # "abcdefgh</p><t>i": 8 perception, 7 neutral, 1 reasoning
    assert roles_of("<p>", "abcdefgh</p><t>i", "j", "</t>", "<a>", "e", "</a>") == [0, 1, 2, 0, 0, 2, 0]
    # "abcdefgh</p><t>ijklmnop": 8 perception, 7 neutral, 8 reasoning
    assert roles_of("<p>", "x", "abcdefgh</p><t>ijklmnop", "</t>", "<a>", "e", "</a>") == [0, 1, 0, 0, 0, 2, 0]


def test_each_part_of_a_split_character_has_the_role_of_the_character():
    kanji = "漢".encode()
    pieces = (
        "<p>",
        kanji[:1],
        kanji[1:2],
        kanji[2:],
        "</p>",
        "<t>",
        "d",
        kanji[:2],
        kanji[2:] + b"</t>",
        "<a>",
        "e",
        "</a>",
    )
    assert roles_of(*pieces) == [0, 1, 1, 1, 0, 0, 2, 2, 0, 0, 2, 0]
    # ">" and the first byte of the character: 1 neutral, 1 perception
    assert roles_of("<p", b">" + kanji[:1], kanji[1:], "z", *REST) == [0, 0, 1, 1, *REST_ROLES]


def test_bytes_that_are_no_character_do_not_shift_the_rest():
    truncated = "🙂".encode()[:3]
    assert roles_of("<p>", b"\xff", truncated, "z", *REST) == [0, 1, 1, 1, *REST_ROLES]
    assert roles_of("<p>", "z", *REST, "🙂".encode()[:2]) == [0, 1, *REST_ROLES, 0]


def test_a_role_without_a_token_leaves_the_row_neutral():
    assert roles_of("<p>a</p>", "<t>", "d", "</t>", "<a>", "e", "</a>") == [0] * 7
    assert roles_of("<p>", "a", "</p>", "<t>b</t><a>c</a>") == [0] * 4


def test_special_tokens_padding_and_unknown_ids_are_neutral_and_change_nothing():
    pieces = (b"<p>", b"ab", b"</p>", b"<t>", b"</t>", b"<a>", b"</a>")
    tokenizer = crafted_tokenizer(*pieces)
    opening, seen, *rest = piece_ids(tokenizer, [b"<p>", b"ab", b"</p>", b"<t>", b"d", b"</t>", b"<a>", b"e", b"</a>"])
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    ids = [pad, opening, eos, -100, seen, 10**6, 2**40, *rest, eos, pad, pad]
    expected = [0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 2, 0, 0, 0, 0]
    assert token_roles(torch.tensor([ids]), tokenizer, SHORT).tolist() == [expected]


def test_shapes_and_types():
    tokenizer = crafted_tokenizer(b"<p>", b"</p>", b"<t>", b"</t>", b"<a>", b"</a>")
    row = piece_ids(tokenizer, [b"<p>", b"x", b"</p>", b"<t>", b"d", b"</t>", b"<a>", b"e", b"</a>"])
    expected = [0, 1, 0, 0, 2, 0, 0, 2, 0]
    roles = token_roles([row, row[:2], [], [*row, 0, 0]], tokenizer, SHORT)
    assert roles.dtype == torch.long
    assert roles.tolist() == [[*expected, 0, 0], [0] * 11, [0] * 11, [*expected, 0, 0]]
    assert token_roles(torch.tensor([row], dtype=torch.int32), tokenizer, SHORT).tolist() == [expected]
    assert token_roles([torch.tensor(row)], tokenizer, SHORT).tolist() == [expected]
    assert token_roles([], tokenizer).shape == (0, 0)
    assert token_roles(torch.zeros(0, 5, dtype=torch.long), tokenizer).shape == (0, 5)
    assert token_roles(torch.zeros(2, 0, dtype=torch.long), tokenizer).shape == (2, 0)


def test_ids_of_a_wrong_shape_or_type_are_refused():
    tokenizer = crafted_tokenizer(b"<p>")
    with pytest.raises(ValueError, match=r"shape \(3,\) .* must be integers of shape \(B, T\); add the missing axis"):
        token_roles(torch.tensor([1, 2, 3]), tokenizer)
    with pytest.raises(ValueError, match=r"torch.float32 must be integers of shape \(B, T\)"):
        token_roles(torch.zeros(1, 2), tokenizer)
    with pytest.raises(ValueError, match=r"completion_ids\[0\] is the integer 1 but must be a list"):
        token_roles([1, 2, 3], tokenizer)


def test_token_spans_cover_the_text():
    tokenizer = crafted_tokenizer(b"ab", "漢".encode()[:2], "漢".encode()[2:] + b"c")
    ids = piece_ids(tokenizer, [b"ab", "漢".encode()[:2], "漢".encode()[2:] + b"c", b"d"])
    assert token_spans([ids[0], tokenizer.eos_token_id, *ids[1:]], tokenizer) == (
        "ab漢cd",
        [(0, 2), (2, 2), (2, 3), (2, 4), (4, 5)],
    )
    assert token_spans([], tokenizer) == ("", [])


def test_tokens_added_later_are_seen():
    tokenizer = crafted_tokenizer(b"<p>", b"added later")
    before = token_spans([len(tokenizer)], tokenizer)
    tokenizer.add_tokens(["<new tag>"])
    assert before == ("", [(0, 0)])
    assert token_spans([len(tokenizer) - 1], tokenizer) == ("<new tag>", [(0, 9)])
