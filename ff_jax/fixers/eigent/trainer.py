"""The whole training of a small model from scratch: autoencoder, backbone, branch, decoder, in this order.

The autoencoder learns true clips. The transformer's backbone learns to predict them in its latents. It is frozen, and
the branch learns to steer it from renders, EIG and references. Last, the decoder learns to put what they generate into
the render.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, PyTree

from ff_jax.fixers.eigent import latent_cache, losses, model
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import Clips, ObjectiveConfig, make_loss, make_pretraining_loss
from ff_jax.fixers.eigent.fixer import make_fixer
from ff_jax.fixers.eigent.transformer import Dit
from ff_jax.fixers.fixer import fix
from ff_jax.fixers.pair_files import as_colors, draw, psnr
from ff_jax.fixers.self_fit.crops import Triples
from ff_jax.fixers.training.phase import PhaseConfig, train_phase
from ff_jax.fixers.training.sharding import make_mesh
from ff_jax.fixers.training.state import Loss, join, split
from ff_jax.metrics.lpips import Lpips

PHASES = ("vae", "backbone", "branch", "decoder")
_TRAINED = ("details", "vae/decoder")  # of the last phase
Log = Callable[[str, int, dict[str, float]], None]  # of a phase, its finished steps, and metrics


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How a model is trained; tuples have an entry per phase.

    Attributes:
        seed: of the first weights and all draws.
        steps: of the phases.
        lr: largest rates.
        batch: clips per step.
        crop: height and width of what the autoencoder is trained on, pixels: multiples of its factor.
        decay: of the averaged weights.
        objective: of the branch.
        save_every: steps between two checkpoints and checks.
        minutes: after which a checkpoint is the last one; 0 sets no limit.
        limits: minutes after which each phase is over, whatever its steps; 0 sets no limit.
        attention: implementation (see `generators.attention`).
    """

    seed: int = 0
    steps: tuple[int, ...] = (4000, 8000, 6000, 4000)
    lr: tuple[float, ...] = (1e-3, 1e-3, 5e-4, 5e-4)
    batch: tuple[int, ...] = (12, 16, 16, 4)
    crop: tuple[int, int] = (96, 96)
    decay: float = 0.999
    objective: ObjectiveConfig = ObjectiveConfig()
    save_every: int = 500
    minutes: float = 0.0
    limits: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    attention: str | None = None

    def __post_init__(self):
        """Check what no training could work with."""
        if any(len(row) != len(PHASES) for row in (self.steps, self.lr, self.batch, self.limits)):
            raise ValueError(
                f"{self.steps=}, {self.lr=}, {self.batch=} and {self.limits=} must have one entry per phase."
            )
        if min(*self.steps, *self.batch, self.save_every) < 1:
            raise ValueError(f"{self.steps=}, {self.batch=} and {self.save_every=} must be at least 1.")


def fit(
    folder: str | Path,
    train: Triples,
    held: Triples,
    config: EigentConfig,
    settings: FitConfig,
    lpips: Lpips | None = None,
    log: Log = lambda *_: None,
) -> PyTree:
    """Train a model, or go on with the one in `folder`, and return its averaged weights.

    Args:
        folder: of the checkpoints; another configuration needs another folder.
        train: clips in small types (`pair_files.as_clips`).
        held: the same, of other streets; `log` is told how each phase does on them.
        config: networks and sampling.
        settings: how they are trained.
        lpips: LPIPS with VGG16, part of the last phase's loss; None leaves it out.
        log: called every 50 steps and after checks.
    """
    key = jax.random.key(settings.seed)
    deadline = time.monotonic() + 60 * settings.minutes if settings.minutes else float("inf")
    seen, held = (jax.tree.map(jnp.asarray, latent_cache.given_start(clips)) for clips in (train, held))
    plan = _Plan(Path(folder), seen, held, config, settings, deadline, make_mesh(len(jax.devices()), 1), key, log)
    params, whole = _autoencoder(plan, model.init(key, config))
    if not whole:
        return params
    params |= {"moments": latent_cache.moments(params, seen, config, settings.batch[1])}
    encoded = [latent_cache.latents(params, clips, config, settings.batch[1]) for clips in (seen, held)]
    for phase in (_backbone, _branch):
        params, whole = phase(plan, params, *encoded)
        if not whole:
            return params
    return _decoder(plan, params, encoded[0], lpips)


def check(params: PyTree, held: Triples, config: EigentConfig) -> dict[str, float]:
    """Return the mean PSNR (dB) of renders and of repairs of clips whose first frame is given (`store.given_start`)."""
    fixer, render, fixed = make_fixer(params, config), [], []
    for index in range(len(held.eigs)):
        clip = as_colors(jax.tree.map(lambda array, index=index: array[index], held))
        repaired = fix(fixer, jax.random.key(0), clip.renders, clip.eigs, clip.references)
        render.append(psnr(clip.renders[1:], clip.targets[1:]).mean())
        fixed.append(psnr(repaired[1:], clip.targets[1:]).mean())
    return {"held_render": float(jnp.stack(render).mean()), "held_fixed": float(jnp.stack(fixed).mean())}


class _Plan(NamedTuple):
    """What the phases of a training share."""

    folder: Path
    seen: Triples
    held: Triples
    config: EigentConfig
    settings: FitConfig
    deadline: float  # of `time.monotonic`
    mesh: Mesh
    key: Key
    log: Log


def _autoencoder(plan: _Plan, params: PyTree) -> tuple[PyTree, bool]:
    loss, settings = losses.autoencoder_loss(plan.config), plan.settings
    some = as_colors(jax.tree.map(lambda array: array[:8], plan.held))
    keys, judged = jax.random.split(plan.key, len(some.eigs)), jax.jit(loss)
    batch_of = lambda key: draw(key, plan.seen, settings.batch[0], settings.crop)
    check = lambda found: {"held_psnr": judged(found, {}, some, keys)[1]["psnr"]}
    found, whole = _phase(plan, 0, loss, {"vae": params["vae"]}, {}, batch_of, check)
    return params | found, whole


def _backbone(plan: _Plan, params: PyTree, seen: Clips, held: Clips) -> tuple[PyTree, bool]:
    loss = make_pretraining_loss(_networks(plan)[0], plan.settings.objective)
    check = lambda found: {"held_error": _error(loss, found, {}, held)}
    batch_of = lambda key: latent_cache.take(key, seen, plan.settings.batch[1])
    found, whole = _phase(plan, 1, loss, params["backbone"], {}, batch_of, check)
    branch = branch_params(found, plan.config.dit, plan.config.blocks)
    return params | {"backbone": found, "branch": branch}, whole


def _branch(plan: _Plan, params: PyTree, seen: Clips, held: Clips) -> tuple[PyTree, bool]:
    loss = make_loss(*_networks(plan), plan.settings.objective)
    check = lambda found: {"held_error": _error(loss, found, params["backbone"], held)}
    batch_of = lambda key: latent_cache.take(key, seen, plan.settings.batch[2])
    found, whole = _phase(plan, 2, loss, params["branch"], params["backbone"], batch_of, check)
    return params | {"branch": found}, whole


def _decoder(plan: _Plan, params: PyTree, seen: Clips, lpips: Lpips | None) -> PyTree:
    settings, config = plan.settings, plan.config
    made = latent_cache.generated(params, plan.key, seen, config, settings.batch[2])
    trained, rest = split(params, _TRAINED)
    trained["vae"]["decoder"] = model.begin_details(trained["vae"]["decoder"])

    def batch_of(key: Array) -> latent_cache.Generated:
        index = jax.random.randint(key, (settings.batch[3],), 0, len(made))
        return _gather(plan.seen, made, index)

    frozen, judged = {"params": rest, "lpips": lpips}, lambda found: check(join(found, rest), plan.held, config)
    found, _ = _phase(plan, 3, losses.decoder_loss(config), trained, frozen, batch_of, judged)
    return join(found, rest)


def _phase(
    plan: _Plan,
    number: int,
    loss: Loss,
    params: PyTree,
    frozen: PyTree,
    batch_of: Callable[[Key[Array, ""]], PyTree],
    check: Callable[[PyTree], dict[str, Any]],
) -> tuple[PyTree, bool]:
    """Train one phase (see `train_phase`); `check` judges averaged parameters at its checkpoints."""
    settings, name = plan.settings, PHASES[number]
    often, limit = settings.save_every, settings.limits[number]
    how = PhaseConfig(settings.steps[number], settings.lr[number], settings.decay, often, limit)

    def told(step: int, metrics: dict[str, float] | None, average: PyTree) -> None:
        found = check(average) if metrics is None else metrics
        plan.log(name, step, {key: float(value) for key, value in found.items()})

    options = {"mesh": plan.mesh, "meta": dataclasses.asdict(settings), "deadline": plan.deadline, "log": told}
    key = jax.random.fold_in(plan.key, number)
    return train_phase(plan.folder / name, loss, params, frozen, batch_of, how, key=key, **options)


def _networks(plan: _Plan) -> tuple[Dit, ContextBranch]:
    config, dtype, how = plan.config, jnp.dtype(plan.config.dtype), plan.settings.attention
    branch = ContextBranch(config.dit, config.blocks, config.saturated, dtype, how)
    return Dit(config.dit, dtype, how), branch


def _error(loss: Loss, params: PyTree, frozen: PyTree, held: Clips) -> Float[Array, ""]:
    """Return the loss on some held-out clips, of the same noise at every check."""
    some = jax.tree.map(lambda array: array[:16], held)
    keys = jax.random.split(jax.random.key(0), len(some.eig))
    return jax.jit(loss)(params, frozen, some, keys)[0]


@jax.jit
def _gather(seen: Triples, made: Float[Array, "N f h w C"], index: Array) -> latent_cache.Generated:
    return latent_cache.Generated(latent_cache.pixels(seen, index), made[index])
