"""Sizes of the video transformer and of the video autoencoder (CogVideoX, Yang et al. 2024, arXiv 2408.06072)."""

from dataclasses import MISSING, dataclass, replace

from ff_jax.runtime.settings import Settings, bounded

POSITIONS = ("sincos", "rope", "rope_slice", "rope_learned")


@dataclass(frozen=True)
class DitConfig(Settings):
    """The transformer (hashable: a static argument).

    Attributes:
        depth: number of blocks.
        heads: number of attention heads.
        head_dim: channels of a head; a multiple of 16. The width is heads * head_dim.
        in_channels: of the input latents (noisy ones, and those of a conditioning image if there is one).
        out_channels: of the prediction.
        text_dim: of a token's text embedding.
        text_length: tokens of a prompt; required only with learned positions.
        time_dim: of the embedding of the time step.
        patch: a token covers patch x patch latent pixels.
        sample: latent frames, height and width that the network was trained on: the reference grid of "rope" positions,
            and the only size of learned positions.
        positions: "sincos" (added to the tokens), "rope" (rotates queries and keys; other grids are scaled to the
            sample's), "rope_slice" (rotates by the tokens' own indices, for any grid) or "rope_learned" ("rope", plus
            learned positions).
        spatial_scale: divisor of token coordinates of "sincos".
        patch_time: latent frames that a token covers.
        offset_dim: size of the embedding of a constant that is added to that of the time step, `time_dim`; 0: none.
        image_scale: factor of a conditioning image's latents.
    """

    depth: int = bounded(MISSING, 1, 1024)
    heads: int = bounded(MISSING, 1, 1024)
    head_dim: int = bounded(64, 16, 65_536)
    in_channels: int = bounded(16, 1, 65_536)
    out_channels: int = bounded(16, 1, 65_536)
    text_dim: int = bounded(4096, 1, 65_536)
    text_length: int = bounded(226, 1, 65_536)
    time_dim: int = bounded(512, 1, 65_536)
    patch: int = bounded(2, 1, 256)
    sample: tuple[int, int, int] = bounded((13, 60, 90), 1, 16_384)
    positions: str = "rope"
    spatial_scale: float = bounded(1.875, 1e-6, 1e6)
    patch_time: int = bounded(1, 1, 1024)
    offset_dim: int = bounded(0, 0, 65_536)
    image_scale: float = bounded(1.0, 1e-6, 1e6)

    def __post_init__(self):
        """Refuse settings that no network could be built of."""
        super().__post_init__()
        if self.positions not in POSITIONS:
            raise ValueError(f"invalid positions={self.positions!r}: expected one of {', '.join(POSITIONS)}.")
        if self.head_dim % 16:
            raise ValueError(
                f"head_dim={self.head_dim} must be a multiple of 16: channels rotate in pairs with t, y, x."
            )
        if any(size % self.patch for size in self.sample[1:]):
            raise ValueError(f"sample={self.sample} must have a height and width that patch={self.patch} divides.")
        if self.sample[0] % self.patch_time:
            raise ValueError(f"sample={self.sample} must have frames that patch_time={self.patch_time} divides.")
        if self.offset_dim not in (0, self.time_dim):
            raise ValueError(f"offset_dim={self.offset_dim} must be 0 or time_dim={self.time_dim}: both are added.")

    @property
    def width(self) -> int:
        """Count the channels of a token."""
        return self.heads * self.head_dim

    @property
    def tokens(self) -> int:
        """Count the tokens of a sample, without text."""
        frames, height, width = self.sample
        return (frames // self.patch_time) * (height // self.patch) * (width // self.patch)


@dataclass(frozen=True)
class VideoVaeConfig(Settings):
    """The video autoencoder (hashable: a static argument).

    Attributes:
        widths: channels at every resolution, finest first; each resolution halves the one before.
        latent_channels: of the latents.
        layers: residual blocks per resolution of the encoder; the decoder has one more.
        groups: of the group normalization; divides every width.
        time_factor: frames per latent frame, after the first frame; a power of 2.
        scale: factor of the latents that the transformer sees.
        tile: latent height and width above which an image is processed in tiles of that size, to bound the memory.
        overlap: smallest overlap of neighboring tiles, latent height and width.
        out_channels: of the decoder: 3 colors, and a share (see `detail_decoder`).
    """

    widths: tuple[int, ...] = bounded((128, 256, 256, 512), 1, 65_536)
    latent_channels: int = bounded(16, 1, 65_536)
    layers: int = bounded(3, 1, 1024)
    groups: int = bounded(32, 1, 65_536)
    time_factor: int = bounded(4, 1, 1024)
    scale: float = bounded(0.7, 1e-6, 1e6)
    tile: tuple[int, int] = bounded((60, 90), 1, 16_384)
    overlap: tuple[int, int] = bounded((10, 15), 1, 16_384)
    out_channels: int = bounded(3, 1, 65_536)

    def __post_init__(self):
        """Refuse settings that no network could be built of."""
        super().__post_init__()
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"groups={self.groups} must divide every one of widths={self.widths}.")
        if self.time_factor & (self.time_factor - 1) or self.time_factor > self.factor:
            raise ValueError(f"time_factor={self.time_factor} must be a power of 2 of at most {self.factor}.")
        if any(not 0 < 2 * shared <= size for shared, size in zip(self.overlap, self.tile, strict=True)):
            raise ValueError(f"overlap={self.overlap} must be positive and at most half of tile={self.tile}.")

    @property
    def factor(self) -> int:
        """Count the pixels per latent pixel along each side."""
        return 2 ** (len(self.widths) - 1)

    @property
    def halvings(self) -> int:
        """Count how often the encoder halves the number of frames."""
        return self.time_factor.bit_length() - 1


TINY = DitConfig(
    depth=6, heads=6, head_dim=32, in_channels=16, out_channels=8, text_dim=8, text_length=1, time_dim=64,
    sample=(3, 32, 52),
)  # fmt: skip
COGVIDEOX_2B = DitConfig(depth=30, heads=30, positions="sincos")
COGVIDEOX_5B = DitConfig(depth=42, heads=48)
COGVIDEOX_5B_I2V = DitConfig(depth=42, heads=48, in_channels=32, positions="rope_learned")
# The sample is 81 frames of 768 x 1360, whose 21 latent frames become 22; the published tables of positions end at
# 300 x 300 latent pixels. In version 1.5 the latents of the conditioning image are divided by the autoencoder's 0.7;
# all others are multiplied by it.
COGVIDEOX_15_5B = DitConfig(depth=42, heads=48, sample=(22, 96, 170), positions="rope_slice", patch_time=2)
COGVIDEOX_15_5B_I2V = replace(COGVIDEOX_15_5B, in_channels=32, offset_dim=512, image_scale=1 / 0.7**2)

TINY_VAE = VideoVaeConfig(
    widths=(32, 64, 64), latent_channels=8, layers=1, groups=8, scale=1.0, tile=(256, 256), overlap=(16, 16),
    out_channels=4,
)  # fmt: skip
VAE_2B = VideoVaeConfig(scale=1.15258426)
VAE_5B = VideoVaeConfig()
