"""Peers that results are compared with, run on the same inputs."""
