"""What must hold of every plan of forward passes, for any lengths and any budget."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from srpo.shared_scoring import LENGTH_SPREAD, Piece, plan_passes


@st.composite
def batches(draw):
    """(pieces, groups, prompt lengths): rollouts of a group are anywhere, and not every rollout has a piece."""
    size = draw(st.integers(1, 12))
    groups = []
    for row in range(size):
        groups.append(draw(st.sampled_from([*sorted(set(groups)), row])))
    of_group = {group: draw(st.integers(1, 40)) for group in sorted(set(groups))}
    place = st.tuples(st.integers(0, 2), st.integers(0, size - 1))
    lengths = draw(st.dictionaries(place, st.integers(1, 30)))
    pieces = [Piece(context, row, length) for (context, row), length in lengths.items()]
    return pieces, groups, [of_group[group] for group in groups]


BUDGETS = st.integers(1, 300)


@given(batches(), BUDGETS)
@settings(max_examples=400, deadline=None)
def test_every_piece_runs_once_behind_its_own_prompt(batch, max_tokens):
    pieces, groups, prompt_lengths = batch
    blocks = plan_passes(pieces, groups, prompt_lengths, max_tokens)
    ran = Counter(piece for block in blocks for members in block.passes for piece in members)
    assert ran == Counter(pieces)
    for block in blocks:
        assert {groups[piece.row] for members in block.passes for piece in members} == set(block.prompts)


@given(batches(), BUDGETS)
@settings(max_examples=400, deadline=None)
def test_every_prompt_that_is_read_is_encoded_once(batch, max_tokens):
    pieces, groups, prompt_lengths = batch
    blocks = plan_passes(pieces, groups, prompt_lengths, max_tokens)
    assert Counter(prompt for block in blocks for prompt in block.prompts) == Counter({groups[p.row] for p in pieces})


@given(batches(), BUDGETS)
@settings(max_examples=400, deadline=None)
def test_no_pass_exceeds_the_budget_but_a_single_prompt_or_piece(batch, max_tokens):
    pieces, groups, prompt_lengths = batch
    for block in plan_passes(pieces, groups, prompt_lengths, max_tokens):
        widths = [prompt_lengths[prompt] for prompt in block.prompts]
        assert len(widths) == 1 or len(widths) * max(widths) <= max_tokens
        for members in block.passes:
            lengths = [piece.length for piece in members]
            assert len(lengths) == 1 or len(lengths) * max(lengths) <= max_tokens
            assert min(lengths) >= LENGTH_SPREAD * max(lengths)


@given(batches(), BUDGETS, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_a_plan_does_not_depend_on_the_order_of_the_pieces(batch, max_tokens, random):
    pieces, groups, prompt_lengths = batch
    shuffled = random.sample(pieces, len(pieces))
    passes = [block.passes for block in plan_passes(pieces, groups, prompt_lengths, max_tokens)]
    again = [block.passes for block in plan_passes(shuffled, groups, prompt_lengths, max_tokens)]
    assert Counter(len(p) for block in passes for p in block) == Counter(len(p) for block in again for p in block)


@given(batches())
@settings(max_examples=100, deadline=None)
def test_an_ample_budget_encodes_all_prompts_together(batch):
    pieces, groups, prompt_lengths = batch
    assert len(plan_passes(pieces, groups, prompt_lengths, 10**6)) == bool(pieces)
