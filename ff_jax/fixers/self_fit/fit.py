"""Fit the `self_fit` network on triples; what is worse than the render on held-out ones is not returned."""

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
from ff_jax.fixers.self_fit.crops import Triples, draw
from ff_jax.fixers.self_fit.fixer import apply, init_params, make_fixer
from kernels.ssim import ssim

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

    A contiguous block of the triples is held out. Checkpoints of the averaged weights compete on it, each
    scaled by the gain in [0, 1] that fits the block best; a gain of 0, which is the identity, is among the
    competitors.

    Args:
      key: randomness of weights, crops and the held-out block.
      triples: at least two, in order of time.
      config: network and fit.
      progress: anything with tqdm's `update(steps)`; called as steps are finished.

    Returns:
      The fixer and its history: "step", "loss", "psnr" (dB, held-out block) of every checkpoint,
          "psnr_render", "psnr_fixed", "gain" and "best_step" of the result.

    Raises:
      ValueError: the triples do not belong together or are fewer than two.
    """
    _check(triples)
    triples = jax.tree.map(jnp.asarray, triples)
    first, split, stream = jax.random.split(key, 3)
    train, held = split_block(split, triples.eigs.shape[0], config.validation)
    state = _start(first, stream, config)
    identity = make_fixer(init_params(first, config) | {"gain": jnp.zeros(())}, config)
    rendered = psnr(triples.renders[held], triples.targets[held])
    best, history = identity, {"psnr_render": rendered, "psnr_fixed": rendered, "best_step": 0}
    history |= {"step": [], "loss": [], "psnr": []}
    losses = []
    for step in range(1, config.steps + 1):
        # One call a step: inside a scan, XLA on CPU runs convolutions nine times slower than outside.
        state, loss = _step(state, triples, train, config)
        losses.append(loss)
        if progress is not None:
            progress.update(1)
        if step % max(config.steps // config.checks, 1) == 0 or step == config.steps:
            fixer, score = _calibrated(state.average, _pick(triples, held), config)
            if score > history["psnr_fixed"]:
                best = fixer
                history |= {"psnr_fixed": score, "best_step": step}
            history["step"].append(step)
            history["loss"].append(float(jnp.mean(jnp.stack(losses))))
            history["psnr"].append(score)
            losses = []
    return best, history | {"gain": float(best.params["gain"])}


def split_block(key: Key[Array, ""], count: int, share: float) -> tuple[Int[Array, "train"], Int[Array, "held"]]:
    """Split indices 0..count-1 into training ones and a contiguous held-out block at a random place.

    Neighbours in time look alike: single held-out views would be no check.
    """
    held = min(max(round(share * count), 1), count - 1)
    start = int(jax.random.randint(key, (), 0, count - held + 1))
    indices = jnp.arange(count)
    return jnp.delete(indices, slice(start, start + held)), indices[start : start + held]


def _check(triples: Triples) -> None:
    check_clip(triples.renders, triples.eigs, triples.references)
    if triples.targets.shape != triples.renders.shape:
        raise ValueError(
            f"targets have shape {triples.targets.shape}, renders {triples.renders.shape}: pass the real "
            "image of every rendered view, in the same size."
        )
    if triples.renders.shape[0] < 2:
        raise ValueError("self_fit needs at least 2 triples (1 is held out), got 1.")


def _start(first: Key[Array, ""], stream: Key[Array, ""], config: SelfFitConfig) -> _State:
    network = init_params(first, config)["network"]
    return _State(network, network, _optimizer(config).init(network), stream)


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
    key, now = jax.random.split(state.key)
    batch = draw(now, triples, train, config)
    loss, gradient = jax.value_and_grad(_loss)(state.params, batch, config)
    updates, moments = _optimizer(config).update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    average = optax.incremental_update(params, state.average, 1.0 - config.ema)
    return _State(params, average, moments, key), loss


def _calibrated(network: PyTree, held: Triples, config: SelfFitConfig) -> tuple[Fixer, float]:
    """Scale a network by the gain in [0, 1] that fits `held` best; return the fixer and its PSNR, dB."""
    fixer = make_fixer({"network": network, "gain": jnp.ones(())}, config)
    change = _repair(fixer, held) - held.renders
    agreement = jnp.sum(change * (held.targets - held.renders))
    gain = jnp.clip(agreement / jnp.maximum(jnp.sum(jnp.square(change)), 1e-12), 0.0, 1.0)
    fixer = make_fixer({"network": network, "gain": gain}, config)
    return fixer, psnr(_repair(fixer, held), held.targets)


def _repair(fixer: Fixer, triples: Triples) -> Float[Array, "n H W 3"]:
    return fix(fixer, jax.random.key(0), triples.renders, triples.eigs, triples.references)


def _pick(triples: Triples, indices: Int[Array, "n"]) -> Triples:
    return jax.tree.map(lambda x: x[indices], triples)


def psnr(images: Float[Array, "n H W 3"], truth: Float[Array, "n H W 3"]) -> float:
    """Return the peak signal-to-noise ratio in dB, averaged over images."""
    error = jnp.square(images - truth).mean((1, 2, 3))
    return float(jnp.mean(-10.0 * jnp.log10(error + 1e-10)))
