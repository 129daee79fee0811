"""Settings of the reconstruction."""

import dataclasses

from ff_jax.train.densify.mcmc import DensityConfig
from ff_jax.train.densify.split_prune import SplitConfig
from ff_jax.train.losses import LossConfig
from ff_jax.train.optimizer import OptimConfig


@dataclasses.dataclass(frozen=True)
class ReconConfig:
    """How a scene is reconstructed (static; hashable).

    Attributes:
        sh_every: steps between two color bands.
        sh_degree: highest color band.
        budget: largest number of alive Gaussians.
    """

    sh_every: int = 1000
    sh_degree: int = 3
    budget: int = 500_000
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    density: DensityConfig = DensityConfig()
    split: SplitConfig = SplitConfig()
