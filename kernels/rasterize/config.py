"""Block sizes of the Pallas kernels."""

from dataclasses import dataclass

from kernels.common.tuned_configs import tuned


@dataclass(frozen=True)
class RasterConfig:
    """How the kernels of `rasterize` cut up their work."""

    segment: int = 512  # intersections per program: evens out tiles whose lists differ by a factor of 20
    chunk: int = 32  # intersections between two looks at the transmittance
    warps: int = 1  # per program: 8 pixels a thread hide the latency of the scalar loads
    combine_warps: int = 2
    reduce_block: int = 8  # Gaussians per program of the slot reduction: most have few slots


def choose_config(capacity: int, tiles: int) -> RasterConfig:
    """Return the configuration for lists of `capacity` intersections over `tiles` tiles: measured, or guessed.

    The guess: shorter segments pay where there are too few of them to fill a device (about 132 x 16 programs on an
    H100).
    """
    found = tuned("rasterize", capacity, tiles)
    if found:
        return RasterConfig(**found)
    segment = 512
    while segment > 64 and capacity // segment + tiles < 2048:
        segment //= 2
    return RasterConfig(segment=segment)
