"""EIG: the Fisher information of the recorded views, the posterior it gives, and nats per pixel of any other view."""

from ff_jax.eig.information import *  # noqa: F403
