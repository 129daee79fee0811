"""Block sizes of the Pallas kernels."""

from dataclasses import dataclass

from kernels.common.tuned_configs import tuned_config


@dataclass(frozen=True)
class FisherConfig:
    """Block sizes of the kernels of `fisher`; the segments are those of `rasterize`."""

    chunk: int = 32  # intersections between two tests of the transmittance
    accumulate_warps: int = 1  # per program: 8 pixels per thread, so that most of a sum stays inside a thread
    map_warps: int = 2  # 10 running values per pixel
    sum_warps: int = 2
    reduce_block: int = 4  # Gaussians per program of the slot reduction: most have few slots


def choose_config(capacity: int, num_tiles: int) -> FisherConfig:
    """Choose the configuration for lists of `capacity` intersections over `num_tiles` tiles."""
    return FisherConfig(**tuned_config("fisher", capacity, num_tiles))
