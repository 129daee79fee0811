"""The same kernel bodies lower through Mosaic GPU; no GPU is needed."""

import jax
import jax.numpy as jnp
import pytest

from kernels import TileGrid, Uncertainty, bin_tiles, eig_map, fisher_information, rasterize
from kernels.rasterize.specs import SplatSpec, make_splats, projected_of
from tests.kernels.gpu_text import text_for_gpus
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def kernels_in(function, *arguments) -> int:
    text = text_for_gpus(function, *arguments)
    assert "triton" not in text
    return text.count("mosaic_gpu_v2") or text.count("mosaic_gpu")


def splats_and_bins():
    s = jax.tree.map(jnp.asarray, make_splats(SplatSpec(40, 37, 29, channels=3), seeded_rng()))
    return (projected_of(s), s["features"]), bin_tiles(projected_of(s), TileGrid(37, 29), capacity=600)


def render(splats, bins):
    image, alpha = rasterize(*splats, bins, implementation="mosaic")
    return jnp.dstack([image, alpha])


def test_rendering_and_both_derivatives():
    splats, bins = splats_and_bins()
    assert kernels_in(render, splats, bins) >= 2
    assert kernels_in(jax.grad(lambda s, b: jnp.sum(render(s, b))), splats, bins) >= 4
    assert kernels_in(lambda s, b: jax.jvp(lambda x: render(x, b), (s,), (s,)), splats, bins) >= 4


def test_fisher_information_and_eig_map():
    splats, bins = splats_and_bins()
    image, flat = jnp.full((29, 37, 3), 0.5), jnp.full((29, 37), 0.5)
    uncertainty = Uncertainty(jnp.ones((40, 6, 2)), jnp.ones(40), 1.0, 1.0)
    how = {"implementation": "mosaic"}
    assert kernels_in(lambda s, b: fisher_information(*s, b, image, flat, **how), splats, bins) >= 4
    assert kernels_in(lambda s, b: eig_map(*s, b, image, flat, uncertainty, **how), splats, bins) >= 4


def test_tiles_must_fill_its_vectors():
    splats, _ = splats_and_bins()
    bins = bin_tiles(splats[0], TileGrid(37, 29, 8), capacity=600)
    with pytest.raises(ValueError, match="tile=8"):
        rasterize(*splats, bins, implementation="mosaic")
