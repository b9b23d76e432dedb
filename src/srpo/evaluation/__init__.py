"""Sampling from a policy, its scores with intervals, and what its answers rest on."""
