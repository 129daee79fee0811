"""The smallest network with all that EIGent has, and clips to train it on."""

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.fixers.convert.cogvideox import transformer_shapes
from ff_jax.fixers.eigent.context_branch import ContextBranch, branch_params
from ff_jax.fixers.eigent.denoising_loss import Clips, DenoisingLossConfig, make_loss
from ff_jax.fixers.eigent.network_config import DitConfig
from ff_jax.fixers.eigent.transformer import Dit

CONFIG = DitConfig(
    depth=2, heads=2, head_dim=16, in_channels=6, out_channels=3, text_dim=8, text_length=2, time_dim=16,
    sample=(2, 4, 4), positions="rope_learned",
)  # fmt: skip
BLOCKS = 1
LOSS = make_loss(Dit(CONFIG), ContextBranch(CONFIG, BLOCKS), DenoisingLossConfig(dropout=0.5))


def networks(rng):
    """Return the parameters of a random backbone and of a branch made of it."""
    mean = lambda path: jax.tree_util.keystr(path).endswith("['scale']")
    draw = lambda path, leaf: jnp.asarray(mean(path) + 0.2 * rng.normal(size=leaf.shape), jnp.float32)
    backbone = jax.tree_util.tree_map_with_path(draw, transformer_shapes(CONFIG))
    return backbone, branch_params(backbone, CONFIG, BLOCKS)


def clips(rng, count):
    normal = lambda *shape: rng.normal(size=(count, *shape)).astype(np.float32)
    latents = lambda: normal(*CONFIG.sample, CONFIG.out_channels)
    eig = rng.random((count, *CONFIG.sample), np.float32)
    eig[:, 0] = 0
    return Clips(latents(), latents(), eig, latents(), normal(CONFIG.text_length, CONFIG.text_dim))
