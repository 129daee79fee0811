"""Lens models: where a direction meets the image, and back.

A lens maps a point in the camera frame to the lens plane, whose coordinates are x / z and y / z near the optical axis;
the matrix K of the camera maps the lens plane to pixels. So a change of the image size, or a correction of K, is the
same for every lens, and K has the focal length of the middle of the image.

Every lens has a domain: the directions up to a largest angle from the optical axis. Beyond it the lens continues in
proportion to the angle, so that every direction has a finite image outside of the domain's, and every point of the
lens plane a finite direction; both mappings say what is inside.

    OpenCVLens    OpenCV's distortion of tangents (docs.opencv.org, module calib3d: rational, tangential, thin prism)
    FisheyeLens   OpenCV's fisheye (Kannala and Brandt 2006, doi 10.1109/TPAMI.2006.153): polynomial of the angle
    FThetaLens    any polynomial of the angle, or of the distance in the image, and a linear map
"""

from ff_jax.render.lenses.angular import FisheyeLens, FThetaLens
from ff_jax.render.lenses.build import fisheye_lens, ftheta_lens, opencv_lens
from ff_jax.render.lenses.opencv import OpenCVLens
from ff_jax.render.lenses.polar import LensPoints, LensRays

Lens = OpenCVLens | FisheyeLens | FThetaLens

__all__ = [
    "FThetaLens",
    "FisheyeLens",
    "Lens",
    "LensPoints",
    "LensRays",
    "OpenCVLens",
    "fisheye_lens",
    "ftheta_lens",
    "opencv_lens",
]
