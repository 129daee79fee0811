"""EIG: Fisher information of the recorded views, the posterior, and the expected information gain of new views.

precision = init_precision(gaussians)                       # zeros
precision = accumulate(precision, inputs, image, ...)       # for every recorded view
sigma = posterior(precision, Priors(), gaussians)           # covariance factors
nats = eig_map(sigma, inputs, image, alpha, noise=...)      # (H, W), of a view that was not recorded
"""

from ff_jax.eig.config import BENCHMARK_TAU, BLEND_KAPPA, DISTILL_KAPPA, INPUT_KAPPAS, TAU, EigConfig, Priors
from ff_jax.eig.information import GEOMETRY, Precision, accumulate, init_precision, perturb
from ff_jax.eig.maps import Regions, eig_map, eig_mask, eig_weight, split_regions
from ff_jax.eig.posterior import Posterior, posterior, restrict
from ff_jax.eig.residual_noise import noise_from_residuals

__all__ = [
    "BENCHMARK_TAU",
    "BLEND_KAPPA",
    "DISTILL_KAPPA",
    "GEOMETRY",
    "INPUT_KAPPAS",
    "TAU",
    "EigConfig",
    "Posterior",
    "Precision",
    "Priors",
    "Regions",
    "accumulate",
    "eig_map",
    "eig_mask",
    "eig_weight",
    "init_precision",
    "noise_from_residuals",
    "perturb",
    "posterior",
    "restrict",
    "split_regions",
]
