"""Shapes that the tests and the benchmark of the Fisher kernels share."""

from typing import NamedTuple


class Spec(NamedTuple):
    """One problem size."""

    count: int  # Gaussians
    width: int  # pixels
    height: int
    tile: int


TEST_SPECS = (Spec(40, 37, 21, 16), Spec(30, 21, 19, 8), Spec(0, 20, 12, 8))
BENCH_SPECS = (Spec(20_000, 208, 128, 8), Spec(20_000, 208, 128, 16), Spec(500_000, 1920, 1080, 16))
