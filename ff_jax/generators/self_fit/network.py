"""A small U-Net that regresses the true image from a render, its EIG map and a real image from beside.

The network predicts a residual to the render; its last layer starts at zero, so an unfitted network is the
identity. The reference is not aligned with the render. It enters at the coarsest resolution only, through
attention over a wide, low neighbourhood (a lateral shift moves the image along rows): by likeness alone,
without a position term, so that displacements between neighbouring frames prepare for those between lanes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.eig import eig_weight
from ff_jax.generators.self_fit.config import SelfFitConfig

LAST_LAYER = "residual"


def fold(x: Float[Array, "T H W C"], size: int) -> Float[Array, "T h w c"]:
    """Move size x size pixels into the channels."""
    t, h, w, c = x.shape
    x = x.reshape(t, h // size, size, w // size, size, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(t, h // size, w // size, size * size * c)


def unfold(x: Float[Array, "T h w c"], size: int) -> Float[Array, "T H W C"]:
    """Undo `fold`."""
    t, h, w, c = x.shape
    x = x.reshape(t, h, w, size, size, c // size**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(t, h * size, w * size, c // size**2)


class Block(nn.Module):
    """Two 3x3 convolutions around a nonlinearity, added to their input."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "T h w c"]) -> Float[Array, "T h w c"]:
        """Return x plus what the convolutions add."""
        y = nn.Conv(self.width, (3, 3))(nn.silu(x))
        return x + nn.Conv(self.width, (3, 3))(nn.silu(y))


class Encoder(nn.Module):
    """Features at every resolution, finest first."""

    stem: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "T H W C"]) -> list[Array]:
        """Return one feature map per entry of `widths`."""
        x = nn.Conv(self.widths[0], (3, 3))(fold(x, self.stem))
        levels = [Block(self.widths[0])(x)]
        for width in self.widths[1:]:
            levels.append(Block(width)(nn.Conv(width, (1, 1))(fold(levels[-1], 2))))
        return levels


class Search(nn.Module):
    """Attention of every position to a neighbourhood of the reference."""

    reach: tuple[int, int]  # half-size: rows, columns

    @nn.compact
    def __call__(self, x: Float[Array, "T h w c"], reference: Float[Array, "T h w c"]) -> Array:
        """Return what the reference shows at the places that look most like `x`."""
        width = x.shape[-1]
        query = nn.Dense(width // 2)(x) / jnp.sqrt(width / 2)
        key = _neighbours(nn.Dense(width // 2)(reference), self.reach)
        value = _neighbours(nn.Dense(width)(reference), self.reach)
        inside = _neighbours(jnp.ones((*x.shape[:3], 1)), self.reach)[..., 0] > 0
        score = jnp.einsum("thwc,nthwc->nthw", query, key)
        share = jax.nn.softmax(jnp.where(inside, score, -1e9), 0)
        return jnp.einsum("nthw,nthwc->thwc", share, value)


def _neighbours(x: Float[Array, "T h w c"], reach: tuple[int, int]) -> Float[Array, "n T h w c"]:
    rows, columns = reach
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    shifts = [(i, j) for i in range(2 * rows + 1) for j in range(2 * columns + 1)]
    return jnp.stack([padded[:, i : i + h, j : j + w] for i, j in shifts])


class Network(nn.Module):
    """Residual U-Net; height and width must be multiples of `config.stride`."""

    config: SelfFitConfig

    @nn.compact
    def __call__(
        self,
        render: Float[Array, "T H W 3"],
        eig: Float[Array, "T H W"],
        reference: Float[Array, "T H W 3"],
    ) -> Float[Array, "T H W 3"]:
        """Return the residual to the render."""
        config = self.config
        features = [eig_weight(eig, kappa) for kappa in config.kappas] + [jnp.log1p(eig)]
        seen = jnp.concatenate([render - 0.5, jnp.stack(features, -1)], -1)
        levels = Encoder(config.stem, config.widths)(seen)
        beside = Encoder(config.stem, config.widths)(reference - 0.5)[-1]
        x = levels[-1]
        found = Search(config.search)(x, beside)
        x = Block(config.widths[-1])(x + nn.Dense(config.widths[-1])(found))
        for width, skip in zip(config.widths[-2::-1], levels[-2::-1], strict=True):
            x = unfold(nn.Conv(4 * width, (1, 1))(x), 2)
            x = Block(width)(x + skip)
        return unfold(nn.Conv(3 * config.stem**2, (3, 3), name=LAST_LAYER)(nn.silu(x)), config.stem)
