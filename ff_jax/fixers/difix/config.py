"""Settings of the `difix` fixer: a tiny network that is trained from scratch, and the published size."""

import dataclasses

from ff_jax.eig.config import BLEND_KAPPA, NETWORK_KAPPA
from ff_jax.runtime.settings import Settings, bounded

_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class UNetConfig(Settings):
    """Layout of the denoising U-Net (Stable Diffusion 2.1's, arXiv 2112.10752); every level halves the resolution.

    Attributes:
        channels: of every level, finest first, multiples of 32; the coarsest level has no attention.
        heads: of the attentions of every level; the middle has as many as the coarsest.
        layers: residual blocks per level on the way down, one more on the way up.
        context: width of the text embedding.
        tokens: length of the text embedding.
    """

    channels: tuple[int, ...] = bounded((320, 640, 1280, 1280), 1, 65_536)
    heads: tuple[int, ...] = bounded((5, 10, 20, 20), 1, 1024)
    layers: int = bounded(2, 1, 1024)
    context: int = bounded(1024, 1, 65_536)
    tokens: int = bounded(77, 1, 65_536)

    def __post_init__(self):
        """Refuse settings that no network could be built of."""
        super().__post_init__()
        if len(self.heads) != len(self.channels) or len(self.channels) < 2:
            raise ValueError(
                f"heads={self.heads} and channels={self.channels} must have one entry per level, 2 at least."
            )
        if any(channels % 32 or channels % heads for channels, heads in zip(self.channels, self.heads, strict=True)):
            raise ValueError(f"channels={self.channels} must be multiples of 32 and of heads={self.heads}.")


@dataclasses.dataclass(frozen=True)
class ImageVaeConfig(Settings):
    """Layout of the image autoencoder; every level but the last halves the resolution.

    Attributes:
        channels: of every level, finest first, multiples of `groups`.
        layers: residual blocks per level of the encoder, one more in the decoder.
        groups: of its group normalizations.
        latent: channels of the latent.
        scaling: factor from the encoder's mean to the latent that the U-Net sees.
        rank: of the decoder's low-rank update.
        alpha: the update is scaled by alpha / rank.
    """

    channels: tuple[int, ...] = bounded((128, 256, 512, 512), 1, 65_536)
    layers: int = bounded(2, 1, 1024)
    groups: int = bounded(32, 1, 65_536)
    latent: int = bounded(4, 1, 65_536)
    scaling: float = bounded(0.18215, 1e-6, 1e6)
    rank: int = bounded(4, 1, 65_536)
    alpha: float = bounded(8.0, 0.0, 1e6)

    def __post_init__(self):
        """Refuse settings that no network could be built of."""
        super().__post_init__()
        if len(self.channels) < 2 or any(channels % self.groups for channels in self.channels):
            raise ValueError(f"channels={self.channels} must be 2 or more multiples of groups={self.groups}.")


@dataclasses.dataclass(frozen=True)
class LossWeights(Settings):
    """Weights of the training loss (dimensionless); the first three are the published ones.

    Attributes:
        l2: mean squared error.
        lpips: LPIPS with VGG16.
        gram: distance of Gram matrices (0: off); the published training adds it after 2000 steps.
        eig: absolute error, weighted by 1 - exp(-EIG / kappa).
        crop: side of the random square that Gram matrices compare, pixels (cut to the image).
    """

    l2: float = bounded(1.0, 0.0, 1e6)
    lpips: float = bounded(1.0, 0.0, 1e6)
    gram: float = bounded(1.0, 0.0, 1e6)
    eig: float = bounded(1.0, 0.0, 1e6)
    crop: int = bounded(400, 1, 16_384)


@dataclasses.dataclass(frozen=True)
class DifixConfig(Settings):
    """Networks, their use as a fixer, and the loss (hashable: a static argument).

    Attributes:
        unet: the denoiser.
        vae: the autoencoder.
        use_aligned_references: references are re-projected into the frame (`reprojection.align`). The network then
            sees the difference to them at full resolution. Instead of an image it predicts a correction of the frame
            and a share of that difference (see `reference_stem`). False is the published layout.
        timestep: the one noise level, of 1000, at which the denoiser runs.
        eig_scale: EIG at which the network's input reaches 1 - 1/e, nats.
        conditioned_on_eig: whether the network sees EIG; if not, its input is zero.
        kappa: EIG at which the weight of the repair reaches 1 - 1/e, nats.
        size: height and width into which larger frames are scaled before the repair, pixels.
        tile: height and width of a tile of the network, pixels: multiples of `stride`.
        overlap: of neighboring tiles, pixels.
        chunk: frames repaired at once.
        dtype: of the computation, "float32" or "bfloat16"; parameters are float32.
        loss: weights of the training loss.
    """

    unet: UNetConfig = UNetConfig()
    vae: ImageVaeConfig = ImageVaeConfig()
    use_aligned_references: bool = False
    timestep: int = bounded(199, 0, 999)
    eig_scale: float = bounded(NETWORK_KAPPA, 1e-9, 1e6)
    conditioned_on_eig: bool = True
    kappa: float = bounded(BLEND_KAPPA, 1e-9, 1e6)
    size: tuple[int, int] = bounded((576, 1024), 1, 16_384)
    tile: tuple[int, int] = bounded((576, 1024), 1, 16_384)
    overlap: int = bounded(64, 1, 16_384)
    chunk: int = bounded(1, 1, 1024)
    dtype: str = "bfloat16"
    loss: LossWeights = LossWeights()

    def __post_init__(self):
        """Refuse settings that no repair could use."""
        super().__post_init__()
        if self.dtype not in _DTYPES:
            raise ValueError(f"invalid dtype={self.dtype!r}: expected one of {', '.join(_DTYPES)}.")
        if any(side % self.stride for side in self.tile):
            raise ValueError(f"tile={self.tile} must be multiples of {self.stride} pixels.")
        if self.overlap >= min(self.tile):
            raise ValueError(f"overlap={self.overlap} must be below the smaller side of tile={self.tile}.")

    @property
    def reduction(self) -> int:
        """Count the pixels along each side of one latent."""
        return 2 ** (len(self.vae.channels) - 1)

    @property
    def stride(self) -> int:
        """Count the pixels along each side of the U-Net's coarsest feature; images are padded to multiples of it."""
        return self.reduction * 2 ** (len(self.unet.channels) - 1)


def published() -> DifixConfig:
    """Select the size of SD-Turbo, on which Difix (arXiv 2503.01774) and FaithFusion's fixer are built."""
    return DifixConfig()


def tiny() -> DifixConfig:
    """Select the size of the weights in the package: about 4 million parameters, images in multiples of 16 pixels."""
    return DifixConfig(
        unet=UNetConfig(channels=(64, 128), heads=(2, 4), layers=1, context=32, tokens=1),
        vae=ImageVaeConfig(channels=(16, 32, 64, 96), layers=1, groups=16, latent=8, scaling=1.0),
        use_aligned_references=True,
        tile=(192, 256),
        overlap=32,
        chunk=4,
        kappa=0.2,
        dtype="float32",
        # At weight 1 the Gram term would dominate: it is 30 for a blurred image whose squared error is 0.005.
        loss=LossWeights(lpips=0.1, gram=0.0),
    )
