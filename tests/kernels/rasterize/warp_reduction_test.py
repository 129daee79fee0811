"""Totals of a warp: every value's is there, whatever their number; and the kernels that use them lower for a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.bin_tiles import bin_tiles
from kernels.fisher import pallas_gpu as fisher
from kernels.rasterize import gpu_backends, pallas_gpu, warp_reduction
from kernels.rasterize.specs import SplatSpec, make_splats
from tests.kernels.gpu_text import text_for_gpus


@pytest.mark.parametrize("count", [1, 2, 3, 9, 15, 16, 31, 32, 33, 40])
def test_every_total_is_in_some_thread(monkeypatch, count):
    lanes = np.arange(warp_reduction.WARP)
    monkeypatch.setattr(warp_reduction, "_lane", lambda: jnp.asarray(lanes))
    monkeypatch.setattr(warp_reduction, "_exchange", lambda value, offset: value[lanes ^ offset])
    values = np.random.default_rng().normal(size=(count, warp_reduction.WARP)).astype(np.float32)
    found = warp_reduction.totals([jnp.asarray(v) for v in values])
    assert len(found) == -(-count // warp_reduction.WARP)
    numbers = np.concatenate([number for _, number in found])
    assert set(numbers.tolist()) == set(range(count))
    np.testing.assert_allclose(np.concatenate([total for total, _ in found]), values.sum(1)[numbers], rtol=0, atol=1e-4)


def test_few_exchanges_are_made(monkeypatch):
    made = []
    monkeypatch.setattr(warp_reduction, "_lane", lambda: jnp.arange(warp_reduction.WARP))
    monkeypatch.setattr(warp_reduction, "_exchange", lambda value, offset: made.append(offset) or value)
    for count, exchanges in ((16, 16), (9, 12)):
        made.clear()
        warp_reduction.totals([jnp.zeros(warp_reduction.WARP)] * count)
        assert len(made) == exchanges


def test_both_kernels_lower_for_a_gpu_that_need_not_be_there(monkeypatch):
    size = {"width": 37, "height": 29}
    s = jax.tree.map(jnp.asarray, make_splats(SplatSpec(40, 37, 29, channels=3), np.random.default_rng()))
    splats = [s[name] for name in ("mean2d", "conic", "opacity", "features")]
    bins = bin_tiles(*splats[:3], s["extent"], s["depth"], **size, capacity=600)
    table = jnp.concatenate([*splats[:2], splats[2][:, None], splats[3]], -1)
    image = jnp.full((29, 37, 4), 0.5)

    def adjoint(table, bins):
        kernels = pallas_gpu.Kernels(gpu_backends.Triton(interpret=False))
        drawn, saved = kernels.forward(table, bins, **size, tile=16)
        return kernels.adjoint(table, drawn, saved, image, bins, **size, tile=16)

    def sums(splats, bins):
        return fisher.accumulate(*splats, bins, image[..., :3], image[..., 0], None, tile=16)

    monkeypatch.setattr(fisher, "_backend", lambda _: gpu_backends.Triton(interpret=False))
    for function, arguments in ((adjoint, (table, bins)), (sums, (splats, bins))):
        text = text_for_gpus(function, *arguments)
        for offset in (16, 8, 4, 2, 1):
            assert f"shfl.sync.bfly.b32 $0, $1, {offset}, 31, 0xffffffff;" in text
