"""Totals of a warp, for any number of values; and the kernels that use them lower for a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import TileGrid, bin_tiles
from kernels.fisher import pallas_gpu as fisher
from kernels.rasterize import gpu_backends, pallas_gpu, warp_reduction
from kernels.rasterize.alpha_blending import splat_table
from kernels.rasterize.specs import SplatSpec, make_splats, projected_of
from tests.kernels.gpu_text import text_for_gpus
from tests.random_inputs import seeded_rng


@pytest.mark.parametrize("count", [1, 2, 3, 9, 15, 16, 31, 32, 33, 40])
def test_every_total_is_in_some_thread(monkeypatch, count):
    lanes = np.arange(warp_reduction.WARP)
    monkeypatch.setattr(warp_reduction, "_lane", lambda: jnp.asarray(lanes))
    monkeypatch.setattr(warp_reduction, "_exchange", lambda value, offset: value[lanes ^ offset])
    values = seeded_rng().normal(size=(count, warp_reduction.WARP)).astype(np.float32)
    totals = warp_reduction.totals([jnp.asarray(v) for v in values])
    assert len(totals) == -(-count // warp_reduction.WARP)
    numbers = np.concatenate([number for _, number in totals])
    assert set(numbers.tolist()) == set(range(count))
    np.testing.assert_allclose(
        np.concatenate([total for total, _ in totals]), values.sum(1)[numbers], rtol=0, atol=1e-4
    )


def test_few_exchanges_are_made(monkeypatch):
    made = []
    monkeypatch.setattr(warp_reduction, "_lane", lambda: jnp.arange(warp_reduction.WARP))
    monkeypatch.setattr(warp_reduction, "_exchange", lambda value, offset: made.append(offset) or value)
    for count, exchanges in ((16, 16), (9, 12)):
        made.clear()
        warp_reduction.totals([jnp.zeros(warp_reduction.WARP)] * count)
        assert len(made) == exchanges


@pytest.mark.slow
def test_both_kernels_lower_for_a_gpu_that_need_not_be_there(monkeypatch):
    s = jax.tree.map(jnp.asarray, make_splats(SplatSpec(40, 37, 29, channels=3), seeded_rng()))
    splats, features = projected_of(s), s["features"]
    bins = bin_tiles(splats, TileGrid(37, 29), capacity=600)
    image = jnp.full((29, 37, 4), 0.5)

    def adjoint(table, bins):
        kernels = pallas_gpu.Kernels(gpu_backends.Triton(interpret=False))
        rendered, saved = kernels.forward(table, bins)
        return kernels.adjoint(table, rendered, saved, image, bins)

    def sums(splats, features, bins):
        return fisher.FisherKernels().fisher_information(splats, features, bins, image[..., :3], image[..., 0], None)

    monkeypatch.setattr(fisher, "_backend", lambda _: gpu_backends.Triton(interpret=False))
    for function, arguments in ((adjoint, (splat_table(splats, features), bins)), (sums, (splats, features, bins))):
        text = text_for_gpus(function, *arguments)
        for offset in (16, 8, 4, 2, 1):
            assert f"shfl.sync.bfly.b32 $0, $1, {offset}, 31, 0xffffffff;" in text
