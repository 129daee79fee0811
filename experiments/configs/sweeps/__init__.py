"""Sweeps as short Python functions."""
