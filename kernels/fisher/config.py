"""Block sizes of the Pallas kernels."""

from dataclasses import dataclass

from kernels.common.tuned_configs import tuned


@dataclass(frozen=True)
class FisherConfig:
    """How the kernels of `fisher` cut up their work; the segments are those of `rasterize`."""

    chunk: int = 32  # intersections between two looks at the transmittance
    accumulate_warps: int = 1  # per program: 8 pixels a thread, so that most of a sum stays inside a thread
    map_warps: int = 2  # 10 running values per pixel
    sum_warps: int = 2
    reduce_block: int = 4  # Gaussians per program of the slot reduction: most have few slots


def choose_config(capacity: int, tiles: int) -> FisherConfig:
    """Return the configuration for lists of `capacity` intersections over `tiles` tiles."""
    return FisherConfig(**tuned("fisher", capacity, tiles))
