"""Fit the `reference_unet` network on triples of one log; return the identity if nothing improves held-out renders."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key, PyTree

from ff_jax.fixers.conditions import check_conditions
from ff_jax.fixers.fixer import Fixer, check_clip, fix_triples
from ff_jax.fixers.pair_files import draw_crops
from ff_jax.fixers.reference_unet import training
from ff_jax.fixers.reference_unet.fixer import fixer_from_params, with_gain
from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.self_fit.start import start_params
from ff_jax.fixers.triples import Triples, as_colors, from_bytes, masked, psnr

NAME = "self_fit"


class _Score(NamedTuple):
    """How good the repairs of a validation block are; masked pixels count as right."""

    loss: Any  # that of the training, without LPIPS
    psnr: Any  # mean over the views, dB


def fit(
    key: Key[Array, ""], triples: Triples, config: SelfFitConfig, progress: Any = None
) -> tuple[Fixer, dict[str, Any]]:
    """Fit a fixer on triples of one log; the result depends on `key` and the inputs alone.

    The fit starts from the trained network in the package if there is one of this layout. A contiguous block of the
    triples is held out for validation. The start and checkpoints of the averaged weights are compared on it, each as it
    is and scaled by the gain in [0, 1] that fits the block best. The one with the smallest loss wins among those that
    do not lower the PSNR; the identity, a gain of 0, is among them.

    Args:
      key: random key of weights, crops and the validation block.
      triples: at least two, in order of time, with separate references (N, K, H, W, 4), or any if the network sees
        none, and with the conditions of the network; colors as floats or bytes.
      config: network and fit.
      progress: an object with tqdm's `update(steps)`, called after every step.

    Returns:
      The fixer and its history: "step", "loss" (of the training), "psnr" (dB, validation block) of every checkpoint,
          "psnr_render", "psnr_fixed", "gain" and "best_step" of the result.

    Raises:
      ValueError: the shapes of the triples differ, or there are fewer than two.
    """
    _check(triples, config)
    init_key, _, train_key = jax.random.split(key, 3)
    train, block = split_triples(key, len(triples.eigs), config)
    validation = jax.tree.map(lambda x: x[block], triples)
    stored = jax.tree.map(lambda x: jnp.asarray(x[train]), triples)
    network = start_params(init_key, config.network)["network"]
    search = _Search(validation, config, network)
    search.add(network, 0)
    state, rows, losses = training.start(network, config), [], []
    for step in range(1, config.steps + 1):
        # One call a step: inside a scan, XLA on CPU runs convolutions nine times slower than outside.
        crop_key, step_key = jax.random.split(jax.random.fold_in(train_key, step))
        batch = draw_crops(crop_key, stored, config.batch, config.crop)
        state, loss = training.train_step(state, step_key, batch, (step - 1) / config.steps, config.network, config)
        losses.append(loss)
        if progress is not None:
            progress.update(1)
        if step % max(config.steps // config.checks, 1) == 0 or step == config.steps:
            rows.append((step, float(jnp.mean(jnp.stack(losses))), search.add(state.average, step)))
            losses = []
    history = {name: [row[i] for row in rows] for i, name in enumerate(("step", "loss", "psnr"))}
    return search.best, history | search.summary()


class _Search:
    """The best fixer so far on a validation block; starts with the identity."""

    def __init__(self, validation: Triples, config: SelfFitConfig, network: PyTree):
        self._validation, self._config = validation, config
        self.best = self._fixer(network, 0.0)
        self._render = self._best = _score(from_bytes(validation.renders), validation, config)
        self._step = 0

    def add(self, network: PyTree, step: int) -> float:
        """Compare a network; return the PSNR of its repairs with the gain that fits best, dB."""
        full = self._fixer(network, 1.0)
        gain = _best_gain(_repair(full, self._validation), self._validation)
        scaled = self._fixer(network, gain)
        scores = [self._try(fixer, step) for fixer in (full, scaled)]
        return scores[1].psnr

    def _try(self, fixer: Fixer, step: int) -> _Score:
        score = _score(_repair(fixer, self._validation), self._validation, self._config)
        if score.loss < self._best.loss and score.psnr >= self._render.psnr:
            kept = jax.tree.map(jnp.copy, fixer.params)  # a training step donates the memory of the originals
            self.best, self._best, self._step = dataclasses.replace(fixer, params=kept), score, step
        return score

    def summary(self) -> dict[str, float]:
        """Describe the result."""
        return {
            "psnr_render": self._render.psnr,
            "psnr_fixed": self._best.psnr,
            "best_step": self._step,
            "gain": float(self.best.params["gain"]),
        }

    def _fixer(self, network: PyTree, gain: float | Float[Array, ""]) -> Fixer:
        return fixer_from_params(with_gain(network, gain), self._config.network, NAME)


def split_triples(
    key: Key[Array, ""], count: int, config: SelfFitConfig
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "block"]]:
    """Return the indices of the triples that `fit` trains on with `key`, and of those that it holds out."""
    return split_block(jax.random.split(key, 3)[1], count, config.validation)


def split_block(
    key: Key[Array, ""], count: int, fraction: float
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "block"]]:
    """Split indices 0..count-1 into training indices and a contiguous validation block at a random place.

    Views near in time look alike, so single validation views would not test the fit.
    """
    size = min(max(round(fraction * count), 1), count - 1)
    block = np.arange(size) + int(jax.random.randint(key, (), 0, count - size + 1))
    return np.delete(np.arange(count), block), block


def _check(triples: Triples, config: SelfFitConfig) -> None:
    check_clip(triples.renders, triples.eigs, triples.references, are_separate=config.network.use_references)
    check_conditions(config.network.conditions, triples.conditions, triples.eigs.shape)
    if triples.targets.shape != triples.renders.shape:
        raise ValueError(
            f"targets have shape {triples.targets.shape}, renders {triples.renders.shape}: pass the real "
            "image of every rendered view, in the same size."
        )
    if triples.renders.shape[0] < 2:
        raise ValueError("self_fit needs at least 2 triples (1 is held out), got 1.")


def _repair(fixer: Fixer, triples: Triples) -> Float[Array, "n H W 3"]:
    return fix_triples(fixer, jax.random.key(0), triples)


def _score(images: Float[Array, "n H W 3"], triples: Triples, config: SelfFitConfig) -> _Score:
    """Score repairs, one view at a time."""
    views = (jax.tree.map(lambda x, i=i: x[i : i + 1], triples) for i in range(len(images)))
    parts = [_score_view(image[None], view, config) for image, view in zip(images, views, strict=True)]
    return _Score(*(float(np.mean(part)) for part in zip(*parts, strict=True)))


@functools.partial(jax.jit, static_argnames=("config",))
def _score_view(image: Float[Array, "1 H W 3"], view: Triples, config: SelfFitConfig) -> _Score:
    truth = as_colors(view)
    loss = training.repair_loss(image, truth, config)
    return _Score(loss, jnp.mean(psnr(masked(image, truth), truth.targets)))


def _best_gain(repairs: Float[Array, "n H W 3"], triples: Triples) -> Float[Array, ""]:
    """Compute the factor in [0, 1] of the change from renders to repairs that is nearest to the truth."""
    renders, truth = from_bytes(triples.renders), from_bytes(triples.targets)
    weights = 1.0 if triples.weights is None else from_bytes(triples.weights)[..., None]
    change = repairs - renders
    agreement = jnp.sum(weights * change * (truth - renders))
    return jnp.clip(agreement / jnp.maximum(jnp.sum(weights * jnp.square(change)), 1e-12), 0.0, 1.0)
