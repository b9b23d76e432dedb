"""pass@k, maj@k, groups of equal answers and bootstrap intervals, by hand."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from srpo.evaluation.bootstrap import Bootstrap, Estimate
from srpo.evaluation.metrics import answer_groups, estimates, estimates_by, majority_score, pass_at_k, reported_k
from srpo.evaluation.store import ScoredReply

MATH = {"options": [], "task": "math"}


def reply(answer, right=False, row=0, sample=0, **changes):
    """A scored reply that says no more than the test is about."""
    made = ScoredReply(
        variant="as_is",
        row=row,
        row_id=f"row-{row}",
        question="?",
        reference="5",
        task="math",
        family="",
        sample=sample,
        prefix="",
        text="",
        answer=answer,
        ended=True,
        tokens=10,
        token_ids=[],
        score=float(right),
        right=right,
        structured=answer is not None,
        format=float(answer is not None),
    )
    return replace(made, **changes)


class TestPassAtK:
    @pytest.mark.parametrize("right", range(5))
    @pytest.mark.parametrize("k", range(1, 5))
    def test_is_the_share_of_draws_with_a_right_reply(self, right, k):
        draws = list(combinations([True] * right + [False] * (4 - right), k))
        assert pass_at_k(4, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))

    def test_refuses_more_than_there_are(self):
        with pytest.raises(ValueError, match="pass@5 needs k from 1 to the 4 replies of a question; draw more"):
            pass_at_k(4, 1, 5)

    def test_reported_k(self):
        assert [reported_k(n) for n in (1, 2, 3, 4, 6, 8)] == [[], [2], [2, 3], [2, 4], [2, 4, 6], [2, 4, 8]]


class TestMajority:
    def test_the_most_frequent_answer_decides(self):
        assert majority_score([reply("5", True), reply("5", True), reply("6")], MATH) == 1.0
        assert majority_score([reply("6"), reply("6"), reply("5", True)], MATH) == 0.0

    def test_a_tie_is_broken_by_chance_in_expectation(self):
        assert majority_score([reply("5", True), reply("6")], MATH) == 0.5
        assert majority_score([reply("5", True), reply("6"), reply("7")], MATH) == pytest.approx(1 / 3)
        votes = [reply("5", True), reply("6"), reply("5", True), reply("6"), reply("7")]
        assert majority_score(votes, MATH) == 0.5

    def test_replies_without_an_answer_do_not_vote(self):
        assert majority_score([reply(None), reply(None), reply(" "), reply("5", True)], MATH) == 1.0
        assert majority_score([reply(None), reply(None)], MATH) == 0.0

    @pytest.mark.parametrize(
        ("answers", "row", "sizes"),
        [
            (["0.5", "1/2", r"\frac{1}{2}", "50%", "2"], MATH, [4, 1]),
            (["B", "(b)", "two cups", "A"], {"options": ["one cup", "two cups"], "task": "choice"}, [3, 1]),
            (["The cat", "cat.", "dog"], {"options": [], "task": "text"}, [2, 1]),
            (["100", "104", "120"], {"options": [], "task": "math:5%"}, [2, 1]),
            (["5", "5.0", "7"], {"options": [], "task": "range"}, [2, 1]),
            (["[0, 0, 10, 10]", "[0, 0, 10, 9]", "[50, 50, 60, 60]"], {"options": [], "task": "box"}, [2, 1]),
            (["x" * 300, "x" * 300, "y" * 300], MATH, [2, 1]),
        ],
    )
    def test_equal_answers_are_those_that_the_grader_takes_for_equal(self, answers, row, sizes):
        assert [len(group) for group in answer_groups([reply(answer) for answer in answers], row)] == sizes


class TestBootstrap:
    def test_the_interval_of_a_mean_is_that_of_the_normal_law(self):
        values = np.random.default_rng(3).normal(2.0, 1.0, size=400)
        found = Bootstrap(seed=1, resamples=4000).mean(values)
        spread = values.std() / np.sqrt(400)
        assert found.value == pytest.approx(values.mean())
        assert found.low == pytest.approx(values.mean() - 1.96 * spread, abs=0.02)
        assert found.high == pytest.approx(values.mean() + 1.96 * spread, abs=0.02)
        assert found.n == 400

    def test_it_repeats_with_its_seed(self):
        values = np.random.default_rng(2).random(50)
        assert Bootstrap(seed=4).mean(values) == Bootstrap(seed=4).mean(values)
        assert Bootstrap(seed=4).mean(values) != Bootstrap(seed=5).mean(values)

    def test_a_ratio_of_sums(self):
        found = Bootstrap().ratio([1, 0, 2, 0], [2, 1, 2, 0])
        assert found.value == pytest.approx(3 / 5)
        assert found.n == 3
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0

    def test_alike_questions_leave_no_doubt(self):
        assert Bootstrap().mean([0.25] * 8) == Estimate(0.25, 0.25, 0.25, 8)

    @pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.30850), (1.0, 0.69150, 1.0)])
    def test_a_share_of_none_or_all_has_the_interval_of_clopper_and_pearson(self, value, low, high):
        """For 0 of 10: 1 - 0.025^(1/10) = 0.30850."""
        found = Bootstrap().mean([value] * 10, share=True)
        assert (found.value, found.n) == (value, 10)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)
        assert Bootstrap().mean([value] * 10).low == Bootstrap().mean([value] * 10).high == value
        values = [0.0, 0.0, 1.0, 0.5]
        assert Bootstrap().mean(values, share=True) == Bootstrap().mean(values)

    def test_covers_the_truth_about_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        runs = [Bootstrap(seed=i, resamples=400).mean(rng.random(60) < 0.4) for i in range(200)]
        assert 0.89 <= np.mean([run.low <= 0.4 <= run.high for run in runs]) <= 0.99

    @pytest.mark.parametrize(("above", "below"), [([], []), ([0.0, 0.0], [0, 0])])
    def test_refuses_nothing(self, above, below):
        with pytest.raises(ValueError, match="an estimate needs a question"):
            Bootstrap().ratio(above, below)


class TestEstimates:
    # question 0: 5 5 6 6 -> 2 of 4 right; question 1: 5 and three without an answer -> 1 of 4
    REPLIES = (
        *(reply(answer, answer == "5", 0, i, tokens=10) for i, answer in enumerate("5566")),
        reply("5", True, 1, 0, tokens=30),
        *(reply(None, False, 1, i, tokens=50, ended=False) for i in (1, 2, 3)),
    )
    ROWS = (MATH, MATH)

    def test_every_figure_by_hand(self):
        found = {name: e.value for name, e in estimates(self.REPLIES, self.ROWS, Bootstrap()).items()}
        assert found == pytest.approx(
            {
                "accuracy": (2 / 4 + 1 / 4) / 2,
                "pass@2": ((1 - 1 / 6) + (1 - 3 / 6)) / 2,
                "pass@4": 1.0,
                "maj@4": (0.5 + 1.0) / 2,
                "structured": (1 + 1 / 4) / 2,
                "format": (1 + 1 / 4) / 2,
                "ended": (1 + 1 / 4) / 2,
                "tokens": (10 + (30 + 150) / 4) / 2,
            }
        )

    def test_questions_are_resampled_not_replies(self):
        """Replies to a question that all agree are one witness: the interval of two questions is that of two values."""
        replies = [reply("5", row == 0, row, i) for row in (0, 1) for i in range(50)]
        found = estimates(replies, self.ROWS, Bootstrap())["accuracy"]
        assert (found.low, found.high, found.n) == (0.0, 1.0, 2)

    def test_figures_that_are_all_right_leave_the_doubt_of_few_questions(self):
        found = estimates([reply("5", True, row, 0, tokens=1) for row in (0, 1)], self.ROWS, Bootstrap())
        assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((0.025**0.5, 1.0))
        assert (found["tokens"].low, found["tokens"].high) == (1.0, 1.0)

    def test_by_task(self):
        other = [replace(r, task="choice") for r in self.REPLIES if r.row == 1]
        found = estimates_by("task", [*self.REPLIES[:4], *other], self.ROWS, Bootstrap())
        assert {name: e["accuracy"].value for name, e in found.items()} == {"choice": 0.25, "math": 0.5}
        assert found["math"]["accuracy"].n == 1
        assert estimates_by("family", self.REPLIES, self.ROWS, Bootstrap()) == {}

    def test_one_reply_a_question_has_an_accuracy_alone(self):
        assert "pass@1" not in estimates([reply("5", True)], self.ROWS, Bootstrap())
        assert "maj@1" not in estimates([reply("5", True)], self.ROWS, Bootstrap())
