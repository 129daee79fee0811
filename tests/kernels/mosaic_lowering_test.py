"""The same kernel bodies lower through Mosaic GPU, in front of a compiler for a card that need not be there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import fisher
from kernels.bin_tiles import bin_tiles
from kernels.rasterize import rasterize
from kernels.rasterize.specs import SplatSpec, make_splats
from tests.kernels.gpu_text import text_for_gpus

SIZE = {"width": 37, "height": 29}


def kernels_in(function, *arguments) -> int:
    text = text_for_gpus(function, *arguments)
    assert "triton" not in text
    return text.count("mosaic_gpu_v2") or text.count("mosaic_gpu")


def lists_and_splats():
    s = jax.tree.map(jnp.asarray, make_splats(SplatSpec(40, 37, 29, channels=3), np.random.default_rng()))
    lists = bin_tiles(s["mean2d"], s["conic"], s["opacity"], s["extent"], s["depth"], **SIZE, capacity=600)
    return [s[name] for name in ("mean2d", "conic", "opacity", "features")], lists


def draw(splats, bins):
    image, alpha = rasterize(*splats, bins, **SIZE, implementation="mosaic")
    return jnp.dstack([image, alpha])


def test_rendering_and_both_derivatives():
    splats, bins = lists_and_splats()
    assert kernels_in(draw, splats, bins) >= 2
    assert kernels_in(jax.grad(lambda s, b: jnp.sum(draw(s, b))), splats, bins) >= 4
    assert kernels_in(lambda s, b: jax.jvp(lambda x: draw(x, b), (s,), (s,)), splats, bins) >= 4


def test_fisher_sums_and_gain():
    splats, bins = lists_and_splats()
    image, flat = jnp.full((29, 37, 3), 0.5), jnp.full((29, 37), 0.5)
    factor, q = jnp.ones((40, 6, 2)), jnp.ones(40)
    how = SIZE | {"implementation": "mosaic"}
    assert kernels_in(lambda s, b: fisher.accumulate(*s, b, image, flat, **how), splats, bins) >= 4
    assert kernels_in(lambda s, b: fisher.eig_map(*s, b, image, flat, factor, q, 1.0, 1.0, **how), splats, bins) >= 4


def test_tiles_must_fill_its_vectors():
    splats, _ = lists_and_splats()
    with pytest.raises(ValueError, match="tile=8"):
        lists = bin_tiles(*splats[:3], jnp.ones((40, 2)), jnp.ones(40), **SIZE, tile=8, capacity=600)
        rasterize(*splats, lists, **SIZE, tile=8, implementation="mosaic")
