"""One training step of the network: the loss, random changes of its inputs, and the optimizer."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.fixers.conditions import leave_out
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig, TrainSettings
from ff_jax.fixers.reference_unet.fixer import apply, with_gain
from ff_jax.fixers.triples import Triples, masked
from ff_jax.metrics.lpips import Lpips
from kernels import ssim

_SOFT = 1e-3  # below this error the L1-like loss is quadratic
_GRID = 8  # pixels: LPIPS sees crops at random places of a grid of this size, whose phase the network cannot learn
_LEFT_OUT = 0.15  # probability with which a reference is left out
_DROPOUT = 3  # random stream of the conditions that are left out


@struct.dataclass
class TrainState:
    """Parameters, their moving average, and the optimizer's moments."""

    params: PyTree
    average: PyTree
    optimizer: PyTree


def start(network: PyTree, settings: TrainSettings) -> TrainState:
    """Make the state before the first step; the network is copied because the steps take over its memory."""
    copy = lambda: jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), network)
    return TrainState(copy(), copy(), _optimizer(settings).init(network))


def learning_rate(settings: TrainSettings, done: float) -> float:
    """Compute the learning rate after a share of the training: linear warm-up, then a cosine that ends at 0."""
    warmup = min(settings.warmup / settings.steps, 0.5)
    if done < warmup:
        return settings.lr * done / warmup
    return settings.lr * 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))


def train_step(
    state: TrainState,
    key: Key[Array, ""],
    batch: Triples,
    done: float,
    config: ReferenceUnetConfig,
    settings: TrainSettings,
    lpips: Lpips | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """Take one optimizer step after a share `done` of the training; also return the loss before it.

    The state is donated. Nothing is compiled again where only rates, weights of losses or numbers of steps differ.
    """
    rate, weight = jnp.float32(learning_rate(settings, done)), jnp.float32(settings.lpips)
    static = dataclasses.replace(settings, steps=1, batch=1, crop=(1, 1), lr=0.0, warmup=0, lpips=0.0)
    return _train_step(state, key, batch, rate, config, static, None if lpips is None else (lpips, weight))


def _optimizer(settings: TrainSettings) -> optax.GradientTransformation:
    """Make AdamW with a learning rate of 1: the step scales its updates."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1.0, weight_decay=settings.weight_decay))


def repair_loss(
    fixed: Float[Array, "B H W 3"],
    batch: Triples,
    settings: TrainSettings,
    lpips: tuple[Lpips, Float[Array, ""]] | None = None,
) -> Float[Array, ""]:
    """Compare repairs with the truth: an L1-like error, 1 - SSIM, and LPIPS if its network and weight are given.

    Pixels of weight 0 count as right.
    """
    fixed = masked(fixed, batch)
    error = jnp.mean(jnp.sqrt(jnp.square(fixed - batch.targets) + _SOFT**2))
    structure = 1.0 - jnp.mean(jax.vmap(ssim)(fixed, batch.targets))
    loss = error + settings.ssim * structure
    return loss if lpips is None else loss + lpips[1] * jnp.mean(lpips[0].distance(fixed, batch.targets))


@functools.partial(jax.jit, static_argnames=("config", "settings"), donate_argnums=(0,))
def _train_step(
    state: TrainState,
    key: Key[Array, ""],
    batch: Triples,
    rate: Float[Array, ""],
    config: ReferenceUnetConfig,
    settings: TrainSettings,
    lpips: tuple[Lpips, Float[Array, ""]] | None,
) -> tuple[TrainState, Float[Array, ""]]:
    augment_key, shift_key = jax.random.split(key)
    batch = augment(augment_key, batch) if settings.is_augmented else batch
    if settings.condition_dropout:
        kept = leave_out(jax.random.fold_in(augment_key, _DROPOUT), batch.conditions, settings.condition_dropout)
        batch = dataclasses.replace(batch, conditions=kept)

    def loss_of(network: PyTree) -> Float[Array, ""]:
        inputs = batch.renders, batch.eigs, batch.references, batch.conditions, batch.blend_eigs
        fixed = apply(config, with_gain(network, 1.0), None, *inputs)
        if lpips is None:
            return repair_loss(fixed, batch, settings)
        return repair_loss(*_shifted(shift_key, fixed, batch), settings, lpips)

    loss, gradient = jax.value_and_grad(loss_of)(state.params)
    updates, moments = _optimizer(settings).update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, jax.tree.map(lambda update: rate * update, updates))
    average = optax.incremental_update(params, state.average, 1.0 - settings.ema)
    return TrainState(params, average, moments), loss


def augment(key: Key[Array, ""], batch: Triples) -> Triples:
    """Permute and scale the colors of every crop, and leave out some of its references."""
    order_key, gain_key, drop_key = jax.random.split(key, 3)
    count, num_references = batch.references.shape[:2]
    orders = jax.vmap(lambda k: jax.random.permutation(k, 3))(jax.random.split(order_key, count))
    gains = jax.random.uniform(gain_key, (count, 3), minval=0.75, maxval=1.0)

    def recolor(images: Float[Array, "B ... 3"]) -> Float[Array, "B ... 3"]:
        return jax.vmap(lambda image, order, gain: gain * image[..., order])(images, orders, gains)

    renders, seen = recolor(batch.renders), jax.random.bernoulli(drop_key, 1.0 - _LEFT_OUT, (count, num_references))
    colors, seen = recolor(batch.references[..., :3]), seen[:, :, None, None, None]
    colors = jnp.where(seen, colors, renders[:, None])
    references = jnp.concatenate([colors, seen * batch.references[..., 3:]], -1)
    return dataclasses.replace(batch, renders=renders, references=references, targets=recolor(batch.targets))


def _shifted(
    key: Key[Array, ""], fixed: Float[Array, "B H W 3"], batch: Triples
) -> tuple[Float[Array, "B h w 3"], Triples]:
    """Cut repairs and truth alike, at random rows and columns below `_GRID`."""
    top, left = jax.random.randint(key, (2,), 0, _GRID)
    height, width = (side - _GRID for side in fixed.shape[1:3])

    def cut(images: Float[Array, "B H W *c"]) -> Float[Array, "B h w *c"]:
        start = (0, top, left, *[0] * (images.ndim - 3))
        return jax.lax.dynamic_slice(images, start, (images.shape[0], height, width, *images.shape[3:]))

    weights = None if batch.weights is None else cut(batch.weights)
    return cut(fixed), dataclasses.replace(batch, targets=cut(batch.targets), weights=weights)
