"""Odd logs are read right, or refused in one sentence."""

import re

import numpy as np
import pytest

from ff_jax.data.formats.registry import open_source
from ff_jax.data.loader import load_image
from ff_jax.data.validate import check
from tests.ff_jax.data.formats.odd_logs import CASES, COUNT, FOCAL, HEIGHT, LEVEL, STEP, WIDTH


@pytest.mark.parametrize("name", CASES)
def test_an_odd_log(name, tmp_path, caplog):
    write, frames, factor, error, warning = CASES[name]
    source = str(write(tmp_path / "log"))
    if error:
        with pytest.raises(ValueError, match=error) as caught:
            check(open_source(source), source)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
        return
    scene = check(open_source(source), source)
    assert len(scene.frames) == len(frames)
    for frame, number in zip(scene.frames, frames, strict=True):
        image = load_image(frame)
        assert image.shape == (round(HEIGHT * factor), round(WIDTH * factor), 3) == (frame.height, frame.width, 3)
        assert np.abs(image * 255 - (LEVEL * number + 20)).max() < 3  # the image of its own pose
        np.testing.assert_allclose(frame.world_from_camera[:3, 3], [STEP * (number - frames[0]), 0, 0], atol=1e-6)
        expected = np.array([[FOCAL * factor, 0, frame.width / 2], [0, FOCAL * factor, frame.height / 2], [0, 0, 1]])
        np.testing.assert_allclose(frame.K, expected, rtol=1e-6)
    assert re.search(warning, caplog.text) if warning else not caplog.text
    assert len(scene.frames) <= COUNT
