"""Lenses of messages against formulas written down by hand, and numbers that are refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from ff_jax.render.camera import make_camera, project_points
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.intrinsics import MAX_DEGREE, intrinsics_of
from ff_jax.simulation.messages import message

POINT = np.array([0.4, -0.3, 1.0], np.float32)  # meters: tangents of 0.4 and -0.3
CENTER = {"principal_point_x": 100.0, "principal_point_y": 50.0}
FOCAL = {"focal_length_x": 80.0, "focal_length_y": 90.0}
# Distance = 80 (angle + 0.1 angle^3), and the series of its inverse.
TO_PIXELS, TO_ANGLE = [0, 80, 0, 8], [0, 1 / 80, 0, -0.1 / 80**3, 0, 0.03 / 80**5]


def spec(kind, **changes):
    params = {
        "opencv_pinhole_param": FOCAL | CENTER,
        "opencv_fisheye_param": FOCAL | CENTER | {"radial_coeffs": [0.1, 0.02], "max_angle": 1.2},
        "ftheta_param": {
            **CENTER,
            **{"angle_to_pixeldist_poly": TO_PIXELS, "pixeldist_to_angle_poly": TO_ANGLE},
            **{"max_angle": 0.7, "reference_poly": 2},
        },
    }
    return message("CameraSpec")(resolution_w=200, resolution_h=100, **{kind: params[kind] | changes})


def pixel(found, point=POINT):
    camera = make_camera(found.K, np.eye(4), found.width, found.height)
    xy, is_visible = project_points(camera.replace(lens=found.lens), jnp.asarray(point))
    assert bool(is_visible)
    return np.asarray(xy)


def test_a_pinhole_divides_by_z_and_scales_with_the_image():
    found = intrinsics_of(spec("opencv_pinhole_param"))
    assert found.lens is None
    np.testing.assert_allclose(pixel(found), [100 + 80 * 0.4, 50 - 90 * 0.3], rtol=1e-6)
    np.testing.assert_allclose(pixel(found.scaled(100, 200)), [0.5 * 132, 2 * 23], rtol=1e-6)


def test_distortion_is_that_of_opencv():
    """Radial k1, k2, tangential p1, p2, thin prism s1 (docs.opencv.org, calib3d)."""
    k, p, s1 = (0.1, -0.05), (0.01, 0.02), 0.03
    found = intrinsics_of(spec("opencv_pinhole_param", radial_coeffs=k, tangential_coeffs=p, thin_prism_coeffs=[s1]))
    x, y = 0.4, -0.3
    r2 = x * x + y * y
    radial = 1 + k[0] * r2 + k[1] * r2**2
    expected = [
        100 + 80 * (x * radial + 2 * p[0] * x * y + p[1] * (r2 + 2 * x * x) + s1 * r2),
        50 + 90 * (y * radial + p[0] * (r2 + 2 * y * y) + 2 * p[1] * x * y),
    ]
    np.testing.assert_allclose(pixel(found), expected, rtol=1e-5)


@pytest.mark.parametrize("size", [(200, 100), (100, 50)])
def test_a_fisheye_maps_the_angle(size):
    found = intrinsics_of(spec("opencv_fisheye_param")).scaled(*size)
    angle = np.arctan(0.5)
    radius = angle * (1 + 0.1 * angle**2 + 0.02 * angle**4)
    expected = np.array([100 + 80 * radius * 0.8, 50 - 90 * radius * 0.6]) * size[0] / 200
    np.testing.assert_allclose(pixel(found), expected, rtol=1e-5)


def test_ftheta_maps_the_angle_to_pixels():
    angle = np.arctan(0.5)
    distance = 80 * (angle + 0.1 * angle**3)
    found = intrinsics_of(spec("ftheta_param"))
    np.testing.assert_allclose(pixel(found), [100 + 0.8 * distance, 50 - 0.6 * distance], rtol=1e-5)
    linear = intrinsics_of(spec("ftheta_param", linear_cde={"linear_c": 1.1, "linear_d": 0.2, "linear_e": 0.1}))
    x, y = 0.8 * distance, -0.6 * distance
    np.testing.assert_allclose(pixel(linear), [100 + 1.1 * x + 0.2 * y, 50 + 0.1 * x + y], rtol=1e-5)
    assert len(found.lens.to_angle) == len(found.lens.to_radius) == MAX_DEGREE + 1


def test_a_camera_without_a_lens_has_none():
    assert intrinsics_of(message("CameraSpec")(logical_id="front")) is None


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("opencv_pinhole_param", {"focal_length_x": np.nan}, "invalid focal length nan"),
        ("opencv_pinhole_param", {"principal_point_y": np.inf}, "invalid principal point inf"),
        ("opencv_pinhole_param", {"radial_coeffs": [1.0] * 7}, "opencv_pinhole_param: invalid radial"),
        ("opencv_pinhole_param", {"radial_coeffs": [np.nan]}, "at most 6 finite numbers"),
        ("opencv_fisheye_param", {"max_angle": 0}, "opencv_fisheye_param: invalid max_angle"),
        ("ftheta_param", {"angle_to_pixeldist_poly": [0]}, "angle_to_pixeldist_poly has 1 coefficients"),
        ("ftheta_param", {"pixeldist_to_angle_poly": [0.0] * 90}, "has 90 coefficients: expected 2 to 9"),
        ("ftheta_param", {"angle_to_pixeldist_poly": [0, 80, 1e300, 1e308]}, "expected increasing inverses"),
        ("ftheta_param", {"angle_to_pixeldist_poly": [np.nan] * 3}, "ftheta_param: invalid"),
    ],
)
def test_bad_lenses_are_refused_in_one_sentence(kind, changes, words):
    with pytest.raises(RequestError, match=words):
        intrinsics_of(spec(kind, **changes))


def test_windshields_are_not_supported():
    with pytest.raises(RequestError, match="windshield distortion is not supported") as caught:
        intrinsics_of(message("CameraSpec")(bivariate_windshield_model_param={}))
    assert caught.value.code == "UNIMPLEMENTED"
