"""The settings of a run, read before anything is computed."""

import dataclasses
import json

import pytest

from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.pipeline.fuse import check_workdir, read_config, write_facts
from tests.ff_jax.data import tiny
from tests.ff_jax.viewer.tiny_run import CONFIG


def test_settings_are_read_and_those_of_another_revision_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        read_config(tmp_path)
    path, settings = tmp_path / "config.json", to_dict(FuseConfig(seed=5))
    path.write_text(json.dumps(settings))
    assert read_config(tmp_path) == FuseConfig(seed=5)
    settings["recon"]["optim"]["former"] = 1
    path.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"use the one that env\.json beside it names .*no setting 'former'"):
        read_config(tmp_path)


def test_a_run_is_resumed_on_its_own_log_only(tmp_path):
    log, workdir = tiny.make_scene(tmp_path / "log"), tmp_path / "run"
    check_workdir(workdir, CONFIG, log, resume=False)
    assert not workdir.exists()  # nothing is written before all checks have passed
    write_facts(workdir, CONFIG, log)
    check_workdir(workdir, CONFIG, log, resume=True)
    with pytest.raises(ValueError, match="another log"):
        check_workdir(workdir, CONFIG, dataclasses.replace(log, frames=log.frames[1:]), resume=True)
    (workdir / "log.json").write_text("{")
    with pytest.raises(ValueError, match=r"log\.json"):
        check_workdir(workdir, CONFIG, log, resume=True)
    (workdir / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(workdir)
