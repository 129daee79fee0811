"""Compare two sets of images by their features: FID and KID, in bounded memory.

Features are rows, (N, D); `ff_jax.metrics.inception` computes those of published values. Moments and a bounded sample
of the rows represent any number of frames.

FID falls as sets grow: its bias depends on both counts, and below D + 1 rows covariances are rank-deficient. Values of
different counts, features or resizes are not comparable, so the counts are part of every result. KID has no such bias.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from scipy.linalg import lapack

MAX_SUBSET = 1000  # rows of a subset in published KID values
_MAX_ROWS = 8192  # of both sets of KID: 0.5 GiB of kernel values

Rows = Float[np.ndarray, "N D"]
OtherRows = Float[np.ndarray, "M E"]  # E must equal D


class FeatureMoments(NamedTuple):
    """Sufficient statistics of a set of features for FID."""

    count: int
    mean: Float64[np.ndarray, "D"]
    scatter: Float64[np.ndarray, "D D"]  # sum of the outer products of the centered rows


class Reservoir(NamedTuple):
    """A uniform sample, without replacement, of the rows offered so far."""

    rows: Float32[np.ndarray, "K D"]
    num_offered: int
    capacity: int  # largest K
    seed: int


class FidEstimate(NamedTuple):
    """Fréchet distance and the number of features on each side."""

    value: float
    count_a: int
    count_b: int


class KidEstimate(NamedTuple):
    """Kernel inception distance over random subsets."""

    mean: float
    std: float  # over the subsets, which overlap: not a standard error, and 0 if a subset is all of both sets
    size: int  # rows of a subset
    subsets: int  # number of subsets
    count_a: int
    count_b: int


def empty_moments(dim: int) -> FeatureMoments:
    """Make the moments of an empty set of features of dimension `dim`."""
    return FeatureMoments(0, np.zeros(dim), np.zeros((dim, dim)))


def add_features(moments: FeatureMoments, features: Rows) -> FeatureMoments:
    """Update moments with more features; the grouping into batches changes rounding only.

    Raises:
        ValueError: features are not finite or of another dimension.
    """
    _check_features(features, len(moments.mean))
    if not len(features):
        return moments
    mean = features.mean(0, np.float64)
    centered = features - mean
    return merge_moments(moments, FeatureMoments(len(features), mean, centered.T @ centered))


def merge_moments(a: FeatureMoments, b: FeatureMoments) -> FeatureMoments:
    """Combine the moments of two sets (Chan et al. 1983, doi 10.1080/00031305.1983.10483115)."""
    count = a.count + b.count
    if not count:
        return a
    gap = b.mean - a.mean
    scatter = a.scatter + b.scatter
    scatter += np.outer(gap * (a.count * b.count / count), gap)
    return FeatureMoments(count, a.mean + gap * (b.count / count), scatter)


def fid(a: FeatureMoments, b: FeatureMoments) -> FidEstimate:
    """Compute the Fréchet distance between the Gaussians with moments `a` and `b`.

    |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^1/2), covariances with N - 1 (Heusel et al. 2017, arXiv
    1706.08500, eq. 6). With factors cov = F F^T the trace of the root is the sum of the singular values of F_a^T F_b,
    which is accurate for rank-deficient covariances too. It takes less than a second for N < D = 2048, some seconds
    above.

    Raises:
        ValueError: fewer than two features on a side, or two dimensions.
    """
    _check_pair((a.count, len(a.mean)), (b.count, len(b.mean)))
    return _frechet(*(_Gaussian(side.count, side.mean, _factor(side)) for side in (a, b)))


def fid_of_features(a: Rows, b: OtherRows) -> FidEstimate:
    """Compute `fid` from the rows `a` and `b`, without D x D matrices.

    Raises:
        ValueError: fewer than two features on a side, two dimensions, or features that are not finite.
    """
    _check_rows(a, b)
    return _frechet(_gaussian(a), _gaussian(b))


def kid(a: Rows, b: OtherRows, *, seed: int = 0, subsets: int = 100, size: int | None = None) -> KidEstimate:
    """Estimate the kernel inception distance (Bińkowski et al. 2018, arXiv 1801.01401).

    The estimate is the unbiased squared maximum mean discrepancy with kernel (x.y / D + 1)^3, averaged over random
    subsets of each side. It can be negative for similar sets.

    Args:
        a: features; at most 8192 rows on both sides together.
        b: features.
        seed: of the subsets.
        subsets: number of subsets.
        size: rows of a subset; None takes min(N, M, 1000).

    Raises:
        ValueError: too few or too many features for `size`, or features that are not finite.
    """
    _check_rows(a, b)
    size = min(len(a), len(b), MAX_SUBSET) if size is None else size
    if not (2 <= size <= min(len(a), len(b)) and subsets >= 1):
        raise ValueError(f"KID needs subsets of 2 to {min(len(a), len(b))} rows, got {size=}, {subsets=}.")
    if len(a) + len(b) > _MAX_ROWS:
        raise ValueError(f"KID takes {_MAX_ROWS} rows at most, got {len(a)} + {len(b)}: sample with a Reservoir.")
    rows = np.concatenate([a, b]).astype(np.float64)
    kernel = (rows @ rows.T / rows.shape[1] + 1) ** 3
    rng = np.random.default_rng(seed)
    subset_rows = [(rng.choice(len(a), size, False), len(a) + rng.choice(len(b), size, False)) for _ in range(subsets)]
    values = [_squared_mmd(kernel, *rows) for rows in subset_rows]
    return KidEstimate(float(np.mean(values)), float(np.std(values)), size, subsets, len(a), len(b))


def empty_reservoir(dim: int, capacity: int = 2048, seed: int = 0) -> Reservoir:
    """Make an empty sample of at most `capacity` rows of dimension `dim`: 16 MiB for 2048 rows of 2048."""
    if capacity < 1:
        raise ValueError(f"{capacity=} must be at least 1.")
    return Reservoir(np.zeros((0, dim), np.float32), 0, capacity, seed)


def update_reservoir(sample: Reservoir, features: Rows) -> Reservoir:
    """Offer `features` to the sample (Vitter 1985, doi 10.1145/3147.3165, algorithm R).

    The result depends on the order of the rows and the seed, not on their grouping into calls.

    Raises:
        ValueError: features are not finite or of another dimension.
    """
    _check_features(features, sample.rows.shape[1])
    count = min(max(sample.capacity - sample.num_offered, 0), len(features))
    rows = np.concatenate([sample.rows, features[:count]], dtype=np.float32)
    # Row i always takes number i of the random sequence, whatever the grouping.
    numbers = np.random.Generator(np.random.PCG64(sample.seed).advance(sample.num_offered)).random(len(features))
    places = (numbers * (sample.num_offered + 1 + np.arange(len(features)))).astype(int)
    for row in range(count, len(features)):
        if places[row] < sample.capacity:
            rows[places[row]] = features[row]
    return sample._replace(rows=rows, num_offered=sample.num_offered + len(features))


class _Gaussian(NamedTuple):
    count: int
    mean: Float64[np.ndarray, "D"]
    factor: Float64[np.ndarray, "R D"]  # its outer product is the covariance


def _frechet(a: _Gaussian, b: _Gaussian) -> FidEstimate:
    root = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    value = np.sum((a.mean - b.mean) ** 2) + np.sum(a.factor**2) + np.sum(b.factor**2) - 2 * root
    return FidEstimate(max(float(value), 0.0), a.count, b.count)


def _factor(moments: FeatureMoments) -> Float64[np.ndarray, "R D"]:
    """Factor the covariance by pivoted Cholesky; the factor has as many rows as the rank."""
    packed, pivots, rank, _ = lapack.dpstrf(  # pyright: ignore[reportAttributeAccessIssue]  # missing in the stubs
        moments.scatter / (moments.count - 1)
    )
    factor = np.zeros((rank, len(moments.mean)))
    factor[:, pivots - 1] = np.triu(packed)[:rank]
    return factor


def _gaussian(rows: Rows) -> _Gaussian:
    mean = rows.mean(0, np.float64)
    factor = (rows - mean) / np.sqrt(len(rows) - 1)
    # With more rows than columns, the triangle of the QR decomposition has the same outer product.
    return _Gaussian(len(rows), mean, np.asarray(np.linalg.qr(factor, "r")) if len(rows) > len(mean) else factor)


def _squared_mmd(kernel: Float64[np.ndarray, "S S"], i: Int[np.ndarray, "K"], j: Int[np.ndarray, "K"]) -> float:
    """Estimate the squared MMD, unbiased, for the rows `i` and `j` of a joint kernel matrix."""
    size = len(i)
    within = [kernel[np.ix_(k, k)].sum() - kernel[k, k].sum() for k in (i, j)]
    return float(sum(within) / (size * (size - 1)) - 2 * kernel[np.ix_(i, j)].mean())


def _check_rows(a: Rows, b: OtherRows) -> None:
    _check_pair(a.shape, b.shape)
    for rows in (a, b):
        _check_features(rows, a.shape[1])


def _check_pair(a: tuple[int, int], b: tuple[int, int]) -> None:
    """Check the counts and dimensions of two sets."""
    if min(a[0], b[0]) < 2 or a[1] != b[1]:
        raise ValueError(f"two sets of at least 2 features of one dimension are needed, got (N, D) = {a} and {b}.")


def _check_features(features: Rows, dim: int) -> None:
    if features.shape[1] != dim or not np.isfinite(features).all():
        raise ValueError(f"features must be finite rows of dimension {dim}, got {features.shape}: check the images.")
