"""`project` against a naive EWA projection in float64, and the rules of culling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import CameraMatrices, ProjectionOptions, project, sh_basis, sh_color
from kernels.project.specs import TINY, make_scene, scene_records
from tests.random_inputs import seeded_rng

pytestmark = pytest.mark.slow

OPTIONS = ProjectionOptions(TINY.width, TINY.height)
ANTIALIASED = ProjectionOptions(TINY.width, TINY.height, antialiased=True)
RUN = jax.jit(lambda scene: project(*scene_records(scene), OPTIONS))


def naive(scene: dict, i: int, eps2d: float = 0.3) -> tuple:
    """Project Gaussian i with matrices, in float64."""
    s = {k: np.asarray(v, np.float64) for k, v in scene.items()}
    w, x, y, z = s["quats"][i] / np.linalg.norm(s["quats"][i])
    rotation = np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )
    camera = s["camera_from_world"]
    covariance = rotation @ np.diag(s["scales"][i] ** 2) @ rotation.T
    x, y, z = camera[:3, :3] @ s["means"][i] + camera[:3, 3]
    fx, fy, cx, cy = s["K"][0, 0], s["K"][1, 1], s["K"][0, 2], s["K"][1, 2]
    jacobian = np.array([[fx / z, 0, -fx * x / z**2], [0, fy / z, -fy * y / z**2]]) @ camera[:3, :3]
    image_covariance = jacobian @ covariance @ jacobian.T
    dilated = image_covariance + eps2d * np.eye(2)
    ratio = np.linalg.det(image_covariance) / np.linalg.det(dilated)
    return np.array([fx * x / z + cx, fy * y / z + cy]), dilated, z, np.sqrt(max(ratio, 0))


def in_view(scene: dict, result) -> np.ndarray:
    """Select the visible Gaussians that lie inside the image, where the Jacobian is not clamped."""
    inside = (result.mean2d > 0) & (result.mean2d < np.array([TINY.width, TINY.height]))
    return np.flatnonzero((result.opacity > 0) & inside.all(-1))


@pytest.mark.parametrize("antialiased", [False, True])
def test_matches_naive_projection(antialiased):
    scene = make_scene(TINY, seeded_rng())
    options = ANTIALIASED if antialiased else OPTIONS
    result = jax.jit(lambda s: project(*scene_records(s), options))(scene)
    selected = in_view(scene, result)
    assert len(selected) > 5
    for i in selected:
        mean, covariance, depth, compensation = naive(scene, i)
        inverse = np.linalg.inv(covariance)
        np.testing.assert_allclose(result.mean2d[i], mean, rtol=1e-4, atol=1e-3)
        scale = np.abs(inverse).max()
        expected = [inverse[0, 0], inverse[0, 1], inverse[1, 1]]
        np.testing.assert_allclose(result.conic[i], expected, rtol=2e-3, atol=1e-3 * scale)
        np.testing.assert_allclose(result.depth[i], depth, rtol=1e-5)
        opacity = scene["opacities"][i] * (compensation if antialiased else 1)
        np.testing.assert_allclose(result.opacity[i], opacity, rtol=1e-3)


def test_extent_bounds_alpha():
    scene = make_scene(TINY, seeded_rng())
    result = RUN(scene)
    selected = in_view(scene, result)
    angle = np.linspace(0, 2 * np.pi, 400)
    for i in selected:
        a, b, c = np.asarray(result.conic[i], np.float64)
        level = np.log(float(result.opacity[i]) * 255)
        unit = np.stack([np.cos(angle), np.sin(angle)])
        radius = np.sqrt(2 * level / (a * unit[0] ** 2 + 2 * b * unit[0] * unit[1] + c * unit[1] ** 2))
        np.testing.assert_allclose(np.abs(radius * unit).max(1), result.extent[i], rtol=5e-3)


def loss(scene: dict, weights: tuple) -> jax.Array:
    """Compute a random linear function of everything differentiable (depth of culled Gaussians left out)."""
    p = project(*scene_records(scene), ANTIALIASED)
    outputs = (p.mean2d, p.conic, p.opacity, jnp.where(p.opacity > 0, p.depth, 0), p.color)
    return sum(
        jnp.sum(jnp.where((p.opacity > 0).reshape(-1, *[1] * (o.ndim - 1)), o * w, 0))
        for o, w in zip(outputs, weights, strict=True)
    )


def test_gradients_match_finite_differences():
    """All arrays, the pose and the intrinsics included, along random directions in float64."""
    rng = seeded_rng()
    with jax.enable_x64(True):
        scene = {k: jnp.asarray(v, jnp.float64) for k, v in make_scene(TINY, rng).items()}
        N = TINY.gaussians
        weights = tuple(jnp.asarray(rng.normal(size=s)) for s in ((N, 2), (N, 3), (N,), (N,), (N, 3)))
        run, differentiate = jax.jit(loss), jax.jit(jax.grad(loss))
        gradient = differentiate(scene, weights)
        # Color is constant in means and pose, so they are checked without it.
        geometry = (*weights[:4], jnp.zeros((N, 3)))
        gradient_geometry = differentiate(scene, geometry)
        for name, value in scene.items():
            is_constant = name in ("means", "camera_from_world")
            g, w = (gradient_geometry, geometry) if is_constant else (gradient, weights)
            direction = rng.normal(size=value.shape)
            step = 1e-6
            plus, minus = ({**scene, name: value + s * step * direction} for s in (1, -1))
            expected = (run(plus, w) - run(minus, w)) / (2 * step)
            got = jnp.sum(g[name] * direction)
            assert abs(expected) > 0, name
            np.testing.assert_allclose(
                got, expected, rtol=1e-3, atol=1e-4 * float(jnp.abs(g[name]).max()), err_msg=name
            )


@pytest.mark.parametrize("gaussians", [3, 21])
def test_blocks_that_are_not_full_change_nothing(gaussians):
    scene = make_scene(TINY._replace(gaussians=gaussians), seeded_rng())

    def total(scene: dict, name: str) -> jax.Array:
        return sum(jnp.sum(jnp.sin(x)) for x in project(*scene_records(scene), OPTIONS, implementation=name))

    got, expected = (jax.jit(jax.value_and_grad(total), static_argnums=1)(scene, name) for name in ("xla", "reference"))
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-4)
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(got[1][name], gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max(), err_msg=name)


@pytest.mark.parametrize("antialiased", [False, True])
def test_kernel_equals_the_reference_in_value_and_derivatives(antialiased):
    """Interpreted where there is no GPU; both modes, the pose and the intrinsics included, and second derivatives."""
    rng = seeded_rng()
    scene = {k: jnp.asarray(v) for k, v in make_scene(TINY._replace(gaussians=150), rng).items()}
    direction = {k: jnp.asarray(1e-2 * rng.normal(size=v.shape), jnp.float32) for k, v in scene.items()}
    weights = [jnp.asarray(rng.normal(size=(150, n)), jnp.float32) for n in (2, 3, 1, 1, 3)]

    def outputs(scene: dict, name: str) -> list:
        options = ANTIALIASED if antialiased else OPTIONS
        p = project(*scene_records(scene), options, implementation=name)
        visible = (p.opacity > 0)[:, None]
        columns = (p.mean2d, p.conic, p.opacity[:, None], p.depth[:, None], p.color)
        return [jnp.where(visible, x, 0) for x in columns]

    def run(scene: dict, direction: dict, name: str) -> dict:
        loss = lambda s: sum(jnp.sum(w * x) for w, x in zip(weights, outputs(s, name), strict=True))
        value, tangent = jax.jvp(lambda s: outputs(s, name), (scene,), (direction,))
        result = {"value": value, "tangent": tangent, "gradient": jax.grad(loss)(scene)}
        if antialiased:  # one of the two is enough for what takes longest to compile
            result["second"] = jax.jvp(jax.grad(loss), (scene,), (direction,))[1]
        return result

    # Compiling is what takes time here.
    quick = None if jax.default_backend() == "gpu" else {"xla_backend_optimization_level": 0}
    run = jax.jit(run, static_argnums=2, compiler_options=quick)
    got, expected = (run(scene, direction, name) for name in ("pallas", "reference"))
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b) + 1e-6, jax.tree_util.keystr(path)


def test_kernel_takes_a_batch_of_cameras():
    scene = {k: jnp.asarray(v) for k, v in make_scene(TINY, seeded_rng()).items()}
    gaussians, camera = scene_records(scene)
    poses = jnp.stack([camera.camera_from_world] * 2).at[1, 0, 3].add(0.1)

    def run(name: str):
        of_pose = lambda T: project(gaussians, CameraMatrices(T, camera.K), OPTIONS, implementation=name)
        return jax.vmap(of_pose)(poses)

    for a, b in zip(run("pallas"), run("reference"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_seen_is_culled_with_finite_gradients():
    scene = make_scene(TINY, seeded_rng())
    bad = np.arange(12)
    scene["means"][0, 2] = np.nan
    scene["means"][1] = np.inf
    scene["scales"][2, 1] = np.nan
    scene["scales"][3] = 1e30
    scene["quats"][4] = 0
    scene["quats"][5, 2] = np.nan
    scene["opacities"][6] = 0
    scene["opacities"][7] = np.nan
    scene["sh"][8, 0, 0] = np.nan
    to_world = np.linalg.inv(scene["camera_from_world"])
    for row, z in ((9, -1.0), (10, 0.0), (11, 0.2)):  # behind, in the camera's plane, at the near plane
        scene["means"][row] = (to_world @ [0.01, 0.02, z - 1e-6, 1])[:3]
    result = RUN(scene)
    assert np.all(np.asarray(result.opacity)[bad] == 0) and np.all(np.asarray(result.extent)[bad] == 0)
    for field in (result.mean2d, result.conic, result.opacity, result.extent, result.color):
        assert np.isfinite(field).all()

    def squares(scene: dict) -> jax.Array:
        p = project(*scene_records(scene), OPTIONS)
        return sum(jnp.sum(x**2) for x in (p.mean2d, p.opacity, p.color))

    gradient = jax.jit(jax.grad(squares))(scene)
    for name, g in gradient.items():
        assert np.isfinite(g).all(), name
    np.testing.assert_array_equal(np.asarray(gradient["opacities"])[bad], 0)
    # The other Gaussians do not change: the same scene without the bad rows.
    rest = {k: jnp.asarray(v if k in ("camera_from_world", "K") else v[12:]) for k, v in scene.items()}
    np.testing.assert_allclose(RUN(rest).mean2d, result.mean2d[12:], rtol=1e-6)


def test_huge_and_tiny_footprints_stay_finite():
    scene = make_scene(TINY, seeded_rng())
    scene["scales"][:10] = 1e4
    scene["scales"][10:20] = 1e-9
    scene["scales"][20:30] = [10.0, 1e-6, 1e-6]
    result = RUN(scene)
    for field in result:
        assert np.isfinite(field).all()
    a, b, c = np.asarray(result.conic, np.float64).T
    assert np.all(a * c - b * b > 0)


def test_sh_degree_masks_bands_also_when_traced():
    rng = seeded_rng()
    directions = rng.normal(size=(20, 3))
    directions = jnp.asarray(directions / np.linalg.norm(directions, axis=-1, keepdims=True))
    sh = jnp.asarray(rng.normal(size=(20, 16, 3)))
    traced = jax.jit(sh_color)
    for degree, count in ((0, 1), (1, 4), (2, 9), (3, 16)):
        expected = sh_color(sh[:, :count], directions, degree)
        np.testing.assert_allclose(traced(sh, directions, jnp.int32(degree)), expected, atol=1e-6)


def test_sh_basis_is_orthonormal():
    z, weight = np.polynomial.legendre.leggauss(12)
    phi = np.arange(24) * 2 * np.pi / 24
    z, phi, weight = z[:, None], phi[None], (weight[:, None] * (2 * np.pi / 24)) * np.ones((1, 24))
    r = np.sqrt(1 - z**2)
    basis = sh_basis(jnp.asarray(np.stack(np.broadcast_arrays(r * np.cos(phi), r * np.sin(phi), z), -1)))
    gram = np.einsum("abk,abl,ab->kl", basis, basis, weight)
    np.testing.assert_allclose(gram, np.eye(16), atol=1e-5)


def test_impossible_arguments_are_named():
    scene = make_scene(TINY, seeded_rng())

    def shapes(scene, options=OPTIONS, implementation=None):
        return jax.eval_shape(lambda s: project(*scene_records(s), options, implementation=implementation), scene)

    with pytest.raises(ValueError, match="width"):
        shapes(scene, ProjectionOptions(0, TINY.height))
    with pytest.raises(ValueError, match="'cuda'"):
        shapes(scene, implementation="cuda")
    with pytest.raises(ValueError, match="coefficients=5"):
        shapes({**scene, "sh": np.zeros((TINY.gaussians, 5, 3), np.float32)})


def test_no_gaussians():
    scene = make_scene(TINY._replace(gaussians=0), seeded_rng())
    assert RUN(scene).color.shape == (0, 3)
