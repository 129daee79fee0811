"""Settings of the `reference_unet` fixer and of its training."""

import dataclasses

from ff_jax.eig.config import BLEND_KAPPA, INPUT_KAPPAS
from ff_jax.fixers.conditions import check_names
from ff_jax.fixers.fixer import SOURCES
from ff_jax.runtime.settings import MAX_STEPS, Settings, bounded

_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class ReferenceUnetConfig(Settings):
    """The network and its use (hashable: a static argument).

    Attributes:
        kappa: EIG at which the weight of the repair reaches 1 - 1/e, nats.
        kappas: scales of the EIG features that the network sees, nats.
        conditioned_on_eig: whether the network sees EIG; if not, it sees zeros.
        use_references: whether it sees references; if not, it sees none of any confidence, and needs none.
        conditions: names of the condition images that it sees (`fixers.conditions`).
        source: what it repairs: "render", "near" or "lidar" (`pipeline.sources`).
        num_references: references per view, those of `reprojection.align_each`.
        stem: pixels are folded stem x stem into channels first.
        widths: channels at each resolution, finest first; each resolution halves the one before.
        chunk: frames repaired at once.
        dtype: of the convolutions; parameters are float32.
    """

    kappa: float = bounded(BLEND_KAPPA, 1e-9, 1e6)
    kappas: tuple[float, ...] = bounded(INPUT_KAPPAS, 1e-9, 1e6)
    conditioned_on_eig: bool = True
    use_references: bool = True
    conditions: tuple[str, ...] = ()
    source: str = SOURCES[0]
    num_references: int = bounded(5, 1, 1024)
    stem: int = bounded(2, 1, 64)
    widths: tuple[int, ...] = bounded((48, 96, 160, 224), 1, 65_536)
    chunk: int = bounded(1, 1, 1024)
    dtype: str = "float32"

    def __post_init__(self):
        """Refuse networks that do not exist."""
        super().__post_init__()
        if not self.widths:
            raise ValueError("invalid widths=(): expected the channels of at least one resolution.")
        if self.dtype not in _DTYPES:
            raise ValueError(f"invalid dtype={self.dtype!r}: expected one of {', '.join(_DTYPES)}.")
        check_names(self.conditions)
        if self.source not in SOURCES:
            raise ValueError(f"invalid source={self.source!r}: expected one of {', '.join(SOURCES)}.")
        if self.source == "lidar" and "lidar" not in self.conditions:
            raise ValueError(f"source='lidar' needs that condition: add 'lidar' to conditions={self.conditions}.")

    @property
    def stride(self) -> int:
        """Count the pixels per feature at the coarsest resolution; images are padded to multiples of it."""
        return self.stem * 2 ** (len(self.widths) - 1)


@dataclasses.dataclass(frozen=True)
class TrainSettings(Settings):
    """How the network is trained (hashable: a static argument).

    Attributes:
        steps: optimizer steps.
        batch: crops per step.
        crop: height and width of a crop, pixels (cut to the image size).
        lr: peak learning rate (cosine schedule after `warmup` steps).
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        ema: decay of the averaged weights.
        ssim: weight of 1 - SSIM in the loss.
        lpips: weight of LPIPS in the loss, where its network is given.
        is_augmented: whether colors are permuted and scaled, and references left out at random.
        condition_dropout: probability with which each condition of a crop is left out.
    """

    steps: int = bounded(300, 1, MAX_STEPS)
    batch: int = bounded(4, 1, 65_536)
    crop: tuple[int, int] = bounded((96, 128), 1, 16_384)
    lr: float = bounded(3e-4, 0.0, 10.0)
    warmup: int = bounded(25, 0, MAX_STEPS)
    weight_decay: float = bounded(1e-3, 0.0, 1e3)
    ema: float = bounded(0.98, 0.0, 1.0)
    ssim: float = bounded(0.1, 0.0, 1e6)
    lpips: float = bounded(0.1, 0.0, 1e6)
    is_augmented: bool = False
    condition_dropout: float = bounded(0.0, 0.0, 1.0)


def tiny() -> ReferenceUnetConfig:
    """Return the layout of the network in the package: 3.7 million parameters."""
    return ReferenceUnetConfig()
