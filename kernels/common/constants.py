"""Thresholds of alpha blending that all ops share."""

ALPHA_MIN = 1 / 255  # smaller contributions cannot change an 8-bit image (Kerbl et al. 2023)
ALPHA_MAX = 0.999  # keeps 1 / (1 - alpha) finite
T_STOP = 1e-4  # blending may stop below this transmittance
