"""The smallest networks with all parts of the video fixer, and clips for them."""

import jax
import jax.numpy as jnp
import numpy as np

from ff_jax.fixers.eigent import model
from ff_jax.fixers.eigent.config import EigentConfig
from ff_jax.fixers.eigent.network_config import DitConfig, VideoVaeConfig
from ff_jax.fixers.triples import Triples

CONFIG = EigentConfig(
    dit=DitConfig(
        depth=2, heads=1, head_dim=16, in_channels=6, out_channels=3, text_dim=4, text_length=1, time_dim=8,
        sample=(3, 4, 4),
    ),
    vae=VideoVaeConfig(
        widths=(4, 4, 4), latent_channels=3, layers=1, groups=2, scale=1.0, tile=(64, 64), overlap=(8, 8),
        out_channels=4,
    ),
    blocks=1, has_detail_decoder=True, use_aligned_references=True, num_context_frames=2, frames=9, steps=2,
    solver="ddim", strength=0.6, size=(16, 16), dtype="float32",
)  # fmt: skip


def params(rng, config=CONFIG):
    """Return random parameters of the networks, moments and zero layers included."""
    found = model.init(jax.random.key(int(rng.integers(1 << 30))), config)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.1 * rng.random(leaf.shape), jnp.float32), found)


def clips(rng, count, size=(16, 16)):
    """Return stored clips."""
    image = lambda: rng.integers(0, 256, (count, 9, *size, 3), np.uint8)
    return Triples(image(), rng.exponential(1.0, (count, 9, *size)).astype(np.float16), image(), image())
