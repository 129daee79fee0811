"""From noise to a clean latent, step by step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from ff_jax.fixers.eigent.noise_schedule import Steps, step, x0_of


def sample(
    denoise: Callable[[Array, Array], Array], key: PRNGKeyArray, noise: Float[Array, "B F h w C"], steps: Steps
) -> Float[Array, "B F h w C"]:
    """Return a clean latent.

    Args:
        denoise: `denoise(x, t) -> v` with x (B, F, h, w, C) and t (B,), int32; conditions are closed over. It is
            traced once.
        key: of the noise that the solver adds.
        noise: standard normal.
        steps: of `schedule.make_steps`.
    """

    def advance(carry, row):
        x, before = carry
        at, key = row
        x0 = x0_of(x, denoise(x, jnp.full(len(x), at.t)).astype(x.dtype), at.levels)
        return (step(x, x0, before, jax.random.normal(key, x.shape, x.dtype), at), x0), None

    keys = jax.random.split(key, len(steps.t))
    (x, _), _ = jax.lax.scan(advance, (noise, jnp.zeros_like(noise)), (steps, keys))
    return x
