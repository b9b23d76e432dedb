"""Structured Role-aware Policy Optimization (SRPO): role-aware reinforcement learning for multimodal reasoning.

from srpo import SRPOConfig, SRPOTrainer        drop-in for trl.GRPOConfig and trl.GRPOTrainer
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srpo.config import SRPOConfig
    from srpo.trainer import SRPOTrainer

__version__ = "0.1.0"
__all__ = ["SRPOConfig", "SRPOTrainer", "__version__"]

_HOMES = {"SRPOConfig": "srpo.config", "SRPOTrainer": "srpo.trainer"}  # imported on first use: torch takes seconds


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'srpo' has no attribute {name!r}")
