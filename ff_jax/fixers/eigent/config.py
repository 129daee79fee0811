"""Settings of the `eigent` fixer: sizes of its networks, their use of EIG, and sampling."""

from dataclasses import dataclass, replace

from ff_jax.eig.config import BLEND_KAPPA, NETWORK_KAPPA
from ff_jax.fixers.eigent import network_config as sizes
from ff_jax.fixers.eigent.context_branch import BLOCKS
from ff_jax.fixers.eigent.eig_conditioning import EIG_SATURATION
from ff_jax.fixers.eigent.network_config import DitConfig, VideoVaeConfig
from ff_jax.fixers.eigent.noise_schedule import SOLVERS, ScheduleConfig
from ff_jax.runtime.settings import Settings, bounded

_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class EigentConfig(Settings):
    """Networks and their use (hashable: a static argument).

    Attributes:
        dit: the transformer.
        vae: the autoencoder.
        blocks: number of blocks of the context branch.
        schedule: noise levels.
        has_detail_decoder: the decoder sees render and reference at full resolution (see `detail_decoder`) and predicts
            a correction of the render; False is the published layout, whose decoder predicts the frames.
        use_aligned_references: references are re-projected into the frames (`reprojection.align`).
        frames: of a clip that is generated at once; longer clips are generated in pieces, each from the last frame of
            the piece before.
        num_context_frames: views between the recorded pose and the first pose of a path; the first is the real image.
        steps: of the sampler; 0 keeps the render's latents.
        solver: one of `noise_schedule.SOLVERS`.
        strength: share of the noise levels; below 1 sampling starts from the render's noisy latents.
        eig_scale: EIG at which the networks' input reaches 1 - 1/e, nats.
        eig_saturation: value of that input above which the backbone is not steered (see `context_branch`); 1 steers it
            everywhere.
        conditioned_on_eig: whether the networks see EIG; if not, their input is zero.
        use_references: whether references are used; if not, the render replaces them.
        conditions: () or ("repaired",). With the latter, the branch attends to the frames of the one-step fixer, and
            sees the references beside the render; without it, it attends to the references.
        kappa: EIG at which the weight of the repair reaches 1 - 1/e, nats.
        blend: largest weight of the repair, in [0, 1].
        size: height and width into which frames are scaled before the repair, pixels.
        dtype: of the computation, "float32" or "bfloat16"; parameters are float32.
    """

    dit: DitConfig = sizes.COGVIDEOX_5B_I2V
    vae: VideoVaeConfig = sizes.VAE_5B
    blocks: int = bounded(BLOCKS, 1, 1024)
    schedule: ScheduleConfig = ScheduleConfig()
    has_detail_decoder: bool = False
    use_aligned_references: bool = False
    frames: int = bounded(49, 1, 100_000)
    num_context_frames: int = bounded(8, 0, 1024)
    steps: int = bounded(50, 0, 1000)
    solver: str = "dpm"
    strength: float = bounded(1.0, 1e-3, 1.0)
    eig_scale: float = bounded(NETWORK_KAPPA, 1e-9, 1e6)
    eig_saturation: float = bounded(EIG_SATURATION, 0.0, 1.0)
    conditioned_on_eig: bool = True
    use_references: bool = True
    conditions: tuple[str, ...] = ()
    kappa: float = bounded(BLEND_KAPPA, 1e-9, 1e6)
    blend: float = bounded(1.0, 0.0, 1.0)
    size: tuple[int, int] = bounded((480, 720), 1, 16_384)
    dtype: str = "bfloat16"

    def __post_init__(self):
        """Refuse settings that no repair could use."""
        super().__post_init__()
        if self.dtype not in _DTYPES or self.solver not in SOLVERS:
            raise ValueError(f"dtype={self.dtype!r} and solver={self.solver!r} must be of {_DTYPES} and {SOLVERS}.")
        if self.frames % (2 * self.vae.time_factor) != 1 or (self.has_detail_decoder and self.frames != self.chunk):
            raise ValueError(
                f"frames={self.frames} must be 1 + {self.chunk - 1}k, and {self.chunk} for a decoder that sees details."
            )
        if self.vae.out_channels != (4 if self.has_detail_decoder else 3):
            raise ValueError(
                f"vae.out_channels={self.vae.out_channels} must be 4 with has_detail_decoder=True, 3 without."
            )
        sample_size = tuple(side * self.vae.factor for side in self.dit.sample[1:])
        if self.has_fixed_size and self.size != sample_size:
            raise ValueError(
                f"size={self.size} must be {sample_size}: the transformer's positions were learned for it."
            )
        if self.conditions not in ((), ("repaired",)):
            raise ValueError(f"invalid conditions={self.conditions}: expected () or ('repaired',).")
        if self.dit.out_channels != self.vae.latent_channels:
            raise ValueError(f"{self.dit} must predict the {self.vae.latent_channels} channels of the latents.")

    @property
    def is_two_stage(self) -> bool:
        """Tell whether the branch attends to the frames of the one-step fixer."""
        return bool(self.conditions)

    @property
    def chunk(self) -> int:
        """Count the frames of the autoencoder's first chunk."""
        return 1 + 2 * self.vae.time_factor

    @property
    def has_fixed_size(self) -> bool:
        """Tell whether the transformer's positions were learned for `size` alone."""
        return self.dit.positions == "rope_learned"

    @property
    def stride(self) -> int:
        """Count the pixels along each side of a token; frames are padded to multiples of it."""
        return self.vae.factor * self.dit.patch


def published() -> EigentConfig:
    """Select the size of CogVideoX-5B-I2V, on which EIGent (FaithFusion, section 3.2) is built."""
    return EigentConfig()


def tiny() -> EigentConfig:
    """Select the size that is trained from scratch: fewer than 10 million parameters."""
    return EigentConfig(
        dit=sizes.TINY,
        vae=sizes.TINY_VAE,
        has_detail_decoder=True,
        use_aligned_references=True,
        frames=9,
        steps=4,
        solver="ddim",
        strength=0.6,
        size=(192, 256),
        dtype="float32",
    )


def two_stage() -> EigentConfig:
    """Select the size of `tiny` in the form of the paper: it attends to the frames of the one-step fixer."""
    return replace(tiny(), conditions=("repaired",))


def layouts() -> tuple[EigentConfig, ...]:
    """List the layouts whose weights `fixers.pretrained` recognizes; the shipped weights have the first one."""
    return tiny(), two_stage()
