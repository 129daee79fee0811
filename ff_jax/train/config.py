"""Settings of the reconstruction."""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded
from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.densify.split_prune import SplitConfig
from ff_jax.train.losses import LossConfig
from ff_jax.train.optimizer import OptimConfig


@dataclasses.dataclass(frozen=True)
class ReconConfig(Settings):
    """How a scene is reconstructed (static; hashable).

    Attributes:
        sh_every: steps between two color bands.
        sh_degree: highest color band.
        first_sh_degree: highest color band that is active from the beginning; a scene of `init.scene` sets it.
        budget: largest number of alive Gaussians.
        deform_novel: whether Gaussians move by a network in views off the recorded path (`scene.novel_deformation`).
    """

    sh_every: int = bounded(1000, 1, MAX_STEPS)
    sh_degree: int = bounded(3, 0, 3)
    first_sh_degree: int = bounded(0, 0, 3)
    budget: int = bounded(500_000, 4, 100_000_000)
    deform_novel: bool = False
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    density: DensityConfig = DensityConfig()
    split: SplitConfig = SplitConfig()


def active_sh_degree(step: int | Int[Array, ""], config: ReconConfig) -> Int[Array, ""]:
    """Compute the highest color band that is active at a step; `sh_degree` limits it."""
    return jnp.clip(step // config.sh_every, config.first_sh_degree, config.sh_degree)
