"""Repairs after rendering get the same inputs as repairs in a fix event."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.recording import Recording
from ff_jax.data.scene_data import Frame
from ff_jax.data.synthetic import StreetConfig
from ff_jax.data.synthetic.driving_log import street_log
from ff_jax.eig.scene_posterior import EigRender, ScenePosterior
from ff_jax.evaluation.shifted_views import Target
from ff_jax.fixers import one_step
from ff_jax.fixers.fixer import Fixer
from ff_jax.fixers.skill import EDGES, Skill
from ff_jax.pipeline import fix_event, fixer_inputs, post_render
from ff_jax.pipeline.fix_event import FixEvent
from ff_jax.pipeline.run import Run
from ff_jax.scene import SceneModel
from ff_jax.train.batches import TrainBatches, shifted_frame, shifted_view
from ff_jax.train.loop import TrainPlan
from ff_jax.train.state import LoopState
from tests.ff_jax.viewer.tiny_run import CONFIG

pytestmark = pytest.mark.slow

W, H = 40, 24
SHIFT = 1.5


class UnrenderedRun(Run):
    """A run whose scene is not rendered: its maps are given by the test."""

    scene = object.__new__(SceneModel)

    def posterior(self) -> ScenePosterior:
        return object.__new__(ScenePosterior)


@pytest.fixture(scope="module")
def batches():
    log = street_log(1, StreetConfig(num_frames=2, moving=False), W, H, ("front",), lidar=None)
    return TrainBatches(Recording(log, log.frames))


def maps_of(views) -> EigRender:
    """Make the render of a view from its position, so that another view has other maps."""
    x = jnp.stack([view.camera.world_from_camera[0, 3] for view in views])[:, None, None] * jnp.ones((H, W))
    rgb = jnp.stack([jnp.abs(jnp.sin(k * x + jnp.arange(W) / W)) for k in (1, 2, 3)], -1)
    return EigRender(rgb, 0.5 + 0.1 * jnp.abs(jnp.sin(x)), jnp.full_like(x, 8.0))


def mix(config, params, key, frames, eig, references, conditions, blend_eig):
    """Combine all inputs of a fixer, so that a wrong one changes the result."""
    repaired = jnp.asarray(conditions["repaired"], jnp.float32)[..., :3] / 255
    blend = jnp.minimum(blend_eig, 7.0)[..., None]
    return (frames + 2 * eig[..., None] + 3 * references + 5 * repaired + 7 * blend) / 70


def plain_mix(config, params, key, frames, eig, references):
    return (frames + 2 * eig[..., None] + 3 * references) / 10


@pytest.mark.parametrize("source", ["render", "lidar"])
def test_a_view_is_repaired_as_in_a_fix_event(batches, source, monkeypatch):
    def repaired(frames, eig, references):
        image = np.asarray((frames + eig[..., None] + references) * 60).astype(np.uint8)
        return np.pad(image, ((0, 0),) * 3 + ((0, 1),), constant_values=255)

    def measured(names, recording, frames: list[Frame], views, model):
        image = np.stack([np.full((H, W, 5), 40 + 10 * frame.time_index, np.uint8) for frame in frames])
        return {"lidar": image} if "lidar" in names else {}

    for module in (fix_event, post_render):
        monkeypatch.setattr(module, "render_clip", lambda model, posterior, views: maps_of(views))
    monkeypatch.setattr(one_step, "repaired_condition", repaired)
    monkeypatch.setattr(fixer_inputs, "make_conditions", measured)
    if source == "render":
        fixer = Fixer({}, "plain", plain_mix)
    else:
        fixer = Fixer({}, "mix", mix, conditions=("lidar", "repaired"), source=source)
    run = UnrenderedRun(CONFIG, batches, object.__new__(TrainPlan), object.__new__(LoopState))
    event = FixEvent(
        model=run.scene, posterior=run.posterior(), batches=batches, fixer=fixer,
        skill=Skill(jnp.ones(len(EDGES) + 1), jnp.ones(())), points=None, shifts=(SHIFT,), config=CONFIG.eig,
    )  # fmt: skip
    expected = fix_event.repair(jax.random.key(CONFIG.seed), event, SHIFT)
    assert float(jnp.std(expected.fixed)) > 0.005
    render = post_render.repairing_renderer(run, fixer)
    for number, frame in enumerate(batches.recording.frames):
        view = shifted_view(frame, batches.recording.log, SHIFT)
        moved = shifted_frame(frame, batches.recording.log, SHIFT)
        result = render(Target(SHIFT, view, frame, has_truth=False, pose=moved.world_from_camera))
        np.testing.assert_allclose(result.rgb, expected.fixed[number], atol=1e-6)
        np.testing.assert_array_equal(result.depth, 8.0)


def test_a_run_without_a_folder_has_no_fixer(batches):
    with pytest.raises(ValueError, match="no folder that its fixer could be loaded from"):
        post_render.fixer_of(UnrenderedRun(CONFIG, batches, object.__new__(TrainPlan), object.__new__(LoopState)))
