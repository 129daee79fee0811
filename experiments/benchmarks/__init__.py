"""Benchmarks: time and memory of rendering, EIG, training and fixers, beside baselines."""
