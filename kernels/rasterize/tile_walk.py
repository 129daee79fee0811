"""The walk over tile lists in jnp: the CPU and TPU form of every op that reads `Bins`.

Tiles are taken in batches of similar list length. Within a batch, one loop over the list handles a block of
(tiles, DEPTH list positions, pixels) per step: large enough that the handful of small operations a step consists of
cost more than their dispatch, small enough to stay in a cache. Nothing is recorded for differentiation, and the loop
ends as soon as every tile of the batch is saturated or through.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.bin_tiles.types import Bins, tile_grid
from kernels.rasterize.alpha_blending import T_STOP

BLOCK = 2048  # pixels of a batch (measured, 2 cores: half and twice as many are slower)
DEPTH = 8  # list positions per step, between two looks at the transmittance


def walk_tiles(
    step: Callable[..., tuple[tuple, Float[Array, "B K G"] | None]],
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
        step: (columns, px, py, inputs, state) -> (state, row sums); columns are the F columns of the Gaussians
            at the next K list positions of B tiles, each (B, K, 1), with column 5, the opacity, set to 0 past
            the end of a list; px, py and every input are (B, 1, P), every state (B, P); state[0] is the
            transmittance; row sums are what `sums` asks for, None without. See `one_by_one`, `in_front`, `running`.
        bins: tile lists.
        table: what a step needs of every Gaussian; column 5 is the opacity.
        inputs: what it needs of every pixel, by tile.
        start: inputs, as a tuple of (B, P), and one array of that shape -> first state.
        sums: number G of values that are summed over all pixels for every Gaussian.
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
        px, py = (x[:, None] for x in pixel_centres(tiles, columns, tile))
        first, length = bins.tile_starts[tiles], jnp.where(live, count[tiles], 0)
        pixels = tuple(jnp.moveaxis(inputs[tiles], 1, 0))

        def ends(T: Float[Array, "B P"]) -> Int[Array, "B"]:
            # A saturated tile ends on its own: which tiles share its batch must not change its pixels.
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
            if sums:
                ids = jnp.where(live, ids, table.shape[0])
                totals = totals.at[ids].add(row_sums, mode="drop")
            return position + DEPTH, ends(state[0]), state, totals

        def unfinished(carry: tuple) -> Array:
            return carry[0] < jnp.max(carry[1])

        state = start(pixels, px[:, 0])
        _, _, state, totals = lax.while_loop(unfinished, visit, (jnp.int32(0), ends(state[0]), state, totals))
        return totals, jnp.stack(state, 1)

    totals = jnp.zeros((table.shape[0], sums), table.dtype)
    totals, state = lax.scan(one_batch, totals, (chosen, live))
    state = state.reshape(-1, *state.shape[2:])[: count.shape[0]]
    return jnp.zeros_like(state).at[by_length].set(state, unique_indices=True), totals


def one_by_one(step: Callable[..., tuple[tuple, tuple]]) -> Callable[..., tuple]:
    """Return a step of `walk_tiles` from one that sees a single list position.

    Its columns are (B, 1), px, py, inputs and states (B, P); in place of row sums it returns a tuple of (B, P).
    """

    def steps(columns: list, px: Array, py: Array, pixels: tuple, state: tuple) -> tuple[tuple, Array | None]:
        px, py, pixels = px[:, 0], py[:, 0], tuple(x[:, 0] for x in pixels)

        def one(state: tuple, row: Float[Array, "F B 1"]) -> tuple[tuple, Array | None]:
            state, parts = step(list(row), px, py, pixels, state)
            return state, jnp.stack([jnp.sum(part, -1) for part in parts], -1) if parts else None

        state, row_sums = lax.scan(one, state, jnp.moveaxis(jnp.stack(columns), 2, 0))
        return state, None if row_sums is None else jnp.swapaxes(row_sums, 0, 1)

    return steps


def in_front(T: Float[Array, "B P"], alpha: Float[Array, "B K P"]) -> tuple[Float[Array, "B K P"], Float[Array, "B P"]]:
    """Return the transmittance in front of each of K Gaussians, and behind the last."""
    fronts = [T]
    for k in range(alpha.shape[1]):
        fronts.append(fronts[-1] * (1 - alpha[:, k]))
    return jnp.stack(fronts[:-1], 1), fronts[-1]


def running(first: Float[Array, "B P"], terms: Float[Array, "B K P"]) -> tuple[Float[Array, "B K P"], Array]:
    """Return `first` plus the terms up to and including each, and the last of these sums."""
    sums = [first]
    for k in range(terms.shape[1]):
        sums.append(sums[-1] + terms[:, k])
    return jnp.stack(sums[1:], 1), sums[-1]


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
