"""Tile sizes."""

from kernels.common.implementation import choose

# 16: one warp covers 256 pixels with 8 independent pixels a thread, which hides latency. 8: a CPU has no
# lanes to fill, so the tighter fit of small tiles (fewer pixels visited in vain) wins.
TILES = {"pallas": 16, "mosaic": 16, "xla": 8, "reference": 16}


def default_tile(implementation: str | None = None) -> int:
    """Return the tile size, pixels, that suits an implementation; ops that share lists take the same."""
    return TILES[choose(implementation)]
