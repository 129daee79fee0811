"""Tile sizes."""

from kernels.common.implementation import choose_implementation

# 16: one warp covers 256 pixels with 8 independent pixels per thread, which hides latency. 8: a CPU has no
# lanes to fill, so the tighter fit of small tiles (fewer pixels without a contribution) is faster.
TILES = {"pallas": 16, "mosaic": 16, "xla": 8, "reference": 16}


def default_tile(implementation: str | None = None) -> int:
    """Choose the side of a tile, pixels, that suits an implementation."""
    return TILES[choose_implementation(implementation)]
