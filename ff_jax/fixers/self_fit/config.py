"""Settings of the `self_fit` fixer."""

import dataclasses

from ff_jax.fixers.reference_unet.config import ReferenceUnetConfig, TrainSettings
from ff_jax.runtime.settings import bounded


@dataclasses.dataclass(frozen=True)
class SelfFitConfig(TrainSettings):
    """Network and fit (hashable: a static argument); the defaults of `TrainSettings` are those of a fit.

    Attributes:
        network: the network; one of the default layout starts from the trained weights in the package.
        validation: fraction of the triples that is held out to select among checkpoints.
        checks: number of checkpoints of the averaged weights that are compared.
    """

    network: ReferenceUnetConfig = ReferenceUnetConfig()
    validation: float = bounded(0.17, 1e-6, 0.999)
    checks: int = bounded(6, 1, 10_000)
