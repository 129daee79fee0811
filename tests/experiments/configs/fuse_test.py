"""The sizes of the demo."""

import jax
import pytest

from experiments.configs.fuse import get_config


@pytest.mark.parametrize(("device", "size", "budget"), [("cpu", (208, 128), 16_000), ("gpu", (640, 384), 100_000)])
def test_the_demo_is_larger_on_a_gpu(device, size, budget, monkeypatch):
    config = get_config(device)
    assert (config.data.width, config.data.height) == size and config.recon.budget == budget
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    assert get_config().to_dict() == config.to_dict()
