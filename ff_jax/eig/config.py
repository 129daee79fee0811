"""Settings of EIG: the prior, and every scale in nats."""

import dataclasses
from typing import NamedTuple

from ff_jax.runtime.settings import SettingError, Settings, bounded

TAU = 0.4  # nats; splits pixels into UCR and HPR in the viewer and in studies of fixers
BENCHMARK_TAU = 1.085  # nats; the same in the extrapolation benchmark (`evaluate`), where few pixels are UCR
DISTILL_KAPPA = 0.5  # nats; scale of the weight of a pseudo-view's pixel in the loss
BLEND_KAPPA = 0.05  # nats; scale of the weight with which a fixer's output replaces the render
INPUT_KAPPAS = (0.1, 0.5, 2.0)  # nats; scales of the EIG maps that networks get as full-resolution input
NETWORK_KAPPA = 1.0  # nats; the same for the inputs at the resolution of the latents

NONE = "none"  # the signal that treats all pixels alike
# Maps that can steer the loop (`ff_jax.eig.signals`, `ff_jax.pipeline.signals`); the first one is the default.
SIGNALS = (
    "exact",
    "trace",
    "diagonal",
    "calibrated",
    "color_only",
    "released",
    "opacity",
    "distance",
    "residual",
    "warp_ssim",
    "error",
    NONE,
)


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


class SignalNames(NamedTuple):
    """The signal of every use in the progressive loop, by name."""

    guidance: str  # the map that a fixer's network gets as input
    blend: str  # decides how much of a repair replaces the render
    weight: str  # decides how much a pixel of a pseudo-view counts in the loss


@dataclasses.dataclass(frozen=True)
class EigConfig(Settings):
    """How EIG, or another signal, steers the progressive loop.

    Attributes:
        kappa: scale of the distillation weight 1 - exp(-EIG / kappa), nats.
        tau: EIG that separates UCR from HPR in the viewer and in studies of fixers, nats. It does not affect training.
        floor: smallest distillation weight; 0 ignores well-determined pixels, 1 weights all pixels alike.
        use_eig: whether fixers get a signal and their output is blended by it; if not, they replace every pixel.
        signal: the map that steers the loop, one of `SIGNALS`; all but "exact" are brought to its scale.
        guidance_signal: the map that fixers get as input; "" takes `signal`.
        blend_signal: the map by which a repair is blended into the render; "" takes `signal`.
        weight_signal: the map that weights the pixels of pseudo-views in the loss; "" takes `signal`.
        priors: before any view was observed.
    """

    kappa: float = bounded(DISTILL_KAPPA, 1e-9, 1e6)
    tau: float = bounded(TAU, 0.0, 1e6)
    floor: float = bounded(0.0, 0.0, 1.0)
    use_eig: bool = True
    signal: str = SIGNALS[0]
    guidance_signal: str = ""
    blend_signal: str = ""
    weight_signal: str = ""
    priors: Priors = Priors()

    def __post_init__(self):
        """Check the names of the signals."""
        super().__post_init__()
        for name in ("signal", "guidance_signal", "blend_signal", "weight_signal"):
            value = getattr(self, name)
            if value not in SIGNALS and (value or name == "signal"):
                raise SettingError(name, value, f"one of {', '.join(SIGNALS)}")

    @property
    def signals(self) -> SignalNames:
        """Return the signal of every use."""
        guidance, blend, weight = (
            name or self.signal for name in (self.guidance_signal, self.blend_signal, self.weight_signal)
        )
        return SignalNames(guidance, blend, weight) if self.use_eig else SignalNames(NONE, NONE, weight)
