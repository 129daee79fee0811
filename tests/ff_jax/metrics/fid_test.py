"""FID and KID against closed forms, naive sums and torch-fidelity; streams against all at once."""

import itertools

import numpy as np
import pytest
import scipy.linalg

from ff_jax.metrics import fid
from tests.ff_jax.metrics import originals
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


@pytest.fixture
def rng():
    return seeded_rng()


def draw(rng, count, dim):
    """Return features as those of a network: not negative, correlated, of very unequal variance."""
    mix = rng.normal(size=(dim, dim)) * np.exp(-np.arange(dim) / (0.2 * dim))[:, None]
    return np.maximum(rng.normal(size=(count, dim)) @ mix + rng.normal(size=dim), 0)


def moments_of(rows):
    return fid.add_features(fid.empty_moments(rows.shape[1]), rows)


def naive_squared_mmd(a, b):
    """Return the unbiased estimate of Bińkowski et al., pair by pair."""
    kernel = lambda x, y: (x @ y / len(x) + 1) ** 3
    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(rows, 2)]) for rows in (a, b)]
    return sum(within) - 2 * np.mean([kernel(x, y) for x, y in itertools.product(a, b)])


def test_moments_equal_numpy_in_any_groups(rng):
    rows = draw(rng, 83, 17).astype(np.float32)
    grouped = fid.empty_moments(17)
    for group in np.split(rows, np.sort(rng.integers(0, 84, 6))):
        grouped = fid.add_features(grouped, group)
    assert grouped.count == 83
    np.testing.assert_allclose(grouped.mean, rows.mean(0, np.float64), rtol=1e-12)
    covariance = np.cov(rows, rowvar=False, dtype=np.float64)
    np.testing.assert_allclose(grouped.scatter / 82, covariance, atol=1e-12 * np.abs(covariance).max())


def test_moments_keep_their_digits_far_from_zero(rng):
    rows = rng.normal(size=(200, 5))
    far = fid.empty_moments(5)
    for group in np.split(rows + 1e6, 20):
        far = fid.add_features(far, group)
    np.testing.assert_allclose(far.scatter, moments_of(rows).scatter, atol=1e-6)


def test_merge_is_associative_and_commutes(rng):
    a, b, c = (moments_of(draw(rng, count, 9)) for count in (4, 31, 12))
    merge = fid.merge_moments
    left, right, turned = merge(merge(a, b), c), merge(a, merge(b, c)), merge(merge(c, a), b)
    for other in (right, turned):
        assert other.count == left.count == 47
        np.testing.assert_allclose(other.mean, left.mean, rtol=1e-12)
        np.testing.assert_allclose(other.scatter, left.scatter, rtol=1e-9, atol=1e-9)
    nothing = fid.merge_moments(fid.empty_moments(9), fid.empty_moments(9))
    assert nothing.count == 0
    np.testing.assert_array_equal(fid.merge_moments(nothing, a).scatter, a.scatter)


@pytest.mark.parametrize(("n", "m", "dim"), [(300, 200, 24), (12, 40, 60), (25, 25, 400), (2, 90, 30)])
def test_fid_equals_torch_fidelity(rng, n, m, dim):
    a, b = draw(rng, n, dim), draw(rng, m, dim)
    with originals.imported("torch_fidelity.metric_fid") as (module,):
        import torch

        statistics = [module.fid_features_to_statistics(torch.tensor(rows)) for rows in (a, b)]
        expected = module.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    streamed, direct = fid.fid(moments_of(a), moments_of(b)), fid.fid_of_features(a, b)
    np.testing.assert_allclose([streamed.value, direct.value], expected, rtol=1e-4)
    np.testing.assert_allclose(streamed.value, direct.value, rtol=1e-7)
    assert streamed[1:] == direct[1:] == (n, m)


def test_fid_of_gaussians_equals_the_closed_form(rng):
    dim = 6
    means = rng.normal(size=(2, dim))
    covariances = [x @ x.T / dim + 0.1 * np.eye(dim) for x in rng.normal(size=(2, dim, dim))]
    # FeatureMoments of given Gaussians, so that no sampling error stands between the value and the formula.
    a, b = (fid.FeatureMoments(50, mean, 49 * covariance) for mean, covariance in zip(means, covariances, strict=True))
    root = scipy.linalg.sqrtm(covariances[0])
    cross = scipy.linalg.sqrtm(root @ covariances[1] @ root)
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * cross.real)
    np.testing.assert_allclose(fid.fid(a, b).value, expected, rtol=1e-9)


def test_fid_of_scaled_and_moved_rows_is_known(rng):
    rows, move = draw(rng, 40, 90), rng.normal(size=90)
    spread = np.sum(np.var(rows, 0, ddof=1))
    for factor in (1.0, 0.5, 3.0):
        expected = np.sum(((factor - 1) * rows.mean(0) + move) ** 2) + (factor - 1) ** 2 * spread
        np.testing.assert_allclose(fid.fid_of_features(rows, factor * rows + move).value, expected, rtol=1e-7)


@pytest.mark.parametrize(("count", "dim"), [(20, 300), (300, 20), (2, 50), (50, 50)])
def test_fid_with_itself_is_zero_and_is_symmetric(rng, count, dim):
    a, b = draw(rng, count, dim), draw(rng, count + 3, dim)
    scale = np.trace(moments_of(a).scatter) / (count - 1)
    assert fid.fid(moments_of(a), moments_of(a)).value <= 1e-6 * scale
    assert fid.fid_of_features(a, a).value <= 1e-6 * scale
    np.testing.assert_allclose(fid.fid_of_features(a, b).value, fid.fid_of_features(b, a).value, rtol=1e-9)


def test_fid_of_constant_features_is_the_distance_of_the_means(rng):
    a, b = np.tile(rng.normal(size=7), (5, 1)), np.tile(rng.normal(size=7), (9, 1))
    expected = np.sum((a[0] - b[0]) ** 2)
    for found in (fid.fid(moments_of(a), moments_of(b)), fid.fid_of_features(a, b)):
        np.testing.assert_allclose(found.value, expected, rtol=1e-9)


@pytest.mark.parametrize("size", [None, 5])
def test_kid_equals_naive_pairs_on_the_same_subsets(rng, size):
    a, b, seed = draw(rng, 14, 30), draw(rng, 11, 30), int(rng.integers(1 << 30))
    found = fid.kid(a, b, seed=seed, subsets=7, size=size)
    again = np.random.default_rng(seed)
    rows = size or 11
    values = [naive_squared_mmd(a[again.choice(14, rows, False)], b[again.choice(11, rows, False)]) for _ in range(7)]
    np.testing.assert_allclose([found.mean, found.std], [np.mean(values), np.std(values)], rtol=1e-9)
    assert found[2:] == (rows, 7, 14, 11)


def test_kid_equals_torch_fidelity(rng):
    a, b = draw(rng, 60, 128), draw(rng, 60, 128)
    options = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_coef0": 1}
    options |= {"kid_kernel_poly_gamma": None, "kid_subsets": 3, "kid_subset_size": 60, "rng_seed": 1, "verbose": False}
    with originals.imported("torch_fidelity.metric_kid") as (module,):
        import torch

        expected = module.kid_features_to_metric(torch.tensor(a), torch.tensor(b), **options)
    # With all rows in every subset the random draws of the two programs do not differ.
    found = fid.kid(a, b, subsets=3)
    np.testing.assert_allclose(found.mean, expected["kernel_inception_distance_mean"], rtol=1e-9)
    assert found.std <= 1e-9 * abs(found.mean)


def test_kid_of_one_distribution_is_zero_on_average(rng):
    dim = 16
    values = [fid.kid(*rng.normal(size=(2, 20, dim)), subsets=1).mean for _ in range(300)]
    assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(300)
    assert fid.kid(rng.normal(size=(20, dim)), rng.normal(1, 1, (20, dim)), subsets=1).mean > 5 * np.std(values)


def test_reservoir_keeps_all_rows_while_they_fit(rng):
    rows = rng.normal(size=(30, 4)).astype(np.float32)
    sample = fid.empty_reservoir(4, capacity=30)
    for group in np.split(rows, [3, 3, 17]):
        sample = fid.update_reservoir(sample, group)
    np.testing.assert_array_equal(sample.rows, rows)
    assert sample.num_offered == 30


def test_reservoir_is_bounded_and_does_not_depend_on_groups(rng):
    rows, seed = rng.normal(size=(500, 3)).astype(np.float32), int(rng.integers(1 << 30))
    whole = fid.update_reservoir(fid.empty_reservoir(3, 32, seed), rows)
    parts = fid.empty_reservoir(3, 32, seed)
    for group in np.split(rows, np.sort(rng.integers(0, 501, 9))):
        parts = fid.update_reservoir(parts, group)
        assert len(parts.rows) == min(32, parts.num_offered)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    assert parts.num_offered == 500
    assert len(np.unique(whole.rows[:, 0])) == 32
    assert np.isin(whole.rows[:, 0], rows[:, 0]).all()


def test_reservoir_is_uniform():
    count, cap, trials = 40, 8, 4000
    rows = np.arange(count, dtype=np.float32)[:, None]
    hits = np.zeros(count)
    for seed in range(trials):
        hits[fid.update_reservoir(fid.empty_reservoir(1, cap, seed), rows).rows[:, 0].astype(int)] += 1
    share = cap / count
    # Seeds are fixed, so this either holds or not: 5 standard deviations of a count.
    assert np.abs(hits - trials * share).max() < 5 * np.sqrt(trials * share * (1 - share))


def test_a_stream_gives_what_all_rows_give(rng):
    a, b = draw(rng, 50, 20).astype(np.float32), draw(rng, 64, 20).astype(np.float32)
    samples = [fid.update_reservoir(fid.empty_reservoir(20, capacity=64), rows).rows for rows in (a, b)]
    assert fid.kid(*samples, seed=3) == fid.kid(a, b, seed=3)
    np.testing.assert_allclose(fid.fid_of_features(*samples).value, fid.fid(moments_of(a), moments_of(b)).value)


def test_sets_that_cannot_be_compared_are_refused(rng):
    rows = draw(rng, 6, 5)
    spoiled = rows.copy()
    spoiled[2, 3] = np.nan
    for other in (rows[:1], rows[:, :4]):
        with pytest.raises(ValueError, match="at least 2 features of one dimension"):
            fid.fid(moments_of(rows), moments_of(other))
        with pytest.raises(ValueError, match="at least 2 features of one dimension"):
            fid.fid_of_features(other, rows)
        with pytest.raises(ValueError, match="at least 2 features of one dimension"):
            fid.kid(rows, other)
    sample = fid.empty_reservoir(5)
    for call in (moments_of, lambda bad: fid.update_reservoir(sample, bad), lambda bad: fid.fid_of_features(rows, bad)):
        with pytest.raises(ValueError, match="must be finite"):
            call(spoiled)
    with pytest.raises(ValueError, match="dimension 4"):
        fid.add_features(fid.empty_moments(4), rows)
    for options in ({"size": 7}, {"size": 1}, {"subsets": 0}):
        with pytest.raises(ValueError, match="subsets of 2 to 6 rows"):
            fid.kid(rows, rows, **options)
    many = np.zeros((10_000, 2), np.float32)
    with pytest.raises(ValueError, match="10000 \\+ 10000: sample with a Reservoir"):
        fid.kid(many, many)
    with pytest.raises(ValueError, match="capacity=0"):
        fid.empty_reservoir(5, capacity=0)
