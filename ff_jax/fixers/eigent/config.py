"""How the video networks are used as a fixer: sizes of both, what EIG means to them, and how repairs are sampled."""

from dataclasses import dataclass

from ff_jax.fixers.eigent import network_config as sizes
from ff_jax.fixers.eigent.context_branch import BLOCKS
from ff_jax.fixers.eigent.eig_conditioning import SATURATED
from ff_jax.fixers.eigent.network_config import DitConfig, VaeConfig
from ff_jax.fixers.eigent.noise_schedule import SOLVERS, ScheduleConfig

_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class EigentConfig:
    """Networks and their use (hashable: a static argument).

    Attributes:
        dit: the transformer.
        vae: the autoencoder.
        blocks: of the context branch.
        schedule: levels of the noise.
        detailed: the decoder sees render and reference at full resolution (see `detail`) and gives a correction of the
            render; False is the published layout, whose decoder gives the frames.
        aligned: references are re-projected into the frames (`generators.align`).
        frames: of the clip that is generated at once; longer ones are generated piece by piece, each from the last
            frame of the one before.
        lead: frames that slide from the recorded pose to the first one of a path; the first of them is the real image.
        steps: of the sampler; 0 takes the render's latents as they are.
        solver: of `schedule.SOLVERS`.
        strength: share of the noise levels; below 1 sampling starts from the render's noisy latents.
        eig_scale: EIG at which the networks are told 1 - 1/e of "nothing is known", nats.
        saturated: that value above which the backbone is left alone (see `branch`); 1 steers it everywhere.
        told: whether the networks see EIG; without, everything is known to them.
        referenced: whether references are used; without, the render takes their place everywhere.
        kappa: EIG at which the repair has 1 - 1/e of its full effect, nats.
        blend: largest weight of the repair, in [0, 1].
        size: height and width into which frames are scaled before the repair, pixels.
        dtype: of the computation, "float32" or "bfloat16"; parameters are float32.
    """

    dit: DitConfig = sizes.COGVIDEOX_5B_I2V
    vae: VaeConfig = sizes.VAE_5B
    blocks: int = BLOCKS
    schedule: ScheduleConfig = ScheduleConfig()
    detailed: bool = False
    aligned: bool = False
    frames: int = 49
    lead: int = 8
    steps: int = 50
    solver: str = "dpm"
    strength: float = 1.0
    eig_scale: float = 1.0
    saturated: float = SATURATED
    told: bool = True
    referenced: bool = True
    kappa: float = 0.05
    blend: float = 1.0
    size: tuple[int, int] = (480, 720)
    dtype: str = "bfloat16"

    def __post_init__(self):
        """Check what no repair could work with."""
        if self.dtype not in _DTYPES or self.solver not in SOLVERS:
            raise ValueError(f"dtype={self.dtype!r} and solver={self.solver!r} must be of {_DTYPES} and {SOLVERS}.")
        if not 0 <= self.blend <= 1 or not 0 < self.strength <= 1:
            raise ValueError(f"blend={self.blend} must lie in [0, 1], and strength={self.strength} in (0, 1].")
        if self.frames % (2 * self.vae.time_factor) != 1 or (self.detailed and self.frames != self.chunk):
            raise ValueError(
                f"frames={self.frames} must be 1 + {self.chunk - 1}k, and {self.chunk} for a decoder that sees details."
            )
        if self.vae.out_channels != (4 if self.detailed else 3):
            raise ValueError(f"vae.out_channels={self.vae.out_channels} must be 4 with detailed=True, 3 without.")
        sample = tuple(side * self.vae.factor for side in self.dit.sample[1:])
        if self.exact and self.size != sample:
            raise ValueError(f"size={self.size} must be {sample}: the transformer's positions were learned for it.")
        if self.dit.out_channels != self.vae.latent_channels:
            raise ValueError(f"{self.dit} must predict the {self.vae.latent_channels} channels of the latents.")

    @property
    def chunk(self) -> int:
        """Return the frames of the autoencoder's first chunk."""
        return 1 + 2 * self.vae.time_factor

    @property
    def exact(self) -> bool:
        """Return whether the transformer's positions know no other size than `size`."""
        return self.dit.positions == "rope_learned"

    @property
    def stride(self) -> int:
        """Return the pixels per side of a token; frames are padded to multiples of it."""
        return self.vae.factor * self.dit.patch


def published() -> EigentConfig:
    """Return the size of CogVideoX-5B-I2V, on which EIGent (FaithFusion, section 3.2) is built."""
    return EigentConfig()


def tiny() -> EigentConfig:
    """Return the size that is trained from scratch: fewer than 10 million parameters."""
    return EigentConfig(
        dit=sizes.TINY,
        vae=sizes.TINY_VAE,
        detailed=True,
        aligned=True,
        frames=9,
        steps=4,
        solver="ddim",
        strength=0.6,
        size=(192, 256),
        dtype="float32",
    )
