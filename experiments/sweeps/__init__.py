"""Sweeps: grids, lists or random draws of settings, run locally or on Slurm."""
