"""Settings of EIG: the prior, and every scale in nats."""

import dataclasses

from ff_jax.runtime.settings import Settings, bounded

TAU = 0.4  # nats; splits pixels into UCR and HPR in the viewer and in studies of fixers
BENCHMARK_TAU = 1.085  # nats; the same in the extrapolation benchmark (`evaluate`), where few pixels are UCR
DISTILL_KAPPA = 0.5  # nats; scale of the weight of a pseudo-view's pixel in the loss
BLEND_KAPPA = 0.05  # nats; scale of the weight with which a fixer's output replaces the render
INPUT_KAPPAS = (0.1, 0.5, 2.0)  # nats; scales of the EIG maps that networks get as full-resolution input
NETWORK_KAPPA = 1.0  # nats; the same for the inputs at the resolution of the latents


@dataclasses.dataclass(frozen=True)
class Priors(Settings):
    """Standard deviations before any view was observed (hashable: a static argument)."""

    position: float = bounded(1.0, 1e-6, 1e6)  # per axis, in units of `spacing` (see `posterior`)
    rotation: float = bounded(0.3, 1e-6, 1e6)  # rad
    log_scale: float = bounded(0.5, 1e-6, 1e6)
    logit_opacity: float = bounded(1.0, 1e-6, 1e6)
    color: float = bounded(0.3, 1e-6, 1e6)  # of the constant part of the color
    view_color: float = bounded(0.1, 1e-6, 1e6)  # of each higher band of spherical harmonics
    background: float = bounded(0.3, 0.0, 1e6)  # color of the background, per direction
    # largest number of views that share one residual at a training pixel (`residual_noise`)
    misfit: float = bounded(24.0, 0.0, 1e6)


@dataclasses.dataclass(frozen=True)
class EigConfig(Settings):
    """How EIG steers the progressive loop.

    Attributes:
        kappa: scale of the distillation weight 1 - exp(-EIG / kappa), nats.
        tau: EIG that separates UCR from HPR in the viewer and in studies of fixers, nats. It does not affect training.
        floor: smallest distillation weight; 0 ignores well-determined pixels, 1 weights all pixels alike.
        use_eig: whether fixers get the EIG map and their output is blended by it; if not, they replace every pixel.
        priors: before any view was observed.
    """

    kappa: float = bounded(DISTILL_KAPPA, 1e-9, 1e6)
    tau: float = bounded(TAU, 0.0, 1e6)
    floor: float = bounded(0.0, 0.0, 1.0)
    use_eig: bool = True
    priors: Priors = Priors()
