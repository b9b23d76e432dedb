"""Structured Role-aware Policy Optimization (SRPO): role-aware reinforcement learning for multimodal reasoning."""

__version__ = "0.1.0"
