"""Log-probabilities of role tokens at almost no cost: what a gap needs is scored, once, and nothing else.

Per prompt view (the prompt with its own images, the prompt with corrupted ones):
1. each prompt is encoded once for its group (`srpo.prompt_cache`), and not at all where no rollout needs it;
2. every (context, rollout) with tokens to score is one *piece*: its completion up to the last of these tokens;
3. pieces of like length run together, as many as a budget of tokens allows.

`plan_passes` decides 3 from lengths alone. Axes: B rollouts, T completion tokens, C contexts of a view, R pieces of a
pass, L their longest.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch

from srpo.contrast import Context
from srpo.prompt_cache import PromptCache, encode_prompts

READ_PER_FED = 2  # tokens read per token fed, at most; each layer copies keys and values of what is read
LENGTH_SPREAD = 0.8  # a pass holds pieces at least this long, relative to its longest

Item = TypeVar("Item")


@dataclass(frozen=True)
class Piece:
    """A completion to run behind its prompt.

    Attributes:
        context: index of its context among the contexts of the view.
        row: rollout.
        length: completion tokens up to the last one to score, at least 1.
    """

    context: int
    row: int
    length: int


@dataclass(frozen=True)
class Block:
    """Prompts that are encoded in one pass, and the passes that read them.

    Attributes:
        prompts: a rollout of each group.
        passes: pieces of each pass.
    """

    prompts: list[int]
    passes: list[list[Piece]]


def plan_passes(
    pieces: Sequence[Piece], groups: Sequence[int], prompt_lengths: Sequence[int], max_tokens: int
) -> list[Block]:
    """Distribute pieces over forward passes of bounded memory.

    Padding included, a pass feeds at most `max_tokens` tokens; its rollouts read at most `READ_PER_FED` times as many,
    prompts counted for each. A single prompt or piece above these bounds gets a pass of its own. Each prompt is
    encoded once, also where the pieces of its group do not fit into one pass.

    Args:
        pieces: what to run.
        groups: (B,) for each rollout, the first rollout with the same prompt.
        prompt_lengths: (B,) tokens of each rollout's prompt.
        max_tokens: the budget of a pass.
    """
    by_group: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_group.setdefault(groups[piece.row], []).append(piece)
    blocks: list[Block] = []
    longest_first = sorted(by_group, key=lambda row: (-prompt_lengths[row], row))
    for chosen in _fill(
        longest_first, prompt_lengths.__getitem__, lambda count, longest: count * longest <= max_tokens
    ):
        members = [piece for group in chosen for piece in by_group[group]]
        members.sort(key=lambda piece: (-piece.length, piece.context, piece.row))
        fits = partial(_fits, max_tokens, prompt_lengths[chosen[0]])
        blocks.append(Block(chosen, _fill(members, lambda piece: piece.length, fits, LENGTH_SPREAD)))
    return blocks


def _fits(max_tokens: int, prompt: int, count: int, longest: int) -> bool:
    """Whether a number of pieces behind prompts of some length stays within the budget."""
    return count * longest <= max_tokens and count * (prompt + longest) <= READ_PER_FED * max_tokens


def _fill(
    items: Sequence[Item], length: Callable[[Item], int], fits: Callable[[int, int], bool], spread: float = 0.0
) -> list[list[Item]]:
    """Cut a list that is sorted from long to short into batches: `fits` takes a count and the longest length."""
    batches: list[list[Item]] = []
    longest = 0
    for item in items:
        if not batches or not fits(len(batches[-1]) + 1, longest) or length(item) < spread * longest:
            batches.append([])
            longest = length(item)
        batches[-1].append(item)
    return batches


@torch.no_grad()
def shared_log_probs(
    model: Any,
    contexts: Mapping[str, Context],
    wanted: Mapping[str, torch.Tensor],
    groups: Sequence[int],
    *,
    max_tokens: int,
    agree: Callable[[list[int]], list[int]] = list,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> dict[str, torch.Tensor]:
    """Log-probabilities of the wanted tokens of every context, equal to `plain_log_probs` there.

    Args:
        model: the policy in evaluation mode, with TRL's fused head (`add_fused_lm_head`), which divides logits by the
            sampling temperature and never holds (B, T, V).
        contexts: by name; those that share their `vision` share their encoded prompts.
        wanted: by name, (B, T) tokens of the original completion to score; none for names that are left out.
        groups: (B,) for each rollout, the first rollout with the same prompt.
        max_tokens: tokens of a forward pass, padding included; bounds the memory (`plan_passes`).
        agree: the elementwise maximum of lists of counts over all ranks, shorter lists filled with zeros: every rank
            makes as many forward passes as the busiest, dummies where it has nothing to score, and encodes an image
            where another does.
        autocast: context for the forward passes.

    Returns:
        By name, (B, T) log-probabilities in nats, float32; NaN where nothing was wanted.
    """
    scored: dict[str, torch.Tensor] = {}
    views = {id(context.vision): context.vision for context in contexts.values()}
    for view in views:
        names = [name for name, context in contexts.items() if id(context.vision) == view]
        scorer = _View([contexts[name] for name in names], [wanted.get(name) for name in names], groups)
        blocks = plan_passes(scorer.pieces(), groups, scorer.prompt_lengths, max_tokens)
        counts = agree([count for block in blocks for count in (len(block.passes), int(scorer.has_image(block)))])
        with autocast():
            for index, (passes, image) in enumerate(zip(counts[::2], counts[1::2], strict=True)):
                block = blocks[index] if index < len(blocks) else Block([], [])
                scorer.run(model, scorer.with_stand_in(block, bool(image)), passes)
        scored.update(zip(names, scorer.log_probs(), strict=True))
    return scored


class _View:
    """The contexts of one prompt view, stacked: what is fed, what is wanted, and what came out."""

    def __init__(
        self, contexts: Sequence[Context], wanted: Sequence[torch.Tensor | None], groups: Sequence[int]
    ) -> None:
        self.first, self.contexts, self.groups = contexts[0], contexts, groups
        self.ids = torch.stack([context.completion_ids for context in contexts])  # (C, B, T)
        self.wanted = torch.stack(
            [_in_context(context, tokens) for context, tokens in zip(contexts, wanted, strict=True)]
        )  # (C, B, T)
        self.scored = torch.full(self.ids.shape, torch.nan, device=self.ids.device)  # (C, B, T)
        self.prompt_lengths: list[int] = self.first.prompt_mask.sum(1).tolist()

    def pieces(self) -> list[Piece]:
        """The completions with tokens to score."""
        ends = torch.arange(1, self.ids.size(2) + 1, device=self.ids.device) * self.wanted  # (C, B, T)
        lengths = ends.amax(2).tolist() if self.ids.size(2) else []
        return [Piece(c, b, length) for c, rows in enumerate(lengths) for b, length in enumerate(rows) if length]

    def has_image(self, block: Block) -> bool:
        """Whether the vision tower runs for the prompts of a block."""
        return any(self.first.has_image[row] for row in block.prompts)

    def with_stand_in(self, block: Block, image: bool) -> Block:
        """The block with a prompt in place of those of other ranks: some prompt, and one with an image if asked.

        A rank that holds no image at all cannot follow: its vision tower stays idle, as in TRL's own passes.
        """
        if block.prompts and (self.has_image(block) or not image):
            return block
        shortest_first = sorted(set(self.groups), key=self.prompt_lengths.__getitem__)
        candidates = [row for row in shortest_first if self.first.has_image[row]] if image else shortest_first
        if not candidates and not block.prompts:
            candidates = shortest_first
        return replace(block, prompts=[*block.prompts, *candidates[:1]])

    def run(self, model: Any, block: Block, passes: int) -> None:
        """Encode the prompts of a block and run its passes, filled up with dummies to the given number."""
        width = max(self.prompt_lengths[row] for row in block.prompts)
        prompt_width = self.first.prompt_ids.size(1)
        prompts = encode_prompts(
            model,
            self.first.prompt_ids[block.prompts, prompt_width - width :],
            self.first.prompt_mask[block.prompts, prompt_width - width :],
            self.first.vision(block.prompts),
            {k: v[block.prompts, prompt_width - width : prompt_width] for k, v in self.first.token_types.items()},
        )
        index = {row: i for i, row in enumerate(block.prompts)}
        for i in range(passes):
            if i < len(block.passes):
                pieces = block.passes[i]
                self._run_pass(model, prompts, [index[self.groups[piece.row]] for piece in pieces], pieces)
            else:
                self._run_pass(model, prompts, [0], [Piece(0, block.prompts[0], 0)])

    def _run_pass(self, model: Any, prompts: PromptCache, prompt_index: list[int], pieces: Sequence[Piece]) -> None:
        """Score the pieces: fed are the last prompt token and the completion but for its last token, (R, L)."""
        device = self.ids.device
        index = torch.tensor(prompt_index, device=device)  # (R,)
        context = torch.tensor([piece.context for piece in pieces], device=device)
        rows = torch.tensor([piece.row for piece in pieces], device=device)
        lengths = torch.tensor([piece.length for piece in pieces], device=device)
        longest = max([1, *(piece.length for piece in pieces)])
        steps = torch.arange(longest, device=device)  # (L,)
        targets = self.ids[context, rows, :longest]  # (R, L)
        fed = torch.cat([prompts.last_ids[index, None], targets[:, :-1]], 1)  # (R, L)
        within = steps < lengths.clamp(min=1)[:, None]  # (R, L)
        wanted = self.wanted[context, rows, :longest] & within  # (R, L)
        output = model(
            input_ids=fed,
            attention_mask=torch.cat([prompts.mask[index], within.to(prompts.mask.dtype)], 1),
            position_ids=prompts.next_position[..., index, None] + steps,
            past_key_values=prompts.read_by(index),
            shift_labels=targets.masked_fill(~wanted, -100),
            fused_lm_head=True,
        )
        which, step = wanted.nonzero(as_tuple=True)
        self.scored[context[which], rows[which], step] = output.log_probs[which, step].float()

    def log_probs(self) -> list[torch.Tensor]:
        """Per context, (B, T) log-probabilities at the tokens of the original completion."""
        return [
            scored.gather(1, context.position.clamp(min=0)).masked_fill(context.position < 0, torch.nan)
            for context, scored in zip(self.contexts, self.scored, strict=True)
        ]


def _in_context(context: Context, wanted: torch.Tensor | None) -> torch.Tensor:
    """(B, T) bool: wanted tokens of the original completion at their places in the context."""
    at = torch.zeros_like(context.completion_ids, dtype=torch.bool)
    if wanted is None:
        return at
    row, token = (wanted & (context.position >= 0)).nonzero(as_tuple=True)
    at[row, context.position[row, token]] = True
    return at
