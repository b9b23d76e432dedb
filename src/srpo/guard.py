"""Notice a run that goes wrong: stop it, or say so, instead of letting it train on."""

import logging
from typing import Any

import torch
from accelerate.logging import get_logger
from transformers import TrainerCallback

logger = logging.getLogger(__name__)
main_process_logger = get_logger(__name__)

WARN_AFTER_BATCHES = 3
MIN_STRUCTURED = 0.05

UNSTRUCTURED_WARNING = (
    "only {fraction:.1%} of the rollouts of the first batches follow the response format {format}, so almost every "
    "token gets plain GRPO credit; check that the prompt asks for the format, that its tags are not special tokens of "
    "the tokenizer, and that max_completion_length leaves room for the answer block"
)


class StructureWatch:
    """Say loudly, once, when the first batches show that the policy does not follow the response format."""

    def __init__(self, response_format: str) -> None:
        self.response_format = response_format
        self.fractions: list[float] = []

    def saw(self, fraction: float) -> None:
        """Take note of the structured fraction of a batch of all ranks."""
        if len(self.fractions) == WARN_AFTER_BATCHES:
            return
        self.fractions.append(fraction)
        mean = sum(self.fractions) / WARN_AFTER_BATCHES
        if len(self.fractions) == WARN_AFTER_BATCHES and mean < MIN_STRUCTURED:
            main_process_logger.warning(UNSTRUCTURED_WARNING.format(fraction=mean, format=self.response_format))


class NonFiniteGuard(TrainerCallback):
    """Skip an optimizer step whose gradient is not finite, and stop the run after `patience` of them in a row.

    A skipped step leaves weights and optimizer state as they were: gradients are dropped before the optimizer sees
    them. Gradients that live outside the parameters (DeepSpeed) and loss scaling (fp16) have guards of their own.

    Raises:
        FloatingPointError: from training, after `patience` skipped steps in a row.
    """

    def __init__(self, patience: int = 5) -> None:
        self.patience = patience
        self.in_a_row = 0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if args.fp16 or not gradients or bool(torch.isfinite(_total_norm(gradients))):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row >= self.patience:
            raise FloatingPointError(
                f"the gradient was not finite in {self.in_a_row} steps in a row, the last at step "
                f"{state.global_step}; lower the learning rate or set max_grad_norm, and resume from a checkpoint"
            )
        logger.warning("step %d: gradient not finite, update skipped", state.global_step + 1)
        model.zero_grad(set_to_none=True)


def _total_norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
