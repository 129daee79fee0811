"""The study of signals on a tiny street, and its tables on made-up scores."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies.measures import steering
from experiments.studies.measures.steering import RECORDED, SteeringStudy, Variant, variants, with_signal
from experiments.studies.measures.steering_table import steering_tables, values_of
from ff_jax.data.config import DataConfig
from ff_jax.data.open import open_log
from ff_jax.eig import eig_weight
from ff_jax.eig.config import SIGNALS
from ff_jax.fixers.blending import blend
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.skill import EDGES, Skill
from ff_jax.metrics.confidence import paired_interval
from ff_jax.pipeline.config import EvalConfig, FuseConfig, InitConfig
from ff_jax.pipeline.fixers import MeasuredFixer
from ff_jax.train.config import ReconConfig
from ff_jax.train.shift_schedule import ShiftSchedule
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

CONFIG = FuseConfig(
    steps=4,
    check_every=2,
    save_every=4,
    novel_probability=1.0,
    pseudo_view_capacity=4,
    novel_depth=False,
    fixer="difix",
    data=DataConfig(frames=2, width=32, height=20, use_lidar=False),
    init=InitConfig(points=200),
    recon=ReconConfig(budget=300, sh_degree=1),
    schedule=ShiftSchedule(start=2, every=2, meters=1.0, largest=1.0, sides=(1,)),
    evaluate=EvalConfig(shifts=(0.0, 1.0), frames=2),
)


def darken(config, params, key, frames, eig, references, blend_eig=None):
    """Make all pixels black that the map selects."""
    return blend(0 * frames, frames, eig_weight(eig if blend_eig is None else blend_eig, 0.1))


def test_variants_share_one_exact_row_and_change_one_use():
    chosen = variants(["exact", "trace", "none"], ["blend", "all"])
    assert [v.name for v in chosen] == ["all_exact", "blend_trace", "blend_none", "all_trace", "all_none"]
    assert with_signal(CONFIG, Variant("blend", "trace")).eig.signals == ("exact", "trace", "exact")
    assert with_signal(CONFIG, Variant("all", "trace")).eig.signals == ("trace",) * 3
    assert with_signal(CONFIG, chosen[0]) == CONFIG


def test_every_variant_is_fused_once_and_scored_beside_the_path(tmp_path, monkeypatch):
    fixer = MeasuredFixer(Fixer({}, "darken", darken), Skill(jnp.ones(len(EDGES) + 1), jnp.ones(())))
    calls = []

    def fixers_for(batches, config, folder, request, subsampled):
        calls.append((folder.name, subsampled.name, config.eig.signals))
        return fixer, fixer

    monkeypatch.setattr(steering, "fixers_for", fixers_for)
    log = open_log(CONFIG.data, CONFIG.evaluate.shifts)
    chosen = variants(["exact", "error", "none"], ["blend", "weight"])
    results = dict(SteeringStudy(CONFIG, log, tmp_path, None).run(chosen))
    assert [name for name, _, _ in calls] == [v.name for v in chosen] and {call[1] for call in calls} == {"subsampled"}
    assert list(results) == [RECORDED, *(v.name for v in chosen)]
    psnr = {name: result["shifts"]["1"]["all"]["psnr"] for name, result in results.items()}
    assert all(5 < value < 40 for value in psnr.values()) and len(set(psnr.values())) == len(psnr)
    assert psnr["blend_none"] < psnr[RECORDED]  # trained on black images
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name not in ("recon", "baseline")]
    again = dict(SteeringStudy(CONFIG, log, tmp_path, None).run(chosen))
    assert again == json.loads(json.dumps(results)) and len(calls) == len(chosen)
    wider = dataclasses.replace(CONFIG, schedule=dataclasses.replace(CONFIG.schedule, largest=2.0))
    with pytest.raises(ValueError, match="'error' needs true images"):
        next(SteeringStudy(wider, log, tmp_path / "other", None).run(chosen))


def test_tables_hold_gains_and_paired_differences():
    rng = seeded_rng()
    chosen = variants(SIGNALS, steering.USES)

    def scores():
        regions = {name: {"psnr": rng.uniform(20, 30), "lpips": None} for name in steering.REGIONS}
        return {"shifts": {"3": regions}}

    results = {seed: {name: scores() for name in (RECORDED, *(v.name for v in chosen))} for seed in range(4)}
    table = steering_tables(results, SIGNALS, steering.USES)
    assert table.count("| 3 m, gain in PSNR, dB |") == 1 and "LPIPS" not in table
    what = "3", "all", "psnr"
    recorded, exact, other = (values_of(results, name, what) for name in (RECORDED, "all_exact", "weight_opacity"))
    row = next(line for line in table.splitlines() if line.startswith("| opacity |"))
    gain, difference = paired_interval(recorded, other), paired_interval(exact, other)
    assert f"| {gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}) [{difference.mean:+.2f} (" in row
    assert f"| exact | {np.mean(exact) - np.mean(recorded):+.2f} (" in table
    one = steering_tables({0: results[0]}, SIGNALS, ["blend"])
    assert " to +" not in one and one.splitlines()[2] == "| 3 m, gain in PSNR, dB | blend |"
