"""Pallas kernels (to come)."""


class Kernels:
    """Stand-in."""

    def __init__(self, interpret: bool):
        raise NotImplementedError
