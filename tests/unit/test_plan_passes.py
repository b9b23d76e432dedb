"""Which pieces run together, by hand. Five rollouts: 0, 1 and 2 share a prompt of 6 tokens, 3 and 4 one of 9."""

from srpo.shared_scoring import Piece, plan_passes

GROUPS = [0, 0, 0, 3, 3]
PROMPT_LENGTHS = [6, 6, 6, 9, 9]


def plan(lengths, max_tokens, groups=GROUPS, prompt_lengths=PROMPT_LENGTHS):
    """(prompts, lengths of each pass) of every block, for pieces (context, row) -> length."""
    pieces = [Piece(context, row, length) for (context, row), length in lengths.items()]
    blocks = plan_passes(pieces, groups, prompt_lengths, max_tokens)
    return [
        (block.prompts, [[(piece.context, piece.row) for piece in members] for members in block.passes])
        for block in blocks
    ]


def test_nothing_to_score_needs_no_pass():
    assert plan({}, 100) == []


def test_what_fits_runs_in_one_pass_from_long_to_short():
    assert plan({(0, 0): 8, (0, 3): 10, (1, 2): 9}, 100) == [([3, 0], [[(0, 3), (1, 2), (0, 0)]])]


def test_a_group_without_pieces_is_not_encoded():
    assert plan({(0, 1): 5, (1, 1): 5}, 100) == [([0], [[(0, 1), (1, 1)]])]


def test_prompts_above_the_budget_go_to_blocks_of_their_own():
    assert plan({(0, 0): 5, (0, 3): 5}, 17) == [([3], [[(0, 3)]]), ([0], [[(0, 0)]])]
    assert plan({(0, 0): 5, (0, 3): 5}, 18) == [([3, 0], [[(0, 0), (0, 3)]])]  # 2 x 9 with padding


def test_pieces_above_the_budget_go_to_passes_of_their_own():
    lengths = {(0, 0): 10, (0, 1): 10, (0, 2): 9, (1, 0): 9}
    assert plan(lengths, 20) == [([0], [[(0, 0), (0, 1)], [(0, 2), (1, 0)]])]
    assert plan(lengths, 19) == [([0], [[(0, 0)], [(0, 1)], [(0, 2), (1, 0)]])]
    assert plan(lengths, 1) == [([0], [[(0, 0)], [(0, 1)], [(0, 2)], [(1, 0)]])]


def test_padding_counts():
    assert plan({(0, 0): 10, (0, 1): 8, (0, 2): 8}, 29) == [([0], [[(0, 0), (0, 1)], [(0, 2)]])]
    assert plan({(0, 0): 10, (0, 1): 8, (0, 2): 8}, 30) == [([0], [[(0, 0), (0, 1), (0, 2)]])]


def test_short_pieces_are_not_padded_to_long_ones():
    assert plan({(0, 0): 10, (0, 1): 8, (0, 2): 7}, 1000) == [([0], [[(0, 0), (0, 1)], [(0, 2)]])]


def test_rollouts_of_a_group_need_not_be_neighbours():
    lengths = {(0, row): 5 for row in range(4)}
    assert plan(lengths, 20, [0, 1, 0, 1], [3, 4, 3, 4]) == [([1, 0], [[(0, 0), (0, 1), (0, 2), (0, 3)]])]
    assert plan(lengths, 4, [0, 1, 0, 1], [3, 4, 3, 4]) == [
        ([1], [[(0, 1)], [(0, 3)]]),
        ([0], [[(0, 0)], [(0, 2)]]),
    ]


def test_prompts_of_one_length_keep_their_order_whatever_comes_first():
    """With the pieces of row 2 first, prompts 2 and 0 would share a pass and 3 be left alone."""
    groups, prompts = [0, 0, 2, 3], [3, 3, 3, 3]
    lengths = {(0, 2): 1, (0, 0): 1, (1, 2): 1, (0, 3): 1}
    straight = plan(dict(sorted(lengths.items())), 6, groups, prompts)
    assert straight == plan(lengths, 6, groups, prompts) == plan(dict(reversed(lengths.items())), 6, groups, prompts)
