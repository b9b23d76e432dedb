"""How gaps and weights are spread over the tokens of each role."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from srpo.report.rollouts import ROLES, Rollout

BINS = 40
UNITS = {"gap": "nats", "weight": ""}
INNER = (0.5, 99.5)  # percentiles between which the bins lie


def distributions(by_run: Iterable[tuple[int, list[Rollout]]]) -> list[dict[str, Any]]:
    """Histograms by run and quantity over the tokens of scored rollouts; all runs share the bins of a quantity."""
    values = {run: _values(rollouts) for run, rollouts in by_run}
    found = []
    for quantity, unit in UNITS.items():
        of_all = [of_role for of_run in values.values() for of_role in of_run[quantity].values()]
        edges = _edges(np.concatenate([np.zeros(0), *of_all]))
        if edges is None:
            continue
        for run, of_run in values.items():
            of_roles = of_run[quantity]
            if any(of_role.size for of_role in of_roles.values()):
                found.append({"run": run, "quantity": quantity, "unit": unit, **_histogram(of_roles, edges)})
    return found


def _values(rollouts: Iterable[Rollout]) -> dict[str, dict[str, np.ndarray]]:
    """Quantity -> role -> the finite values of all tokens."""
    scored = [rollout for rollout in rollouts if rollout.gaps is not None]
    found: dict[str, dict[str, np.ndarray]] = {}
    for quantity in UNITS:
        found[quantity] = {}
        for role, name in ROLES.items():
            parts = [
                values[rollout.roles == role]
                for rollout in scored
                if (values := rollout.gaps if quantity == "gap" else rollout.weights) is not None
            ]
            of_role = np.concatenate([np.zeros(0), *parts])
            found[quantity][name] = of_role[np.isfinite(of_role)]
    return found


def _edges(values: np.ndarray) -> np.ndarray | None:
    """Round bin edges around the inner values; None where there is no value."""
    if not values.size:
        return None
    low, high = np.percentile(values, INNER)
    width = (high - low) / BINS or max(abs(low), 1.0) / BINS
    digits = int(np.floor(np.log10(width)))
    width = float(np.ceil(width / 10.0**digits * 2) / 2 * 10.0**digits)  # two digits, the last 0 or 5
    first = int(np.floor(low / width))
    count = int(np.floor(high / width)) + 1 - first
    return np.round((first + np.arange(count + 1)) * width, 2 - digits)


def _histogram(of_roles: dict[str, np.ndarray], edges: np.ndarray) -> dict[str, Any]:
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in of_roles.items()}
    below = {name: int((values < edges[0]).sum()) for name, values in of_roles.items()}
    above = {name: int((values > edges[-1]).sum()) for name, values in of_roles.items()}
    return {"edges": edges.tolist(), **counts, "below": below, "above": above}
