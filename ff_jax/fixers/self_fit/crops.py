"""Random training crops of triples."""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax
from jaxtyping import Bool, Float, Int, Key

from ff_jax.fixers.self_fit.config import SelfFitConfig


@struct.dataclass
class Triples:
    """Held-out recorded views as a poorer reconstruction renders them, and as they are."""

    renders: Float[Array, "N H W 3"]  # colours in [0, 1]
    eigs: Float[Array, "N H W"]  # EIG of the renders, nats
    references: Float[Array, "N H W 3"]  # what real images show in the rendered view: see `generators.align`
    targets: Float[Array, "N H W 3"]  # the real image of the rendered view


def draw(key: Key[Array, ""], triples: Triples, pool: Int[Array, "n"], config: SelfFitConfig) -> Triples:
    """Return `config.batch` random crops of the triples `pool`, some of them mirrored."""
    keys = jax.random.split(key, config.batch)
    return jax.vmap(lambda k: _crop(k, triples, pool, config))(keys)


def _crop(key: Key[Array, ""], triples: Triples, pool: Int[Array, "n"], config: SelfFitConfig) -> Triples:
    which, row, column, flip = jax.random.split(key, 4)
    height, width = triples.eigs.shape[1:]
    h, w = min(config.crop[0], height), min(config.crop[1], width)
    index = pool[jax.random.randint(which, (), 0, pool.shape[0])]
    top = jax.random.randint(row, (), 0, height - h + 1)
    left = jax.random.randint(column, (), 0, width - w + 1)
    mirrored = jax.random.bernoulli(flip)

    def cut(images: Float[Array, "..."]) -> Float[Array, "..."]:
        size = (h, w, *images.shape[3:])
        piece = lax.dynamic_slice(images[index], (top, left, *[0] * (images.ndim - 3)), size)
        return _mirror(piece, mirrored)

    return jax.tree.map(cut, triples)


def _mirror(image: Float[Array, "..."], mirrored: Bool[Array, ""]) -> Float[Array, "..."]:
    return jnp.where(mirrored, image[:, ::-1], image)
