"""A small U-Net that predicts the true image from a render, its EIG map and a reference.

Per pixel, the residual to the render is a share of the difference to the reference plus a free correction. References
are most useful when re-projected into the view (`reprojection.align`). The share lets the network take over their
detail where that proved right in the fit, and leave out the rest.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ff_jax.eig import eig_weight
from ff_jax.fixers.self_fit.config import SelfFitConfig

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


# flax names parameters after these classes (Block_0, Encoder_0): other names are other files and other random draws.
class Block(nn.Module):
    """Two 3x3 convolutions with nonlinearities, added to their input."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "T h w c"]) -> Float[Array, "T h w c"]:
        """Add the output of the convolutions to x."""
        y = nn.Conv(self.width, (3, 3))(nn.silu(x))
        return x + nn.Conv(self.width, (3, 3))(nn.silu(y))


class Encoder(nn.Module):
    """Features at every resolution, finest first."""

    stem: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "T H W C"]) -> list[Array]:
        """Compute one feature map per entry of `widths`."""
        x = nn.Conv(self.widths[0], (3, 3))(fold(x, self.stem))
        levels = [Block(self.widths[0])(x)]
        for width in self.widths[1:]:
            levels.append(Block(width)(nn.Conv(width, (1, 1))(fold(levels[-1], 2))))
        return levels


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
        """Predict the residual to the render: a share of the difference to the reference, and a correction."""
        config = self.config
        difference = reference - render
        eig_features = [eig_weight(eig, kappa) for kappa in config.kappas]
        eig_features.append(jnp.log1p(eig) if eig_features else jnp.zeros_like(eig))
        inputs = [render - 0.5, difference, jnp.abs(difference), jnp.stack(eig_features, -1)]
        levels = Encoder(config.stem, config.widths)(jnp.concatenate(inputs, -1))
        x = Block(config.widths[-1])(levels[-1])
        for width, skip in zip(config.widths[-2::-1], levels[-2::-1], strict=True):
            x = unfold(nn.Conv(4 * width, (1, 1))(x), 2)
            x = Block(width)(x + skip)
        out = unfold(nn.Conv(4 * config.stem**2, (3, 3), name=LAST_LAYER)(nn.silu(x)), config.stem)
        return out[..., :3] + out[..., 3:] * difference
