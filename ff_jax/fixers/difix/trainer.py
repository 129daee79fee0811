"""The whole training of a Difix network on stored pairs: checkpoints, a time limit, averaged weights."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ff_jax.fixers.difix import model, objectives
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.fixer import fixer_from_params
from ff_jax.fixers.fixer import fix
from ff_jax.fixers.pair_files import draw_crops
from ff_jax.fixers.training.phase import PhaseConfig, PhaseContext, Problem, train_phase
from ff_jax.fixers.training.sharding import make_mesh
from ff_jax.fixers.training.state import join, split, zero_init_output
from ff_jax.fixers.triples import Triples, as_colors, psnr
from ff_jax.metrics.lpips import Lpips
from ff_jax.runtime.settings import MAX_SEED, MAX_STEPS, Settings, bounded
from ff_jax.runtime.stop import StopRequest

_INIT, _AUTOENCODER, _FIXER = range(3)  # random streams
_NAMES = {_AUTOENCODER: "autoencoder", _FIXER: "fixer"}  # folders of checkpoints
Log = Callable[[str, int, dict[str, float]], None]  # phase, finished steps, metrics


@dataclasses.dataclass(frozen=True)
class DifixTrainConfig(Settings):
    """How a network is trained.

    Attributes:
        seed: of the initial weights and all random draws.
        vae_steps: steps of the autoencoder on true images; 0 skips them.
        steps: steps of the whole network.
        batch: crops per step.
        crop: height and width of a crop, pixels: multiples of the network's stride.
        lr: peak learning rate.
        decay: of the averaged weights.
        eig_dropout: see `objectives.fixer_loss`.
        drop_eig: names in `objectives.EIG_INPUTS` that the network is trained without.
        save_every: steps between two checkpoints and checks on validation pairs.
        minutes: after this time the next checkpoint is the last one; 0: no limit.
    """

    seed: int = bounded(0, 0, MAX_SEED)
    vae_steps: int = bounded(1500, 0, MAX_STEPS)
    steps: int = bounded(15_000, 1, MAX_STEPS)
    batch: int = bounded(16, 1, 65_536)
    crop: tuple[int, int] = bounded((128, 128), 1, 16_384)
    lr: float = bounded(8e-4, 0.0, 10.0)
    decay: float = bounded(0.999, 0.0, 0.999999)
    eig_dropout: float = bounded(0.1, 0.0, 1.0)
    drop_eig: tuple[str, ...] = ()
    save_every: int = bounded(1000, 1, MAX_STEPS)
    minutes: float = bounded(0.0, 0.0, 1e6)

    def __post_init__(self):
        """Refuse settings that no training could use."""
        super().__post_init__()
        unknown = sorted(set(self.drop_eig) - set(objectives.EIG_INPUTS))
        if unknown:
            raise ValueError(f"invalid drop_eig={unknown[0]!r}: expected {' or '.join(objectives.EIG_INPUTS)}.")


def train(
    folder: str | Path,
    triples: Triples,
    validation: Triples,
    config: DifixConfig,
    settings: DifixTrainConfig,
    vgg: Lpips | None = None,
    log: Log = lambda *_: None,
    request: StopRequest | None = None,
) -> PyTree:
    """Train a network, or continue the training in `folder`, and return its averaged weights.

    Args:
        folder: of the checkpoints; another configuration needs another folder.
        triples: training data, from `pair_files.triples`.
        validation: the same, of other streets.
        config: the network and its loss.
        settings: how it is trained.
        vgg: see `losses.loss`.
        log: called every 50 steps, and after checks with the metrics of `check`.
        request: ends the training early.

    Raises:
        StoppedError: the training was asked to end early; its last step is saved.
    """
    key = jax.random.key(settings.seed)
    deadline = time.monotonic() + 60 * settings.minutes if settings.minutes else float("inf")
    stored = jax.tree.map(jnp.asarray, triples)
    mesh = make_mesh(len(jax.devices()), 1)

    def run_phase(stream: int, problem: Problem, steps: int, log: Callable[..., None]) -> tuple[PyTree, bool]:
        phase = PhaseConfig(steps, settings.lr, settings.decay, settings.save_every)
        phase_key, meta = jax.random.fold_in(key, stream), dataclasses.asdict(settings)
        context = PhaseContext(Path(folder) / _NAMES[stream], phase_key, mesh, meta, deadline, log, request)
        return train_phase(problem, phase, context)

    def batch_of(key: jax.Array) -> Triples:
        return draw_crops(key, stored, settings.batch, settings.crop)

    network = model.init(jax.random.fold_in(key, _INIT), config)
    if settings.vae_steps:
        log_metrics = lambda step, metrics, _: log("autoencoder", step, metrics) if metrics else None
        problem = Problem(objectives.autoencoder_loss(config), {"vae": network["vae"]}, {}, batch_of)
        trained, is_finished = run_phase(_AUTOENCODER, problem, settings.vae_steps, log_metrics)
        network = network | trained
        if config.use_aligned_references:  # the network starts as the identity again
            network["vae"] = network["vae"] | {"decoder": zero_init_output(network["vae"]["decoder"])}
        if not is_finished:
            return network
    frozen_parts = tuple(part for name in settings.drop_eig for part in objectives.EIG_INPUTS[name])
    frozen, params = split(network, frozen_parts) if frozen_parts else ({}, network)

    def log_checks(step: int, metrics: dict[str, float] | None, average: PyTree) -> None:
        log("fixer", step, metrics or check(join(average, frozen), validation, config))

    loss = objectives.fixer_loss(config, settings.eig_dropout)
    problem = Problem(loss, params, {"params": frozen, "vgg": vgg}, batch_of)
    params, _ = run_phase(_FIXER, problem, settings.steps, log_checks)
    return join(params, frozen)


def check(network: PyTree, validation: Triples, config: DifixConfig) -> dict[str, float]:
    """Compute the mean PSNR (dB) of renders ("val_psnr_render") and of repairs ("val_psnr_fixed")."""
    views = as_colors(validation)
    fixer = fixer_from_params({"network": network, "gain": jnp.ones(())}, config)
    fixed = fix(fixer, jax.random.key(0), views.renders, views.eigs, views.references)
    score = lambda images: float(psnr(images, views.targets).mean())
    return {"val_psnr_render": score(views.renders), "val_psnr_fixed": score(fixed)}
