"""Score scenes on and beside the recorded path (docs/benchmark_protocol.md).

    views = shifted_views.targets(log, shifts=(0.0, 3.0), count=8)
    scene = renderers.eig_renderer(model, batches, Priors(), [target.view for target in views])
    scores = [shifted_views.score(scene.render, target, log) for target in views]
    rows = shifted_views.by_shift(scores)                              # PSNR, SSIM, EIG, depth per shift

    methods, networks = {"ours": renderers.scene_renderer(scene)}, ground_truth.Networks(lpips=...)
    table = benchmark.score_log(log, views, methods, networks)         # all metrics of the benchmark
    summary.summarize(table, "ours", 3.0)["psnr"]                      # mean with confidence interval

The modules `report` (tables and pages) and `error_maps` (images) import matplotlib; the others do not.
"""
