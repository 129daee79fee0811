"""The loop around the training step."""

import inspect
from types import SimpleNamespace

import pytest

from ff_jax.render.renderer import RenderSettings
from ff_jax.runtime.step_queue import StepQueue
from ff_jax.train import loop
from ff_jax.train.config import ReconConfig
from ff_jax.train.loop import Hooks, TrainPlan

PLAN = TrainPlan(ReconConfig(), RenderSettings(capacity=1), radius=1.0, steps=20, check_every=100)


class Device:
    """A device that finishes nothing before it is waited for; it takes the place of the loss of every step."""

    def __init__(self):
        self.begun = self.finished = 0

    def run_step(self, state, *_):
        self.begun += 1
        return state, {"loss": self}

    def block_until_ready(self):
        self.finished += 1

    def __float__(self):
        return 0.0


@pytest.fixture
def device(monkeypatch):
    device = Device()
    monkeypatch.setattr(StepQueue, "add", inspect.unwrap(StepQueue.add))  # without its checks of types
    monkeypatch.setattr(loop, "run_step", device.run_step)
    monkeypatch.setattr(loop, "is_finite", lambda *_: True)
    monkeypatch.setattr(loop, "check_capacity", lambda state, plan, _: (state, plan))
    monkeypatch.setattr(loop, "compile_ahead", lambda *_: None)
    return device


def test_no_more_than_a_few_steps_wait_for_the_device(device):
    waiting = []
    hooks = Hooks(tick=lambda _: waiting.append(device.begun - device.finished))
    scene = SimpleNamespace(params=None)
    state = SimpleNamespace(train=SimpleNamespace(step=0, scene=scene))
    inspect.unwrap(loop.train)(state, 20, PLAN, None, hooks)
    assert waiting == [1, 2, 3] + 17 * [3] and device.begun == 20
