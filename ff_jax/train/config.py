"""Settings of the reconstruction."""

import dataclasses

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
        budget: largest number of alive Gaussians.
        deform_novel: whether Gaussians move by a network in views off the recorded path (`scene.novel_deformation`).
    """

    sh_every: int = bounded(1000, 1, MAX_STEPS)
    sh_degree: int = bounded(3, 0, 3)
    budget: int = bounded(500_000, 4, 100_000_000)
    deform_novel: bool = False
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    density: DensityConfig = DensityConfig()
    split: SplitConfig = SplitConfig()
