"""Regions of an EIG map, masked pairs and regional scores against naive sums."""

import numpy as np
import pytest

from ff_jax.eig import split_regions
from ff_jax.metrics import regions
from tests.random_inputs import seeded_rng


@pytest.fixture
def rng():
    return seeded_rng()


@pytest.fixture
def pair(rng):
    render = rng.random((20, 27, 3), np.float32)
    return render, np.clip(render + 0.1 * rng.normal(size=render.shape), 0, 1).astype(np.float32)


def test_regions_are_parted_at_the_threshold(rng):
    eig = rng.exponential(size=(20, 27)).astype(np.float32)
    eig[3, 4] = 0.4
    ucr, hpr = split_regions(eig, np.float32(0.4))
    np.testing.assert_array_equal(ucr, eig >= np.float32(0.4))
    assert ucr[3, 4] and (ucr ^ hpr).all()


def test_masked_pair_differs_only_inside(rng, pair):
    region = rng.random((20, 27)) < 0.4
    render, reference = regions.masked_pair(*pair, region)
    for masked, image in zip((render, reference), pair, strict=True):
        np.testing.assert_array_equal(masked[region], image[region])
        assert (masked[~region] == 0.5).all()
    assert ((render != reference).any(-1) <= region).all()


def test_the_two_regions_add_up_to_the_image(rng, pair):
    distance = rng.random((20, 27))
    scores = [regions.score_region(*pair, region, distance) for region in split_regions(distance, 0.7)]
    pooled = sum(score.share * 10 ** (-score.psnr / 10) for score in scores)
    np.testing.assert_allclose(pooled, np.mean((pair[0] - pair[1]) ** 2), rtol=1e-4)
    np.testing.assert_allclose(sum(score.share * score.lpips for score in scores), distance.mean(), rtol=1e-4)
    np.testing.assert_allclose(scores[0].lpips, distance[distance >= 0.7].mean(), rtol=1e-5)
    assert sum(score.share for score in scores) == pytest.approx(1)


def test_an_error_in_one_region_leaves_the_other_alone(pair):
    region = np.zeros((20, 27), bool)
    region[:, :8] = True
    before = regions.score_region(*pair, ~region)
    spoiled = pair[0].copy()
    spoiled[:, :3] = 0  # farther than half an SSIM window from the rim
    after = regions.score_region(spoiled, pair[1], ~region)
    np.testing.assert_allclose(after[:2], before[:2], rtol=1e-6)
    assert regions.score_region(spoiled, pair[1], region).psnr < regions.score_region(*pair, region).psnr - 1


def test_empty_region_and_bad_maps(pair):
    empty = regions.score_region(*pair, np.zeros((20, 27), bool))
    assert np.isnan(empty[:3]).all() and empty.share == 0
    assert np.isnan(regions.score_region(*pair, np.ones((20, 27), bool)).lpips)
    with pytest.raises(ValueError, match="1 pixels of the EIG map are NaN"):
        split_regions(np.array([[np.nan, 1.0]]), 0.4)
