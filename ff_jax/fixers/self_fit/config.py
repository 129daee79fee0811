"""Settings of the `self_fit` fixer."""

import dataclasses

from ff_jax.eig.config import BLEND_KAPPA, INPUT_KAPPAS


@dataclasses.dataclass(frozen=True)
class SelfFitConfig:
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

    kappa: float = BLEND_KAPPA
    kappas: tuple[float, ...] = INPUT_KAPPAS
    stem: int = 2
    widths: tuple[int, ...] = (32, 48, 64)
    chunk: int = 4
    steps: int = 300
    batch: int = 4
    crop: tuple[int, int] = (96, 128)
    lr: float = 1.5e-3
    warmup: int = 25
    weight_decay: float = 1e-3
    ema: float = 0.98
    ssim: float = 0.1
    validation: float = 0.17
    checks: int = 6

    def __post_init__(self):
        """Refuse settings that no fit could use."""
        if self.steps < 1 or self.batch < 1 or self.chunk < 1 or self.checks < 1:
            raise ValueError(
                f"steps={self.steps}, batch={self.batch}, chunk={self.chunk} and checks={self.checks} must "
                "be at least 1."
            )
        if not self.widths or self.stem < 1 or min(self.crop) < self.stride:
            raise ValueError(f"crop={self.crop} must be at least stem * 2^(len(widths) - 1) = {self.stride} pixels.")
        if not 0.0 < self.validation < 1.0:
            raise ValueError(f"validation={self.validation} must lie between 0 and 1.")

    @property
    def stride(self) -> int:
        """Count the pixels per feature at the coarsest resolution; images are padded to multiples of it."""
        return self.stem * 2 ** (len(self.widths) - 1)
