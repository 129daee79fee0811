"""Settings of the `self_fit` fixer."""

import dataclasses

from ff_jax.eig.config import BLEND_KAPPA, INPUT_KAPPAS
from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded


@dataclasses.dataclass(frozen=True)
class SelfFitConfig(Settings):
    """Network and fit (hashable: a static argument).

    Attributes:
        kappa: EIG at which the weight of the repair reaches 1 - 1/e, nats.
        kappas: scales of the EIG features that the network sees, nats; empty: it does not see EIG.
        stem: pixels are folded stem x stem into channels first.
        widths: channels at each resolution, finest first; each resolution halves the one before.
        chunk: frames repaired at once.
        steps: optimizer steps of the fit.
        batch: crops per step.
        crop: height and width of a crop, pixels (cut to the image size).
        lr: peak learning rate (cosine schedule after `warmup` steps).
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        ema: decay of the averaged weights.
        ssim: weight of 1 - SSIM in the loss; the L1-like term has weight 1 - `ssim`.
        validation: fraction of the triples that is held out to select among checkpoints.
        checks: number of checkpoints of the averaged weights that are compared.
    """

    kappa: float = bounded(BLEND_KAPPA, 1e-9, 1e6)
    kappas: tuple[float, ...] = bounded(INPUT_KAPPAS, 1e-9, 1e6)
    stem: int = bounded(2, 1, 64)
    widths: tuple[int, ...] = bounded((32, 48, 64), 1, 65_536)
    chunk: int = bounded(4, 1, 1024)
    steps: int = bounded(300, 1, MAX_STEPS)
    batch: int = bounded(4, 1, 65_536)
    crop: tuple[int, int] = bounded((96, 128), 1, 16_384)
    lr: float = bounded(1.5e-3, 0.0, 10.0)
    warmup: int = bounded(25, 0, MAX_STEPS)
    weight_decay: float = bounded(1e-3, 0.0, 1e3)
    ema: float = bounded(0.98, 0.0, 1.0)
    ssim: float = bounded(0.1, 0.0, 1.0)
    validation: float = bounded(0.17, 1e-6, 0.999)
    checks: int = bounded(6, 1, 10_000)

    def __post_init__(self):
        """Refuse settings that no fit could use."""
        super().__post_init__()
        if not self.widths or min(self.crop) < self.stride:
            raise ValueError(f"crop={self.crop} must be at least stem * 2^(len(widths) - 1) = {self.stride} pixels.")

    @property
    def stride(self) -> int:
        """Count the pixels per feature at the coarsest resolution; images are padded to multiples of it."""
        return self.stem * 2 ** (len(self.widths) - 1)
