"""Train the network on pairs of several logs; keep the checkpoint that is best on validation pairs."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Float, Key, PyTree

from ff_jax.fixers.fixer import fix_triples
from ff_jax.fixers.pair_files import draw_crops
from ff_jax.fixers.reference_unet import training
from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig, TrainSettings
from ff_jax.fixers.reference_unet.fixer import fixer_from_params, with_gain
from ff_jax.fixers.triples import Triples, as_colors, masked, psnr
from ff_jax.metrics.lpips import Lpips
from ff_jax.runtime import checkpoint
from ff_jax.runtime.stop import StoppedError, StopRequest

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
        folder: of the checkpoints, from which a training continues; None keeps none.
        request: ends the training early, where there are checkpoints.
    """

    minutes: float = 0.0
    check_every: int = 1000
    seed: int = 0
    folder: Path | None = None
    request: StopRequest = dataclasses.field(default_factory=StopRequest)


class Progress(struct.PyTreeNode):
    """Everything that a training changes.

    Attributes:
        state: parameters and moments.
        best: the averaged parameters that were best on the validation pairs.
        best_loss: their loss there.
        losses: sum of the losses since the last check.
        step: number of finished steps.
        minutes: they took.
    """

    state: training.TrainState
    best: PyTree
    best_loss: np.float64
    losses: Float[Array, ""]
    step: np.int64
    minutes: np.float64


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
        StoppedError: the training was asked to end early; its last step is saved.
    """
    _check(logs, settings)
    stored = [jax.tree.map(jnp.asarray, pairs) for pairs in logs]
    begin = time.time()
    progress = _resumed(network, settings, schedule)
    done = _share(progress, settings, schedule)
    with schedule.request.loop():
        while done < 1.0:
            progress = _take_step(progress, stored, done, config, settings, schedule, lpips)
            if progress.step % 20 == 0:
                jax.block_until_ready(progress.state)  # so that the clock below counts finished steps
            progress, begin = progress.replace(minutes=progress.minutes + (time.time() - begin) / 60.0), time.time()
            done, step = _share(progress, settings, schedule), int(progress.step)
            is_checked = step % schedule.check_every == 0 or done >= 1.0
            if is_checked:
                scores = score(progress.state.average, validation, config, lpips)
                count = step - (step - 1) // schedule.check_every * schedule.check_every
                log(step, {"loss": float(progress.losses) / count} | scores.summary())
                progress = _with_best(progress, scores.loss())
            _save(progress, schedule, is_checked)
        if schedule.folder is not None and schedule.request.check():  # made while the last step was saved
            raise StoppedError(schedule.folder, int(progress.step))
    return progress.best, progress.state.average


def _resumed(network: PyTree, settings: TrainSettings, schedule: Schedule) -> Progress:
    """Read the newest checkpoint, or make the start of a training."""
    network = jax.tree.map(jnp.asarray, network)
    zero = np.float64(0.0)
    start = Progress(training.start(network, settings), network, np.float64(np.inf), jnp.zeros(()), np.int64(0), zero)
    if schedule.folder is None or checkpoint.latest(schedule.folder) is None:
        return start
    return checkpoint.restore(schedule.folder, start)[0]


def _share(progress: Progress, settings: TrainSettings, schedule: Schedule) -> float:
    """Compute the share of the training that is done."""
    elapsed = float(progress.minutes) / schedule.minutes if schedule.minutes else 0.0
    return max(int(progress.step) / settings.steps, elapsed)


def _take_step(
    progress: Progress,
    logs: Sequence[Triples],
    done: float,
    config: ReferenceUnetConfig,
    settings: TrainSettings,
    schedule: Schedule,
    lpips: Lpips | None,
) -> Progress:
    """Take one step; its draws depend on the seed and its number alone, so that a training can be continued."""
    step, shares = int(progress.step), np.sqrt([len(pairs.eigs) for pairs in logs])
    draw_key, step_key = jax.random.split(jax.random.fold_in(jax.random.key(schedule.seed), step))
    rng = np.random.default_rng([schedule.seed, step])
    chosen = rng.choice(len(logs), min(_PARTS, settings.batch), p=shares / shares.sum())
    batch = _draw(draw_key, [logs[index] for index in chosen], settings)
    state, loss = training.train_step(progress.state, step_key, batch, done, config, settings, lpips)
    return progress.replace(state=state, losses=progress.losses + loss, step=np.int64(step + 1))


def _with_best(progress: Progress, loss: float) -> Progress:
    """Keep the average if it is the best so far, and begin a new sum of losses."""
    progress = progress.replace(losses=jnp.zeros(()))
    if loss >= progress.best_loss:
        return progress
    best = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), progress.state.average)
    return progress.replace(best=best, best_loss=np.float64(loss))


def _save(progress: Progress, schedule: Schedule, is_checked: bool) -> None:
    """Save a checked step, or the one after which the training is asked to end.

    Raises:
        StoppedError: it is asked to.
    """
    if schedule.folder is None:
        return
    is_stopped = schedule.request.check()
    if is_checked or is_stopped:
        checkpoint.save(schedule.folder, int(progress.step), progress, {}, keep=2)
    if is_stopped:
        raise StoppedError(schedule.folder, int(progress.step))


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
