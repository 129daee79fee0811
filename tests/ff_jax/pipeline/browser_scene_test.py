"""The page of a run holds the composed scene, opens at its front camera, and colors Gaussians by their largest EIG."""

import base64
import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.data.open import open_log
from ff_jax.eig.scene_posterior import ScenePosterior, posterior_of
from ff_jax.eig.view_selection import view_information
from ff_jax.evaluation.renderers import EigRenderer
from ff_jax.evaluation.shifted_views import targets
from ff_jax.export import scene_page
from ff_jax.export.formats import splat
from ff_jax.pipeline import browser_scene
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.run import Run
from ff_jax.render.gaussians import SH_C0, on_host
from ff_jax.render.renderer import project_gaussians
from ff_jax.scene import compose
from ff_jax.train.batches import TrainBatches, view_of
from tests.ff_jax.viewer import tiny_run
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

NOISE = 0.05
EXPOSURE = np.array([[0.2, 0, 0, 0.05], [0, -0.1, 0, 0], [0, 0.1, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Make an untrained run, its scene with the posterior after one view, and views at two shifts."""
    config = tiny_run.make_log(tmp_path_factory.mktemp("run"))
    log = open_log(config.data)
    recording = make_recording(log, config)
    state, plan = initialize(recording, config, pseudo_views=0, steps=config.steps)
    run = Run(config, TrainBatches(recording), plan, state)
    scene = state.train.scene
    exposure = scene.params.exposure.at[browser_scene.front_frame(recording).exposure_id].set(EXPOSURE)
    model = run.scene.replace(scene=scene.replace(params=scene.params.replace(exposure=exposure)))
    found = targets(log, (0.0, 2.0), 1)
    precision = view_information(model, model.prepare(found[0].view), NOISE)
    posterior = posterior_of(precision, model, config.eig.priors)
    return run, EigRenderer(model, ScenePosterior(posterior, jnp.float32(NOISE), jnp.zeros((1, 1, 1)))), found


@pytest.fixture(scope="module")
def page(fitted, tmp_path_factory):
    run, scene, found = fitted
    path = tmp_path_factory.mktemp("results") / "scene.html"
    assert browser_scene.write_browser_scene(path, ("Fused", run), scene, found) == path
    return path.read_text()


def rows_of(page):
    return np.frombuffer(base64.b64decode(re.search(r'id="splats">([^<]*)<', page)[1]), splat.ROW)


def test_the_front_camera_looks_ahead(fitted):
    recording = fitted[0].recording
    assert browser_scene.front_frame(recording) == recording.frames[0]
    first, *rest = recording.frames
    backwards = first.world_from_camera @ np.diag([-1.0, 1, -1, 1])
    turned = dataclasses.replace(recording, frames=(dataclasses.replace(first, world_from_camera=backwards), *rest))
    assert browser_scene.front_frame(turned).camera != first.camera
    assert browser_scene.front_frame(turned).time_index == first.time_index


def test_the_page_holds_the_scene_at_the_time_and_exposure_of_its_first_view(fitted, page):
    run, scene, _ = fitted
    frame = browser_scene.front_frame(run.recording)
    world = jax.jit(compose)(scene.model.scene, jnp.float32(frame.time))
    alive = np.asarray(world.alive)
    assert alive[scene.model.scene.num_static :].any() and "actors stand where they are" in page
    rows, gaussians = rows_of(page), world.gaussians
    np.testing.assert_array_equal(rows["mean"], np.asarray(gaussians.means)[alive])
    rgb = np.maximum(0.5 + SH_C0 * np.asarray(gaussians.sh)[alive, 0], 0)
    rgb = rgb + rgb @ EXPOSURE[:, :3].T + EXPOSURE[:, 3]
    np.testing.assert_allclose(rows["rgba"][:, :3] / 255, np.clip(rgb, 0, 1), atol=0.51 / 255)


def test_colors_are_those_that_the_recorded_camera_sees(fitted):
    """With one recorded camera they are those that the projection computes, actors in their own axes included."""
    run, scene, _ = fitted
    frame = run.recording.frames[2]
    params = scene.model.scene.params
    sh = jnp.asarray(seeded_rng().normal(0, 0.4, (len(params.gaussians.sh), 4, 3)), jnp.float32)
    params = params.replace(gaussians=params.gaussians.replace(sh=sh))
    model = scene.model.replace(scene=scene.model.scene.replace(params=params), sh_degree=1)
    inputs = model.render_input(view_of(frame, 0))
    splats = project_gaussians(inputs)
    seen = np.asarray(splats.opacity) > 0
    assert seen[model.scene.num_static :].any()
    gaussians = on_host(inputs.world.gaussians)
    found = browser_scene.recorded_colors(gaussians, np.asarray(inputs.world.sh_axes), [frame], 1)
    np.testing.assert_allclose(found[seen], np.asarray(splats.color)[seen], atol=2e-5)


def test_the_nearest_camera_is_one_that_has_the_position_in_its_image(fitted):
    """Camera "a" drives along its viewing direction: a point is seen from before it, not from where it is nearest."""
    frames = [frame for frame in fitted[0].recording.frames if frame.camera == "a"]
    poses = [frame.world_from_camera for frame in frames]
    point = poses[1][:3, 3] + 1.5 * poses[1][:3, 2]
    behind = poses[0][:3, 3] - 5 * poses[0][:3, 2]
    found = browser_scene.nearest_centers(np.array([point, behind]), frames)
    ahead = [i for i, pose in enumerate(poses) if (point - pose[:3, 3]) @ pose[:3, 2] > 0]
    nearest = min(ahead, key=lambda i: np.linalg.norm(point - poses[i][:3, 3]))
    np.testing.assert_array_equal(found, [poses[nearest][:3, 3], poses[0][:3, 3]])


def test_the_page_opens_at_the_front_camera(fitted, page):
    frame = browser_scene.front_frame(fitted[0].recording)
    settings = json.loads(re.search(r"const settings = (.*);", page)[1])
    np.testing.assert_allclose(settings["position"], frame.world_from_camera[:3, 3])
    x, y, z, w = settings["rotation"]
    ahead = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]
    middle = [(frame.width / 2 - frame.K[0, 2]) / frame.K[0, 0], (frame.height / 2 - frame.K[1, 2]) / frame.K[1, 1], 1]
    ray = frame.world_from_camera[:3, :3] @ middle
    np.testing.assert_allclose(ahead, ray / np.linalg.norm(ray), atol=1e-3)
    assert settings["focal"] == [frame.K[0, 0], frame.K[1, 1]] and settings["size"] == [frame.width, frame.height]


def test_the_eig_of_a_gaussian_is_the_largest_of_all_views(fitted, page):
    _, scene, found = fitted
    assert len(found) == 2 and "one of 2 images up to 2 m beside the recorded path" in page
    alive = np.flatnonzero(compose(scene.model.scene, jnp.float32(0)).alive)
    views = [target.view for target in found]
    each = [browser_scene.largest_eig(scene, [view], alive) for view in views]
    largest = browser_scene.largest_eig(scene, views, alive[::-1])[::-1]
    np.testing.assert_array_equal(largest, np.maximum(*each))
    seen = [
        np.asarray(view_information(scene.model, scene.model.prepare(v), NOISE).geometry)[alive].any(1) for v in views
    ]
    np.testing.assert_array_equal(largest > 0, seen[0] | seen[1])
    # The first view was recorded: once more, it reduces the variances of 10 + 3 parameters to a half at most.
    assert 0 < each[0].max() <= 13 * 0.5 * np.log(2) + 1e-4
    levels = np.frombuffer(base64.b64decode(re.search(r'id="levels">([^<]*)<', page)[1]), np.uint8)
    np.testing.assert_array_equal(levels == 0, largest == 0)
    np.testing.assert_array_equal(levels, scene_page.eig_levels(largest, float(np.percentile(largest, 99))))


def test_without_gaussians_or_scored_views_there_is_no_page(fitted, tmp_path):
    run, scene, found = fitted
    assert browser_scene.write_browser_scene(tmp_path / "scene.html", ("Fused", run), scene, []) is None
    empty = scene.model.scene.replace(alive=jnp.zeros_like(scene.model.scene.alive))
    scene = scene._replace(model=scene.model.replace(scene=empty))
    assert browser_scene.write_browser_scene(tmp_path / "scene.html", ("Fused", run), scene, found) is None
    assert not list(tmp_path.iterdir())
