"""Score scenes on and beside the recorded path (docs/benchmark_protocol.md).

views = targets(log, shifts=(0.0, 3.0), count=8)
scene = eig_renderer(model, batches, Priors(), [target.view for target in views])
rows = by_shift([score(scene.render, target, log) for target in views])         # PSNR, SSIM, EIG, depth per shift

table = score_log(log, views, {"ours": scene_renderer(scene)}, Networks(lpips=...))    # all metrics of the benchmark
summarize(table, "ours", 3.0)["psnr"]                                            # mean with confidence interval

The modules `report` (tables and pages) and `error_maps` (images) import matplotlib; this package does not.
"""

from ff_jax.evaluation.benchmark import ScoreKey, ScoreTable, score_log
from ff_jax.evaluation.ground_truth import Networks, Protocols
from ff_jax.evaluation.renderers import (
    EigRenderer,
    RenderedTarget,
    Renderer,
    eig_renderer,
    folder_renderer,
    scene_renderer,
    true_renderer,
)
from ff_jax.evaluation.shifted_views import FrameScore, ShiftScore, Target, by_shift, score, targets
from ff_jax.evaluation.summary import differences, over_logs, summarize

__all__ = [
    "EigRenderer",
    "FrameScore",
    "Networks",
    "Protocols",
    "RenderedTarget",
    "Renderer",
    "ScoreKey",
    "ScoreTable",
    "ShiftScore",
    "Target",
    "by_shift",
    "differences",
    "eig_renderer",
    "folder_renderer",
    "over_logs",
    "scene_renderer",
    "score",
    "score_log",
    "summarize",
    "targets",
    "true_renderer",
]
