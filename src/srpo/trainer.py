"""SRPOTrainer: GRPOTrainer with role-aware token advantages in place of sequence advantages.

How it departs from `trl.GRPOTrainer`:
1. after TRL generated and scored a batch, `advantages` (B,) becomes (B, T), weighted by role credit;
2. rows of text and rows of images may share a batch;
3. placeholder tokens of images and videos are never sampled, and a colocated vLLM is given one for an image;
4. `freeze_vision_tower` leaves the vision tower out of training;
5. resuming loads the weights of models that are saved under other names than they have (`srpo.checkpoints`);
6. a step whose gradient is not finite is skipped, and several in a row end the run (`srpo.guard`);
7. `skip_zero_advantage` leaves rollouts with A = 0 out of the update (`srpo.skipping`);
8. `credit="papo"` adds a term to the loss (`srpo.papo`);
9. metrics under `srpo/` (docs/metrics.md).
"""

import copy
import inspect
import math
import textwrap
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import IterableDataset
from trl import GRPOTrainer
from trl.data_utils import apply_chat_template, prepare_multimodal_messages

from srpo.assignment import BatchView, CreditAssigner
from srpo.checkpoints import load_weights
from srpo.config import SRPOConfig, refuse_tools
from srpo.credit import equal_rewards, token_advantages
from srpo.credits import corruption_of, settled_corruption
from srpo.guard import NonFiniteGuard, StructureWatch
from srpo.metrics import CreditBatch, Totals, role_metrics
from srpo.papo import PerceptionLoss
from srpo.pixels import has_other_images, padded_per_rollout
from srpo.policy_shift import PolicyShift
from srpo.roles import ResponseFormat, token_roles
from srpo.rollout_prompts import ColocatedPrompts
from srpo.scoring import Scorer, has_dropout
from srpo.skipping import RowsToRun
from srpo.vision import (
    column_images,
    drop_unused_vision_inputs,
    freeze_vision_tower,
    message_images,
    placeholder_token_ids,
    rows_with_image_lists,
)


class SRPOTrainer(ColocatedPrompts, GRPOTrainer):
    """Train a vision-language model with SRPO; a drop-in for `trl.GRPOTrainer`.

    Every argument is GRPOTrainer's; `args` is an `SRPOConfig`. With `credit="uniform"` or `credit_strength=0` the loss
    and the gradients are GRPOTrainer's, bit for bit.

        Â_t = A * ((1 - λ) + λ * w_t)       in place of A

    Attributes:
        observers: functions called with a `CreditBatch` after each generation batch of training (to log or to show it).

    Raises:
        ValueError: for tools and environments, whose text inside the completion has no role.

    Source: arXiv 2605.07274.
    """

    args: SRPOConfig
    model: Any
    processing_class: Any
    num_generations: int
    _logs: Any
    _tag_names = ["trl", "srpo"]  # noqa: RUF012
    _name = "SRPO"
    _paper = {  # noqa: RUF012
        "title": "Structured Role-aware Policy Optimization for Multimodal Reasoning",
        "id": "2605.07274",
        "citation": textwrap.dedent("""\
            @article{jiang2026srpo,
                title  = {{Structured Role-aware Policy Optimization for Multimodal Reasoning}},
                author = {B. Jiang and D. Zou},
                year   = 2026,
                eprint = {arXiv:2605.07274},
            }"""),
    }

    def __init__(
        self, model: Any, reward_funcs: Any = None, args: SRPOConfig | None = None, *positional: Any, **kwargs: Any
    ) -> None:
        args = args if args is not None else SRPOConfig("srpo-output")
        if not isinstance(args, SRPOConfig):
            raise TypeError(
                f"args is a {type(args).__name__} and must be an SRPOConfig; replace GRPOConfig by SRPOConfig"
            )
        if args.credit != "uniform":
            refuse_tools(
                inspect.signature(GRPOTrainer).bind(model, reward_funcs, args, *positional, **kwargs).arguments
            )
        args = copy.copy(args)  # the caller's keeps "auto", which another data set may settle otherwise
        super().__init__(model, reward_funcs, args, *positional, **kwargs)
        args.corruption = settled_corruption(args, lambda: has_other_images(self.train_dataset))
        if corruption_of(args) == "other_image" and isinstance(self.train_dataset, IterableDataset):
            raise ValueError(
                'corruption "other_image" draws images from the whole data set and this one is a stream; '
                "load it whole or choose another corruption"
            )
        if args.skip_zero_advantage and self.aux_loss_enabled:
            raise ValueError(
                f"router_aux_loss_coef {self.router_aux_loss_coef} gives every rollout a gradient, so none can be left "
                "out; set skip_zero_advantage=False or router_aux_loss_coef=0"
            )
        self.observers: list[Callable[[CreditBatch], None]] = []
        self._format = ResponseFormat.parse(args.response_format)
        self._compose_credit(args)
        self._rows_to_run: RowsToRun | None = None
        self._structure = StructureWatch(args.response_format)
        self._log_images = self.log_multimodal and self.log_completions
        self.log_multimodal = False  # TRL gathers images on the ranks that have some, which then wait for the others
        if args.ban_placeholder_tokens and self._is_vlm:
            self._ban(placeholder_token_ids(self.model.config, self.processing_class))
        if args.freeze_vision_tower:
            freeze_vision_tower(self.model)
        self.add_callback(NonFiniteGuard())
        image_token_id = getattr(self.model.config, "image_token_id", None)
        for model in (self.model, self.ref_model):
            if model is not None and self._is_vlm and image_token_id is not None:
                hook = partial(drop_unused_vision_inputs, image_token_id)
                model.register_forward_pre_hook(hook, with_kwargs=True)

    def _compose_credit(self, args: SRPOConfig) -> None:
        """What scores and weighs generation batches."""
        self._scorer = Scorer(
            self._get_per_token_logps_and_entropies,
            shared=args.scoring == "shared",
            batch_size=args.per_device_train_batch_size,
            max_tokens=args.scoring_max_tokens,
            agree=self._agree,
            autocast=self.accelerator.autocast,
        )
        self._assigner = CreditAssigner(
            args,
            self._scorer,
            processor=self.processing_class,
            model_config=self.model.config,
            dataset=self.train_dataset,
            old_is_exact=not has_dropout(self.model),
            render=self._render,
            tokenize=self._tokenize_prompts,
            gather=self.accelerator.gather,
        )
        self._shift = PolicyShift(self._scorer) if args.log_policy_kl else None
        processes = self.accelerator.num_processes
        self._perception = PerceptionLoss(args, processes) if args.adds_perception_term else None

    def _ban(self, token_ids: list[int]) -> None:
        """Never sample these tokens: the next forward pass would look for the image that they stand for."""
        if self.use_vllm:
            bias = dict.fromkeys(token_ids, -100.0)
            kwargs = self.vllm_generation.generation_kwargs
            self.vllm_generation.generation_kwargs = {
                **kwargs,
                "logit_bias": {**bias, **(kwargs.get("logit_bias") or {})},
            }
        else:
            suppressed = sorted({*token_ids, *(self.generation_config.suppress_tokens or [])})
            self.generation_config.suppress_tokens = suppressed
            self.generation_kwargs["suppress_tokens"] = suppressed

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        """TRL gives None for a row of text in a batch with images, on which every processor stops; [] passes."""
        *generated, images, tool_images = super()._generate(prompts)
        images = images and [row or [] for row in images]
        return *generated, images, tool_images

    def _get_per_token_logps_and_entropies(self, model: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """TRL's, for fewer rollouts where some are left out of the update.

        TRL takes pixels padded to one row per rollout (SmolVLM) for one row per image when the two counts agree.
        """
        if padded_per_rollout(kwargs.get("pixel_values")):
            kwargs["num_images"] = [1] * input_ids.size(0)
        function = super()._get_per_token_logps_and_entropies
        if self._rows_to_run is not None:
            return self._rows_to_run.run(function, model, input_ids, *args, **kwargs)
        log_probs, entropies, auxiliary = function(model, input_ids, *args, **kwargs)
        if self._perception is not None and entropies is not None:
            self._perception.saw(log_probs, entropies)
        return log_probs, entropies, auxiliary

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        inputs = rows_with_image_lists(inputs)
        mode = "train" if self.model.training else "eval"
        if self._shift is not None and mode == "train":
            self._record(mode, self._shift.measure(self.model))
        batch = super()._generate_and_score_completions(inputs)
        if padded_per_rollout(batch.get("pixel_values")):
            batch["num_images"] = [1] * len(inputs)
        if self._log_images:
            images = [column_images(row) or message_images(row["prompt"]) for row in inputs]
            self._logs["images"].extend(gather_object(images))
        mask = batch["completion_mask"].bool()
        if "tool_mask" in batch:
            mask = mask & batch["tool_mask"].bool()
        roles = token_roles(batch["completion_ids"], self._tokenizer, self._format).to(mask.device) * mask  # (B, T)
        learns = batch["advantages"] != 0  # (B,)
        if mode == "train":
            weighed = self._rewards[:, self.reward_weights.to(self._rewards.device) != 0]
            without = equal_rewards(weighed, self.num_generations)
            learns = learns & ~self._local(without, len(inputs))  # TRL's A is 0 there but for rounding
        self._record(mode, role_metrics(roles, mask, learns))
        if mode == "train":
            self._structure.saw(self._metrics["train"]["srpo/structured/fraction"][-1])
            if self.args.skip_zero_advantage:
                batch["advantages"] = batch["advantages"] * learns  # what rounding left of A = 0
            advantages = batch["advantages"]  # (B,)
            view = self._assigner.view(inputs, batch, self.state.global_step)
            gaps, weights = self._assign_credit(view, batch, roles, mask, learns)
            rewards = {
                name: [None if math.isnan(reward) else reward for reward in column]
                for name, column in zip(
                    self.reward_func_names, self._local(self._rewards, len(inputs)).T.tolist(), strict=True
                )
            }
            step = self.state.global_step
            record = CreditBatch(
                *(step, inputs, batch, rewards, advantages, learns, roles, gaps, weights),
                eos=self.eos_token_ids,
                measures=self._assigner.measures,
                corruption=corruption_of(self.args),
                corrupted=view.corrupted_images,
            )
            for observe in self.observers:
                observe(record)
        return batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if self.args.skip_zero_advantage and self.model.training:
            self._rows_to_run = RowsToRun.of(inputs)
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self._rows_to_run = None
        if self._perception is not None and self.model.training:
            function, accumulated = self._get_per_token_logps_and_entropies, self.current_gradient_accumulation_steps
            loss = loss + self._perception.term(function, model, inputs, accumulated)
            if self.accelerator.sync_gradients:
                self._record("train", self._perception.metrics())
        return loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if model is not None or not load_weights(self.model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        sharded, best = self.is_deepspeed_enabled or self.is_fsdp_enabled, self.state.best_model_checkpoint
        if sharded or best is None or not load_weights(self.model, best):
            super()._load_best_model()

    def _assign_credit(
        self, view: BatchView, batch: dict[str, Any], roles: torch.Tensor, mask: torch.Tensor, learns: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Replace the (B,) advantages of the batch by (B, T) token advantages; returns gaps and weights, both (B, T).

        Where a rollout has no advantage, (B,) `learns` false, no weight changes anything: nothing is scored, gaps are 0
        and weights 1.
        """
        started = time.perf_counter()
        assigned = self._assigner(self.model, view, roles, mask, batch["advantages"] * learns)
        if assigned.metrics is not None:
            strength = self.args.credit_strength
            batch["advantages"] = token_advantages(batch["advantages"], assigned.weights, strength=strength)
            seconds = time.perf_counter() - started
            self._record("train", {**assigned.metrics, "srpo/time/contrast_seconds": (seconds, 1)})
        if self._shift is not None:
            self._shift.remember(self.model, view, mask)
        if self._perception is not None:
            self._perception.generated(view, batch)
        return assigned.gaps, assigned.weights

    def _render(self, rows: Sequence[dict[str, Any]]) -> tuple[list[Any], list[str]]:
        """The prompts of data rows with their images, and their texts after the chat template."""
        template: Any = self.chat_template_kwargs
        messages = [prepare_multimodal_messages(row["prompt"], images=column_images(row)) for row in rows]
        return messages, [
            apply_chat_template({"prompt": conversation}, self.processing_class, **template)["prompt"]
            for conversation in messages
        ]

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self._rewards = super()._calculate_rewards(*args, **kwargs)  # (N, F) of all processes
        return self._rewards

    def _local(self, of_all_processes: torch.Tensor, count: int) -> torch.Tensor:
        """This process's part of what TRL gathered."""
        start = self.accelerator.process_index * count
        return of_all_processes[start : start + count]

    def _agree(self, counts: list[int]) -> list[int]:
        """The elementwise maximum of a list of counts over all ranks, shorter lists filled with zeros."""
        return [max(column) for column in zip_longest(*gather_object([counts]), fillvalue=0)]

    def _record(self, mode: str, totals: Totals) -> None:
        """Add metrics to TRL's log: sums and counts over all ranks, then the quotient."""
        flat = [float(value) for pair in totals.values() for value in pair]
        local = torch.tensor(flat, dtype=torch.float64, device="cpu").to(self.accelerator.device, torch.float32)
        summed = self.accelerator.reduce(local, reduction="sum").tolist()
        for name, total, count in zip(totals, summed[::2], summed[1::2], strict=True):
            self._metrics[mode][name].append(total / count if count else float("nan"))
