"""Replies of a model at temperature 1: seeded batches that the processes share out, each judged where it was drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset

from srpo.evaluation.sampling import Request, TransformersSampler
from srpo.prompts import Message, instruction
from srpo.roles import ResponseFormat
from srpo.warmup.demonstrations import Verdict, judge, write_reply

SAMPLING_PROMPTS = ("explicit", "plain")


@dataclass(frozen=True)
class Reply:
    """A sampled reply: its text without special tokens, whether it ended by itself, and the verdict on it."""

    text: str
    ended: bool
    verdict: Verdict


class Sampler:
    """Draws one reply for each row of a list.

    The list is cut into batches, which the processes take in turns. A batch has its own seed, so the replies do not
    depend on the number of processes. Every process gets all replies.

    Args:
        model: a vision-language model in evaluation mode; its generation defaults are replaced.
        processor: its processor, padding on the left.
        response_format: the tags by which replies are judged.
        max_completion_length: most tokens of a reply.
        batch_size: replies that are drawn together.
        seed: of the draws.
        progress: called with the number of replies just drawn, over all processes as far as this one can tell.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        response_format: ResponseFormat,
        *,
        max_completion_length: int,
        batch_size: int,
        seed: int,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.draw = TransformersSampler(model, processor, max_completion_length=max_completion_length)
        self.response_format = response_format
        self.batch_size, self.seed, self.progress = batch_size, seed, progress

    def __call__(self, dataset: Dataset, rows: Sequence[int], draw: str, *, explicit: bool = False) -> list[Reply]:
        """One reply for each of the row indices `rows` of `dataset`, in their order.

        Args:
            dataset: rows of the one schema.
            rows: row indices.
            draw: names this draw; another name gives other replies.
            explicit: ask for the format once more, with an example, behind the question.
        """
        state = PartialState()
        starts = range(0, len(rows), self.batch_size)
        drawn: list[tuple[int, list[Reply]]] = []
        for start in list(starts)[state.process_index :: state.num_processes]:
            batch = [dataset[i] for i in rows[start : start + self.batch_size]]
            drawn.append((start, self._batch(batch, f"{self.seed}/{draw}/{start}", explicit)))
            if self.progress is not None:
                self.progress(min(self.batch_size * state.num_processes, len(rows) - start))
        return [reply for _, batch in sorted(gather_object(drawn), key=lambda pair: pair[0]) for reply in batch]

    def _batch(self, rows: list[dict[str, Any]], seed: str, explicit: bool) -> list[Reply]:
        requests = [
            Request(
                row["id"],
                with_example(row["prompt"], self.response_format) if explicit else row["prompt"],
                row["images"],
            )
            for row in rows
        ]
        replies = self.draw(requests, seed)
        verdicts = judge([reply.text for reply in replies], rows, self.response_format)
        return [Reply(r.text, r.ended, verdict) for r, verdict in zip(replies, verdicts, strict=True)]


def with_example(messages: Sequence[Message], response_format: ResponseFormat) -> list[Message]:
    """The messages with the response format spelled out behind the question, and a worked example in words."""
    example = write_reply("three red cups; two blue cups", "3 + 2 = 5 cups", "5", response_format)
    opening, closing = response_format.block("answer")
    request = (
        f"\n\n{instruction(response_format)}\n"
        "Write each tag exactly as it stands here, once, and close every block. "
        f"Write nothing before the first tag and nothing after {closing}. "
        f"Between {opening} and {closing} goes the bare answer; with options, their letter.\n"
        f"A reply to the question how many cups are in another image:\n{example}"
    )
    *before, last = messages
    content = last["content"]
    if isinstance(content, str):
        return [*before, {**last, "content": content + request}]
    return [*before, {**last, "content": [*content, {"type": "text", "text": request}]}]
