"""Fit the `self_fit` network on triples; return the identity if no checkpoint improves held-out renders."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jaxtyping import Float, Int, Key, PyTree

from ff_jax.eig import eig_weight
from ff_jax.fixers.fixer import Fixer, check_clip, fix
from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.crops import draw_crops
from ff_jax.fixers.self_fit.fixer import apply, fixer_from_params, init_params
from ff_jax.fixers.triples import Triples, psnr
from kernels import ssim

_SOFT = 1e-3  # below this error the L1-like loss is quadratic


@struct.dataclass
class _State:
    params: PyTree
    average: PyTree  # exponential moving average of `params`
    optimizer: PyTree
    key: Key[Array, ""]


def fit(
    key: Key[Array, ""], triples: Triples, config: SelfFitConfig, progress: Any = None
) -> tuple[Fixer, dict[str, Any]]:
    """Fit a fixer on triples of one log; the result depends on `key` and the inputs alone.

    A contiguous block of the triples is held out for validation. Checkpoints of the averaged weights are compared on
    it, each scaled by the gain in [0, 1] that fits the block best. A gain of 0, the identity, is among the candidates.

    Args:
      key: random key of weights, crops and the validation block.
      triples: at least two, in order of time.
      config: network and fit.
      progress: an object with tqdm's `update(steps)`, called after every step.

    Returns:
      The fixer and its history: "step", "loss", "psnr" (dB, validation block) of every checkpoint,
          "psnr_render", "psnr_fixed", "gain" and "best_step" of the result.

    Raises:
      ValueError: the shapes of the triples differ, or there are fewer than two.
    """
    _check(triples)
    triples = jax.tree.map(jnp.asarray, triples)
    init_key, _, train_key = jax.random.split(key, 3)
    train, block = split_triples(key, triples.eigs.shape[0], config)
    validation = jax.tree.map(lambda x: x[block], triples)
    state = _start(init_key, train_key, config)
    best = fixer_from_params(init_params(init_key, config) | {"gain": jnp.zeros(())}, config)
    best_psnr = render_psnr = mean_psnr(validation.renders, validation.targets)
    best_step, rows, losses = 0, [], []
    for step in range(1, config.steps + 1):
        # One call a step: inside a scan, XLA on CPU runs convolutions nine times slower than outside.
        state, loss = _step(state, triples, train, config)
        losses.append(loss)
        if progress is not None:
            progress.update(1)
        if step % max(config.steps // config.checks, 1) == 0 or step == config.steps:
            fixer, score = _calibrate(state.average, validation, config)
            if score > best_psnr:
                best, best_psnr, best_step = fixer, score, step
            rows.append((step, float(jnp.mean(jnp.stack(losses))), score))
            losses = []
    history = {name: [row[i] for row in rows] for i, name in enumerate(("step", "loss", "psnr"))}
    history |= {"psnr_render": render_psnr, "psnr_fixed": best_psnr, "best_step": best_step}
    return best, history | {"gain": float(best.params["gain"])}


def split_triples(
    key: Key[Array, ""], count: int, config: SelfFitConfig
) -> tuple[Int[Array, "train"], Int[Array, "block"]]:
    """Return the indices of the triples that `fit` trains on with `key`, and of those that it holds out."""
    return split_block(jax.random.split(key, 3)[1], count, config.validation)


def split_block(key: Key[Array, ""], count: int, fraction: float) -> tuple[Int[Array, "train"], Int[Array, "block"]]:
    """Split indices 0..count-1 into training indices and a contiguous validation block at a random place.

    Views near in time look alike, so single validation views would not test the fit.
    """
    size = min(max(round(fraction * count), 1), count - 1)
    start = int(jax.random.randint(key, (), 0, count - size + 1))
    indices = jnp.arange(count)
    return jnp.delete(indices, slice(start, start + size)), indices[start : start + size]


def _check(triples: Triples) -> None:
    check_clip(triples.renders, triples.eigs, triples.references)
    if triples.targets.shape != triples.renders.shape:
        raise ValueError(
            f"targets have shape {triples.targets.shape}, renders {triples.renders.shape}: pass the real "
            "image of every rendered view, in the same size."
        )
    if triples.renders.shape[0] < 2:
        raise ValueError("self_fit needs at least 2 triples (1 is held out), got 1.")


def _start(init_key: Key[Array, ""], train_key: Key[Array, ""], config: SelfFitConfig) -> _State:
    network = init_params(init_key, config)["network"]
    return _State(network, network, _optimizer(config).init(network), train_key)


def _optimizer(config: SelfFitConfig) -> optax.GradientTransformation:
    warmup = min(config.warmup, config.steps // 2)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.lr, warmup, config.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=config.weight_decay))


def _loss(network: PyTree, batch: Triples, config: SelfFitConfig) -> Float[Array, ""]:
    params = {"network": network, "gain": jnp.ones(())}
    fixed = apply(config, params, None, batch.renders, batch.eigs, batch.references)
    error = jnp.sqrt(jnp.square(fixed - batch.targets) + _SOFT**2).mean(-1)
    structure = 1.0 - jax.vmap(ssim)(fixed, batch.targets)
    weight = eig_weight(batch.eigs, config.kappa)
    return jnp.mean(weight * ((1.0 - config.ssim) * error + config.ssim * structure))


@functools.partial(jax.jit, static_argnames=("config",))
def _step(
    state: _State, triples: Triples, train: Int[Array, "n"], config: SelfFitConfig
) -> tuple[_State, Float[Array, ""]]:
    """Take one optimizer step; also return the loss before it."""
    key, crop_key = jax.random.split(state.key)
    batch = draw_crops(crop_key, triples, train, config)
    loss, gradient = jax.value_and_grad(_loss)(state.params, batch, config)
    updates, moments = _optimizer(config).update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    average = optax.incremental_update(params, state.average, 1.0 - config.ema)
    return _State(params, average, moments, key), loss


def _calibrate(network: PyTree, validation: Triples, config: SelfFitConfig) -> tuple[Fixer, float]:
    """Scale a network by the gain in [0, 1] that fits `validation` best; return the fixer and its PSNR, dB."""
    fixer = fixer_from_params({"network": network, "gain": jnp.ones(())}, config)
    change = _repair(fixer, validation) - validation.renders
    agreement = jnp.sum(change * (validation.targets - validation.renders))
    gain = jnp.clip(agreement / jnp.maximum(jnp.sum(jnp.square(change)), 1e-12), 0.0, 1.0)
    fixer = fixer_from_params({"network": network, "gain": gain}, config)
    return fixer, mean_psnr(_repair(fixer, validation), validation.targets)


def _repair(fixer: Fixer, triples: Triples) -> Float[Array, "n H W 3"]:
    return fix(fixer, jax.random.key(0), triples.renders, triples.eigs, triples.references)


def mean_psnr(images: Float[Array, "n H W 3"], truth: Float[Array, "n H W 3"]) -> float:
    """Average the peak signal-to-noise ratio over images, dB."""
    return float(jnp.mean(psnr(images, truth)))
