"""The walk over tile lists in jnp: the CPU and TPU form of every op that reads `Bins`.

Tiles are taken in batches of similar list length. Within a batch, one loop over the list position handles a
(tiles, pixels) block per step, so memory stays small, nothing is recorded for differentiation, and the loop
ends as soon as every tile of the batch is saturated or through.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.bin_tiles.types import Bins, tile_grid
from kernels.rasterize.blend import T_STOP

BLOCK = 2048  # pixels per step: about 1000-2000 stay in a core's first cache (measured, 2 cores); more is slower
CHUNK = 16  # list positions between two looks at the transmittance


def walk_tiles(
    step: Callable[..., tuple[tuple, tuple]],
    bins: Bins,
    table: Float[Array, "N F"],
    inputs: Float[Array, "tiles I P"],
    start: Callable[..., tuple],
    sums: int = 0,
    *,
    width: int,
    height: int,
    tile: int,
) -> tuple[Float[Array, "tiles S P"], Float[Array, "N G"]]:
    """Visit every tile list front to back.

    Args:
        step: (columns, px, py, inputs, state) -> (state, parts); columns are the F columns of the Gaussians
            at the same list position of B tiles, each (B, 1), with column 5, the opacity, set to 0 past the
            end of a list; px, py and every input and state are (B, P); state[0] is the transmittance; parts
            are `sums` arrays (B, P).
        bins: tile lists.
        table: what a step needs of every Gaussian; column 5 is the opacity.
        inputs: what it needs of every pixel, by tile.
        start: inputs, as a tuple of (B, P) -> first state.
        sums: number G of parts, summed over all pixels for every Gaussian.
        width: image width, pixels.
        height: image height, pixels.
        tile: side of a tile, pixels.

    Returns:
        The last state of every tile and the sums of every Gaussian.
    """
    columns, _ = tile_grid(width, height, tile)
    count = bins.tile_starts[1:] - bins.tile_starts[:-1]
    batch = max(1, min(BLOCK // (tile * tile), count.shape[0]))
    by_length = jnp.argsort(-count)
    # The last batch is filled up with tiles of another one; their sums are switched off by an empty list.
    padding = -count.shape[0] % batch
    chosen = jnp.pad(by_length, (0, padding), mode="wrap").reshape(-1, batch)
    live = (jnp.arange(chosen.size) < count.shape[0]).reshape(-1, batch)

    def one_batch(totals: Float[Array, "N G"], tiles_live: tuple) -> tuple[Float[Array, "N G"], Float[Array, "B S P"]]:
        tiles, live = tiles_live
        px, py = pixel_centres(tiles, columns, tile)
        first, length = bins.tile_starts[tiles], jnp.where(live, count[tiles], 0)
        pixels = tuple(jnp.moveaxis(inputs[tiles], 1, 0))

        def ends(carry: tuple) -> Int[Array, "B"]:
            # A saturated tile ends on its own: which tiles share its batch must not change its pixels.
            return jnp.where(jnp.max(carry[1][0], -1) > T_STOP, length, 0)

        def visit(end: Array, carry: tuple) -> tuple:
            position, state, totals = carry
            ids = bins.ids.at[first + position].get(mode="clip")
            rows = table.at[ids].get(mode="clip")
            columns = [rows[:, k, None] for k in range(table.shape[1])]
            columns[5] = jnp.where((position < end)[:, None], columns[5], 0.0)
            state, parts = step(columns, px, py, pixels, state)
            if sums:
                row_sums = jnp.stack([jnp.sum(part, -1) for part in parts], -1)
                ids = jnp.where(position < end, ids, table.shape[0])
                totals = totals.at[ids].add(row_sums, mode="drop")
            return position + 1, state, totals

        def chunk(carry: tuple) -> tuple:
            end = ends(carry)
            steps = jnp.minimum(CHUNK, jnp.max(end) - carry[0])
            return lax.fori_loop(0, steps, lambda _, carry: visit(end, carry), carry)

        def unfinished(carry: tuple) -> Array:
            return carry[0] < jnp.max(ends(carry))

        _, state, totals = lax.while_loop(unfinished, chunk, (jnp.int32(0), start(pixels, px), totals))
        return totals, jnp.stack(state, 1)

    totals = jnp.zeros((table.shape[0], sums), table.dtype)
    totals, state = lax.scan(one_batch, totals, (chosen, live))
    state = state.reshape(-1, *state.shape[2:])[: count.shape[0]]
    return jnp.zeros_like(state).at[by_length].set(state, unique_indices=True), totals


def pixel_centres(tiles: Int[Array, "B"], columns: int, tile: int) -> tuple[Float[Array, "B P"], Float[Array, "B P"]]:
    """Return x and y of the pixel centres of tiles, row by row within a tile."""
    p = jnp.arange(tile * tile, dtype=jnp.int32)
    x, y = (tiles % columns)[:, None] * tile + p % tile, (tiles // columns)[:, None] * tile + p // tile
    return x.astype(jnp.float32) + 0.5, y.astype(jnp.float32) + 0.5


def to_tiles(image: Float[Array, "H W C"], tile: int) -> Float[Array, "tiles C P"]:
    """Cut an image into tiles, zero outside of it."""
    height, width, channels = image.shape
    columns, rows = tile_grid(width, height, tile)
    image = jnp.pad(image, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)))
    image = image.reshape(rows, tile, columns, tile, channels)
    return jnp.transpose(image, (0, 2, 4, 1, 3)).reshape(rows * columns, channels, tile * tile)


def from_tiles(tiles: Float[Array, "tiles C P"], width: int, height: int, tile: int) -> Float[Array, "H W C"]:
    """Put an image together from its tiles."""
    columns, rows = tile_grid(width, height, tile)
    image = jnp.transpose(tiles.reshape(rows, columns, -1, tile, tile), (0, 3, 1, 4, 2))
    return image.reshape(rows * tile, columns * tile, -1)[:height, :width]
