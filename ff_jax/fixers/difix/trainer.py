"""The whole training of a Difix network on stored pairs: checkpoints, a time limit, and the weights that are kept."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Key, PyTree

from ff_jax.fixers.difix import model, objectives
from ff_jax.fixers.difix.config import DifixConfig
from ff_jax.fixers.difix.fixer import make_fixer
from ff_jax.fixers.fixer import fix
from ff_jax.fixers.pair_files import as_colors, draw, psnr
from ff_jax.fixers.self_fit.crops import Triples
from ff_jax.fixers.training.phase import PhaseConfig, train_phase
from ff_jax.fixers.training.sharding import make_mesh
from ff_jax.fixers.training.state import Loss, join, split
from ff_jax.metrics.lpips import Lpips

_INIT, _AUTOENCODER, _FIXER = range(3)  # random streams
_NAMES = {_AUTOENCODER: "autoencoder", _FIXER: "fixer"}  # folders of checkpoints
Log = Callable[[str, int, dict[str, float]], None]  # of a phase, its finished steps, and metrics


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How a network is trained.

    Attributes:
        seed: of the first weights and all draws.
        vae_steps: steps of the autoencoder on true images; 0 leaves them out.
        steps: steps of the whole network.
        batch: crops per step.
        crop: height and width of a crop, pixels: multiples of the network's stride.
        lr: largest rate.
        decay: of the averaged weights.
        drop: see `fitting.fixer_loss`.
        untold: names in `fitting.GUIDANCE`: what the network is not told of EIG.
        save_every: steps between two checkpoints and checks on held-out pairs.
        minutes: after which a checkpoint is the last one; 0 sets no limit.
    """

    seed: int = 0
    vae_steps: int = 1500
    steps: int = 15_000
    batch: int = 16
    crop: tuple[int, int] = (128, 128)
    lr: float = 8e-4
    decay: float = 0.999
    drop: float = 0.1
    untold: tuple[str, ...] = ()
    save_every: int = 1000
    minutes: float = 0.0

    def __post_init__(self):
        """Check what no training could work with."""
        unknown = sorted(set(self.untold) - set(objectives.GUIDANCE))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is unknown: untold are {', '.join(objectives.GUIDANCE)}, or nothing.")
        if min(self.steps, self.batch, self.save_every) < 1 or self.vae_steps < 0:
            raise ValueError(
                f"steps={self.steps}, batch={self.batch} and save_every={self.save_every} must be at least 1, "
                f"vae_steps={self.vae_steps} not negative."
            )


def fit(
    folder: str | Path,
    train: Triples,
    held: Triples,
    config: DifixConfig,
    settings: FitConfig,
    vgg: Lpips | None = None,
    log: Log = lambda *_: None,
) -> PyTree:
    """Train a network, or go on with the one in `folder`, and return its averaged weights.

    Args:
        folder: of the checkpoints; another configuration needs another folder.
        train: from `pairs.triples`.
        held: the same, of other streets; `log` is told the PSNR of renders and repairs ("held_render", "held_fixed").
        config: the network and its loss.
        settings: how it is trained.
        vgg: see `losses.loss`.
        log: called every 50 steps and after checks.
    """
    key = jax.random.key(settings.seed)
    deadline = time.monotonic() + 60 * settings.minutes if settings.minutes else float("inf")
    stored = jax.tree.map(jnp.asarray, train)
    plan = _Plan(Path(folder), stored, settings, deadline, make_mesh(len(jax.devices()), 1), key)
    network = model.init(jax.random.fold_in(key, _INIT), config)
    if settings.vae_steps:
        loss = objectives.autoencoder_loss(config)
        told = lambda step, metrics, _: log("autoencoder", step, metrics) if metrics else None
        vae, whole = _phase(plan, _AUTOENCODER, loss, {"vae": network["vae"]}, {}, settings.vae_steps, told)
        network = network | vae
        network = objectives.begin(network) if config.aligned else network
        if not whole:
            return network
    hidden = tuple(part for name in settings.untold for part in objectives.GUIDANCE[name])
    params, rest = split(network, hidden)[::-1] if hidden else (network, {})

    def judged(step: int, metrics: dict[str, float] | None, average: PyTree) -> None:
        log("fixer", step, metrics or check(join(average, rest), held, config))

    frozen = {"params": rest, "vgg": vgg}
    params, _ = _phase(
        plan, _FIXER, objectives.fixer_loss(config, settings.drop), params, frozen, settings.steps, judged
    )
    return join(params, rest)


def check(network: PyTree, held: Triples, config: DifixConfig) -> dict[str, float]:
    """Return the mean PSNR (dB) of renders and of repairs on held-out triples."""
    held = as_colors(held)
    fixer = make_fixer({"network": network, "gain": jnp.ones(())}, config)
    fixed = fix(fixer, jax.random.key(0), held.renders, held.eigs, held.references)
    score = lambda images: float(psnr(images, held.targets).mean())
    return {"held_render": score(held.renders), "held_fixed": score(fixed)}


class _Plan(NamedTuple):
    """What both phases of a training share."""

    folder: Path
    stored: Triples
    settings: FitConfig
    deadline: float  # of `time.monotonic`
    mesh: Mesh
    key: Key


def _phase(
    plan: _Plan, stream: int, loss: Loss, params: PyTree, frozen: PyTree, steps: int, log: Callable[..., None]
) -> tuple[PyTree, bool]:
    """Train up to `steps` or the time limit (see `train_phase`)."""
    settings = plan.settings
    return train_phase(
        plan.folder / _NAMES[stream],
        loss,
        params,
        frozen,
        lambda key: draw(key, plan.stored, settings.batch, settings.crop),
        PhaseConfig(steps, settings.lr, settings.decay, settings.save_every),
        key=jax.random.fold_in(plan.key, stream),
        mesh=plan.mesh,
        meta=dataclasses.asdict(settings),
        deadline=plan.deadline,
        log=log,
    )
