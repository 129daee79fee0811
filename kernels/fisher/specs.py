"""Problem sizes that the tests and the benchmark of the Fisher kernels share."""

from typing import NamedTuple


class FisherSpec(NamedTuple):
    """One problem size."""

    gaussians: int
    width: int  # pixels
    height: int
    tile: int


TEST_SPECS = (FisherSpec(40, 37, 21, 16), FisherSpec(30, 21, 19, 8), FisherSpec(0, 20, 12, 8))
