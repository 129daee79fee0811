"""Answers of the service that need no renderer."""

from types import SimpleNamespace

import numpy as np
import pytest

from ff_jax.simulation import SceneCache, Service, SimulatedScene
from ff_jax.simulation.messages import message
from ff_jax.simulation.scene import TrustMap

EIG = np.array([[1.0, 0.0, 0.0], [3.0, 2.0, 0.0]], np.float32)
INSIDE = np.array([[True, False, False], [True, True, False]])


class KnownScene(SimulatedScene):
    """A scene whose EIG map is given."""

    def __init__(self):
        self.reader = SimpleNamespace(config=SimpleNamespace(eig=SimpleNamespace(tau=1.5)))

    def trust(self, request):
        return TrustMap(EIG, INSIDE)


def test_unknown_pixels_are_counted_among_those_that_the_lens_shows():
    service = Service(SceneCache({"street": KnownScene}, 1), "1", "none")
    request = message("RGBRenderRequest")(scene_id="street")
    request.sensor_pose.end_pose.quat.w = 1.0
    answer = service.render_trust(request, lambda job: job())
    assert answer.unknown_share == pytest.approx(2 / 3) and answer.mean_nats == pytest.approx(2.0)
    assert answer.threshold_nats == 1.5
