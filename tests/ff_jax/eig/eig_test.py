"""The pixel-wise EIG against brute-force ray Jacobians, random probes and its invariances."""

import functools

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest

from ff_jax import eig
from ff_jax.eig.ray_jacobians import ray_jacobians
from ff_jax.render.camera import make_camera
from ff_jax.render.gaussians import Gaussians
from ff_jax.render.renderer import RenderSettings, project_gaussians, render
from kernels.fisher.information_gain import unpack

W, H, N, NOISE = 15, 12, 7, 0.05
SETTINGS = RenderSettings(capacity=256, tile=8, implementation="xla")
# The problems are tiny: compiling is what takes time.
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
BACKGROUND = jnp.array([0.2, 0.5, 0.9])


def scene(rng=None):
    """Random Gaussians on which the blended set is the same for every way to compute it, in all VIEWS.

    A pair whose alpha is within rounding of the cut at 1/255 or of the cap may fall on either side.
    """
    rng = rng or np.random.default_rng()
    while True:
        gaussians, alive = candidate(rng)
        alphas = np.concatenate([np.ravel(peaks(gaussians, alive, view)) for view in VIEWS])
        if all(np.abs(alphas / edge - 1).min() > 3e-5 for edge in (1 / 255, 0.999)):
            return gaussians, alive


@quick
def peaks(gaussians, alive, cam):
    """Alpha of every pair before it is cut or capped."""
    y, x = jnp.indices((H, W)) + 0.5
    splats = project_gaussians(gaussians, alive, cam, SETTINGS)
    dx, dy = (splats.mean2d[:, :, None, None] - jnp.stack([x, y])).swapaxes(0, 1)
    a, b, c = splats.conic.T[..., None, None]
    return splats.opacity[:, None, None] * jnp.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy)


def candidate(rng, count=N, coefficients=4):
    """Overlapping Gaussians 3 to 6 m ahead with colours away from the cut at 0, the last slot dead."""
    sh = rng.normal(0, 0.15, (count, coefficients, 3))
    fields = dict(
        means=rng.uniform([-1.2, -1, 3], [1.2, 1, 6], (count, 3)),
        quats=rng.normal(size=(count, 4)),
        log_scales=rng.uniform(np.log(0.15), np.log(0.7), (count, 3)),
        logit_opacities=rng.uniform(-1.5, 2.5, count),
        sh=sh + 0.4 * (np.arange(coefficients) == 0)[:, None],
    )
    arrays = {k: jnp.asarray(v, jnp.float32) for k, v in fields.items()}
    return Gaussians(**arrays), jnp.arange(count) < count - 1


def camera(x=0.0, y=0.0, yaw=0.0, width=W, height=H):
    """A camera near the origin that looks along z."""
    pose = np.eye(4)
    pose[:3, :3] = jaxlie.SO3.from_y_radians(yaw).as_matrix()
    pose[:3, 3] = x, y, 0
    K = np.array([[14.0, 0, width / 2], [0, 14.0, height / 2], [0, 0, 1]])
    return make_camera(K, pose, width, height)


SEEN, ALSO_SEEN, NEW = camera(), camera(0.4, yaw=-0.1), camera(0.5, 0.2, 0.05)
VIEWS = (SEEN, ALSO_SEEN, NEW)


def background(cam):
    return jnp.broadcast_to(BACKGROUND, (cam.height, cam.width, 3))


@quick
def _observe(precision, gaussians, alive, cam, sign, weight):
    image = render(gaussians, alive, cam, SETTINGS, background=background(cam)).rgb
    return eig.accumulate(precision, gaussians, alive, cam, image, SETTINGS, noise=NOISE, sign=sign, weight=weight)


def observe(precision, gaussians, alive, cam, sign=1.0, weight=None):
    """Add a view to a precision as the main loop does."""
    return _observe(precision, gaussians, alive, cam, sign, jnp.ones((H, W)) if weight is None else weight)


@quick
def gains(gaussians, alive, posterior, cam):
    """The map of a view in both modes."""
    out = render(gaussians, alive, cam, SETTINGS, background=background(cam))
    arguments = gaussians, alive, posterior, cam, out.rgb, out.alpha, SETTINGS
    return {mode: eig.eig_map(*arguments, noise=NOISE, mode=mode) for mode in ("exact", "trace")}


believe = quick(eig.posterior, static_argnames=("priors", "structure"))


@quick
def rays(gaussians, alive, cam):
    """Colours and Jacobians of all pixels of a view by brute force."""
    y, x = jnp.indices((cam.height, cam.width)) + 0.5
    pixels = jnp.stack([x, y], -1).reshape(-1, 2)
    flat = background(cam).reshape(-1, 3)
    return ray_jacobians(gaussians, alive, cam, pixels, SETTINGS, flat)


def wide(x):
    return np.asarray(x, np.float64)


def information(gaussians, alive, cam):
    """J^T J / noise^2 of all pixels, per Gaussian: geometry blocks and colour blocks of one channel."""
    J = rays(gaussians, alive, cam)[1]
    geometry, sh = wide(J.geometry), wide(J.sh)
    return (
        np.einsum("pcni,pcnj->nij", geometry, geometry) / NOISE**2,
        np.einsum("pcnkd,pcnld->nkl", sh, sh) / 3 / NOISE**2,
    )


def close(got, want, tolerance):
    """Compare matrices relative to the size of the units of their rows and columns."""
    scale = np.sqrt(np.abs(np.diagonal(want, axis1=-2, axis2=-1))) + 1e-9
    scale = scale[:, :, None] * scale[:, None, :]
    np.testing.assert_allclose(wide(got) / scale, want / scale, atol=tolerance)


def test_rays_show_what_the_renderer_shows():
    gaussians, alive = scene()
    colors, _ = rays(gaussians, alive, NEW)
    image = quick(render, static_argnames="settings")(gaussians, alive, NEW, SETTINGS, background=background(NEW)).rgb
    np.testing.assert_allclose(colors, image.reshape(-1, 3), atol=1e-5)


def test_precision_is_the_sum_of_squared_ray_jacobians():
    gaussians, alive = scene()
    views = [SEEN, ALSO_SEEN]
    precision = eig.init_precision(gaussians)
    want = [0, 0]
    for view in views:
        precision = observe(precision, gaussians, alive, view)
        want = [total + part for total, part in zip(want, information(gaussians, alive, view), strict=True)]
    close(unpack(precision.geometry, 10), want[0], 1e-4)
    close(unpack(precision.color, 4), want[1], 1e-4)
    assert not precision.geometry[-1].any() and not precision.color[-1].any()


@pytest.mark.parametrize("structure", ["block", "diag"])
def test_map_equals_brute_force(structure):
    gaussians, alive = scene()
    precision = observe(eig.init_precision(gaussians), gaussians, alive, SEEN)
    priors = eig.Priors()
    posterior = believe(precision, priors, gaussians, structure=structure)
    got = gains(gaussians, alive, posterior, NEW)

    std = np.exp(wide(gaussians.log_scales).max(-1, keepdims=True)) * priors.position * np.ones(3)
    fixed = [priors.rotation] * 3 + [priors.log_scale] * 3 + [priors.logit_opacity]
    std = np.concatenate([std, np.tile(fixed, (N, 1))], -1)
    blocks = [wide(unpack(precision.geometry, 10)), wide(unpack(precision.color, 4))]
    if structure == "diag":
        blocks = [block * np.eye(block.shape[-1]) for block in blocks]
    sigma = np.linalg.inv(blocks[0] + std[:, :, None] ** -2 * np.eye(10))
    std_sh = np.array([priors.color * np.sqrt(4 * np.pi)] + [priors.view_color * np.sqrt(4 * np.pi / 3)] * 3)
    sigma_sh = np.linalg.inv(blocks[1] + np.diag(std_sh**-2))
    J = jax.tree.map(wide, rays(gaussians, alive, NEW)[1])
    covariance = np.einsum("pcni,nij,pdnj->pcd", J.geometry, sigma, J.geometry)
    covariance += np.einsum("pcnke,nkl,pdnle->pcd", J.sh, sigma_sh, J.sh)
    covariance += priors.background**2 * np.einsum("pce,pde->pcd", J.background, J.background)
    covariance /= NOISE**2
    exact = 0.5 * np.linalg.slogdet(np.eye(3) + covariance)[1]
    np.testing.assert_allclose(got["exact"].reshape(-1), exact, rtol=1e-4, atol=1e-4)
    trace = 0.5 * np.trace(covariance, axis1=-2, axis2=-1)
    np.testing.assert_allclose(got["trace"].reshape(-1), trace, rtol=1e-4, atol=1e-4)


def test_squared_random_probes_average_to_the_diagonal_of_the_precision():
    rng = np.random.default_rng()
    gaussians, alive = scene()
    signs = jnp.asarray(rng.choice([-1.0, 1.0], (400, H, W, 3)), jnp.float32)

    def shown(delta):
        return render(eig.perturb(gaussians, delta), alive, SEEN, SETTINGS, background=background(SEEN)).rgb

    _, pull = jax.vjp(shown, jnp.zeros((N, 10)))
    samples = quick(lambda u: jax.lax.map(lambda u: pull(u)[0] ** 2, u))(signs) / NOISE**2
    precision = observe(eig.init_precision(gaussians), gaussians, alive, SEEN)
    diagonal = jnp.diagonal(unpack(precision.geometry, 10), axis1=-2, axis2=-1)
    error = samples.std(0) / np.sqrt(len(signs))
    z = (samples.mean(0) - diagonal)[:-1] / (error[:-1] + 1e-6 * diagonal[:-1] + 1e-9)
    assert np.mean(np.abs(z) < 3) > 0.9 and np.abs(z).max() < 6


def test_trace_bounds_the_exact_gain_and_a_view_never_raises_it():
    gaussians, alive = scene()
    precision, last = eig.init_precision(gaussians), None
    for view in (None, SEEN, ALSO_SEEN):
        if view is not None:
            precision = observe(precision, gaussians, alive, view)
        posterior = believe(precision, eig.Priors(), gaussians)
        exact, trace = gains(gaussians, alive, posterior, NEW).values()
        assert (exact >= 0).all() and (exact <= trace * (1 + 1e-5) + 1e-6).all()
        assert last is None or (exact <= last + 1e-4).all()
        last = exact


def test_removing_a_view_undoes_adding_it():
    gaussians, alive = scene()
    one = observe(eig.init_precision(gaussians), gaussians, alive, SEEN)
    both = observe(one, gaussians, alive, ALSO_SEEN)
    back = observe(both, gaussians, alive, ALSO_SEEN, sign=-1.0)
    scale = jnp.abs(both.geometry).max(0) + 1e-9
    np.testing.assert_allclose(back.geometry / scale, one.geometry / scale, atol=1e-5)
    unseen = observe(one, gaussians, alive, ALSO_SEEN, weight=jnp.zeros((H, W)))
    np.testing.assert_array_equal(unseen.geometry, one.geometry)


def test_gain_is_zero_where_everything_is_known():
    gaussians, alive = scene()
    known = eig.Priors(*[1e-9] * 7)
    posterior = believe(eig.init_precision(gaussians), known, gaussians)
    np.testing.assert_allclose(gains(gaussians, alive, posterior, SEEN)["exact"], 0.0, atol=1e-9)


def test_the_gain_of_a_node_is_part_of_the_whole():
    """What some Gaussians alone are in doubt about: traces add up, exact gains share what they have in common."""
    gaussians, alive = scene()
    posterior = believe(eig.init_precision(gaussians), eig.Priors(), gaussians)
    rows = jnp.arange(gaussians.capacity) % 2 == 0
    parts = [gains(gaussians, alive, eig.only(posterior, mask), SEEN) for mask in (rows, ~rows)]
    flat = posterior.replace(background=jnp.zeros_like(posterior.background))
    whole = gains(gaussians, alive, flat, SEEN)
    np.testing.assert_allclose(parts[0]["trace"] + parts[1]["trace"], whole["trace"], rtol=1e-4, atol=1e-6)
    for part in parts:
        assert (np.asarray(part["exact"]) <= np.asarray(whole["exact"]) * (1 + 1e-4) + 1e-6).all()
    none = eig.only(posterior, jnp.zeros_like(rows))
    np.testing.assert_array_equal(gains(gaussians, alive, none, SEEN)["exact"], 0)


def test_gain_where_nothing_is_shown_is_that_of_the_background():
    gaussians, alive = scene()
    posterior = believe(eig.init_precision(gaussians), eig.Priors(background=0.2), gaussians)
    got = gains(gaussians, jnp.zeros_like(alive), posterior, SEEN)["exact"]
    np.testing.assert_allclose(got, 1.5 * np.log1p((0.2 / NOISE) ** 2), rtol=1e-5)


def moved(gaussians, pose):
    """The scene after a rigid motion of the world; colours have only their direction-free part."""
    return gaussians.replace(
        means=gaussians.means @ pose.rotation().as_matrix().T + pose.translation(),
        quats=jax.vmap(lambda q: (pose.rotation() @ jaxlie.SO3(q)).wxyz)(gaussians.quats),
    )


def test_map_survives_reordering_a_rigid_motion_and_a_change_of_units():
    rng = np.random.default_rng()
    gaussians, alive = scene()
    gaussians = gaussians.replace(sh=gaussians.sh.at[:, 1:].set(0.0))

    def end_to_end(gaussians, alive, seen, new):
        precision = observe(eig.init_precision(gaussians), gaussians, alive, seen)
        return gains(gaussians, alive, believe(precision, eig.Priors(), gaussians), new)["exact"]

    want = end_to_end(gaussians, alive, SEEN, NEW)
    order = rng.permutation(N)
    reordered = jax.tree.map(lambda x: x[order], gaussians)
    np.testing.assert_allclose(end_to_end(reordered, alive[order], SEEN, NEW), want, rtol=1e-3, atol=1e-4)

    pose = jaxlie.SE3.from_rotation_and_translation(
        jaxlie.SO3.from_rpy_radians(*rng.uniform(-1, 1, 3)), jnp.asarray(rng.normal(size=3), jnp.float32)
    )
    turned = [c.replace(camera_from_world=c.camera_from_world @ pose.inverse().as_matrix()) for c in (SEEN, NEW)]
    got = end_to_end(moved(gaussians, pose), alive, *turned)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-3)

    feet = 3.28
    scaled = gaussians.replace(means=gaussians.means * feet, log_scales=gaussians.log_scales + np.log(feet))
    far = [c.replace(camera_from_world=c.camera_from_world.at[:3, 3].multiply(feet)) for c in (SEEN, NEW)]
    got = end_to_end(scaled, alive, *far)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-3)


def test_noise_ignores_what_the_scene_does_not_explain():
    rng = np.random.default_rng()
    residuals = rng.normal(0, 0.03, (50, 60, 3))
    residuals[:8] += rng.uniform(-1, 1, (8, 60, 3))  # a moving object
    residuals[40:] = np.nan
    sigma = eig.noise_from_residuals(jnp.asarray(residuals, jnp.float32))
    assert 0.028 < sigma < 0.045
    np.testing.assert_allclose(eig.noise_from_residuals(jnp.zeros((4, 4))), 1e-3)


def test_weight_and_mask_grow_with_the_gain():
    nats = jnp.array([0.0, 1e-6, 0.5, 2.0, 50.0])
    weight = eig.eig_weight(nats, 0.5)
    np.testing.assert_allclose(weight, 1 - np.exp(-wide(nats) / 0.5), rtol=1e-5)
    unsure, sure = eig.partition(nats, 0.5)
    np.testing.assert_array_equal(unsure, [False, False, True, True, True])
    np.testing.assert_array_equal(sure, ~unsure)


def test_unknown_structure_is_named():
    gaussians, _ = scene()
    with pytest.raises(ValueError, match="structure='dense'"):
        eig.posterior(eig.init_precision(gaussians), eig.Priors(), gaussians, structure="dense")
