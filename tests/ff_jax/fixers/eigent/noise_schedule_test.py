"""Noise levels and steps against diffusers' schedulers and against the formulas."""

import numpy as np
import pytest

from ff_jax.fixers.eigent import noise_schedule
from ff_jax.fixers.eigent.noise_schedule import NoiseLevels, ScheduleConfig, make_solver_steps
from tests.ff_jax.fixers.eigent import originals
from tests.random_inputs import seeded_rng

torch = originals.torch
SHIFTS = (1.0, 3.0)
NAMES = {"ddim": "CogVideoXDDIMScheduler", "dpm": "CogVideoXDPMScheduler"}


def original(solver, shift, count):
    scheduler = getattr(originals.diffusers, NAMES[solver])(
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        snr_shift_scale=shift,
        clip_sample=False,
    )
    scheduler.set_timesteps(count)
    return scheduler


def walk_original(scheduler, x, predictions, noises, monkeypatch):
    """Yield x after each step, with the noise given instead of drawn."""
    module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
    times, before, x = scheduler.timesteps, None, torch.tensor(x)
    for i, (t, v, noise) in enumerate(zip(times, predictions, noises, strict=True)):
        if hasattr(module, "randn_tensor"):
            monkeypatch.setattr(module, "randn_tensor", lambda *_, noise=noise, **__: torch.tensor(noise))
        if "DPM" in type(scheduler).__name__:
            x, before = scheduler.step(torch.tensor(v), before, t, times[i - 1] if i else None, x)
        else:
            x = scheduler.step(torch.tensor(v), t, x, return_dict=False)[0]
        yield x.numpy()


@pytest.mark.parametrize("shift", SHIFTS)
def test_levels_equal_the_original(shift):
    config = ScheduleConfig(snr_shift=shift)
    np.testing.assert_allclose(
        noise_schedule.alphas(config), original("ddim", shift, 10).alphas_cumprod.numpy(), atol=1e-12
    )
    levels = noise_schedule.noise_levels(config)
    np.testing.assert_allclose(levels.signal**2 + levels.noise**2, 1, atol=1e-6)
    assert levels.signal[-1] == 0


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("solver", NAMES)
@pytest.mark.parametrize("count", [50, 4, 2, 1])
def test_every_step_equals_the_original(solver, shift, count, monkeypatch):
    rng, steps = seeded_rng(), make_solver_steps(ScheduleConfig(snr_shift=shift), count, solver)
    x, predictions, noises = rng.normal(size=(5, 4)), rng.normal(size=(count, 5, 4)), rng.normal(size=(count, 5, 4))
    x, predictions, noises = (part.astype(np.float32) for part in (x, predictions, noises))
    scheduler = original(solver, shift, count)
    np.testing.assert_array_equal(steps.t, scheduler.timesteps.numpy())
    before = np.zeros_like(x)
    walk = walk_original(scheduler, x, predictions, noises, monkeypatch)
    for i, expected in enumerate(walk):
        at = type(steps)(
            *(NoiseLevels(*(row[i] for row in part)) if isinstance(part, NoiseLevels) else part[i] for part in steps)
        )
        x0 = np.asarray(noise_schedule.x0_from_v(x, predictions[i], at.levels))
        x = np.asarray(noise_schedule.step(x, x0, before, noises[i], at))
        before = x0
        assert originals.relative(x, expected) < 1e-4


def test_any_number_of_steps_ends_without_noise():
    for solver in NAMES:
        for count in (1, 2, 3, 7, 30, 1000):
            steps = make_solver_steps(ScheduleConfig(), count, solver)
            assert steps.t[0] == 999
            assert (np.diff(steps.t) < 0).all()
            assert all(np.isfinite(part).all() for part in (steps.a, steps.b, steps.c, steps.d))
            # The first step forgets pure noise's x only if there is no other; the last one returns x0.
            np.testing.assert_allclose([steps.a[-1], steps.b[-1], steps.c[-1], steps.d[-1]], [0, 1, 0, 0], atol=1e-7)


@pytest.mark.parametrize("solver", NAMES)
def test_a_part_of_the_levels_starts_from_a_noisy_latent_and_finds_the_clean_one(solver):
    steps, rng = make_solver_steps(ScheduleConfig(), 4, solver, strength=0.6), seeded_rng()
    np.testing.assert_array_equal(steps.t, [599, 449, 299, 149])
    x0, eps = rng.normal(size=(2, 3, 4)).astype(np.float32)
    x = noise_schedule.add_noise(x0, eps, NoiseLevels(steps.levels.signal[0], steps.levels.noise[0]))
    assert 0.05 < float(steps.levels.signal[0]) < 0.95
    for i in range(4):  # a network that predicts the true latent
        at = type(steps)(
            *(NoiseLevels(*(row[i] for row in part)) if isinstance(part, NoiseLevels) else part[i] for part in steps)
        )
        x = noise_schedule.step(x, x0, x0, rng.normal(size=x0.shape).astype(np.float32), at)
    np.testing.assert_allclose(x, x0, atol=1e-5)
    with pytest.raises(ValueError, match=r"count=700 steps .* at most the 600 levels of strength=0\.6"):
        make_solver_steps(ScheduleConfig(), 700, solver, strength=0.6)


def test_dpm_step_is_the_formula():
    steps, abar = make_solver_steps(ScheduleConfig(), 20), None
    abar = noise_schedule.alphas(ScheduleConfig())[np.asarray(steps.t)]
    lam = lambda a: np.log(np.sqrt(a / (1 - a)))
    for i in range(2, 19):
        h, last = lam(abar[i + 1]) - lam(abar[i]), lam(abar[i]) - lam(abar[i - 1])
        gain = (1 - np.exp(-2 * h)) * np.sqrt(abar[i + 1])
        np.testing.assert_allclose(steps.a[i], np.sqrt((1 - abar[i + 1]) / (1 - abar[i])) * np.exp(-h), rtol=1e-5)
        np.testing.assert_allclose(steps.b[i], gain * (1 + h / last / 2), rtol=1e-5)
        np.testing.assert_allclose(steps.c[i], -gain * h / last / 2, rtol=1e-5)
        np.testing.assert_allclose(steps.d[i] ** 2, (1 - abar[i + 1]) * (1 - np.exp(-2 * h)), rtol=1e-5)


def test_v_and_x0_are_inverse():
    rng, levels = seeded_rng(), noise_schedule.noise_levels(ScheduleConfig())
    x0, eps = rng.normal(size=(2, 3, 4)).astype(np.float32)
    for t in (0, 500, 999):
        at = NoiseLevels(levels.signal[t], levels.noise[t])
        x, v = noise_schedule.add_noise(x0, eps, at), noise_schedule.v_target(x0, eps, at)
        np.testing.assert_allclose(noise_schedule.x0_from_v(x, v, at), x0, atol=1e-5)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="invalid solver='euler': expected one of ddim, dpm"):
        make_solver_steps(ScheduleConfig(), 5, "euler")
    with pytest.raises(ValueError, match="count=0 steps must be at least 1 and at most the 1000 levels"):
        make_solver_steps(ScheduleConfig(), 0)
