"""Pictures of EIG maps: what the colors say, and that nothing global is touched."""

import sys

import imageio.v3 as iio
import numpy as np
import pytest

from ff_jax.export.colormaps import eig_colormap, eig_figure
from tests.random_inputs import seeded_rng


def test_colors_grow_brighter_up_to_the_given_gain():
    eig = np.linspace(0, 3, 40, dtype=np.float32)[None]
    colors = eig_colormap(eig, 2.0)
    brightness = colors[0] @ [0.3, 0.6, 0.1]
    beyond = eig[0] >= 2
    assert (np.diff(brightness[~beyond]) > 0).all() and brightness[0] < 0.02
    assert (colors[0, beyond] == colors[0, -1]).all() and brightness[-1] > 0.9
    with pytest.raises(ValueError, match="vmax=0"):
        eig_colormap(eig, 0.0)


def test_figure_shows_the_map_and_is_what_was_saved(tmp_path):
    rng = seeded_rng()
    eig = rng.uniform(0, 2, (26, 40)).astype(np.float32)
    picture = eig_figure(eig, tmp_path / "map.png", vmax=2.0, render=rng.random((26, 40, 3)))
    saved = iio.imread(tmp_path / "map.png")[..., :3]
    np.testing.assert_array_equal(picture, saved)
    colors = (eig_colormap(eig, 2.0) * 255).round().astype(np.uint8).reshape(-1, 3)
    seen = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    assert np.mean([tuple(c) in seen for c in colors.tolist()]) > 0.95
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
