"""One evaluation: the replies, as far as they are not there yet, and the figures that they give."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from accelerate import PartialState

from srpo.evaluation.audit import VARIANTS, AuditRequests, audit_metrics, audit_metrics_by
from srpo.evaluation.audit.rows import without_images
from srpo.evaluation.bootstrap import Bootstrap, Estimate
from srpo.evaluation.metrics import Estimates, estimates, estimates_by
from srpo.evaluation.sampling import Request, Sampler
from srpo.evaluation.scoring import Score, make_scorer
from srpo.evaluation.store import AS_IS, Batch, ReplyStore, ScoredReply, plan_batches
from srpo.roles import ResponseFormat

Corrupt = Callable[[Any, int], Any]
Advance = Callable[[int], None]  # told how many replies are there
Progress = Callable[[str, int, int], AbstractContextManager[Advance]]  # (variant, replies there, replies in all)


@dataclass(frozen=True)
class Options:
    """What an evaluation does.

    Attributes:
        samples: k, the replies to a question.
        batch_size: replies that are drawn together.
        seed: of the draws, of the audit and of the intervals.
        response_format: the tags.
        audit: ask again with other images and other perceptions, too.
        corrupted: function (image, seed) -> corrupted image, for the audit; None for the audit's own.
        opened: tag that the chat template opens at the end of a prompt, for the audit; None for none.
    """

    samples: int
    batch_size: int
    seed: int
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    audit: bool = False
    corrupted: Corrupt | None = None
    opened: str | None = None


@dataclass(frozen=True)
class Result:
    """The figures of an evaluation; those of the audit are {} without one.

    `seconds` is the time of all draws and their scores, whenever and in whichever process they were made.
    """

    questions: int
    metrics: Estimates
    by_task: dict[str, Estimates]
    by_family: dict[str, Estimates]
    audit: Estimates
    audit_by_task: dict[str, Estimates]
    audit_by_family: dict[str, Estimates]
    seconds: float


def evaluate(
    sampler: Callable[[], Sampler], rows: Any, options: Options, store: ReplyStore, progress: Progress | None = None
) -> Result:
    """Draw the replies that the store does not hold, score them, and give the figures of all.

    The processes of a distributed run share the batches; all of them need the store's folder. Every process gets the
    result.

    Args:
        sampler: gives the sampler; called once, and only where a reply is missing.
        rows: the questions, a data set of the one schema or a list of such rows.
        options: what to do.
        store: holds the replies.
        progress: shows how far the draws are.
    """
    draw = _Draw(sampler, without_images(rows), options, store, progress or _silent)
    as_is = draw(AS_IS, PlainRequests(rows, options.samples), _places(len(rows), options.samples))
    variants = {AS_IS: as_is}
    for variant in VARIANTS if options.audit else ():
        requests = AuditRequests(
            variant,
            rows,
            as_is,
            response_format=options.response_format,
            seed=options.seed,
            opened=options.opened,
            **({"corrupted": options.corrupted} if options.corrupted else {}),
        )
        wanted = [i for i in range(len(as_is)) if requests.applies(i)]
        variants[variant] = draw(variant, requests, [(reply.row, reply.sample) for reply in as_is], wanted)
    if PartialState().is_main_process:
        store.finish(list(variants))
    PartialState().wait_for_everyone()
    return _figures(draw.rows, variants, options)


def _figures(rows: Sequence[Mapping[str, Any]], variants: dict[str, list[ScoredReply]], options: Options) -> Result:
    bootstrap, as_is = Bootstrap(options.seed), variants[AS_IS]
    how: dict[str, Any] = {"response_format": options.response_format, "bootstrap": bootstrap}

    def audited_by(column: str) -> dict[str, Estimates]:
        groups = audit_metrics_by(column, rows, variants, **how) if options.audit else {}
        return {kind: _known(figures) for kind, figures in groups.items()}

    return Result(
        len(rows),
        estimates(as_is, rows, bootstrap),
        estimates_by("task", as_is, rows, bootstrap),
        estimates_by("family", as_is, rows, bootstrap),
        _known(audit_metrics(rows, variants, **how)) if options.audit else {},
        audited_by("task"),
        audited_by("family"),
        sum(reply.seconds for replies in variants.values() for reply in replies),
    )


def _known(figures: Mapping[str, Estimate | None]) -> Estimates:
    return {name: estimate for name, estimate in figures.items() if estimate is not None}


class PlainRequests(Sequence[Request]):
    """The questions as they are, k times each, the k next to each other; images are opened when a request is read."""

    def __init__(self, rows: Any, samples: int) -> None:
        self.rows, self.samples = rows, samples

    def __len__(self) -> int:
        return len(self.rows) * self.samples

    def __getitem__(self, index: Any) -> Any:
        number, sample = divmod(range(len(self))[index], self.samples)
        row = self.rows[number]
        return Request(f"{row['id']}/{sample}", row["prompt"], list(row["images"] or []))


@dataclass
class _Draw:
    """Brings all replies of a variant into the store and gives them back."""

    make_sampler: Callable[[], Sampler]
    rows: list[Mapping[str, Any]]
    options: Options
    store: ReplyStore
    progress: Progress
    sampler: Sampler | None = None

    def __call__(
        self,
        variant: str,
        requests: Sequence[Request | None],
        places: Sequence[tuple[int, int]],
        wanted: Sequence[int] | None = None,
    ) -> list[ScoredReply]:
        """Draw the `wanted` requests (all by default); `places` are the (row, sample) of every request."""
        state = PartialState()
        batches = plan_batches(variant, range(len(requests)) if wanted is None else wanted, self.options.batch_size)
        missing = self.store.missing(batches)
        state.wait_for_everyone()  # all look before any writes, so that they share out the same list
        total, left = (sum(len(batch.indices) for batch in some) for some in (batches, missing))
        score = make_scorer(self.options.response_format)
        with self.progress(variant, total - left, total) as advance:
            for batch in missing[state.process_index :: state.num_processes]:
                self._draw_batch(batch, requests, places, score)
                written = set(self.store.written(variant))
                advance(total - sum(len(b.indices) for b in missing if b.number not in written))
        state.wait_for_everyone()
        return self.store.read(variant)

    def _draw_batch(
        self, batch: Batch, requests: Sequence[Request | None], places: Sequence[tuple[int, int]], score: Score
    ) -> None:
        asked = [request for request in (requests[i] for i in batch.indices) if request is not None]
        self.sampler = self.sampler or self.make_sampler()
        started = time.perf_counter()
        replies = self.sampler(asked, batch.seed(self.options.seed))
        prefixes = [request.prefix for request in asked]
        scored = score(batch.variant, self.rows, [places[i] for i in batch.indices], prefixes, replies)
        share = (time.perf_counter() - started) / len(scored)
        self.store.write(batch, [replace(reply, seconds=share) for reply in scored])


def _places(rows: int, samples: int) -> list[tuple[int, int]]:
    return [divmod(i, samples) for i in range(rows * samples)]


def _silent(variant: str, there: int, total: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda count: None)
