"""The guard against gradients that are not finite."""

from types import SimpleNamespace

import pytest
import torch

from srpo.guard import NonFiniteGuard

ARGS = SimpleNamespace(fp16=False)


def step(guard, model, optimizer, gradient):
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    guard.on_pre_optimizer_step(ARGS, SimpleNamespace(global_step=7), None, model=model)
    optimizer.step()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_step_changes_neither_weights_nor_optimizer(bad, caplog):
    model, guard = torch.nn.Linear(2, 2), NonFiniteGuard()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    step(guard, model, optimizer, 1.0)
    weights = [p.clone() for p in model.parameters()]
    moments = [optimizer.state[p]["exp_avg"].clone() for p in model.parameters()]
    step(guard, model, optimizer, bad)
    assert all(p.equal(w) for p, w in zip(model.parameters(), weights, strict=True))
    assert all(optimizer.state[p]["exp_avg"].equal(m) for p, m in zip(model.parameters(), moments, strict=True))
    assert "step 8: gradient not finite" in caplog.text
    step(guard, model, optimizer, 1.0)
    assert not any(p.equal(w) for p, w in zip(model.parameters(), weights, strict=True))


def test_it_stops_after_bad_steps_in_a_row_only():
    model, guard = torch.nn.Linear(2, 2), NonFiniteGuard(patience=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for gradient in (float("nan"), 1.0, float("nan")):
        step(guard, model, optimizer, gradient)
    with pytest.raises(FloatingPointError, match="not finite in 2 steps in a row, the last at step 7; lower the"):
        step(guard, model, optimizer, float("nan"))
