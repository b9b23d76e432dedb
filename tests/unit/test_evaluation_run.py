"""Samplers, the store of replies and the flow of an evaluation, with scripted and with real models."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from srpo.data import load, world
from srpo.evaluation.run import Options, PlainRequests, evaluate
from srpo.evaluation.sampling import Reply, Request, TransformersSampler, make_reply
from srpo.evaluation.store import AS_IS, ReplyStore, plan_batches
from srpo.roles import ResponseFormat
from srpo.tiny import model_path

FORMAT = ResponseFormat()


class Scripted:
    """Answers every second sample of a question rightly; counts what it was asked, and may stop on the way."""

    def __init__(self, rows, stop_after=None):
        self.truth = {row["id"]: world.reply(row) for row in rows}
        self.asked, self.seeds, self.stop_after = Counter(), [], stop_after

    def __call__(self, requests, seed):
        if self.stop_after is not None and len(self.seeds) == self.stop_after:
            raise KeyboardInterrupt
        self.seeds.append(seed)
        self.asked.update(request.key for request in requests)
        return [self.reply(request, seed) for request in requests]

    def reply(self, request, seed):
        *_, row, sample = request.key.split("/")
        text = self.truth[row] if int(sample) % 2 == 0 else f"{seed} <answer> wrong </answer>"
        return Reply(text, True, 7, [1] * 7)


@pytest.fixture(scope="module")
def rows():
    return load("shapes", "test", rows=9)


@pytest.fixture(scope="module")
def tiny():
    """The tiny model and its processor."""
    model = AutoModelForImageTextToText.from_pretrained(model_path()).eval()
    return model, AutoProcessor.from_pretrained(model_path())


def run(rows, folder, sampler, **changes):
    options = replace(Options(samples=4, batch_size=8, seed=3), **changes)
    return evaluate(lambda: sampler, rows, options, ReplyStore(folder))


class TestEvaluate:
    def test_asks_every_question_k_times_and_scores(self, rows, tmp_path):
        sampler = Scripted(rows)
        result = run(rows, tmp_path, sampler)
        assert sampler.asked == Counter(f"{row['id']}/{i}" for row in rows for i in range(4))
        assert result.metrics["accuracy"].value == 0.5
        assert result.metrics["pass@2"].value == pytest.approx(1 - 1 / 6)
        assert result.metrics["structured"].value == 0.5
        assert set(result.by_family) == set(world.FAMILY_NAMES)
        assert result.audit == {}
        assert not (tmp_path / "parts").exists()
        replies = ReplyStore(tmp_path).read(AS_IS)
        assert [(r.row, r.sample) for r in replies] == [(row, i) for row in range(9) for i in range(4)]
        assert all(r.perception_needed == (1.0 if r.sample % 2 == 0 else None) for r in replies)

    @pytest.mark.parametrize("stop_after", [0, 1, 4])
    @pytest.mark.parametrize("audit", [False, True])
    def test_goes_on_where_it_stopped(self, rows, tmp_path, stop_after, audit):
        whole = run(rows, tmp_path / "whole", Scripted(rows), audit=audit)
        first, second = Scripted(rows, stop_after), Scripted(rows)
        with pytest.raises(KeyboardInterrupt):
            run(rows, tmp_path / "parts", first, audit=audit)
        result = run(rows, tmp_path / "parts", second, audit=audit)
        assert replace(result, seconds=0.0) == replace(whole, seconds=0.0)
        assert set((first.asked + second.asked).values()) == {1}
        assert not set(first.seeds) & set(second.seeds)
        for variant in ReplyStore(tmp_path / "whole").complete_variants():
            assert ReplyStore(tmp_path / "parts").read(variant) == ReplyStore(tmp_path / "whole").read(variant)

    def test_an_ended_run_draws_nothing_and_takes_an_audit_on_top(self, rows, tmp_path):
        first = run(rows, tmp_path, Scripted(rows))
        again = Scripted(rows)
        assert run(rows, tmp_path, again) == first
        assert not again.asked
        audited = run(rows, tmp_path, again, audit=True)
        assert audited.metrics == first.metrics
        assert audited.audit["vision_gain/blank"].value == 0.0
        assert not any(key.count("/") == 1 for key in again.asked)
        assert run(rows, tmp_path, Scripted(rows)).metrics == first.metrics

    def test_half_a_part_counts_as_none(self, rows, tmp_path):
        """A process that is killed while it writes leaves a file that no reader takes for a batch."""
        with pytest.raises(KeyboardInterrupt):
            run(rows, tmp_path, Scripted(rows, 2))
        (tmp_path / "parts" / "as_is-000002.parquet.77.part").write_bytes(b"PAR1")
        assert len(ReplyStore(tmp_path).read(AS_IS)) == 16
        assert run(rows, tmp_path, Scripted(rows)).questions == 9
        assert len(ReplyStore(tmp_path).read(AS_IS)) == 36

    def test_seeds_follow_from_run_variant_and_batch(self, rows, tmp_path):
        sampler = Scripted(rows)
        run(rows, tmp_path, sampler)
        assert sampler.seeds == [f"3/as_is/{i}" for i in range(5)]


def test_a_plan_covers_every_index_once():
    batches = plan_batches("x", [3, 5, 6, 8, 9], 2)
    assert [batch.indices for batch in batches] == [(3, 5), (6, 8), (9,)]
    assert [batch.seed(1) for batch in batches] == ["1/x/0", "1/x/1", "1/x/2"]


class TestTransformersSampler:
    def sampler(self, tiny, **options):
        return TransformersSampler(*tiny, **({"max_completion_length": 48} | options))

    def test_draws_follow_from_the_seed(self, tiny, rows):
        requests, draw = list(PlainRequests(rows, 1))[:3], self.sampler(tiny)
        torch.manual_seed(0)
        first = draw(requests, "a")
        assert draw(requests, "a") == first
        assert draw(requests, "b") != first
        assert draw([], "a") == []

    def test_greedy_replies_depend_on_no_seed(self, tiny, rows):
        requests, draw = list(PlainRequests(rows, 1))[:3], self.sampler(tiny, temperature=0)
        assert draw(requests, "a") == draw(requests, "b")

    def test_continues_a_prefix(self, tiny, rows):
        """Greedy from a prefix of the greedy reply gives that reply."""
        draw = self.sampler(tiny, temperature=0)
        (plain,) = draw([PlainRequests(rows, 1)[0]], "a")
        end = plain.text.index("<think>")
        (continued,) = draw([replace(PlainRequests(rows, 1)[0], prefix=plain.text[:end])], "a")
        assert continued.text == plain.text
        assert 0 < continued.tokens < plain.tokens
        assert plain.token_ids[-continued.tokens :] == continued.token_ids

    def test_an_edited_prefix_is_kept(self, tiny, rows):
        draw = self.sampler(tiny, temperature=0)
        prefix = "<perception> red 1 </perception>"
        (reply,) = draw([replace(PlainRequests(rows, 1)[0], prefix=prefix)], "a")
        assert reply.text.startswith(prefix + "<think>")

    def test_a_reply_that_is_cut_off_has_not_ended(self, tiny, rows):
        (reply,) = self.sampler(tiny, max_completion_length=3)([PlainRequests(rows, 1)[0]], "a")
        assert (reply.ended, reply.tokens, len(reply.token_ids)) == (False, 3, 3)

    def test_what_stands_behind_the_end_is_padding(self, tiny):
        tokenizer = tiny[1].tokenizer
        end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        ids = tokenizer("<answer> 5 </answer>")["input_ids"]
        reply = make_reply(Request("x", [], prefix="p "), [*ids, end, pad, pad], [end], tokenizer)
        assert (reply.text, reply.ended, reply.tokens) == ("p <answer> 5 </answer>", True, len(ids) + 1)
