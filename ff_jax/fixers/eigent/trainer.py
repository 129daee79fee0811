"""The whole training of a small model from scratch, in four phases: autoencoder, backbone, branch, decoder.

The autoencoder is trained on true clips. The transformer's backbone is trained to predict them in its latents. Then it
is frozen, and the branch is trained to steer it from renders, EIG and references. Last, the decoder is trained to put
the generated latents into the render.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree

from ff_jax.fixers.attention import Implementation
from ff_jax.fixers.eigent import latent_cache, losses
from ff_jax.fixers.eigent import model as networks
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import Clips, DenoisingLossConfig, make_loss, make_pretraining_loss
from ff_jax.fixers.eigent.fixer import fixer_from_params
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.fixer import fix
from ff_jax.fixers.pair_files import draw_crops
from ff_jax.fixers.training.phase import PhaseConfig, PhaseContext, Problem, train_phase
from ff_jax.fixers.training.sharding import make_mesh
from ff_jax.fixers.training.state import Loss, join, split, zero_init_output
from ff_jax.fixers.triples import Triples, as_colors, psnr
from ff_jax.metrics.lpips import Lpips
from ff_jax.runtime.settings import MAX_SEED, MAX_STEPS, Settings, bounded
from ff_jax.runtime.stop import StopRequest

PHASES = ("vae", "backbone", "branch", "decoder")
_TRAINED = ("details", "vae/decoder")  # of the last phase
Log = Callable[[str, int, dict[str, float]], None]  # phase, finished steps, metrics


@dataclasses.dataclass(frozen=True)
class EigentTrainConfig(Settings):
    """How a model is trained; tuples have one entry per phase.

    Attributes:
        seed: of the initial weights and all random draws.
        steps: of the phases.
        lr: peak learning rates.
        batch: clips per step.
        crop: height and width of the autoencoder's crops, pixels: multiples of its factor.
        decay: of the averaged weights.
        objective: loss of the branch.
        save_every: steps between two checkpoints and checks.
        minutes: after this time the next checkpoint is the last one; 0: no limit.
        limits: minutes after which each phase ends, whatever its steps; 0: no limit.
        attention: implementation (see `fixers.attention`).
    """

    seed: int = bounded(0, 0, MAX_SEED)
    steps: tuple[int, ...] = bounded((4000, 8000, 6000, 4000), 1, MAX_STEPS)
    lr: tuple[float, ...] = bounded((1e-3, 1e-3, 5e-4, 5e-4), 0.0, 10.0)
    batch: tuple[int, ...] = bounded((12, 16, 16, 4), 1, 65_536)
    crop: tuple[int, int] = bounded((96, 96), 1, 16_384)
    decay: float = bounded(0.999, 0.0, 0.999999)
    objective: DenoisingLossConfig = DenoisingLossConfig()
    save_every: int = bounded(500, 1, MAX_STEPS)
    minutes: float = bounded(0.0, 0.0, 1e6)
    limits: tuple[float, ...] = bounded((0.0, 0.0, 0.0, 0.0), 0.0, 1e6)
    attention: Implementation | None = None

    def __post_init__(self):
        """Refuse settings that no training could use."""
        super().__post_init__()
        if any(len(row) != len(PHASES) for row in (self.steps, self.lr, self.batch, self.limits)):
            raise ValueError(
                f"{self.steps=}, {self.lr=}, {self.batch=} and {self.limits=} must have one entry per phase."
            )


def train(
    folder: str | Path,
    triples: Triples,
    validation: Triples,
    config: EigentConfig,
    settings: EigentTrainConfig,
    lpips: Lpips | None = None,
    log: Log = lambda *_: None,
    request: StopRequest | None = None,
) -> PyTree:
    """Train a model, or continue the training in `folder`, and return its averaged weights.

    Args:
        folder: of the checkpoints; another configuration needs another folder.
        triples: training clips in small types (`pair_files.as_clips`).
        validation: the same, of other streets.
        config: networks and sampling.
        settings: how they are trained.
        lpips: LPIPS with VGG16, part of the last phase's loss; None leaves it out.
        log: called every 50 steps, and after checks with validation metrics ("val_...").
        request: ends the training early.

    Raises:
        StoppedError: the training was asked to end early; its last step is saved.
    """
    key = jax.random.key(settings.seed)
    deadline = time.monotonic() + 60 * settings.minutes if settings.minutes else float("inf")
    clips, val_clips = (jax.tree.map(jnp.asarray, latent_cache.with_true_start(part)) for part in (triples, validation))
    mesh = make_mesh(len(jax.devices()), 1)
    training = _Training(Path(folder), clips, val_clips, config, settings, deadline, mesh, key, log, request)
    params, is_finished = _train_autoencoder(training, networks.init(key, config))
    if not is_finished:
        return params
    params |= {"moments": latent_cache.estimate_moments(params, clips, config, settings.batch[1])}
    latents = [latent_cache.encode_all(params, part, config, settings.batch[1]) for part in (clips, val_clips)]
    for train_part in (_train_backbone, _train_branch):
        params, is_finished = train_part(training, params, *latents)
        if not is_finished:
            return params
    return _train_decoder(training, params, latents[0], lpips)


def check(params: PyTree, validation: Triples, config: EigentConfig) -> dict[str, float]:
    """Compute the mean PSNR (dB) of renders and repairs of clips from `latent_cache.with_true_start`."""
    fixer, render, fixed = fixer_from_params(params, config), [], []
    for index in range(len(validation.eigs)):
        clip = as_colors(jax.tree.map(lambda array, index=index: array[index], validation))
        repaired = fix(fixer, jax.random.key(0), clip.renders, clip.eigs, clip.references, clip.conditions)
        render.append(psnr(clip.renders[1:], clip.targets[1:]).mean())
        fixed.append(psnr(repaired[1:], clip.targets[1:]).mean())
    return {"val_psnr_render": float(jnp.stack(render).mean()), "val_psnr_fixed": float(jnp.stack(fixed).mean())}


class _Training(NamedTuple):
    """Everything that the phases of a training share."""

    folder: Path
    clips: Triples
    validation: Triples
    config: EigentConfig
    settings: EigentTrainConfig
    deadline: float  # of `time.monotonic`
    mesh: Mesh
    key: Key[Array, ""]
    log: Log
    request: StopRequest | None


def _train_autoencoder(training: _Training, params: PyTree) -> tuple[PyTree, bool]:
    loss, settings = losses.autoencoder_loss(training.config), training.settings
    clips = as_colors(jax.tree.map(lambda array: array[:8], training.validation))
    keys, compiled_loss = jax.random.split(training.key, len(clips.eigs)), jax.jit(loss)
    batch_of = lambda key: draw_crops(key, training.clips, settings.batch[0], settings.crop)
    check = lambda params: {"val_psnr": compiled_loss(params, {}, clips, keys)[1]["psnr"]}
    trained, is_finished = _train_phase(training, 0, Problem(loss, {"vae": params["vae"]}, {}, batch_of), check)
    return params | trained, is_finished


def _train_backbone(training: _Training, params: PyTree, latents: Clips, val_latents: Clips) -> tuple[PyTree, bool]:
    loss = make_pretraining_loss(_networks(training)[0], training.settings.objective)
    check = lambda params: {"val_error": _validation_loss(loss, params, {}, val_latents)}
    batch_of = lambda key: latent_cache.draw_samples(key, latents, training.settings.batch[1])
    problem = Problem(loss, params["backbone"], {}, batch_of)
    backbone, is_finished = _train_phase(training, 1, problem, check)
    branch = branch_params(backbone, training.config.dit, training.config.blocks, training.config.is_two_stage)
    return params | {"backbone": backbone, "branch": branch}, is_finished


def _train_branch(training: _Training, params: PyTree, latents: Clips, val_latents: Clips) -> tuple[PyTree, bool]:
    loss, backbone = make_loss(*_networks(training), training.settings.objective), params["backbone"]
    check = lambda params: {"val_error": _validation_loss(loss, params, backbone, val_latents)}
    batch_of = lambda key: latent_cache.draw_samples(key, latents, training.settings.batch[2])
    branch, is_finished = _train_phase(training, 2, Problem(loss, params["branch"], backbone, batch_of), check)
    return params | {"branch": branch}, is_finished


def _train_decoder(training: _Training, params: PyTree, latents: Clips, lpips: Lpips | None) -> PyTree:
    settings, config = training.settings, training.config
    generated = latent_cache.generate_all(params, training.key, latents, config, settings.batch[2])
    trained, rest = split(params, _TRAINED)
    trained["vae"]["decoder"] = zero_init_output(trained["vae"]["decoder"])

    def batch_of(key: Key[Array, ""]) -> latent_cache.Generated:
        index = jax.random.randint(key, (settings.batch[3],), 0, len(generated))
        return _gather(training.clips, generated, index)

    problem = Problem(losses.decoder_loss(config), trained, {"params": rest, "lpips": lpips}, batch_of)
    check_decoder = lambda params: check(join(params, rest), training.validation, config)
    decoder, _ = _train_phase(training, 3, problem, check_decoder)
    return join(decoder, rest)


def _train_phase(
    training: _Training, number: int, problem: Problem, check: Callable[[PyTree], dict[str, Any]]
) -> tuple[PyTree, bool]:
    """Train one phase (see `train_phase`); `check` evaluates the averaged parameters at its checkpoints."""
    settings, name = training.settings, PHASES[number]
    phase = PhaseConfig(
        settings.steps[number], settings.lr[number], settings.decay, settings.save_every, settings.limits[number]
    )

    def log(step: int, metrics: dict[str, float] | None, average: PyTree) -> None:
        metrics = check(average) if metrics is None else metrics
        training.log(name, step, {key: float(value) for key, value in metrics.items()})

    key, meta = jax.random.fold_in(training.key, number), dataclasses.asdict(settings)
    context = PhaseContext(training.folder / name, key, training.mesh, meta, training.deadline, log, training.request)
    return train_phase(problem, phase, context)


def _networks(training: _Training) -> tuple[Dit, ContextBranch]:
    config, dtype, attention = training.config, jnp.dtype(training.config.dtype), training.settings.attention
    return Dit(config.dit, dtype, attention), networks.make_branch(config, attention)


def _validation_loss(loss: Loss, params: PyTree, frozen: PyTree, latents: Clips) -> Float[Array, ""]:
    """Compute the loss on some validation clips, with the same noise at every check."""
    clips = jax.tree.map(lambda array: array[:16], latents)
    keys = jax.random.split(jax.random.key(0), len(clips.eig))
    return jax.jit(loss)(params, frozen, clips, keys)[0]


@jax.jit
def _gather(clips: Triples, latents: Float[Array, "N f h w C"], index: Int[Array, "B"]) -> latent_cache.Generated:
    return latent_cache.Generated(latent_cache.pixels(clips, index), latents[index])
