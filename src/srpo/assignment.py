"""From a generation batch to its credit: the contexts that a credit asks for, their log-probabilities, the weights.

The trainer composes this with its model; `srpo.credits` decides what is asked for. Axes: B rollouts, T completion
tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image

from srpo.contrast import Context, role_contexts, with_prompts
from srpo.credits import CREDITS, Credit, Evidence
from srpo.metrics import Totals, credit_metrics
from srpo.pixels import CorruptedVision, Prompts, corruption_options
from srpo.rewording import Prompt, reference_answer, with_answer, without_images
from srpo.scoring import Scorer
from srpo.vision import message_images


@dataclass(frozen=True)
class BatchView:
    """A generation batch as contrasts see it; what costs something is made when first asked for.

    Attributes:
        rows: B data rows.
        original: the context in which the rollouts were sampled.
        old_log_probs: (B, T) log-probabilities of the original context, where the trainer has them already.
        read: () -> (B prompts as conversations with their images, or as strings; the same as the processor reads them).
        corrupt: the prompts as the processor reads them -> the image inputs of their corrupted images.
    """

    rows: Sequence[dict[str, Any]]
    original: Context
    old_log_probs: torch.Tensor | None
    read: Callable[[], tuple[list[Prompt], Prompts]]
    corrupt: Callable[[Prompts], CorruptedVision]

    @cached_property
    def _read(self) -> tuple[list[Prompt], Prompts]:
        return self.read()

    @property
    def messages(self) -> list[Prompt]:
        """B prompts as conversations with their images, or as strings."""
        return self._read[0]

    @property
    def prompts(self) -> Prompts:
        """The prompts as the processor reads them."""
        return self._read[1]

    @cached_property
    def corrupted(self) -> CorruptedVision:
        """The image inputs of some rollouts with every image corrupted."""
        return self.corrupt(self.prompts)

    def corrupted_images(self, row: int) -> list[Image.Image]:
        """The corrupted images of a rollout."""
        return self.corrupted.images(row)

    @property
    def has_image(self) -> torch.Tensor:
        """(B,) bool, whether a rollout's prompt has an image."""
        return torch.tensor(self.original.has_image, device=self.original.prompt_ids.device)


@dataclass(frozen=True)
class Assignment:
    """The credit of a generation batch.

    Attributes:
        gaps: (B, T) log-probability gaps in nats.
        weights: (B, T) token weights.
        metrics: of gaps and weights; None where nothing was scored, and every weight is 1.
    """

    gaps: torch.Tensor
    weights: torch.Tensor
    metrics: Totals | None


@dataclass(frozen=True)
class CreditAssigner:
    """Evidence and weights of generation batches.

    Attributes:
        settings: an `SRPOConfig`.
        scorer: log-probabilities of contexts.
        processor: the model's.
        model_config: the model's.
        dataset: where the corruption "other_image" draws from.
        old_is_exact: whether log-probabilities of π_old in the batch are those without dropout.
        render: data rows -> (prompts as conversations with images, their texts after the chat template).
        tokenize: prompts -> (tokens of each, ...), as the trainer tokenizes them.
        gather: (B,) values of this process -> (N,) values of all.
    """

    settings: Any
    scorer: Scorer
    processor: Any
    model_config: Any
    dataset: Any
    old_is_exact: bool
    render: Callable[[Sequence[dict[str, Any]]], tuple[list[Any], list[str]]]
    tokenize: Callable[[list[Prompt]], tuple[Any, ...]]
    gather: Callable[[torch.Tensor], torch.Tensor]

    @property
    def measures(self) -> bool:
        """Whether the credit compares contexts, so that there are gaps."""
        return bool(CREDITS[self.settings.credit].contexts(self.settings))

    def view(
        self, rows: Sequence[dict[str, Any]], batch: Mapping[str, Any], step: int, settings: Any = None
    ) -> BatchView:
        """The view of a generation batch of TRL's GRPOTrainer.

        Args:
            rows: B data rows.
            batch: TRL's tensors.
            step: optimizer steps done.
            settings: whose corruption the images get, in place of those of the run.
        """
        original = Context.from_batch(batch)
        old = batch.get("old_per_token_logps") if self.old_is_exact else None
        corrupt = partial(self._corrupted, settings or self.settings, original, batch.get("image_grid_thw"), step)
        return BatchView(rows, original, old, partial(self._prompts, rows, original), corrupt)

    def __call__(
        self, model: Any, view: BatchView, roles: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor
    ) -> Assignment:
        """Score what the credit of the settings needs, and weigh; arguments as for `evidence`."""
        credit = CREDITS[self.settings.credit]
        evidence = self.evidence(model, view, [credit], roles, mask, advantages)
        gaps, weights = credit.gaps(evidence, self.settings), credit.weights(evidence, self.settings)
        if not self.measures:
            return Assignment(gaps, weights, None)
        clipped = credit.clipped(evidence, self.settings)
        return Assignment(gaps, weights, credit_metrics(evidence.learned_roles, gaps, weights, clipped))

    def evidence(
        self,
        model: Any,
        view: BatchView,
        credits: Sequence[Credit],
        roles: torch.Tensor,
        mask: torch.Tensor,
        advantages: torch.Tensor,
    ) -> Evidence:
        """What these credits need to see of a batch, and no more; scored together.

        Args:
            model: the policy.
            view: the batch.
            credits: of `srpo.credits.CREDITS`.
            roles: (B, T) token roles.
            mask: (B, T) bool, completion tokens.
            advantages: (B,); nothing is scored where they are 0.
        """
        unseen = Evidence({}, roles, mask, advantages, view.has_image, self.gather)
        wanted: dict[str, torch.Tensor] = {}
        for credit in credits:
            for name, tokens in credit.tokens(unseen, self.settings).items():
                wanted[name] = wanted[name] | tokens if name in wanted else tokens
        names = list(dict.fromkeys(name for credit in credits for name in credit.contexts(self.settings)))
        log_probs = {}
        if "original" in names and view.old_log_probs is not None:
            log_probs["original"] = view.old_log_probs
        to_score = [name for name in names if name not in log_probs]
        contexts = self.contexts(view, to_score, unseen.learned_roles)
        if contexts:
            log_probs |= self.scorer(model, contexts, wanted, self._groups(view, contexts))
        return replace(unseen, log_probs=log_probs)

    def contexts(self, view: BatchView, names: Sequence[str], roles: torch.Tensor) -> dict[str, Context]:
        """The contexts of these names, in their order."""
        contexts = role_contexts(view.original, view.corrupted, roles, names)
        if "hinted" in names:
            answers = [reference_answer(row) for row in view.rows]
            told = [with_answer(prompt, answer) for prompt, answer in zip(view.messages, answers, strict=True)]
            contexts["hinted"] = self._behind(view.original, told, images=True)
        if "text_only" in names:
            bare = [without_images(prompt) for prompt in view.messages]
            contexts["text_only"] = self._behind(view.original, bare, images=False)
        return contexts

    def _prompts(self, rows: Sequence[dict[str, Any]], original: Context) -> tuple[list[Prompt], Prompts]:
        """The prompts of a batch; where it has no images, their tokens say it all."""
        pairs = zip(original.prompt_ids, original.prompt_mask.bool(), strict=True)
        tokens = [ids[mask].tolist() for ids, mask in pairs]
        if not any(original.has_image):
            return [row["prompt"] for row in rows], Prompts.of([""] * len(tokens), [[] for _ in tokens], tokens)
        messages, texts = self.render(rows)
        return messages, Prompts.of(texts, [message_images(conversation) for conversation in messages], tokens)

    def _corrupted(
        self, settings: Any, original: Context, grid: torch.Tensor | None, step: int, prompts: Prompts
    ) -> CorruptedVision:
        return CorruptedVision(
            prompts,
            original.vision,
            original.num_images,
            original.num_tiles,
            processor=self.processor,
            kind=settings.corruption,
            run_seed=self.settings.seed,
            step=step,
            options=corruption_options(
                settings.corruption,
                prompts.images,
                ratio=settings.corruption_ratio,
                config=self.model_config,
                image_processor=getattr(self.processor, "image_processor", None),
                image_grid_thw=grid,
                dataset=self.dataset,
            ),
        )

    def _behind(self, original: Context, messages: list[Prompt], images: bool) -> Context:
        """The rollouts behind other prompts, tokenized as those that they were sampled from."""
        prompts, *_ = self.tokenize(messages)
        return with_prompts(original, prompts, images)

    def _groups(self, view: BatchView, contexts: Mapping[str, Context]) -> list[int]:
        """For each rollout, the first one with the same prompt in all these contexts."""
        if "hinted" not in contexts:
            return view.prompts.groups
        first: dict[Any, int] = {}
        hinted = zip(view.prompts.groups, contexts["hinted"].prompt_ids.tolist(), strict=True)
        return [first.setdefault((group, tuple(ids)), row) for row, (group, ids) in enumerate(hinted)]
