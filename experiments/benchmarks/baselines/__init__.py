"""Baselines: other programs that run on the same inputs."""
