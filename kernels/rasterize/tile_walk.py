"""The walk over tile lists in jnp: the CPU and TPU form of every op that reads `Bins`.

Tiles are processed in batches of similar list length. Within a batch, one loop over the list handles a block of
(tiles, DEPTH list positions, pixels) per step: large enough to amortize the dispatch of its operations, small enough to
stay in a cache. Nothing is recorded for differentiation. The loop ends when every tile of the batch is saturated or
finished.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.bin_tiles.types import Bins, TileGrid
from kernels.common.constants import T_STOP

BLOCK = 2048  # pixels of a batch (measured, 2 cores: half and twice as many are slower)
DEPTH = 8  # list positions per step, between two tests of the transmittance


def walk_tiles(
    step: Callable[..., tuple[tuple, Float[Array, "B K G"] | None]],
    bins: Bins,
    table: Float[Array, "N F"],
    inputs: Float[Array, "tiles I P"],
    start: Callable[..., tuple],
    num_sums: int = 0,
) -> tuple[Float[Array, "tiles S P"], Float[Array, "N G"]]:
    """Visit every tile list front to back.

    Args:
        step: (columns, px, py, inputs, state) -> (state, row sums); columns are the F columns of the Gaussians
            at the next K list positions of B tiles, each (B, K, 1), with column 5, the opacity, set to 0 past
            the end of a list; px, py and every input are (B, 1, P), every state (B, P); state[0] is the
            transmittance; row sums are (B, K, G), or None. See `one_by_one`, `transmittances`, `running_sums`.
        bins: tile lists.
        table: columns of every Gaussian; column 5 is the opacity.
        inputs: columns of every pixel, by tile.
        start: inputs, as a tuple of (B, P), and one array of that shape -> first state.
        num_sums: number G of values that are summed over all pixels for every Gaussian.

    Returns:
        The last state of every tile and the sums of every Gaussian.
    """
    tile, num_columns = bins.grid.tile, bins.grid.columns
    count = bins.tile_starts[1:] - bins.tile_starts[:-1]
    batch = max(1, min(BLOCK // (tile * tile), count.shape[0]))
    by_length = jnp.argsort(-count)
    # The last batch is padded with tiles of another one, whose lists count as empty.
    padding = -count.shape[0] % batch
    tiles_of_batch = jnp.pad(by_length, (0, padding), mode="wrap").reshape(-1, batch)
    live = (jnp.arange(tiles_of_batch.size) < count.shape[0]).reshape(-1, batch)

    def one_batch(totals: Float[Array, "N G"], tiles_live: tuple) -> tuple[Float[Array, "N G"], Float[Array, "B S P"]]:
        tiles, live = tiles_live
        px, py = (x[:, None] for x in pixel_centers(tiles, num_columns, tile))
        first, length = bins.tile_starts[tiles], jnp.where(live, count[tiles], 0)
        pixels = tuple(jnp.moveaxis(inputs[tiles], 1, 0))

        def ends(T: Float[Array, "B P"]) -> Int[Array, "B"]:
            # Each tile terminates independently, so batching cannot change results.
            return jnp.where(jnp.max(T, -1) > T_STOP, length, 0)

        def visit(carry: tuple) -> tuple:
            position, end, state, totals = carry
            places = position + jnp.arange(DEPTH, dtype=jnp.int32)
            live = places < end[:, None]
            ids = bins.ids.at[first[:, None] + places].get(mode="clip")
            rows = table.at[ids].get(mode="clip")
            columns = [rows[..., k, None] for k in range(table.shape[1])]
            columns[5] = jnp.where(live[..., None], columns[5], 0.0)
            state, row_sums = step(columns, px, py, tuple(x[:, None] for x in pixels), state)
            if num_sums:
                ids = jnp.where(live, ids, table.shape[0])
                totals = totals.at[ids].add(row_sums, mode="drop")
            return position + DEPTH, ends(state[0]), state, totals

        def unfinished(carry: tuple) -> Array:
            return carry[0] < jnp.max(carry[1])

        state = start(pixels, px[:, 0])
        _, _, state, totals = lax.while_loop(unfinished, visit, (jnp.int32(0), ends(state[0]), state, totals))
        return totals, jnp.stack(state, 1)

    totals = jnp.zeros((table.shape[0], num_sums), table.dtype)
    totals, state = lax.scan(one_batch, totals, (tiles_of_batch, live))
    state = state.reshape(-1, *state.shape[2:])[: count.shape[0]]
    return jnp.zeros_like(state).at[by_length].set(state, unique_indices=True), totals


def one_by_one(step: Callable[..., tuple[tuple, tuple]]) -> Callable[..., tuple]:
    """Build a step of `walk_tiles` from a step for a single list position.

    Its columns are (B, 1), px, py, inputs and states (B, P); instead of row sums it returns a tuple of (B, P).
    """

    def steps(columns: list, px: Array, py: Array, pixels: tuple, state: tuple) -> tuple[tuple, Array | None]:
        px, py, pixels = px[:, 0], py[:, 0], tuple(x[:, 0] for x in pixels)

        def one(state: tuple, row: Float[Array, "F B 1"]) -> tuple[tuple, Array | None]:
            state, parts = step(list(row), px, py, pixels, state)
            return state, jnp.stack([jnp.sum(part, -1) for part in parts], -1) if parts else None

        state, row_sums = lax.scan(one, state, jnp.moveaxis(jnp.stack(columns), 2, 0))
        return state, None if row_sums is None else jnp.swapaxes(row_sums, 0, 1)

    return steps


def transmittances(
    T: Float[Array, "B P"], alpha: Float[Array, "B K P"]
) -> tuple[Float[Array, "B K P"], Float[Array, "B P"]]:
    """Compute the transmittance in front of each of K Gaussians, and behind the last."""
    fronts = [T]
    for k in range(alpha.shape[1]):
        fronts.append(fronts[-1] * (1 - alpha[:, k]))
    return jnp.stack(fronts[:-1], 1), fronts[-1]


def running_sums(first: Float[Array, "B P"], terms: Float[Array, "B K P"]) -> tuple[Float[Array, "B K P"], Array]:
    """Compute `first` plus the terms up to and including each, and the last of these sums."""
    sums = [first]
    for k in range(terms.shape[1]):
        sums.append(sums[-1] + terms[:, k])
    return jnp.stack(sums[1:], 1), sums[-1]


def pixel_centers(
    tiles: Int[Array, "B"], num_columns: int, tile: int
) -> tuple[Float[Array, "B P"], Float[Array, "B P"]]:
    """Compute x and y of the pixel centers of tiles, row by row within a tile."""
    p = jnp.arange(tile * tile, dtype=jnp.int32)
    x, y = (tiles % num_columns)[:, None] * tile + p % tile, (tiles // num_columns)[:, None] * tile + p // tile
    return x.astype(jnp.float32) + 0.5, y.astype(jnp.float32) + 0.5


def to_tiles(image: Float[Array, "H W C"], grid: TileGrid) -> Float[Array, "tiles C P"]:
    """Cut an image into tiles, zero outside of it."""
    height, width, channels = image.shape
    rows, columns, tile = grid.rows, grid.columns, grid.tile
    image = jnp.pad(image, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)))
    image = image.reshape(rows, tile, columns, tile, channels)
    return jnp.transpose(image, (0, 2, 4, 1, 3)).reshape(rows * columns, channels, tile * tile)


def from_tiles(tiles: Float[Array, "tiles C P"], grid: TileGrid) -> Float[Array, "H W C"]:
    """Assemble an image from its tiles."""
    rows, columns, tile = grid.rows, grid.columns, grid.tile
    image = jnp.transpose(tiles.reshape(rows, columns, -1, tile, tile), (0, 3, 1, 4, 2))
    return image.reshape(rows * tile, columns * tile, -1)[: grid.height, : grid.width]
