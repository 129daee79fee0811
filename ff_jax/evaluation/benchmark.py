"""Score renders of a driving log, one view at a time: memory per view does not grow with their number.

All versions of a scene are rendered for the same targets. `ScoreTable` holds the measurements of every version at every
shift: a few numbers per view, and the features for FID as streams.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ff_jax.data.loader import load_image
from ff_jax.data.recording import train_frames
from ff_jax.data.scene_data import SceneData
from ff_jax.evaluation.feature_sets import FeatureQueue, FeatureStream
from ff_jax.evaluation.ground_truth import DEFAULT_PROTOCOLS, Networks, Protocols, TargetTruth, load_truth
from ff_jax.evaluation.renderers import RenderedTarget, Renderer
from ff_jax.evaluation.shifted_views import Target
from ff_jax.evaluation.view_scores import Measurements, score_view
from ff_jax.metrics.regions import masked_pair


class ScoreKey(NamedTuple):
    """Names the measurements of one version at one shift."""

    version: str
    shift: float  # meters, left positive


@dataclass
class ScoreTable:
    """All measurements on one log.

    Attributes:
        measurements: by version and shift.
        recorded_features: features of the recorded training frames: of all of them ("all"), and of those nearest to
            the targets of a shift within a region of the EIG map, by (region, shift).
    """

    measurements: dict[ScoreKey, Measurements] = field(default_factory=dict)
    recorded_features: dict[str | tuple[str, float], FeatureStream] = field(default_factory=dict)


def score_log(
    log: SceneData,
    targets: Iterable[Target],
    renderers: Mapping[str, Renderer],
    networks: Networks,
    protocols: Protocols = DEFAULT_PROTOCOLS,
) -> ScoreTable:
    """Score every version at every target.

    Args:
        log: the driving log; its boxes, lanes, sweeps and recorded frames are the ground truth.
        targets: the views; those of one shift and camera in order of time.
        renderers: by name of the version. The first one with an EIG map splits the pixels of all versions: with maps
            of their own, a version could gain by moving pixels from one region to the other.
        networks: for the metrics that need one.
        protocols: the settings.
    """
    table = ScoreTable()
    queue = None
    if networks.inception is not None:
        queue = FeatureQueue(networks.inception)
        for frame in train_frames(log):
            queue = queue.add(table.recorded_features, "all", load_image(frame))
    previous: dict[str, tuple[Target, RenderedTarget]] = {}
    for target in targets:
        renders = {name: render(target) for name, render in renderers.items()}
        eig = next((rendered.eig for rendered in renders.values() if rendered.eig is not None), None)
        truth = load_truth(log, target, eig, networks, protocols)
        for name, rendered in renders.items():
            measurements = table.measurements.setdefault(ScoreKey(name, target.shift), Measurements())
            score_view(measurements, truth, rendered, previous.get(name), networks, protocols)
            previous[name] = (target, rendered)
        if queue is not None:
            queue = _queue_view(queue, table, truth, renders)
    if queue is not None:
        queue.flush()
    return table


def _queue_view(
    queue: FeatureQueue, table: ScoreTable, truth: TargetTruth, renders: Mapping[str, RenderedTarget]
) -> FeatureQueue:
    """Queue one view for FID: whole, and within each region together with the recorded image, masked alike."""
    shift = truth.target.shift
    for number, (name, rendered) in enumerate(renders.items()):
        streams = table.measurements[ScoreKey(name, shift)].features
        queue = queue.add(streams, "all", rendered.rgb)
        if truth.regions is None or truth.recorded is None:
            continue
        for region, inside in truth.regions._asdict().items():
            masked, recorded = masked_pair(rendered.rgb, truth.recorded, inside)
            queue = queue.add(streams, region, masked)
            if number == 0:  # the recorded image is the same for all versions
                queue = queue.add(table.recorded_features, (region, shift), recorded)
    return queue
