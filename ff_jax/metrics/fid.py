"""Distances between two sets of images by their features: FID and KID, with a memory that does not grow.

Features are rows, (N, D); `ff_jax.metrics.inception` gives those that published values use. Moments and a bounded
sample of the rows are all that has to be kept of any number of frames.

FID falls as sets grow: its bias depends on both counts and, below D + 1 rows, covariances are rank-deficient. Values
of different counts, features or resizes are not comparable, so the counts come with every value. KID has no such
bias.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from scipy.linalg import lapack

MAX_SUBSET = 1000  # rows; the size of the subsets of published KID values
_MAX_ROWS = 8192  # of both sets of KID together: 0.5 GiB of kernel values

Rows = Float[np.ndarray, "N D"]
OtherRows = Float[np.ndarray, "M E"]  # E must equal D


class Moments(NamedTuple):
    """What FID needs of a set of features."""

    count: int
    mean: Float64[np.ndarray, "D"]
    scatter: Float64[np.ndarray, "D D"]  # sum of the outer products of what differs from the mean


class Reservoir(NamedTuple):
    """A uniform sample, without replacement, of the rows seen so far; all of them while they fit."""

    rows: Float32[np.ndarray, "K D"]
    seen: int
    cap: int  # K never exceeds it
    seed: int


class Distance(NamedTuple):
    """A distance and how many features it rests on."""

    value: float
    count_a: int
    count_b: int


class KidEstimate(NamedTuple):
    """Kernel inception distance over random subsets."""

    mean: float
    std: float  # over the subsets, which overlap: no standard error, and 0 if a subset is the whole of both sets
    size: int  # rows of a subset
    subsets: int
    count_a: int
    count_b: int


def empty(dim: int) -> Moments:
    """Return the moments of no features of dimension `dim`."""
    return Moments(0, np.zeros(dim), np.zeros((dim, dim)))


def add(moments: Moments, features: Rows) -> Moments:
    """Return the moments of what was seen and of `features`, in any number of batches the same up to rounding.

    Raises:
        ValueError: features are not finite or of another dimension.
    """
    _check(features, len(moments.mean))
    if not len(features):
        return moments
    mean = features.mean(0, np.float64)
    centred = features - mean
    return merge(moments, Moments(len(features), mean, centred.T @ centred))


def merge(a: Moments, b: Moments) -> Moments:
    """Return the moments of two sets together (Chan et al. 1983, doi 10.1080/00031305.1983.10483115)."""
    count = a.count + b.count
    if not count:
        return a
    gap = b.mean - a.mean
    scatter = a.scatter + b.scatter
    scatter += np.outer(gap * (a.count * b.count / count), gap)
    return Moments(count, a.mean + gap * (b.count / count), scatter)


def fid(a: Moments, b: Moments) -> Distance:
    """Return the Fréchet distance between the Gaussians with the moments `a` and `b`.

    |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^1/2), covariances with N - 1 (Heusel et al. 2017, arXiv
    1706.08500, eq. 6). With factors cov = F F^T the trace of the root is the sum of the singular values of
    F_a^T F_b, so that rounding errors are not blown up by a root where covariances are rank-deficient. It takes less
    than a second for N below D = 2048, some seconds above.

    Raises:
        ValueError: fewer than two features on a side, or two dimensions.
    """
    _check_pair((a.count, len(a.mean)), (b.count, len(b.mean)))
    return _frechet(*(_Gaussian(side.count, side.mean, _factor(side)) for side in (a, b)))


def fid_of_features(a: Rows, b: OtherRows) -> Distance:
    """Return what `fid` returns for the moments of `a` and `b`, without their D x D matrices.

    Raises:
        ValueError: fewer than two features on a side, two dimensions, or features that are not finite.
    """
    _check_rows(a, b)
    return _frechet(_gaussian(a), _gaussian(b))


def kid(a: Rows, b: OtherRows, *, seed: int = 0, subsets: int = 100, size: int | None = None) -> KidEstimate:
    """Return the kernel inception distance (Bińkowski et al. 2018, arXiv 1801.01401).

    That is the unbiased estimate of the squared maximum mean discrepancy with kernel (x.y / D + 1)^3, averaged
    over random subsets drawn without replacement from each side. It can be below 0 for sets that are alike.

    Args:
        a: features; at most 8192 rows on both sides together.
        b: features.
        seed: of the subsets.
        subsets: how many are drawn.
        size: rows of a subset; None takes min(N, M, 1000).

    Raises:
        ValueError: too few or too many features for `size`, or features that are not finite.
    """
    _check_rows(a, b)
    size = min(len(a), len(b), MAX_SUBSET) if size is None else size
    if not (2 <= size <= min(len(a), len(b)) and subsets >= 1):
        raise ValueError(f"KID needs subsets of 2 to {min(len(a), len(b))} rows, found {size=}, {subsets=}.")
    if len(a) + len(b) > _MAX_ROWS:
        raise ValueError(f"KID takes {_MAX_ROWS} rows at most, found {len(a)} + {len(b)}: sample with a Reservoir.")
    rows = np.concatenate([a, b]).astype(np.float64)
    kernel = (rows @ rows.T / rows.shape[1] + 1) ** 3
    rng = np.random.default_rng(seed)
    draws = [(rng.choice(len(a), size, False), len(a) + rng.choice(len(b), size, False)) for _ in range(subsets)]
    values = [_squared_mmd(kernel, *draw) for draw in draws]
    return KidEstimate(float(np.mean(values)), float(np.std(values)), size, subsets, len(a), len(b))


def reservoir(dim: int, cap: int = 2048, seed: int = 0) -> Reservoir:
    """Return an empty sample of at most `cap` rows of dimension `dim`: 16 MiB for 2048 rows of 2048."""
    if cap < 1:
        raise ValueError(f"{cap=} must be at least 1.")
    return Reservoir(np.zeros((0, dim), np.float32), 0, cap, seed)


def offer(sample: Reservoir, features: Rows) -> Reservoir:
    """Return the sample after `features` have passed (Vitter 1985, doi 10.1145/3147.3165, algorithm R).

    The result depends on the order of the rows and the seed, not on the groups in which the rows come.

    Raises:
        ValueError: features are not finite or of another dimension.
    """
    _check(features, sample.rows.shape[1])
    count = min(max(sample.cap - sample.seen, 0), len(features))
    rows = np.concatenate([sample.rows, features[:count]], dtype=np.float32)
    # One number per row, from the row's own place in the random sequence.
    numbers = np.random.Generator(np.random.PCG64(sample.seed).advance(sample.seen)).random(len(features))
    places = (numbers * (sample.seen + 1 + np.arange(len(features)))).astype(int)
    for row in range(count, len(features)):
        if places[row] < sample.cap:
            rows[places[row]] = features[row]
    return sample._replace(rows=rows, seen=sample.seen + len(features))


class _Gaussian(NamedTuple):
    count: int
    mean: Float64[np.ndarray, "D"]
    factor: Float64[np.ndarray, "R D"]  # its outer product is the covariance


def _frechet(a: _Gaussian, b: _Gaussian) -> Distance:
    root = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    value = np.sum((a.mean - b.mean) ** 2) + np.sum(a.factor**2) + np.sum(b.factor**2) - 2 * root
    return Distance(max(float(value), 0.0), a.count, b.count)


def _factor(moments: Moments) -> Float64[np.ndarray, "R D"]:
    """Return a factor of the covariance with as many rows as its rank, by Cholesky with pivots."""
    packed, pivots, rank, _ = lapack.dpstrf(moments.scatter / (moments.count - 1))
    factor = np.zeros((rank, len(moments.mean)))
    factor[:, pivots - 1] = np.triu(packed)[:rank]
    return factor


def _gaussian(rows: Rows) -> _Gaussian:
    mean = rows.mean(0, np.float64)
    factor = (rows - mean) / np.sqrt(len(rows) - 1)
    # More rows than columns say no more than the triangle of their QR decomposition.
    return _Gaussian(len(rows), mean, np.linalg.qr(factor, "r") if len(rows) > len(mean) else factor)


def _squared_mmd(kernel: Float64[np.ndarray, "S S"], i: Int[np.ndarray, "K"], j: Int[np.ndarray, "K"]) -> float:
    """Return the unbiased estimate for the rows `i` and `j` of a joint kernel matrix."""
    size = len(i)
    within = [kernel[np.ix_(k, k)].sum() - kernel[k, k].sum() for k in (i, j)]
    return float(sum(within) / (size * (size - 1)) - 2 * kernel[np.ix_(i, j)].mean())


def _check_rows(a: Rows, b: OtherRows) -> None:
    _check_pair(a.shape, b.shape)
    for rows in (a, b):
        _check(rows, a.shape[1])


def _check_pair(a: tuple[int, int], b: tuple[int, int]) -> None:
    """Check the counts and dimensions of two sets."""
    if min(a[0], b[0]) < 2 or a[1] != b[1]:
        raise ValueError(f"two sets of at least 2 features of one dimension are needed, found (N, D) = {a} and {b}.")


def _check(features: Rows, dim: int) -> None:
    if features.shape[1] != dim or not np.isfinite(features).all():
        raise ValueError(f"features must be finite rows of dimension {dim}, found {features.shape}: check the images.")
