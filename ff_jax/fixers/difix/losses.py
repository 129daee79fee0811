"""The training loss of Difix: error, perceptual distance and texture (arXiv 2503.01774, section 3.2), and EIG.

Perceptual distance and texture compare features of a VGG16 trained on ImageNet, `ff_jax.metrics.lpips` with "vgg".
"""

from typing import cast

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.difix import model
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.triples import Triples
from ff_jax.metrics.lpips import Lpips, Trunk

# ImageNet's colors, mean and standard deviation, in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_LAYER_WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)  # relu1_2, 2_2, 3_3, 4_3, 5_3


def loss(
    params: PyTree, batch: Triples, key: Key[Array, ""], config: DifixConfig, vgg: Lpips | None = None
) -> Float[Array, ""]:
    """Compute the training loss of the network's parameters on a batch.

    Args:
        params: from `model.init`; merge a low-rank update first (`lora.merge`).
        batch: renders, EIG, references and true images; sides are multiples of `config.stride`.
        key: random key of the crop that Gram matrices compare.
        config: network, and weights of the terms.
        vgg: LPIPS with VGG16 ("vgg"); None leaves out LPIPS and Gram.

    Raises:
        ValueError: `vgg` has another network, or a side is not a multiple of `config.stride`.
    """
    _check(vgg)
    fixed = model.repair(params, batch.renders, batch.eigs, batch.references, config)
    return compare(fixed, batch, key, config, vgg)


def compare(
    fixed: Float[Array, "B H W 3"], batch: Triples, key: Key[Array, ""], config: DifixConfig, vgg: Lpips | None = None
) -> Float[Array, ""]:
    """Compute the training loss of repaired images (see `loss`).

    Raises:
        ValueError: `vgg` has another network.
    """
    _check(vgg)
    weights = config.loss
    total = weights.l2 * jnp.mean(jnp.square(fixed - batch.targets))
    total += weights.eig * eig_error(fixed, batch.targets, batch.eigs, config.kappa)
    if vgg is not None:
        total += weights.lpips * jnp.mean(vgg.distance(fixed, batch.targets))
        if weights.gram:
            total += weights.gram * gram(vgg.params["trunk"], *_crop(key, fixed, batch.targets, weights.crop))
    return total


def eig_error(
    images: Float[Array, "B H W 3"], targets: Float[Array, "B H W 3"], eig: Float[Array, "B H W"], kappa: float
) -> Float[Array, ""]:
    """Average (1 - exp(-EIG / kappa)) times the absolute error over the pixels.

    Args:
        images: repaired, colors in [0, 1].
        targets: true images.
        eig: nats, not negative.
        kappa: nats.
    """
    return jnp.mean(eig_weight(eig, kappa) * jnp.abs(images - targets).mean(-1))


def gram(trunk: PyTree, images: Float[Array, "B H W 3"], targets: Float[Array, "B H W 3"]) -> Float[Array, ""]:
    """Compute the distance of the Gram matrices of VGG16 features, averaged over images (arXiv 1508.06576).

    With G = F F^T of the features F (d, h w) of a layer: the sum over layers of w mean((G - G')^2) / (d h w), with
    w = 1/2.6, 1/4.8, 1/3.7, 1/5.6 and 10/1.5 of relu1_2, 2_2, 3_3, 4_3 and 5_3.

    Args:
        trunk: parameters of VGG16, `Lpips.params["trunk"]`.
        images: repaired, colors in [0, 1], 16 x 16 pixels at least.
        targets: true images.
    """
    normalized = (jnp.concatenate([images, targets]) - jnp.array(_MEAN)) / jnp.array(_DEVIATION)
    total = jnp.zeros(())
    layers = cast(list[Array], Trunk("vgg").apply({"params": trunk}, normalized))
    for weight, layer in zip(_LAYER_WEIGHTS, layers, strict=True):
        grams, true_grams = jnp.split(jnp.einsum("bhwc,bhwd->bcd", layer, layer, precision=lax.Precision.HIGHEST), 2)
        total += weight * jnp.mean(jnp.square(grams - true_grams)) / layer[0].size
    return total


def _check(vgg: Lpips | None) -> None:
    if vgg is not None and vgg.net != "vgg":
        raise ValueError(f"the loss needs the features of VGG16, not of net={vgg.net!r}: load LPIPS with 'vgg'.")


def _crop(
    key: Key[Array, ""], images: Float[Array, "B H W 3"], targets: Float[Array, "B H W 3"], side: int
) -> tuple[Float[Array, "B h w 3"], Float[Array, "B h w 3"]]:
    """Cut the same random square out of all images."""
    size = min(side, images.shape[1]), min(side, images.shape[2])
    margin = jnp.array(images.shape[1:3]) - jnp.array(size)
    corner = jax.random.randint(key, (2,), 0, margin + 1)
    cut = lambda array: lax.dynamic_slice(array, (0, *corner, 0), (len(array), *size, 3))
    return cut(images), cut(targets)
