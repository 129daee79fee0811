"""Train the network on pairs of several logs; keep the checkpoint that is best on validation pairs."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.fixers.fixer import fix_triples
from ff_jax.fixers.pair_files import draw_crops
from ff_jax.fixers.reference_unet import training
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig, TrainSettings
from ff_jax.fixers.reference_unet.fixer import fixer_from_params, with_gain
from ff_jax.fixers.triples import Triples, as_colors, masked, psnr
from ff_jax.metrics.lpips import Lpips

_PARTS = 4  # logs that the crops of one step come from
_PSNR_WEIGHT = 0.1  # of 1 dB against the share of LPIPS that a repair leaves
Log = Callable[[int, dict[str, float]], None]  # finished steps, metrics


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When the training ends and is checked.

    Attributes:
        minutes: the training ends after so many, or after the steps of its settings; 0: no limit.
        check_every: steps between two checks on the validation pairs.
        seed: of all random draws.
    """

    minutes: float = 0.0
    check_every: int = 1000
    seed: int = 0


class RepairScores(NamedTuple):
    """Scores of every validation pair, without masked pixels."""

    psnr_render: Float[np.ndarray, "N"]  # dB
    psnr: Float[np.ndarray, "N"]  # dB
    lpips_render: Float[np.ndarray, "N"]  # 0 without its network
    lpips: Float[np.ndarray, "N"]

    def summary(self) -> dict[str, float]:
        """Average over the pairs; "psnr_worst" is the change of the pair that lost most, dB."""
        means = {name: float(np.mean(values)) for name, values in self._asdict().items()}
        return means | {"psnr_worst": float(np.min(self.psnr - self.psnr_render))}

    def loss(self) -> float:
        """Weigh the share of LPIPS that is left against the gain in PSNR; a loss of PSNR counts ten times."""
        means = self.summary()
        gain = means["psnr"] - means["psnr_render"]
        return means["lpips"] / max(means["lpips_render"], 1e-9) - _PSNR_WEIGHT * gain * (1 if gain > 0 else 10)


def train(
    network: PyTree,
    logs: Sequence[Triples],
    validation: Sequence[Triples],
    config: ReferenceUnetConfig,
    settings: TrainSettings,
    schedule: Schedule = Schedule(),
    lpips: Lpips | None = None,
    log: Log = lambda step, metrics: None,
) -> tuple[PyTree, PyTree]:
    """Train a network on pairs in small types with separate references; crops of all logs have one size.

    Args:
        network: its parameters before the first step.
        logs: pairs of each log, of one image size per log; large logs count more, by the root of their number of pairs.
        validation: pairs of logs that are not trained on.
        config: its layout.
        settings: of the training.
        schedule: its end and its checks.
        lpips: for the loss and the choice; None leaves it out.
        log: takes the metrics.

    Returns:
        The averaged parameters that are best on the validation pairs, and the last ones.

    Raises:
        ValueError: a log has images smaller than a crop.
    """
    _check(logs, settings)
    stored = [jax.tree.map(jnp.asarray, pairs) for pairs in logs]
    shares = np.sqrt([len(pairs.eigs) for pairs in logs])
    state, rng, key = training.start(network, settings), np.random.default_rng(schedule.seed), schedule.seed
    best, best_loss, begin, losses, step, done = network, np.inf, time.time(), [], 0, 0.0
    while done < 1.0:
        draw_key, step_key = jax.random.split(jax.random.fold_in(jax.random.key(key), step))
        chosen = rng.choice(len(stored), min(_PARTS, settings.batch), p=shares / shares.sum())
        batch = _draw(draw_key, [stored[index] for index in chosen], settings)
        state, loss = training.train_step(state, step_key, batch, done, config, settings, lpips)
        losses.append(loss)
        step += 1
        if step % 20 == 0:
            jax.block_until_ready(loss)  # so that the clock below counts finished steps
        elapsed = (time.time() - begin) / (60.0 * schedule.minutes) if schedule.minutes else 0.0
        done = max(step / settings.steps, elapsed)
        if step % schedule.check_every == 0 or done >= 1.0:
            scores = score(state.average, validation, config, lpips)
            if scores.loss() < best_loss:
                best, best_loss = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state.average), scores.loss()
            log(step, {"loss": float(np.mean(jax.device_get(losses)))} | scores.summary())
            losses = []
    return best, state.average


def score(
    network: PyTree, validation: Sequence[Triples], config: ReferenceUnetConfig, lpips: Lpips | None
) -> RepairScores:
    """Score the repairs of all pairs, one by one."""
    fixer = fixer_from_params(with_gain(network, 1.0), dataclasses.replace(config, dtype="float32", chunk=1))
    rows = []
    for pairs in validation:
        for index in range(len(pairs.eigs)):
            view = jax.tree.map(lambda array, i=index: array[i : i + 1], pairs)
            fixed = fix_triples(fixer, jax.random.key(0), view)
            rows.append([float(value) for value in _score_view(fixed, view, lpips)])
    return RepairScores(*np.array(rows).T)


@jax.jit
def _score_view(fixed: Float[Array, "1 H W 3"], view: Triples, lpips: Lpips | None) -> list[Array]:
    truth = as_colors(view)
    images = [masked(image, truth) for image in (truth.renders, fixed)]
    errors = [psnr(image, truth.targets)[0] for image in images]
    distances = [jnp.zeros(()) if lpips is None else lpips.distance(image, truth.targets)[0] for image in images]
    return errors + distances


def _draw(key: Key[Array, ""], logs: Sequence[Triples], settings: TrainSettings) -> Triples:
    keys, count = jax.random.split(key, len(logs)), -(-settings.batch // len(logs))
    parts = [draw_crops(key, pairs, count, settings.crop) for key, pairs in zip(keys, logs, strict=True)]
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)


def _check(logs: Sequence[Triples], settings: TrainSettings) -> None:
    for pairs in logs:
        height, width = pairs.eigs.shape[1:]
        if height < settings.crop[0] or width < settings.crop[1]:
            raise ValueError(
                f"invalid crop={settings.crop}: a log has images of {height} x {width} pixels; lower the crop."
            )
