"""A scene goes out as PLY and comes in again: the same bits, scores and EIG maps, in any coordinates."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.data.formats.common import start_at_vehicle
from ff_jax.data.open import open_log
from ff_jax.data.units import scaled_units
from ff_jax.export.ply import write_ply
from ff_jax.export.ply_layouts import read_splats
from ff_jax.pipeline.fuse import checked_recording, load_run, reconstruct
from ff_jax.pipeline.initialize import initialize, make_recording
from ff_jax.pipeline.loaded_scene import load_scene, warn_if_unlike
from ff_jax.pipeline.scene_export import write_scene
from ff_jax.pipeline.scene_file import with_scene_file
from ff_jax.render.gaussians import on_host
from ff_jax.render.similarity import moved
from ff_jax.scene.appearance import appearance_file
from ff_jax.scene.sky import sky_color
from ff_jax.train.batches import TrainBatches
from tests.ff_jax.data import tiny
from tests.ff_jax.viewer.tiny_run import CONFIG, make_log
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh")
STATIC = dataclasses.replace(CONFIG, actors=dataclasses.replace(CONFIG.actors, slots=0), fixer="none")


def with_init(config, path, **changes):
    config = dataclasses.replace(config, init=dataclasses.replace(config.init, scene=str(path)), **changes)
    return with_scene_file(config)


def untrained(config):
    return dataclasses.replace(config, steps=0, schedule=dataclasses.replace(config.schedule, start=0))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    log = tiny.make_scene(tmp_path_factory.mktemp("log"))
    return dataclasses.replace(log, boxes=(), lanes=(), sweeps=())


def perturbed(state, rng):
    """Draw other values for all parameters of the Gaussians and the sky, as training would."""
    noisy = lambda x: x + jnp.asarray(rng.normal(0, 0.1, x.shape), x.dtype)
    params = state.train.scene.params
    params = params.replace(gaussians=jax.tree.map(noisy, params.gaussians), sky=jax.tree.map(noisy, params.sky))
    scene = state.train.scene.replace(params=params.replace(exposure=noisy(params.exposure)))
    return state.replace(train=state.train.replace(scene=scene))


def start(log, config):
    return initialize(make_recording(log, config), config, pseudo_views=0, steps=10)


def fields(scene):
    alive = np.asarray(scene.alive)
    return [np.asarray(getattr(scene.params.gaussians, name))[alive] for name in FIELDS]


def test_a_scene_comes_back_bit_by_bit_with_sky_and_exposures(log, tmp_path):
    state, plan = start(log, STATIC)
    state = perturbed(state, seeded_rng())
    write_scene(tmp_path / "a.ply", plan.model(state.train), STATIC, log)
    config = with_init(STATIC, tmp_path / "a.ply")
    loaded, loaded_plan = start(log, config)
    for a, b in zip(fields(state.train.scene), fields(loaded.train.scene), strict=True):
        np.testing.assert_array_equal(a, b)
    a, b = state.train.scene.params, loaded.train.scene.params
    jax.tree.map(np.testing.assert_array_equal, a.sky, b.sky)
    np.testing.assert_array_equal(a.exposure[: log.num_exposures], b.exposure[: log.num_exposures])
    assert config.render.antialiased == STATIC.render.antialiased
    write_scene(tmp_path / "b.ply", loaded_plan.model(loaded.train), config, log)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    appearance_file(tmp_path / "a.ply").unlink()  # as other tools write it: the sky is black
    black = start(log, config)[0].train.scene.params
    assert sky_color(black.sky, jnp.eye(3)).max() < 1e-4 and not black.exposure.any()


def test_a_scene_follows_its_log_and_goes_back(log, tmp_path):
    rng = seeded_rng()
    state, plan = start(log, dataclasses.replace(STATIC, recon=dataclasses.replace(STATIC.recon, sh_degree=2)))
    gaussians, alive = perturbed(state, rng).train.scene.params.gaussians, state.train.scene.alive
    write_ply(tmp_path / "a.ply", gaussians, alive)  # in the coordinates of the log
    before = read_splats(tmp_path / "a.ply").gaussians
    elsewhere = dataclasses.replace(log, world_from_ego=log.world_from_ego[[1, 1, 2]])
    there = scaled_units(start_at_vehicle(elsewhere), 1.7)  # another world: the cameras are moved, and it says by what
    matrix = there.world_from_files
    for a, b in zip(log.frames, there.frames, strict=True):
        place = matrix[:3, :3] @ a.world_from_camera[:3, 3] + matrix[:3, 3]
        np.testing.assert_allclose(place, b.world_from_camera[:3, 3], atol=1e-9)
    config = with_init(STATIC, tmp_path / "a.ply")
    recording = make_recording(there, config)
    loaded, plan = initialize(recording, config, pseudo_views=0, steps=10)
    for a, b in zip(fields(loaded.train.scene), (getattr(moved(before, matrix), n) for n in FIELDS), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    model = plan.model(loaded.train)
    write_scene(tmp_path / "b.ply", model, config, there)
    after = read_splats(tmp_path / "b.ply").gaussians
    for name in FIELDS:  # Gaussians that no step has changed come back bit by bit
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
    scene = loaded.train.scene
    means = scene.params.gaussians.means.at[3].add(0.1)
    changed = scene.replace(params=scene.params.replace(gaussians=scene.params.gaussians.replace(means=means)))
    write_scene(tmp_path / "c.ply", model.replace(scene=changed), config, there)
    after = read_splats(tmp_path / "c.ply").gaussians
    expected = before.means + np.float32(0.1 / 1.7) * (np.arange(len(before.means)) == 3)[:, None]
    np.testing.assert_allclose(after.means, expected, atol=1e-5)
    np.testing.assert_allclose(after.sh[3], before.sh[3], atol=1e-6)


def test_a_scene_elsewhere_is_refused_with_the_places(log, tmp_path):
    state, _ = start(log, STATIC)
    gaussians, alive = state.train.scene.params.gaussians, state.train.scene.alive
    behind = np.eye(4)
    behind[:3, :3], behind[:3, 3] = Rotation.from_euler("z", 180, degrees=True).as_matrix(), (-30, 0, 0)
    write_ply(tmp_path / "a.ply", moved(on_host(gaussians), behind), alive)
    with pytest.raises(ValueError, match=r"0 of 6 cameras see the scene .*in coordinates that its tool has moved"):
        checked_recording(log, with_init(STATIC, tmp_path / "a.ply"))


def test_a_scene_of_another_log_is_reported(log, tmp_path, caplog):
    state, plan = start(log, STATIC)
    batches = TrainBatches(make_recording(log, STATIC))
    scene = state.train.scene
    dark = scene.params.gaussians.replace(sh=scene.params.gaussians.sh - 9, logit_opacities=scene.alive * 9.0)
    model = plan.model(state.train.replace(scene=scene.replace(params=scene.params.replace(gaussians=dark))))
    warn_if_unlike(model, batches, "a.ply")
    assert "no better than an image of one color" in caplog.text


def test_gaussians_that_are_left_out_are_counted(log, tmp_path, caplog):
    state, _ = start(log, STATIC)
    gaussians = state.train.scene.params.gaussians
    gaussians = gaussians.replace(means=gaussians.means.at[:4].set(jnp.nan))
    write_ply(tmp_path / "a.ply", gaussians, state.train.scene.alive)
    config, count = with_init(STATIC, tmp_path / "a.ply"), int(state.train.scene.alive.sum())
    assert load_scene(config, log).stored.gaussians.count == count - 4
    assert f"4 of {count} Gaussians have values that are not finite and are left out" in caplog.text


def test_an_untrained_run_of_an_exported_scene_has_its_scores_and_eig(tmp_path):
    config = make_log(tmp_path)
    evaluate = dataclasses.replace(config.evaluate, shifts=(0.0, 1.0), frames=2, video_frames=2)
    data = dataclasses.replace(config.data, use_lidar=False)
    config = dataclasses.replace(STATIC, data=data, evaluate=evaluate)
    log = open_log(config.data)
    first = reconstruct(dataclasses.replace(config, steps=1, schedule=untrained(config).schedule), log, tmp_path / "a")
    ply = tmp_path / "a" / "results" / "scene.ply"
    second = reconstruct(untrained(dataclasses.replace(config, init=with_init(config, ply).init)), log, tmp_path / "b")
    assert ply.read_bytes() == (tmp_path / "b" / "results" / "scene.ply").read_bytes()
    for name in ("shifts", "frames", "noise"):  # PSNR, SSIM and EIG among them
        assert json.dumps(first.metrics[name]) == json.dumps(second.metrics[name]), name
    again = load_run(tmp_path / "b", log)
    for a, b in zip(fields(again.state.train.scene), fields(second.state.train.scene), strict=True):
        np.testing.assert_array_equal(a, b)
