"""Random training crops of triples."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, Key

from ff_jax.fixers.self_fit.config import SelfFitConfig
from ff_jax.fixers.triples import Triples


def draw_crops(key: Key[Array, ""], triples: Triples, indices: Int[Array, "n"], config: SelfFitConfig) -> Triples:
    """Draw `config.batch` random crops of the triples at `indices`; each is mirrored with probability 1/2."""
    keys = jax.random.split(key, config.batch)
    return jax.vmap(lambda k: _crop(k, triples, indices, config))(keys)


def _crop(key: Key[Array, ""], triples: Triples, indices: Int[Array, "n"], config: SelfFitConfig) -> Triples:
    sample_key, row_key, column_key, mirror_key = jax.random.split(key, 4)
    height, width = triples.eigs.shape[1:]
    h, w = min(config.crop[0], height), min(config.crop[1], width)
    index = indices[jax.random.randint(sample_key, (), 0, indices.shape[0])]
    top = jax.random.randint(row_key, (), 0, height - h + 1)
    left = jax.random.randint(column_key, (), 0, width - w + 1)
    is_mirrored = jax.random.bernoulli(mirror_key)

    def crop_one(images: Float[Array, "..."]) -> Float[Array, "..."]:
        size = (h, w, *images.shape[3:])
        piece = lax.dynamic_slice(images[index], (top, left, *[0] * (images.ndim - 3)), size)
        return jnp.where(is_mirrored, piece[:, ::-1], piece)

    return jax.tree.map(crop_one, triples)
