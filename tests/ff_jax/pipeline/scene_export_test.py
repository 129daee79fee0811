"""Scenes with a moving actor are written with their nodes, or composed at one time."""

import jax.numpy as jnp
import numpy as np
import pytest
from pxr import Usd, UsdGeom

from ff_jax.export.formats.files import read_gaussians
from ff_jax.pipeline.scene_export import save_scene
from ff_jax.pipeline.scene_nodes import scene_nodes
from ff_jax.render.renderer import RenderSettings
from ff_jax.scene import SceneModel, compose
from tests.ff_jax.scene.actors_test import M, scene_of, tracks_of
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow


def random_pose(rng):
    pose = np.eye(4)
    pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose[:3, :3] *= np.linalg.det(pose[:3, :3])
    pose[:3, 3] = rng.normal(size=3)
    return pose


def model_of(rng):
    scene = scene_of(rng, tracks_of(np.stack([random_pose(rng) for _ in range(3)])))
    return SceneModel(scene.replace(num_ground=4), RenderSettings(capacity=1024))


def test_nodes_compose_to_the_scene(tmp_path):
    """OpenUSD moves the actor as `compose` does, at a time between its key times."""
    model = model_of(seeded_rng())
    nodes = scene_nodes(model.scene, ["17"])
    assert [node.name for node in nodes] == ["ground", "static", "actor_17"]
    assert [node.gaussians.count for node in nodes] == [4, 16, M]
    save_scene(tmp_path / "a.usdc", model)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    prim = stage.GetPrimAtPath("/scene/actor_0")
    code = Usd.TimeCode(1.3 * stage.GetTimeCodesPerSecond())
    matrix = np.array(UsdGeom.XformCache(code).GetLocalToWorldTransform(prim)).T
    means = np.array(prim.GetAttribute("positions").Get()) @ matrix[:3, :3].T + matrix[:3, 3]
    world = compose(model.scene, jnp.float32(1.3))
    np.testing.assert_allclose(means, np.asarray(world.gaussians.means)[np.asarray(world.alive)][20:], atol=1e-5)
    assert (tmp_path / "a.appearance.npz").is_file()


def test_other_formats_hold_the_scene_at_one_time(tmp_path):
    model = model_of(seeded_rng())
    world = compose(model.scene, jnp.float32(0.7))
    for name in ("a.ply", "a.splat"):
        save_scene(tmp_path / name, model, 0.7)
        found = read_gaussians(tmp_path / name).gaussians
        np.testing.assert_allclose(found.means, np.asarray(world.gaussians.means)[np.asarray(world.alive)], atol=1e-6)
