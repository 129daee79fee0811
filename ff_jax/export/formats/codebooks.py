"""Codebooks of values and palettes of vectors, by k-means, for formats that store numbers of entries."""

import warnings

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2, vq

NUM_VALUES = 256  # entries of a codebook
NUM_BINS = 1 << 12  # of the histogram from which a codebook starts
STEPS = 10
MAX_SAMPLE = 1 << 16  # vectors from which the first level of a palette is found
CHUNK = 1 << 16  # vectors whose distances are computed at a time

Array = np.ndarray


def codebook(values: Float[Array, "..."]) -> Float[Array, "256"]:
    """Find 256 values (increasing) near to all others: Lloyd's algorithm.

    The first and the last one are the extremes, so that no value is off by more than half of the largest gap.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    if not len(ordered):
        return np.zeros(NUM_VALUES)
    # The best density of entries is the cube root of that of the values (Panter and Dite 1951).
    counts, edges = np.histogram(ordered, NUM_BINS)
    shares = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    book = np.interp(np.linspace(0, shares[-1], NUM_VALUES), shares, edges)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(STEPS):
        bounds = np.searchsorted(ordered, (book[1:] + book[:-1]) / 2)
        edges = np.concatenate([[0], bounds, [len(ordered)]])
        count = np.diff(edges)
        book = np.where(count > 0, np.diff(sums[edges]) / np.maximum(count, 1), book)
        book[0], book[-1] = ordered[0], ordered[-1]
    return np.sort(book)


def nearest(values: Float[Array, "*n"], book: Float[Array, "256"]) -> Int[Array, "*n"]:
    """Find the number of the nearest entry of a codebook."""
    return np.searchsorted((book[1:] + book[:-1]) / 2, values)


def palette(vectors: Float[Array, "N D"], size: int) -> tuple[Float[Array, "P D"], Int[Array, "N"]]:
    """Find at most `size` vectors near to all others, and the number of the one that stands for each.

    k-means in two levels: clusters are split into clusters, in proportion to their sizes. With as many entries as
    vectors, each stands for itself.
    """
    if len(vectors) <= size:
        return vectors, np.arange(len(vectors))
    rng = np.random.default_rng(0)
    vectors = np.ascontiguousarray(vectors, np.float32)
    sample = vectors[rng.permutation(len(vectors))[:MAX_SAMPLE]]
    coarse = _kmeans(sample, round(size**0.5), rng)
    group = np.concatenate([vq(vectors[i : i + CHUNK], coarse)[0] for i in range(0, len(vectors), CHUNK)])
    entries, labels, total = [], np.zeros(len(vectors), int), 0
    for rows in np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=len(coarse)))[:-1]):
        if not len(rows):
            continue
        fine = _kmeans(vectors[rows], max(size * len(rows) // len(vectors), 1), rng)
        labels[rows] = total + vq(vectors[rows], fine)[0]
        entries.append(fine)
        total += len(fine)
    return _limited(np.concatenate(entries), labels, vectors, size)


def _limited(
    entries: Float[Array, "P D"], labels: Int[Array, "N"], vectors: Float[Array, "N D"], size: int
) -> tuple[Float[Array, "Q D"], Int[Array, "N"]]:
    """Keep the `size` most frequent entries: a cluster has at least one, so that there may be too many."""
    if len(entries) <= size:
        return entries, labels
    kept = np.argsort(-np.bincount(labels, minlength=len(entries)), kind="stable")[:size]
    number = np.full(len(entries), -1)
    number[kept] = np.arange(size)
    labels = number[labels]
    lost = np.flatnonzero(labels < 0)
    labels[lost] = vq(vectors[lost], entries[kept])[0]
    return entries[kept], labels


def _kmeans(vectors: Float[Array, "N D"], size: int, rng: np.random.Generator) -> Float[Array, "P D"]:
    """Find at most `size` centers of clusters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a cluster may be empty
        return kmeans2(vectors, min(size, len(vectors)), iter=STEPS, minit="points", rng=rng)[0]
