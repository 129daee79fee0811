import dataclasses
import json

import pytest

from experiments.studies.measures import seeded_runs
from ff_jax.pipeline.config import demo_config, to_dict


def test_a_finished_run_is_kept_only_if_its_settings_are_the_same(tmp_path, monkeypatch):
    fused = []
    monkeypatch.setattr(seeded_runs, "fuse", lambda config, log, folder, resume: fused.append((config, folder, resume)))
    monkeypatch.setattr(seeded_runs, "open_log", lambda data, shifts: None)
    config, folder = demo_config(), tmp_path / "seed3"
    assert seeded_runs.fused_run(config, 3, tmp_path) == folder
    ((made, where, resume),) = fused
    assert (made.seed, made.data.seed, where, resume) == (3, 3, folder, False)

    (folder / "results").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(to_dict(made)))
    seeded_runs.fused_run(config, 3, tmp_path)
    assert fused.pop()[2] is True  # it was begun, and goes on
    (folder / "results" / "metrics.json").write_text("{}")
    fused.clear()
    seeded_runs.fused_run(config, 3, tmp_path)
    assert not fused
    with pytest.raises(ValueError, match="seed3 was started with another 'steps' setting"):
        seeded_runs.fused_run(dataclasses.replace(config, steps=config.steps + 100), 3, tmp_path)
