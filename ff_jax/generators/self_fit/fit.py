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
from ff_jax.generators.protocol import Fixer, check_clip
from ff_jax.generators.self_fit.config import SelfFitConfig
from ff_jax.generators.self_fit.fixer import apply, init_params, make_fixer
from ff_jax.generators.self_fit.sample import Triples, draw
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
    params = init_params(first, config)
    network = params["network"]
    state = _State(network, network, _optimizer(config).init(network), stream)
    best = params | {"gain": jnp.zeros(())}
    base = psnr_render = float(_psnr(_error(triples.renders[held], triples.targets[held])))
    history = {"step": [], "loss": [], "psnr": [], "psnr_render": psnr_render, "best_step": 0}
    for start, stop in _pieces(config):
        state, loss = _run(state, triples, train, config, stop - start)
        gain, psnr = _validate(state.average, triples, held, config)
        if psnr > base:
            base, best = float(psnr), {"network": state.average, "gain": gain}
            history["best_step"] = stop
        for name, value in (("step", stop), ("loss", float(loss)), ("psnr", float(psnr))):
            history[name].append(value)
        if progress is not None:
            progress.update(stop - start)
    history |= {"psnr_fixed": base, "gain": float(best["gain"])}
    return make_fixer(best, config), history


def split_block(
    key: Key[Array, ""], count: int, share: float
) -> tuple[Int[Array, "train"], Int[Array, "held"]]:
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


def _pieces(config: SelfFitConfig) -> list[tuple[int, int]]:
    # Equal pieces but for the last: the scan over steps compiles at most twice.
    size = -(-config.steps // config.checks)
    return [(start, min(start + size, config.steps)) for start in range(0, config.steps, size)]


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


@functools.partial(jax.jit, static_argnames=("config", "steps"))
def _run(
    state: _State, triples: Triples, train: Int[Array, "n"], config: SelfFitConfig, steps: int
) -> tuple[_State, Float[Array, ""]]:
    """Take `steps` optimizer steps; return the mean loss."""
    optimizer = _optimizer(config)

    def step(state: _State, _: None) -> tuple[_State, Float[Array, ""]]:
        key, now = jax.random.split(state.key)
        batch = draw(now, triples, train, config)
        loss, gradient = jax.value_and_grad(_loss)(state.params, batch, config)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        average = optax.incremental_update(params, state.average, 1.0 - config.ema)
        return _State(params, average, moments, key), loss

    state, losses = jax.lax.scan(step, state, None, steps)
    return state, losses.mean()


@functools.partial(jax.jit, static_argnames=("config",))
def _validate(
    network: PyTree, triples: Triples, held: Int[Array, "n"], config: SelfFitConfig
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the best gain in [0, 1] of a network on held-out triples, and the PSNR (dB) with it."""

    def repair(gain: Float[Array, ""]) -> Float[Array, "n H W 3"]:
        params = {"network": network, "gain": gain}

        def one(index: Int[Array, ""]) -> Float[Array, "H W 3"]:
            inputs = (triples.renders[index], triples.eigs[index], triples.references[index])
            return apply(config, params, None, *(x[None] for x in inputs))[0]

        return jax.lax.map(one, held)

    render, target = triples.renders[held], triples.targets[held]
    change = repair(jnp.ones(())) - render
    gain = jnp.sum(change * (target - render)) / jnp.maximum(jnp.sum(jnp.square(change)), 1e-12)
    gain = jnp.clip(gain, 0.0, 1.0)
    return gain, _psnr(_error(repair(gain), target))


def _error(a: Float[Array, "n H W 3"], b: Float[Array, "n H W 3"]) -> Float[Array, "n"]:
    return jnp.square(a - b).mean((1, 2, 3))


def _psnr(squared_error: Float[Array, "n"]) -> Float[Array, ""]:
    return -10.0 * jnp.log10(squared_error + 1e-10).mean()
