"""The settings of a run, read before anything is computed."""

import json

import pytest

from ff_jax.pipeline.config import FuseConfig, to_dict
from ff_jax.pipeline.fuse import read_config


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
