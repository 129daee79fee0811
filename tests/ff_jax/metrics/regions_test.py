"""Regions against the EIG's own partition, masked pairs and regional scores against naive sums."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax import eig as eig_module
from ff_jax.metrics import regions as partition


@pytest.fixture
def rng():
    return np.random.default_rng()


@pytest.fixture
def pair(rng):
    render = rng.random((20, 27, 3), np.float32)
    return render, np.clip(render + 0.1 * rng.normal(size=render.shape), 0, 1).astype(np.float32)


def test_regions_are_those_of_the_eig_module(rng):
    eig = rng.exponential(size=(20, 27)).astype(np.float32)
    eig[3, 4] = 0.4
    found = partition.regions(eig, 0.4)
    ucr, hpr = eig_module.partition(jnp.asarray(eig), np.float32(0.4))
    np.testing.assert_array_equal(found.hpr, hpr)
    assert (found.ucr == np.asarray(ucr)).all() and (found.ucr ^ found.hpr).all()


def test_masked_pair_differs_only_inside(rng, pair):
    region = rng.random((20, 27)) < 0.4
    render, reference = partition.masked_pair(*pair, region)
    for masked, image in zip((render, reference), pair, strict=True):
        np.testing.assert_array_equal(masked[region], image[region])
        assert (masked[~region] == 0.5).all()
    assert ((render != reference).any(-1) <= region).all()


def test_the_two_regions_add_up_to_the_image(rng, pair):
    distance = rng.random((20, 27))
    scores = [partition.score_region(*pair, region, distance) for region in partition.regions(distance, 0.7)]
    pooled = sum(score.share * 10 ** (-score.psnr / 10) for score in scores)
    np.testing.assert_allclose(pooled, np.mean((pair[0] - pair[1]) ** 2), rtol=1e-4)
    np.testing.assert_allclose(sum(score.share * score.lpips for score in scores), distance.mean(), rtol=1e-4)
    np.testing.assert_allclose(scores[0].lpips, distance[distance >= 0.7].mean(), rtol=1e-5)
    assert sum(score.share for score in scores) == pytest.approx(1)


def test_an_error_in_one_region_leaves_the_other_alone(pair):
    region = np.zeros((20, 27), bool)
    region[:, :8] = True
    before = partition.score_region(*pair, ~region)
    spoiled = pair[0].copy()
    spoiled[:, :3] = 0  # farther than half an SSIM window from the rim
    after = partition.score_region(spoiled, pair[1], ~region)
    np.testing.assert_allclose(after[:2], before[:2], rtol=1e-6)
    assert partition.score_region(spoiled, pair[1], region).psnr < partition.score_region(*pair, region).psnr - 1


def test_empty_region_and_bad_maps(pair):
    empty = partition.score_region(*pair, np.zeros((20, 27), bool))
    assert np.isnan(empty[:3]).all() and empty.share == 0
    assert np.isnan(partition.score_region(*pair, np.ones((20, 27), bool)).lpips)
    with pytest.raises(ValueError, match="1 pixels of the EIG map are nan"):
        partition.regions(np.array([[np.nan, 1.0]]), 0.4)
