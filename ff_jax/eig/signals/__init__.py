"""Maps that predict where a render is wrong, by name: EIG and its rivals, and their common scale.

A signal is made in two steps: `prepare` collects what it needs from the recorded views, `compute` makes the map of a
view. Signals that need more than a scene and its recorded views are in `ff_jax.pipeline.signals`.

| name | map | unit | source |
|---|---|---|---|
| exact | EIG, block posterior | nats | `eig.eig_map` |
| trace | its upper bound | nats | FaithFusion (arXiv 2511.21113), equation of the bound |
| diagonal | EIG, diagonal posterior | nats | the same without correlations within a block |
| calibrated | EIG corrected by the residuals of the recorded views | nats | `signals.calibrated` |
| color_only | inverse information of the colors, blended | color^2 | in the manner of FisherRF (arXiv 2311.17874) |
| released | the map of FaithFusion's released code | none | `eig.released_formula` |
| opacity | 1 - accumulated opacity | none | |
| distance | from the visible surface to the nearest training camera | meters | |
| residual | residuals of the recorded views, regressed on Gaussians and directions | error | in the manner of GS-U |
"""

from ff_jax.eig.signals.registry import SCENE_SIGNALS, RecordedScene, Signal
from ff_jax.eig.signals.scale import match_scale

__all__ = ["SCENE_SIGNALS", "RecordedScene", "Signal", "match_scale"]
