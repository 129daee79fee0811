"""Trainings of fixers own their folder, and continue with the settings that they were started with."""

from dataclasses import dataclass

import jax.numpy as jnp
import pytest

from experiments.fixers import training
from ff_jax.runtime.run_lock import lock_run


@dataclass(frozen=True)
class Settings:
    lr: float = 1e-3
    minutes: float = 0.0


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "street.npz"
    path.write_bytes(b"12345")
    return path


def run(out, settings, data):
    stored = training.stored_settings(settings, Settings(), [data], reference="aligned")
    training.train_and_save(out, 3, stored, lambda log: log(3, {"loss": 1.0}) or {"x": jnp.zeros(2)})


def test_a_training_continues_with_its_settings_only(tmp_path, data):
    out = tmp_path / "out"
    run(out, Settings(), data)
    run(out, Settings(minutes=5.0), data)
    with pytest.raises(ValueError, match="'lr'"):
        run(out, Settings(lr=2e-3), data)
    data.write_bytes(b"1234567")
    with pytest.raises(ValueError, match="'data'"):
        run(out, Settings(), data)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2  # refused ones write nothing


def test_a_folder_is_locked_during_the_training(tmp_path, data):
    with lock_run(tmp_path / "out"), pytest.raises(ValueError, match="in use"):
        run(tmp_path / "out", Settings(), data)
    assert not (tmp_path / "out" / "config.json").exists()
