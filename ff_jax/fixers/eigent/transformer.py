"""The video transformer of CogVideoX (Yang et al. 2024, arXiv 2408.06072): it predicts v from noisy latents.

All blocks are one scan over stacked parameters, so the compile time does not grow with depth.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Num

from ff_jax.fixers.attention import Implementation
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.positional_encoding import RotaryAngles, add_sincos, rotary_angles
from ff_jax.fixers.eigent.transformer_layers import PatchEmbed, TimeEmbedding, TransformerBlock, layer_norm, unpatch


class ScannedBlock(nn.Module):
    """One block as a step of the scan; an injection is then added to the video tokens."""

    config: DitConfig
    dtype: DTypeLike
    implementation: Implementation | None

    @nn.compact
    def __call__(
        self,
        tokens: tuple[Array, Array],
        group: Int[Array, ""],
        time: Float[Array, "B time_dim"],
        angles: RotaryAngles | None,
        injections: Float[Array, "G B N width"] | None,
    ) -> tuple[tuple[Array, Array], None]:
        """Compute text (B, L, width) and video (B, N, width) after the block."""
        block = TransformerBlock(self.config, self.dtype, self.implementation, name="block")
        text, video = block(*tokens, time, angles)
        if injections is not None:
            video = video + injections[group].astype(video.dtype)
        return (text, video), None


class Embed(nn.Module):
    """Embedding of text and video as tokens, with added positions."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "B F h w C"], text: Float[Array, "B L D"] | None
    ) -> tuple[Float[Array, "B L width"] | None, Float[Array, "B N width"]]:
        """Compute the tokens of text (None without one) and video."""
        config = self.config
        video = PatchEmbed(config.width, config.patch, config.patch_time, self.dtype, name="proj")(latents)
        text = None if text is None else nn.Dense(config.width, dtype=self.dtype, name="text_proj")(text)
        if config.positions == "sincos":
            video = add_sincos(video, grid_of(latents, config), config.spatial_scale)
        if config.positions == "rope_learned":
            shape = (1, config.text_length + config.tokens, config.width)
            positions = self.param("positions", nn.initializers.normal(0.02), shape).astype(self.dtype)
            text = None if text is None else text + positions[:, : config.text_length]
            video = video + positions[:, config.text_length :]
        return text, video


class Head(nn.Module):
    """The output layers: from the video tokens after the last block to the prediction."""

    config: DitConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, video: Float[Array, "B N width"], time: Float[Array, "B time_dim"], grid: tuple[int, int, int]
    ) -> Float[Array, "B F h w out"]:
        """Predict for a grid of tokens along t, y and x."""
        config = self.config
        video = layer_norm("norm_final", self.dtype)(video)
        shift, scale = jnp.split(nn.Dense(2 * config.width, dtype=self.dtype, name="linear")(nn.silu(time)), 2, -1)
        video = layer_norm("norm", self.dtype)(video) * (1 + scale[:, None]) + shift[:, None]
        features = config.patch_time * config.patch**2 * config.out_channels
        video = nn.Dense(features, dtype=self.dtype, name="proj_out")(video)
        return unpatch(video, grid, config.patch, config.patch_time)


class Dit(nn.Module):
    """The diffusion transformer (DiT).

    Attributes:
        config: sizes.
        dtype: of the computation (bfloat16 on GPUs); parameters are float32 and are cast at their use.
        implementation: of the attention: see `fixers.attention`.
        remat: whether the backward pass recomputes activations inside the blocks, to save memory.
    """

    config: DitConfig
    dtype: DTypeLike = jnp.float32
    implementation: Implementation | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "B F h w C"],
        text: Float[Array, "B L D"],
        t: Num[Array, "B"],
        injections: Float[Array, "G B N width"] | None = None,
    ) -> Float[Array, "B F h w out"]:
        """Predict v in the dtype of the latents.

        Args:
            latents: noisy latents, concatenated along the channels with those of the conditioning image if the network
                has one.
            text: embeddings of the prompt's tokens.
            t: time steps, 0 to 999.
            injections: added to the video tokens after each block; the blocks form G groups of
                ceil(depth / G), and group k gets injections[k].

        Raises:
            ValueError: the sizes are not the network's.
        """
        config = self.config
        check_inputs(latents, text, config)
        grid = grid_of(latents, config)
        time = TimeEmbedding(config, self.dtype, name="time_embedding")(t)
        tokens = Embed(config, self.dtype, name="patch_embed")(latents, text)
        groups = 1 if injections is None else len(injections)
        index = jnp.arange(config.depth) // -(-config.depth // groups)
        (_, video), _ = self._scan()(tokens, index, time, rotary_angles_of(grid, config), injections)
        return Head(config, self.dtype, name="head")(video, time, grid).astype(latents.dtype)

    def _scan(self) -> nn.Module:
        step = (
            nn.remat(ScannedBlock, prevent_cse=False) if self.remat else ScannedBlock
        )  # the scan prevents CSE already
        scan = nn.scan(
            step,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            # The annotation of `scan` lacks tuples.
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),  # pyright: ignore[reportArgumentType]
            length=self.config.depth,
        )
        return scan(self.config, self.dtype, self.implementation, name="blocks")


def grid_of(latents: Float[Array, "B F h w C"], config: DitConfig) -> tuple[int, int, int]:
    """Count the tokens along t, y and x."""
    _, frames, height, width, _ = latents.shape
    return frames // config.patch_time, height // config.patch, width // config.patch


def rotary_angles_of(grid: tuple[int, int, int], config: DitConfig) -> RotaryAngles | None:
    """Compute the rotations of queries and keys, or None if the network has none."""
    if config.positions == "sincos":
        return None
    _, height, width = config.sample
    base = None if config.positions == "rope_slice" else (height // config.patch, width // config.patch)
    return rotary_angles(grid, base, config.head_dim)


def check_inputs(latents: Float[Array, "B F h w C"], text: Float[Array, "B L D"], config: DitConfig) -> None:
    """Check that latents and text have the sizes of a network.

    Raises:
        ValueError: they do not.
    """
    _, *size, channels = latents.shape
    if channels != config.in_channels or any(side % config.patch for side in size[1:]):
        raise ValueError(
            f"latents {latents.shape} must have {config.in_channels} channels, and height and width that are multiples "
            f"of {config.patch}."
        )
    if size[0] % config.patch_time:
        raise ValueError(
            f"latents {latents.shape} must have a multiple of {config.patch_time} frames: repeat the first one "
            "(`denoising_loss.pad_to_tokens`)."
        )
    if text.shape[-1] != config.text_dim:
        raise ValueError(
            f"text {text.shape} must have {config.text_dim} channels: embed it with the encoder trained on."
        )
    if config.positions == "rope_learned" and (tuple(size) != config.sample or text.shape[1] != config.text_length):
        raise ValueError(
            f"latents {latents.shape} and text {text.shape} must have (frames, height, width) {config.sample} and "
            f"{config.text_length} tokens: the network's positions were learned for these."
        )
