"""Block sizes of the Pallas kernels."""

from dataclasses import dataclass

from kernels.common.tuned_configs import tuned_config


@dataclass(frozen=True)
class RasterConfig:
    """Block sizes of the kernels of `rasterize`."""

    segment: int = 512  # intersections per program: evens out tiles whose lists differ by a factor of 20
    chunk: int = 32  # intersections between two tests of the transmittance
    warps: int = 1  # per program: 8 pixels per thread hide the latency of the scalar loads
    combine_warps: int = 2
    reduce_block: int = 8  # Gaussians per program of the slot reduction: most have few slots


def choose_config(capacity: int, num_tiles: int) -> RasterConfig:
    """Choose the configuration for lists of `capacity` intersections: measured on this device, or estimated.

    Estimate: shorter segments are faster where there are too few of them to fill a device (about 132 x 16 programs on
    an H100).
    """
    measured = tuned_config("rasterize", capacity, num_tiles)
    if measured:
        return RasterConfig(**measured)
    segment = 512
    while segment > 64 and capacity // segment + num_tiles < 2048:
        segment //= 2
    return RasterConfig(segment=segment)
