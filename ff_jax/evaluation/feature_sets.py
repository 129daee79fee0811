"""Sets of image features as a stream: all of them while they are few, their moments and a sample after that."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.metrics import fid
from ff_jax.metrics.fid import Distance, KidEstimate, Moments, Reservoir


class Features(NamedTuple):
    """What has passed; at most 16 MiB before the sample is full and 48 MiB after it, however long the stream is."""

    sample: Reservoir
    moments: Moments | None  # None while the sample holds every row


def start(dim: int, cap: int = 2048) -> Features:
    """Return a stream of features of dimension `dim` that keeps at most `cap` rows."""
    return Features(fid.reservoir(dim, cap), None)


def extend(features: Features, rows: Float[np.ndarray, "N D"]) -> Features:
    """Return the stream after `rows` have passed."""
    sample, moments = features
    if moments is None and sample.seen + len(rows) > sample.cap:
        moments = _moments(features)
    if moments is not None:
        moments = fid.add(moments, rows)
    return Features(fid.offer(sample, rows), moments)


def join(a: Features, b: Features) -> Features:
    """Return both streams as one; moments stay exact, the sample of a full `b` stands for all that it saw."""
    if b.moments is None:
        return extend(a, b.sample.rows)
    sample = fid.offer(a.sample, b.sample.rows)
    return Features(sample._replace(seen=a.sample.seen + b.sample.seen), fid.merge(_moments(a), b.moments))


def distance(a: Features, b: Features) -> Distance:
    """Return the Frechet distance of two streams, over everything that has passed."""
    if a.moments is None and b.moments is None:
        return fid.fid_of_features(a.sample.rows, b.sample.rows)
    return fid.fid(_moments(a), _moments(b))


def kernel_distance(a: Features, b: Features) -> KidEstimate:
    """Return the kernel distance of two streams, over what their samples hold."""
    return fid.kid(a.sample.rows, b.sample.rows)


def _moments(features: Features) -> Moments:
    if features.moments is not None:
        return features.moments
    rows = features.sample.rows
    return fid.add(fid.empty(rows.shape[1]), rows)
