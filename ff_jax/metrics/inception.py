"""The Inception-v3 whose features FID and KID compare: 2048 numbers per image.

This is the network of the graph that TensorFlow published on 2015-12-05 and that Heusel et al. 2017 (arXiv
1706.08500) chose for FID, not the one that torchvision ships: averages do not count the padding, the last block pools
by maximum, and batch normalisation has no gain.

Weights are an .npz or .safetensors file with float32 arrays under the names of the common PyTorch copies, without
gains, counters and classifier: `Conv2d_1a_3x3.conv.weight` (out, in, height, width), `Conv2d_1a_3x3.bn.bias`,
`.bn.running_mean` and `.bn.running_var` (out,), up to `Mixed_7c.branch_pool.*`, 376 arrays. From such a checkpoint
(`pt_inception-2015-12-05`) they are those that do not start with `fc.` and end neither in `bn.weight` (all ones)
nor in `num_batches_tracked`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial, reduce
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, PyTree
from PIL import Image

from ff_jax.runtime.weight_files import check_shapes, read_arrays

SIZE = 299  # pixels, height and width of what the network sees
DIM = 2048
RESIZES = ("torch_fidelity", "clean")
_BN_EPSILON = 1e-3
_TOLERANCE = 1e-3  # how far colours may leave [0, 1]


class _Conv(NamedTuple):
    """Convolution, folded batch normalisation and ReLU."""

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


class _Pool(NamedTuple):
    """3 x 3 pooling."""

    kind: str
    stride: int = 1
    padding: str = "SAME"


class _Branches(NamedTuple):
    """Chains of steps that see the same input; their outputs are joined along the channels."""

    chains: tuple[tuple, ...]
    name: str = ""


_HALVE = _Pool("max", 2, "VALID")
_AVERAGE = _Pool("average")


def _down(name: str, features: int) -> _Conv:
    return _Conv(name, features, (3, 3), 2, "VALID")


def _block_a(name: str, pooled: int) -> _Branches:
    double = (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, (3, 3)), _Conv("branch3x3dbl_3", 96, (3, 3)))
    five = (_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, (5, 5)))
    return _Branches(((_Conv("branch1x1", 64),), five, double, (_AVERAGE, _Conv("branch_pool", pooled))), name)


def _block_b(name: str) -> _Branches:
    double = (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, (3, 3)), _down("branch3x3dbl_3", 96))
    return _Branches(((_down("branch3x3", 384),), double, (_HALVE,)), name)


def _block_c(name: str, inner: int) -> _Branches:
    row, column = (1, 7), (7, 1)
    single = (_Conv("branch7x7_1", inner), _Conv("branch7x7_2", inner, row), _Conv("branch7x7_3", 192, column))
    kernels, widths = ((1, 1), column, row, column, row), (inner, inner, inner, inner, 192)
    double = tuple(_Conv(f"branch7x7dbl_{i + 1}", widths[i], kernels[i]) for i in range(5))
    return _Branches(((_Conv("branch1x1", 192),), single, double, (_AVERAGE, _Conv("branch_pool", 192))), name)


def _block_d(name: str) -> _Branches:
    cross = (_Conv("branch7x7x3_1", 192), _Conv("branch7x7x3_2", 192, (1, 7)), _Conv("branch7x7x3_3", 192, (7, 1)))
    three = (_Conv("branch3x3_1", 192), _down("branch3x3_2", 320))
    return _Branches((three, (*cross, _down("branch7x7x3_4", 192)), (_HALVE,)), name)


def _block_e(name: str, pool: str) -> _Branches:
    fork = lambda stem: _Branches(((_Conv(f"{stem}a", 384, (1, 3)),), (_Conv(f"{stem}b", 384, (3, 1)),)))
    three = (_Conv("branch3x3_1", 384), fork("branch3x3_2"))
    double = (_Conv("branch3x3dbl_1", 448), _Conv("branch3x3dbl_2", 384, (3, 3)), fork("branch3x3dbl_3"))
    return _Branches(((_Conv("branch1x1", 320),), three, double, (_Pool(pool), _Conv("branch_pool", 192))), name)


_NETWORK = (
    _Conv("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    _Conv("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    _Conv("Conv2d_2b_3x3", 64, (3, 3)),
    _HALVE,
    _Conv("Conv2d_3b_1x1", 80),
    _Conv("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    _HALVE,
    *(_block_a(f"Mixed_5{letter}", pooled) for letter, pooled in zip("bcd", (32, 64, 64), strict=True)),
    _block_b("Mixed_6a"),
    *(_block_c(f"Mixed_6{letter}", inner) for letter, inner in zip("bcde", (128, 160, 160, 192), strict=True)),
    _block_d("Mixed_7a"),
    _block_e("Mixed_7b", "average"),
    _block_e("Mixed_7c", "max"),
)


class Inception(nn.Module):
    """Map images of 299 x 299 pixels in [-1, 1] to the 2048 features of the last average."""

    @nn.compact
    def __call__(self, x: Float[Array, "B 299 299 3"]) -> Float[Array, "B 2048"]:
        """Return the features."""
        return reduce(self._step, _NETWORK, x).mean((1, 2))

    def _step(
        self, x: Float[Array, "B h w c"], step: _Conv | _Pool | _Branches, prefix: str = ""
    ) -> Float[Array, "B h2 w2 c2"]:
        if isinstance(step, _Branches):
            apply = partial(self._step, prefix=f"{step.name}." if step.name else prefix)
            return jnp.concatenate([reduce(apply, chain, x) for chain in step.chains], -1)
        strides = (step.stride, step.stride)
        if isinstance(step, _Conv):
            more = {"strides": strides, "padding": step.padding, "precision": jax.lax.Precision.HIGHEST}
            return nn.relu(nn.Conv(step.features, step.kernel, **more, name=prefix + step.name)(x))
        if step.kind == "max":
            return nn.max_pool(x, (3, 3), strides, step.padding)
        return nn.avg_pool(x, (3, 3), strides, step.padding, count_include_pad=False)


@dataclass(frozen=True)
class Features:
    """The network with its weights, as a function of images."""

    variables: PyTree
    resize: str  # one of RESIZES
    batch: int  # images at a time

    def __call__(self, images: Float[np.ndarray | Array, "B H W 3"]) -> Float32[np.ndarray, "B 2048"]:
        """Return the features of images of any size, colours in [0, 1].

        Colours are rounded to 8 bits, resized to 299 x 299 and scaled to [-1, 1]. The images go through the
        network in groups of `batch`, the last one filled up, so that the network compiles once.

        Raises:
            ValueError: colours are not finite or leave [0, 1].
        """
        images = np.asarray(images, np.float32)
        _check_colours(images)
        rows = [np.zeros((0, DIM), np.float32)]
        for start in range(0, len(images), self.batch):
            pixels = resized(images[start : start + self.batch], self.resize)
            filled = np.pad(pixels, ((0, self.batch - len(pixels)), (0, 0), (0, 0), (0, 0)))
            rows.append(np.asarray(_network(self.variables, filled))[: len(pixels)])
        return np.concatenate(rows)


def load(path: Path, resize: str = "torch_fidelity", batch: int = 8) -> Features:
    """Return the features with the weights of file `path`; the module's docstring says what it holds.

    Args:
        path: .npz or .safetensors file.
        resize: how images become 299 x 299 pixels. "torch_fidelity" is TensorFlow 1's bilinear resize, which skips
            pixels when it shrinks; published values use it. "clean" is the antialiased bicubic one of Parmar et
            al. 2022 (arXiv 2104.11222), whose values do not depend on how sharp the skipped pixels are. Values
            of the two are never comparable.
        batch: images that go through the network at a time; sets memory, not values.

    Raises:
        ValueError: the file is missing, damaged or of another network, or `resize` or `batch` is not possible.
    """
    if resize not in RESIZES:
        raise ValueError(f"{resize=} is not known; use one of {', '.join(RESIZES)}.")
    if batch < 1:
        raise ValueError(f"{batch=} must be at least 1.")
    return Features(convert(read_arrays(path)), resize, batch)


def convert(arrays: Mapping[str, np.ndarray]) -> PyTree:
    """Return the variables of `Inception` from arrays named as the module's docstring says.

    Batch normalisation is folded into kernel and bias.

    Raises:
        ValueError: arrays are missing, surplus or of another shape.
    """
    check_shapes(arrays, shapes(), "Inception-v3 for FID")
    names = [key.removesuffix(".conv.weight") for key in arrays if key.endswith(".conv.weight")]
    return {"params": {name: _folded(arrays, name) for name in names}}


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Return name and shape of every array of a weights file."""
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    found = {}
    for name, leaves in jax.eval_shape(Inception().init, jax.random.key(0), image)["params"].items():
        height, width, inputs, outputs = leaves["kernel"].shape
        found[f"{name}.conv.weight"] = (outputs, inputs, height, width)
        found |= {f"{name}.bn.{key}": (outputs,) for key in ("bias", "running_mean", "running_var")}
    return found


def resized(images: Float32[np.ndarray, "B H W 3"], resize: str) -> Float32[np.ndarray, "B 299 299 3"]:
    """Round colours in [0, 1] to 8 bits and resize; returns colours in [0, 255]. See `load` for `resize`."""
    pixels = np.round(np.clip(images, 0, 1) * np.float32(255))
    if resize == "torch_fidelity":
        return _sampled(_sampled(pixels, 2), 1)
    channels = [Image.fromarray(image[..., i]) for image in pixels for i in range(3)]
    small = np.stack([np.asarray(channel.resize((SIZE, SIZE), Image.BICUBIC)) for channel in channels])
    return np.clip(small.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1), 0, 255)


@jax.jit
def _network(variables: PyTree, pixels: Float[Array, "B 299 299 3"]) -> Float[Array, "B 2048"]:
    return Inception().apply(variables, (pixels - 128) / 128)


def _sampled(images: Float32[np.ndarray, "B h w 3"], axis: int) -> Float32[np.ndarray, "B h2 w2 3"]:
    """Resize one axis to 299 by linear interpolation between the neighbours of pixel i * size / 299.

    Neither corners nor pixel centres are aligned, as in TensorFlow 1: the image moves by up to half a pixel.
    """
    size = images.shape[axis]
    # In float32, as the original: which pixels are neighbours depends on the rounding.
    place = np.arange(SIZE, dtype=np.float32) * np.float32(size / SIZE)
    below = place.astype(int)
    share = (place - below.astype(np.float32)).reshape([-1 if i == axis else 1 for i in range(4)])
    low, high = np.take(images, below, axis), np.take(images, np.minimum(below + 1, size - 1), axis)
    return low + (high - low) * share


def _check_colours(images: Float32[np.ndarray, "B H W 3"]) -> None:
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # also false if there is a NaN
        raise ValueError(f"colours must be in [0, 1], found {low} to {high}: divide bytes by 255, clip renders.")


def _folded(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Array]:
    """Return kernel (height, width, in, out) and bias (out,) of a convolution with its batch normalisation."""
    weight, bias, mean, variance = (
        arrays[f"{name}.{key}"].astype(np.float64)
        for key in ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    )
    gain = 1 / np.sqrt(variance + _BN_EPSILON)
    folded = {"kernel": weight.transpose(2, 3, 1, 0) * gain, "bias": bias - mean * gain}
    return {key: jnp.asarray(value, jnp.float32) for key, value in folded.items()}
