"""Streams of image features for FID and KID: all rows of a short stream, exact moments and a sample of a long one."""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ff_jax.metrics import fid
from ff_jax.metrics.fid import FeatureMoments, FidEstimate, KidEstimate, Reservoir

BATCH = 8  # images per call of the feature network


class FeatureStream(NamedTuple):
    """A stream of features: at most 16 MiB until the sample is full, at most 48 MiB after that, for any length."""

    sample: Reservoir
    moments: FeatureMoments | None  # None while the sample holds every row


def empty_stream(dim: int, capacity: int = 2048) -> FeatureStream:
    """Make an empty stream of features of dimension `dim` that stores at most `capacity` rows."""
    return FeatureStream(fid.empty_reservoir(dim, capacity), None)


def extend(stream: FeatureStream, rows: Float[np.ndarray, "N D"]) -> FeatureStream:
    """Append rows to a stream."""
    sample, moments = stream
    if moments is None and sample.num_offered + len(rows) > sample.capacity:
        moments = _moments(stream)
    if moments is not None:
        moments = fid.add_features(moments, rows)
    return FeatureStream(fid.update_reservoir(sample, rows), moments)


def join(a: FeatureStream, b: FeatureStream) -> FeatureStream:
    """Join two streams; moments stay exact, and the sample of a full `b` represents all of its rows."""
    if b.moments is None:
        return extend(a, b.sample.rows)
    sample = fid.update_reservoir(a.sample, b.sample.rows)
    sample = sample._replace(num_offered=a.sample.num_offered + b.sample.num_offered)
    return FeatureStream(sample, fid.merge_moments(_moments(a), b.moments))


def frechet_distance(a: FeatureStream, b: FeatureStream) -> FidEstimate:
    """Compute the Fréchet distance of two streams, over all rows."""
    if a.moments is None and b.moments is None:
        return fid.fid_of_features(a.sample.rows, b.sample.rows)
    return fid.fid(_moments(a), _moments(b))


def kernel_distance(a: FeatureStream, b: FeatureStream) -> KidEstimate:
    """Compute the kernel distance of two streams, over their samples."""
    return fid.kid(a.sample.rows, b.sample.rows)


def _moments(stream: FeatureStream) -> FeatureMoments:
    if stream.moments is not None:
        return stream.moments
    rows = stream.sample.rows
    return fid.add_features(fid.empty_moments(rows.shape[1]), rows)


class FeatureQueue(NamedTuple):
    """Images that wait for the feature network, which takes several at a time."""

    network: Callable[[np.ndarray], np.ndarray]  # images (B, H, W, 3) in [0, 1] -> features (B, D)
    entries: tuple[tuple[dict, Hashable, np.ndarray], ...] = ()  # streams, key of the stream, image

    def add(self, streams: dict, key: Hashable, image: Float[np.ndarray, "H W 3"]) -> "FeatureQueue":
        """Append an image whose features will extend `streams[key]`; a full queue is flushed."""
        if self.entries and self.entries[0][2].shape != image.shape:
            return self.flush().add(streams, key, image)
        queue = self._replace(entries=(*self.entries, (streams, key, image)))
        return queue if len(queue.entries) < BATCH else queue.flush()

    def flush(self) -> "FeatureQueue":
        """Append the features of all images to their streams; return the empty queue."""
        if self.entries:
            features = self.network(np.stack([image for _, _, image in self.entries]))
            for (streams, key, _), row in zip(self.entries, features, strict=True):
                stream = streams[key] if key in streams else empty_stream(len(row))
                streams[key] = extend(stream, row[None])
        return FeatureQueue(self.network)
