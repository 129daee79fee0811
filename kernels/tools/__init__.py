"""Timing and tuning of the kernels."""
