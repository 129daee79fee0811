"""The context branch of EIGent: it conditions the frozen video transformer on render, EIG and reference.

It is a copy of the backbone's first blocks (VideoPainter, Bian et al. 2025, arXiv 2503.05639) with three changes:

* Its input is the noisy latents, those of the render, and EIG; with `has_recorded`, those of re-projected recorded
  images, too.
* Between attention and the network per token, the video's tokens attend to those of a reference (frames repaired one by
  one), weighted by EIG: the larger the EIG of a token, the more it uses the reference (as in the paper; its release
  leaves EIG out).
* A linear layer after each block, initially zero, computes the features that are added to the backbone.

Features are added where EIG is not saturated: `Dit(...)(latents, text, t, injections=branch(...))`. With the parameters
of `branch_params` they are 0, and the result is the backbone's, bit for bit.
"""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Num, PyTree

from ff_jax.fixers.attention import Implementation
from ff_jax.fixers.eigent.eig_conditioning import EIG_SATURATION, steering_mask, token_eig
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.positional_encoding import RotaryAngles
from ff_jax.fixers.eigent.transformer import Embed, check_inputs, grid_of, rotary_angles_of
from ff_jax.fixers.eigent.transformer_layers import Attention, Modulated, TimeEmbedding, TransformerBlock

BLOCKS = 4


class BranchBlock(TransformerBlock):
    """A block of the backbone with attention to a reference, as a step of the scan."""

    @nn.compact
    def __call__(
        self,
        tokens: tuple[Array, Array],
        time: Float[Array, "B time_dim"],
        angles: RotaryAngles | None,
        reference: Float[Array, "B N width"],
        eig: Float[Array, "B N"],
    ) -> tuple[tuple[Array, Array], Array]:
        """Compute text (B, L, width) and video (B, N, width), and the feature (B, N, width)."""
        text, video = self.attend(*tokens, time, angles)
        ((query, gate),) = Modulated(self.dtype, name="norm_query")(time, video)
        ((context, _),) = Modulated(self.dtype, name="norm_reference")(time, reference)
        change = Attention(self.config, self.dtype, self.implementation, name="attn_reference")(query, context, angles)
        text, video = self.feed(text, video + eig[..., None].astype(video.dtype) * gate * change, time)
        zero = nn.initializers.zeros
        return (text, video), nn.Dense(self.config.width, dtype=self.dtype, kernel_init=zero, name="feature")(video)


class ContextBranch(nn.Module):
    """The context branch.

    Attributes:
        config: sizes of the backbone.
        blocks: number of blocks of the branch, and of groups of backbone blocks.
        eig_saturation: saturating EIG above which the backbone is not steered; 1 or more steers everywhere.
        dtype: of the computation.
        implementation: of the attention: see `fixers.attention`.
        remat: whether the backward pass recomputes activations inside the blocks, to save memory.
        has_recorded: whether the input has latents of re-projected recorded images.
    """

    config: DitConfig
    blocks: int = BLOCKS
    eig_saturation: float = EIG_SATURATION
    dtype: DTypeLike = jnp.float32
    implementation: Implementation | None = None
    remat: bool = False
    has_recorded: bool = False

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "B F h w C"],
        render: Float[Array, "_ _ _ _ _"],
        eig: Float[Array, "_ _ _ _"],
        reference: Float[Array, "_ _ _ _ _"],
        text: Float[Array, "B L D"],
        t: Num[Array, "B"],
        recorded: Float[Array, "_ _ _ _ _"] | None = None,
    ) -> Float[Array, "G B N width"]:
        """Compute the features that are added after the backbone's blocks, group by group.

        Args:
            latents: noisy latents, without those of the conditioning image.
            render: latents of the render, (B, F, h, w, C).
            eig: saturating EIG at the resolution of the latents (`eig_conditioning.latent_eig`), (B, F, h, w).
            reference: latents of the frames repaired one by one, (B, F, h, w, C).
            text: embeddings of the prompt's tokens.
            t: time steps, 0 to 999.
            recorded: latents of re-projected recorded images, (B, F, h, w, C), with `has_recorded`.

        Raises:
            ValueError: the sizes are not the backbone's, or differ.
        """
        config = self.config
        check_inputs(latents, text, replace(config, in_channels=config.out_channels))
        if not (latents.shape == render.shape == reference.shape == (*eig.shape, config.out_channels)):
            raise ValueError(
                f"latents {latents.shape}, render {render.shape}, reference {reference.shape} and eig {eig.shape} must "
                "have the same frames, height and width; encode videos of one size."
            )
        if self.has_recorded != (recorded is not None):
            raise ValueError("pass the latents of recorded images to a branch with has_recorded=True, and to no other.")
        time = TimeEmbedding(config, self.dtype, name="time_embedding")(t)
        more = [] if recorded is None else [recorded]
        joined = jnp.concatenate([latents, render, eig[..., None].astype(latents.dtype), *more], -1)
        tokens = Embed(config, self.dtype, name="patch_embed")(joined, text)
        _, context = Embed(config, self.dtype, name="reference_embed")(reference, None)
        eig_of_tokens = token_eig(eig, config.patch, config.patch_time)
        angles = rotary_angles_of(grid_of(latents, config), config)
        _, features = self._scan()(tokens, time, angles, context, eig_of_tokens)
        return features * steering_mask(eig_of_tokens, self.eig_saturation)[..., None].astype(features.dtype)

    def _scan(self) -> nn.Module:
        block = nn.remat(BranchBlock, prevent_cse=False) if self.remat else BranchBlock  # the scan prevents CSE already
        scan = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast,) * 4,  # pyright: ignore[reportArgumentType]: the annotation lacks tuples
            length=self.blocks,
        )
        return scan(self.config, self.dtype, self.implementation, name="blocks")


def branch_params(backbone: PyTree, config: DitConfig, blocks: int = BLOCKS, has_recorded: bool = False) -> PyTree:
    """Make the initial parameters of the branch from the backbone's; none is random.

    Render and reference are embedded like the noisy latents, EIG and recorded images by zeros. The attention to the
    reference is a copy of the block's own attention.

    Args:
        backbone: parameters of `Dit`.
        config: its sizes; its first `out_channels` input channels are those of the noisy latents.
        blocks: number of blocks of the branch.
        has_recorded: see `ContextBranch`.

    Raises:
        ValueError: the backbone has fewer blocks.
    """
    if not 1 <= blocks <= config.depth:
        raise ValueError(f"{blocks=} must be at least 1 and at most the {config.depth} of the backbone.")
    embed = backbone["patch_embed"]
    kernel = jnp.asarray(embed["proj"]["kernel"])[..., : config.out_channels, :]
    zeros = [jnp.zeros_like(kernel[..., :1, :]), *([jnp.zeros_like(kernel)] if has_recorded else [])]
    joined = jnp.concatenate([kernel, kernel, *zeros], -2)
    reference = {key: leaf for key, leaf in embed.items() if key != "text_proj"}
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:blocks], backbone["blocks"]["block"])
    params = {
        "time_embedding": backbone["time_embedding"],
        "patch_embed": {**embed, "proj": {**embed["proj"], "kernel": joined}},
        "reference_embed": {**reference, "proj": {**embed["proj"], "kernel": kernel}},
        "blocks": _with_reference(first, config.width),
    }
    return jax.tree.map(jnp.array, params)  # copies: a training step may donate them


def _with_reference(block: PyTree, width: int) -> PyTree:
    """Make the parameters of a stack of branch blocks from those of a stack of backbone blocks."""
    # The first half of the modulation is the video's.
    own = {**block["norm1"], "linear": jax.tree.map(lambda leaf: leaf[..., : 3 * width], block["norm1"]["linear"])}
    kernel = jnp.zeros((len(block["ff_out"]["bias"]), width, width), block["ff_out"]["bias"].dtype)
    feature = {"kernel": kernel, "bias": kernel[:, 0]}
    return {**block, "norm_query": own, "norm_reference": own, "attn_reference": block["attn1"], "feature": feature}
