"""Extract the 2048 Inception-v3 features per image that FID and KID compare.

The network is that of the TensorFlow graph of 2015-12-05, which Heusel et al. 2017 (arXiv 1706.08500) chose for FID. It
differs from torchvision's: averages do not count the padding, the last block pools by maximum, and batch normalization
has no scale.

Weights are an .npz or .safetensors file with float32 arrays under the names of the common PyTorch copies, without
scales, counters and classifier: `Conv2d_1a_3x3.conv.weight` (out, in, height, width), `Conv2d_1a_3x3.bn.bias`,
`.bn.running_mean` and `.bn.running_var` (out,), up to `Mixed_7c.branch_pool.*`, 376 arrays. These are the arrays of
such a checkpoint (`pt_inception-2015-12-05`) that do not start with `fc.` and end neither in `bn.weight` (all ones) nor
in `num_batches_tracked`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jaxtyping import Float, Float32, PyTree
from PIL import Image

from ff_jax.runtime.weight_files import check_shapes, read_arrays

SIZE = 299  # pixels, height and width of the input
DIM = 2048
RESIZES = ("torch_fidelity", "clean")
_BN_EPSILON = 1e-3
_TOLERANCE = 1e-3  # how far colors may leave [0, 1]

Activations = Float[Array, "B h w c"]


def _conv(
    x: Activations, name: str, features: int, kernel: tuple[int, int] = (1, 1), stride: int = 1, padding: str = "SAME"
) -> Float[Array, "B h2 w2 d"]:
    """Apply a convolution with its folded batch normalization, and ReLU; called within a compact module."""
    options = {"strides": (stride, stride), "padding": padding, "precision": jax.lax.Precision.HIGHEST}
    return nn.relu(nn.Conv(features, kernel, **options, name=name)(x))


def _halve(x: Activations, name: str, features: int) -> Float[Array, "B h2 w2 d"]:
    return _conv(x, name, features, (3, 3), 2, "VALID")


def _max_pool(x: Activations) -> Float[Array, "B h2 w2 c"]:
    return nn.max_pool(x, (3, 3), (2, 2), "VALID")


def _average_pool(x: Activations) -> Activations:
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _double_3x3(x: Activations) -> Float[Array, "B h w 96"]:
    return _conv(_conv(x, "branch3x3dbl_1", 64), "branch3x3dbl_2", 96, (3, 3))


class _InceptionA(nn.Module):
    """Block at 35 x 35: branches of 1 x 1, 5 x 5 and twice 3 x 3 convolutions, and average pooling."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Activations) -> Float[Array, "B h w d"]:
        single = _conv(x, "branch1x1", 64)
        five = _conv(_conv(x, "branch5x5_1", 48), "branch5x5_2", 64, (5, 5))
        double = _conv(_double_3x3(x), "branch3x3dbl_3", 96, (3, 3))
        pool = _conv(_average_pool(x), "branch_pool", self.pool_features)
        return jnp.concatenate([single, five, double, pool], -1)


class _InceptionB(nn.Module):
    """Reduction from 35 x 35 to 17 x 17."""

    @nn.compact
    def __call__(self, x: Activations) -> Float[Array, "B h2 w2 d"]:
        double = _halve(_double_3x3(x), "branch3x3dbl_3", 96)
        return jnp.concatenate([_halve(x, "branch3x3", 384), double, _max_pool(x)], -1)


class _InceptionC(nn.Module):
    """Block at 17 x 17: factorized 7 x 7 convolutions."""

    features: int

    @nn.compact
    def __call__(self, x: Activations) -> Float[Array, "B h w 768"]:
        single = _conv(x, "branch1x1", 192)
        seven = _conv(_conv(x, "branch7x7_1", self.features), "branch7x7_2", self.features, (1, 7))
        seven = _conv(seven, "branch7x7_3", 192, (7, 1))
        double = _conv(x, "branch7x7dbl_1", self.features)
        for i, kernel in enumerate([(7, 1), (1, 7), (7, 1)]):
            double = _conv(double, f"branch7x7dbl_{i + 2}", self.features, kernel)
        double = _conv(double, "branch7x7dbl_5", 192, (1, 7))
        pool = _conv(_average_pool(x), "branch_pool", 192)
        return jnp.concatenate([single, seven, double, pool], -1)


class _InceptionD(nn.Module):
    """Reduction from 17 x 17 to 8 x 8."""

    @nn.compact
    def __call__(self, x: Activations) -> Float[Array, "B h2 w2 1280"]:
        three = _halve(_conv(x, "branch3x3_1", 192), "branch3x3_2", 320)
        seven = _conv(_conv(x, "branch7x7x3_1", 192), "branch7x7x3_2", 192, (1, 7))
        seven = _halve(_conv(seven, "branch7x7x3_3", 192, (7, 1)), "branch7x7x3_4", 192)
        return jnp.concatenate([three, seven, _max_pool(x)], -1)


class _InceptionE(nn.Module):
    """Block at 8 x 8: branches that fork into 1 x 3 and 3 x 1 convolutions."""

    use_max_pool: bool = False

    @nn.compact
    def __call__(self, x: Activations) -> Float[Array, "B h w 2048"]:
        single = _conv(x, "branch1x1", 320)
        three = self._fork(_conv(x, "branch3x3_1", 384), "branch3x3_2")
        double = _conv(_conv(x, "branch3x3dbl_1", 448), "branch3x3dbl_2", 384, (3, 3))
        double = self._fork(double, "branch3x3dbl_3")
        pool = nn.max_pool(x, (3, 3), (1, 1), "SAME") if self.use_max_pool else _average_pool(x)
        return jnp.concatenate([single, three, double, _conv(pool, "branch_pool", 192)], -1)

    def _fork(self, x: Activations, name: str) -> Float[Array, "B h w 768"]:
        return jnp.concatenate([_conv(x, f"{name}a", 384, (1, 3)), _conv(x, f"{name}b", 384, (3, 1))], -1)


class InceptionV3(nn.Module):
    """Map images of 299 x 299 pixels in [-1, 1] to the 2048 features of the last average."""

    @nn.compact
    def __call__(self, x: Float[Array, "B 299 299 3"]) -> Float[Array, "B 2048"]:
        """Compute the features."""
        x = _halve(x, "Conv2d_1a_3x3", 32)
        x = _conv(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
        x = _max_pool(_conv(x, "Conv2d_2b_3x3", 64, (3, 3)))
        x = _conv(x, "Conv2d_3b_1x1", 80)
        x = _max_pool(_conv(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID"))
        for letter, features in zip("bcd", (32, 64, 64), strict=True):
            x = _InceptionA(features, name=f"Mixed_5{letter}")(x)
        x = _InceptionB(name="Mixed_6a")(x)
        for letter, features in zip("bcde", (128, 160, 160, 192), strict=True):
            x = _InceptionC(features, name=f"Mixed_6{letter}")(x)
        x = _InceptionD(name="Mixed_7a")(x)
        x = _InceptionE(name="Mixed_7b")(x)
        return _InceptionE(use_max_pool=True, name="Mixed_7c")(x).mean((1, 2))


@dataclass(frozen=True)
class InceptionFeatures:
    """The network with its weights, as a function of images."""

    variables: PyTree
    resize: str  # one of RESIZES
    batch: int  # images at a time

    def __call__(self, images: Float[np.ndarray | Array, "B H W 3"]) -> Float32[np.ndarray, "B 2048"]:
        """Compute the features of images of any size, colors in [0, 1].

        Colors are rounded to 8 bits, resized to 299 x 299 and scaled to [-1, 1]. The last group of `batch` images is
        padded, so that the network compiles once.

        Raises:
            ValueError: colors are not finite or leave [0, 1].
        """
        images = np.asarray(images, np.float32)
        _check_colors(images)
        rows = [np.zeros((0, DIM), np.float32)]
        for start in range(0, len(images), self.batch):
            pixels = resize_images(images[start : start + self.batch], self.resize)
            padded = np.pad(pixels, ((0, self.batch - len(pixels)), (0, 0), (0, 0), (0, 0)))
            rows.append(np.asarray(_network(self.variables, padded))[: len(pixels)])
        return np.concatenate(rows)


def load(path: Path, resize: str = "torch_fidelity", batch: int = 8) -> InceptionFeatures:
    """Load the network from a weights file (see the module's docstring).

    Args:
        path: .npz or .safetensors file.
        resize: how images become 299 x 299 pixels. "torch_fidelity" is TensorFlow 1's bilinear resize, which skips
            pixels when it shrinks; published values use it. "clean" is the antialiased bicubic one of Parmar et
            al. 2022 (arXiv 2104.11222). Values of the two are not comparable.
        batch: images per call of the network; sets memory, not values.

    Raises:
        ValueError: the file is missing, damaged or of another network, or `resize` or `batch` is invalid.
    """
    if resize not in RESIZES:
        raise ValueError(f"invalid {resize=}: expected one of {', '.join(RESIZES)}.")
    if batch < 1:
        raise ValueError(f"{batch=} must be at least 1.")
    return InceptionFeatures(convert(read_arrays(path)), resize, batch)


def convert(arrays: Mapping[str, np.ndarray]) -> PyTree:
    """Convert arrays of a weights file to variables of `InceptionV3`; batch normalization is folded in.

    Raises:
        ValueError: arrays are missing, surplus or of another shape.
    """
    check_shapes(arrays, shapes(), "Inception-v3 for FID")
    names = [key.removesuffix(".conv.weight") for key in arrays if key.endswith(".conv.weight")]
    return {"params": unflatten_dict({name: _fold_batch_norm(arrays, name) for name in names}, sep=".")}


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """List name and shape of every array of a weights file."""
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    params = jax.eval_shape(InceptionV3().init, jax.random.key(0), image)["params"]
    result = {}
    for name, leaf in cast(dict[str, Any], flatten_dict(params, sep=".")).items():
        layer, _, kind = name.rpartition(".")
        if kind == "kernel":
            height, width, inputs, outputs = leaf.shape
            result[f"{layer}.conv.weight"] = (outputs, inputs, height, width)
            result |= {f"{layer}.bn.{key}": (outputs,) for key in ("bias", "running_mean", "running_var")}
    return result


def resize_images(images: Float32[np.ndarray, "B H W 3"], resize: str) -> Float32[np.ndarray, "B 299 299 3"]:
    """Round colors in [0, 1] to 8 bits and resize to colors in [0, 255]. See `load` for `resize`."""
    pixels = np.round(np.clip(images, 0, 1) * np.float32(255))
    if resize == "torch_fidelity":
        return _resize_axis_tf1(_resize_axis_tf1(pixels, 2), 1)
    channels = [Image.fromarray(image[..., i]) for image in pixels for i in range(3)]
    small = np.stack([np.asarray(channel.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for channel in channels])
    return np.clip(small.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1), 0, 255)


@jax.jit
def _network(variables: PyTree, pixels: Float[Array, "B 299 299 3"]) -> Float[Array, "B 2048"]:
    return cast(Array, InceptionV3().apply(variables, (pixels - 128) / 128))


def _resize_axis_tf1(images: Float32[np.ndarray, "B h w 3"], axis: int) -> Float32[np.ndarray, "B h2 w2 3"]:
    """Resize one axis to 299 by linear interpolation between the neighbors of pixel i * size / 299.

    Neither corners nor pixel centers are aligned, as in TensorFlow 1: the image moves by up to half a pixel.
    """
    size = images.shape[axis]
    # In float32, as the original: the rounding decides which pixels are neighbors.
    position = np.arange(SIZE, dtype=np.float32) * np.float32(size / SIZE)
    below = position.astype(int)
    weight = (position - below.astype(np.float32)).reshape([-1 if i == axis else 1 for i in range(4)])
    low, high = np.take(images, below, axis), np.take(images, np.minimum(below + 1, size - 1), axis)
    return low + (high - low) * weight


def _check_colors(images: Float32[np.ndarray, "B H W 3"]) -> None:
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # also true for NaN
        raise ValueError(f"colors must be in [0, 1], got {low} to {high}: divide bytes by 255, clip renders.")


def _fold_batch_norm(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Array]:
    """Fold batch normalization into kernel (height, width, in, out) and bias (out,) of a convolution."""
    weight, bias, mean, variance = (
        arrays[f"{name}.{key}"].astype(np.float64)
        for key in ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    )
    scale = 1 / np.sqrt(variance + _BN_EPSILON)
    layer = {"kernel": weight.transpose(2, 3, 1, 0) * scale, "bias": bias - mean * scale}
    return {key: jnp.asarray(value, jnp.float32) for key, value in layer.items()}
