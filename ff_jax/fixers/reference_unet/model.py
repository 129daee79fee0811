"""A U-Net that sees a render, its EIG map and several references, and predicts the residual to the render.

Per pixel, it chooses among the render and the references by a softmax, takes over a share of the difference to the
choice, and adds a free correction. References are recorded images re-projected into the view with their confidence
(`reprojection.align_each`); one of confidence 0 is not chosen.

Condition images pass one convolution, which is initialized as zero, and are added to the first features (as in
StreetCrafter, arXiv 2412.13188): a network without conditions is extended without a change of its output.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.conditions import num_channels
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig

LAST_LAYER, CONDITIONS = "residual", "conditions"  # layers that are initialized as zero
_UNSEEN = 1e-3  # added to a confidence before its logarithm: e^-7 of the odds of a reference that is seen


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
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "T h w c"]) -> Float[Array, "T h w c"]:
        """Add the output of the convolutions to x."""
        y = nn.Conv(self.width, (3, 3), dtype=self.dtype)(nn.silu(x))
        return x + nn.Conv(self.width, (3, 3), dtype=self.dtype)(nn.silu(y))


class Encoder(nn.Module):
    """Features at every resolution, finest first."""

    stem: int
    widths: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "T H W C"], added: Float[Array, "T h w c"] | None = None) -> list[Array]:
        """Compute one feature map per entry of `widths`; `added` are features at the finest resolution."""
        x = nn.Conv(self.widths[0], (3, 3), dtype=self.dtype)(fold(x, self.stem))
        x = x if added is None else x + added
        levels = [Block(self.widths[0], self.dtype)(x)]
        for width in self.widths[1:]:
            x = nn.Conv(width, (1, 1), dtype=self.dtype)(fold(levels[-1], 2))
            levels.append(Block(width, self.dtype)(x))
        return levels


class Network(nn.Module):
    """Residual U-Net; height and width must be multiples of `config.stride`."""

    config: ReferenceUnetConfig

    @nn.compact
    def __call__(
        self,
        render: Float[Array, "T H W 3"],
        eig: Float[Array, "T H W"],
        references: Float[Array, "T H W K 4"],
        conditions: Float[Array, "T H W C"] | None = None,
    ) -> Float[Array, "T H W 3"]:
        """Predict the residual to the render: a share of the difference to the choice, and a correction.

        `conditions` are those of the config, stacked; only a network that has some takes them.
        """
        config = self.config
        differences, confidence = references[..., :3] - render[..., None, :], references[..., 3]
        inputs = [render - 0.5, *self._reference_features(differences, confidence), self._eig_features(eig)]
        added = None if conditions is None else self._condition_features(conditions)
        levels = Encoder(config.stem, config.widths, config.dtype)(jnp.concatenate(inputs, -1), added)
        x = Block(config.widths[-1], config.dtype)(levels[-1])
        for width, skip in zip(config.widths[-2::-1], levels[-2::-1], strict=True):
            x = unfold(nn.Conv(4 * width, (1, 1), dtype=config.dtype)(x), 2)
            x = Block(width, config.dtype)(x + skip)
        # Odds of the render and of each reference, the share of the choice, and the correction.
        channels = config.stem**2 * (config.num_references + 5)
        out = nn.Conv(channels, (3, 3), dtype=config.dtype, name=LAST_LAYER)(nn.silu(x))
        out = unfold(out.astype(jnp.float32), config.stem)
        correction, share, odds = out[..., :3], out[..., 3:4], out[..., 4:]
        odds = odds.at[..., 1:].add(jnp.log(confidence + _UNSEEN))
        choice = jax.nn.softmax(odds, -1)[..., 1:, None]
        return share * jnp.sum(choice * differences, -2) + correction

    def _reference_features(
        self, differences: Float[Array, "T H W K 3"], confidence: Float[Array, "T H W K"]
    ) -> list[Array]:
        flat = differences.reshape(*differences.shape[:-2], -1)
        return [flat, jnp.abs(differences).mean(-1), confidence]

    def _condition_features(self, conditions: Float[Array, "T H W C"]) -> Float[Array, "T h w c"]:
        config, zeros = self.config, nn.initializers.zeros
        layer = nn.Conv(config.widths[0], (3, 3), dtype=config.dtype, kernel_init=zeros, name=CONDITIONS)
        return layer(fold(conditions, config.stem))

    def _eig_features(self, eig: Float[Array, "T H W"]) -> Float[Array, "T H W c"]:
        features = jnp.stack([*(eig_weight(eig, kappa) for kappa in self.config.kappas), jnp.log1p(eig)], -1)
        return features if self.config.conditioned_on_eig else jnp.zeros_like(features)


def shapes(config: ReferenceUnetConfig) -> PyTree:
    """List the shapes of the network's parameters."""
    size = (1, config.stride, config.stride)
    inputs = [(*size, 3), size, (*size, config.num_references, 4)]
    inputs += [(*size, num_channels(config.conditions))] if config.conditions else []
    structs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs]
    return jax.eval_shape(Network(config).init, jax.random.key(0), *structs)
