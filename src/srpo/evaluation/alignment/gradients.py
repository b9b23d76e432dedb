"""Policy gradients of several token advantages on one batch: one forward pass, one backward pass each.

    L_c = -Σ_t n_t · Â_{c,t} · log π(y_t)       g_c = ∇ L_c

n_t is the normalisation of the configured loss. On the policy that sampled the rollouts the ratio π / π_old is 1 and no
clip acts, so that g_c is the gradient of GRPO's loss with the advantages Â_c, without its KL and entropy terms.
Axes: B rollouts, T completion tokens, V advantages, K numbers of a sketch.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from srpo.contrast import Context
from srpo.evaluation.alignment.sketch import Sketch

PER_SEQUENCE = ("grpo", "sapo")
PER_BATCH = ("dapo", "bnpo", "cispo")
LogProbFunction = Callable[..., tuple[torch.Tensor, ...]]


def loss_normalisation(mask: torch.Tensor, loss_type: str, max_completion_length: int) -> torch.Tensor:
    """n_t of every token, (B, T), when the batch is one optimizer step.

        dapo, bnpo, cispo: 1 / tokens of the batch;  grpo, sapo: 1 / (B · tokens of the rollout);
        dr_grpo: 1 / (B · most tokens of a completion)

    Args:
        mask: (B, T) True for the tokens that are trained on.
        loss_type: TRL's name of the loss.
        max_completion_length: most tokens of a completion.

    Raises:
        ValueError: for a loss with one advantage per sequence.

    Source: GRPOTrainer of TRL, at ratio 1; its cispo has the constant factor min(1, epsilon_high) besides.
    """
    tokens, rollouts = mask.float(), mask.size(0)
    if loss_type in PER_BATCH:
        return tokens / tokens.sum().clamp(min=1)
    if loss_type in PER_SEQUENCE:
        return tokens / tokens.sum(1, keepdim=True).clamp(min=1) / rollouts
    if loss_type == "dr_grpo":
        return tokens / (rollouts * max_completion_length)
    raise ValueError(
        f"loss_type {loss_type!r} has no token-level advantages; use {', '.join((*PER_BATCH, *PER_SEQUENCE))} or "
        "dr_grpo"
    )


def parameter_pattern(pattern: str | None) -> re.Pattern[str]:
    """The regular expression on the names of parameters; None matches all.

    Raises:
        ValueError: for what is none.
    """
    try:
        return re.compile(pattern or "")
    except re.error as error:
        raise ValueError(
            f"parameters {pattern!r} is no regular expression ({error}); try self_attn or layers"
        ) from None


def chosen_parameters(model: nn.Module, pattern: str | None) -> dict[str, nn.Parameter]:
    """The trainable parameters whose names contain a match of the regular expression, all by default.

    Raises:
        ValueError: for a pattern that is none or that matches nothing.
    """
    matches = parameter_pattern(pattern).search
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    chosen = {name: p for name, p in trainable.items() if matches(name)}
    if not chosen:
        raise ValueError(
            f"parameters {pattern!r} matches none of the {len(trainable)} trainable parameters, such as "
            f"{next(iter(trainable), 'none')}; leave it out for all"
        )
    return chosen


class GradientSketches:
    """Computes the sketched gradients of a batch.

    Each gradient is sketched parameter by parameter while the backward pass makes it, and freed at once.

    Args:
        model: the policy, as the trainer calls it.
        parameters: those whose gradients count.
        sketch: made for the sizes of these parameters.
        log_prob_function: `GRPOTrainer._get_per_token_logps_and_entropies`.
        rows: rollouts of one forward pass.
    """

    def __init__(
        self,
        model: Any,
        parameters: Sequence[nn.Parameter],
        sketch: Sketch,
        log_prob_function: LogProbFunction,
        rows: int,
    ) -> None:
        self.model, self.parameters, self.sketch = model, list(parameters), sketch
        self.log_prob_function, self.rows = log_prob_function, rows

    def __call__(self, batch: Mapping[str, Any], coefficients: torch.Tensor) -> torch.Tensor:
        """Sketches of Σ_t coefficient_t ∇(-log π(y_t)), (V, kinds, K) in float32.

        Args:
            batch: TRL's tensors of a generation batch.
            coefficients: (V, B, T) n_t · Â_t; rollouts whose coefficients are all 0 are not run.
        """
        context = Context.from_batch(batch)
        device = self.parameters[0].device
        sums = self.sketch.zeros(coefficients.size(0), device)
        needed = (coefficients != 0).any(2).any(0).nonzero().flatten().tolist()
        with self._streaming_into(sums) as choose:
            for start in range(0, len(needed), self.rows):
                index = needed[start : start + self.rows]
                log_probs = self._log_probs(context.rows(index))  # (rows, T)
                wanted = [v for v in range(len(sums)) if bool((coefficients[v, index] != 0).any())]
                for v in wanted:
                    choose(v)
                    upstream = torch.where(coefficients[v, index] != 0, -coefficients[v, index], 0.0)
                    log_probs.backward(upstream.to(log_probs), retain_graph=v != wanted[-1], inputs=self.parameters)
        return sums.cpu()

    def _log_probs(self, part: Context) -> torch.Tensor:
        log_probs, *_ = self.log_prob_function(
            self.model,
            torch.cat([part.prompt_ids, part.completion_ids], dim=1),
            torch.cat([part.prompt_mask, part.completion_mask], dim=1),
            part.completion_ids.size(1),
            num_images=part.num_images,
            num_tiles=part.num_tiles,
            **part.vision(range(part.prompt_ids.size(0))),
            **part.token_types,
        )
        return log_probs

    @contextmanager
    def _streaming_into(self, sums: torch.Tensor) -> Iterator[Callable[[int], None]]:
        """While active, gradients go into the sums of the vector last chosen, and nowhere else."""
        current = [0]

        def hook_of(index: int) -> Callable[[torch.Tensor], None]:
            def stream(parameter: torch.Tensor) -> None:
                if parameter.grad is not None:
                    self.sketch.add(sums[current[0]], index, parameter.grad)
                parameter.grad = None

            return stream

        def choose(vector: int) -> None:
            current[0] = vector

        hooks = [p.register_post_accumulate_grad_hook(hook_of(i)) for i, p in enumerate(self.parameters)]
        for parameter in self.parameters:
            parameter.grad = None
        try:
            yield choose
        finally:
            for hook in hooks:
                hook.remove()


def group_advantages(rewards: torch.Tensor, num_generations: int, scale_rewards: str = "group") -> torch.Tensor:
    """GRPO's advantages of another reward, (B,): reward minus its group's mean, divided by (std + 1e-4) if scaled.

    Args:
        rewards: (B,) of whole groups, side by side.
        num_generations: G.
        scale_rewards: "group", "batch" or "none", as in TRL.
    """
    groups = rewards.double().unflatten(0, (-1, num_generations))
    centred = groups - groups.mean(1, keepdim=True)
    if scale_rewards == "group":
        centred = centred / (groups.std(1, keepdim=True) + 1e-4)
    elif scale_rewards == "batch":
        centred = centred / (groups.std() + 1e-4)
    equal = (groups == groups[:, :1]).all(1, keepdim=True)
    return torch.where(equal, 0.0, centred).flatten().to(rewards.dtype)


def stacked(advantages: Iterable[torch.Tensor], normalisation: torch.Tensor) -> torch.Tensor:
    """(V, B, T) coefficients of some (B,) or (B, T) advantages."""
    columns = [a if a.dim() == 2 else a.unsqueeze(1) for a in advantages]
    return torch.stack([a.to(normalisation) * normalisation for a in columns])
