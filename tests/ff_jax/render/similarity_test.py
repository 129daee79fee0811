"""Gaussians that are moved together with the camera give the same picture."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ff_jax.render.gaussians import Gaussians, WorldGaussians, on_host
from ff_jax.render.renderer import RenderInput, RenderSettings, render
from ff_jax.render.similarity import moved, sh_rotation
from kernels import sh_color
from tests.random_inputs import seeded_rng
from tests.scenes import pinhole, quick, random_gaussians


def random_similarity(rng, scale):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * Rotation.random(random_state=rng).as_matrix(), rng.normal(0, 5, 3)
    return matrix


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_colors_turn_with_the_directions(coefficients):
    rng = seeded_rng()
    rotation = Rotation.random(random_state=rng).as_matrix()
    turns = sh_rotation(rotation, coefficients)
    np.testing.assert_allclose(turns @ turns.T, np.eye(coefficients), atol=1e-12)
    sh, directions = rng.normal(0, 0.2, (20, coefficients, 3)), rng.normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = sh_color(jnp.asarray(sh, jnp.float32), jnp.asarray(directions, jnp.float32), 3)
    turned = jnp.asarray(np.einsum("jk,nkc->njc", turns, sh), jnp.float32)
    after = sh_color(turned, jnp.asarray(directions @ rotation.T, jnp.float32), 3)
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.slow
def test_a_moved_scene_looks_the_same_from_the_moved_camera():
    rng = seeded_rng()
    scale = rng.uniform(0.3, 4)
    matrix = random_similarity(rng, scale)
    gaussians, camera = random_gaussians(rng, 40, coefficients=16), pinhole(48, 32, 40.0)
    settings = RenderSettings(capacity=1 << 12, near=0.2, implementation="xla")
    picture = quick(lambda given: render(given, background=jnp.zeros((32, 48, 3))).rgb)

    def draw(gaussians, camera, settings):
        return np.asarray(picture(RenderInput(WorldGaussians(gaussians, jnp.ones(40, bool)), camera, settings)))

    # camera_from_world of the moved camera has the rotation and the scaled position of the old one.
    rigid = np.eye(4)
    rigid[:3, :3] = matrix[:3, :3] / scale
    rigid[:3, 3] = matrix[:3, 3]
    old = np.asarray(camera.camera_from_world, np.float64)
    old[:3, 3] *= scale
    there = camera.replace(camera_from_world=jnp.asarray(old @ np.linalg.inv(rigid), jnp.float32))
    expected = draw(gaussians, camera, settings)
    found = draw(
        Gaussians(*map(jnp.asarray, moved(on_host(gaussians), matrix))),
        there,
        dataclasses.replace(settings, near=0.2 * scale),
    )
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_identity_changes_no_bit_and_the_inverse_brings_back():
    rng = seeded_rng()
    gaussians, matrix = on_host(random_gaussians(rng, 30, coefficients=9)), random_similarity(rng, 0.37)
    assert moved(gaussians, np.eye(4)) is gaussians
    unit = on_host(random_gaussians(rng, 5))
    turned = moved(unit, matrix).quats
    expected = Rotation.from_matrix(matrix[:3, :3] / 0.37) * Rotation.from_quat(np.roll(unit.quats, -1, 1))
    found = Rotation.from_quat(np.roll(turned, -1, 1))
    np.testing.assert_allclose(found.as_matrix(), expected.as_matrix(), atol=1e-5)
    back = moved(moved(gaussians, matrix), np.linalg.inv(matrix))
    for name in ("means", "quats", "log_scales", "sh"):
        np.testing.assert_allclose(getattr(back, name), getattr(gaussians, name), atol=2e-5, err_msg=name)
