"""Write a scene as one HTML file that shows it in a browser, in its colors and colored by EIG.

The page holds the viewer (`viewer/gsplat.min.js`) and the Gaussians as a `.splat` file, so it opens without a server.
"""

import base64
import dataclasses
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation
from scipy.special import expit

from ff_jax.export.figures import eig_scale
from ff_jax.export.formats import splat
from ff_jax.export.formats.splats import to_bytes
from ff_jax.render.gaussians import GaussianArrays
from ff_jax.runtime.atomic_files import atomic_write

LIMIT = 300_000  # Gaussians on a page: 13 MB
TEMPLATE = Path(__file__).with_name("scene.html.j2")
VIEWER = Path(__file__).with_name("viewer")

_MAX_STD = 100.0  # meters: the viewer keeps 4 times the variance in half precision, which ends at 65504
_UNSEEN = (110, 116, 128)
_STOPS = 8  # of the gradient of the color bar

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class FirstView:
    """The pinhole camera with which a page opens.

    Attributes:
        camera: its name.
        time: of the scene, seconds.
        K: intrinsics, pixels.
        world_from_camera: x right, y down, z forward; meters, z of the world is up.
        width: of the image, pixels.
        height: of the image, pixels.
    """

    camera: str
    time: float
    K: Float[Array, "3 3"]
    world_from_camera: Float[Array, "4 4"]
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class ScenePage:
    """Content of a page.

    Attributes:
        title: name of the log.
        version: name of the scene.
        gaussians: in the world, each with one color; at most `LIMIT` (`largest`).
        eig: about each of them, nats; 0 if no view shows it.
        count: number of Gaussians of the whole scene.
        eig_meaning: the sentence that says what the values are.
        view: the first view.
        sky: panorama of the background, colors in [0, 1]: rows from straight up to straight down (z of the world),
            columns by the angle from -x over -y, x and y.
        has_actors: whether the scene has actors.
    """

    title: str
    version: str
    gaussians: GaussianArrays
    eig: Float[Array, "N"]
    count: int
    eig_meaning: str
    view: FirstView
    sky: Float[Array, "h w 3"]
    has_actors: bool = False


def largest(gaussians: GaussianArrays, limit: int = LIMIT) -> Int[Array, "n"]:
    """Select at most `limit` Gaussians by opacity times area, in their order; the area is that of the two long axes."""
    if gaussians.count <= limit:
        return np.arange(gaussians.count)
    area = np.exp(np.sort(gaussians.log_scales, axis=1)[:, 1:].sum(1))
    weight = expit(gaussians.logit_opacities) * area
    return np.sort(np.argpartition(-weight, limit)[:limit])


def eig_levels(eig: Float[Array, "N"], maximum: float) -> UInt8[Array, "N"]:
    """Convert nats to rows of `color_table`: 0 for exactly 0, 1 to 255 for values up to `maximum` and more."""
    levels = 1 + np.rint(254 * np.clip(np.nan_to_num(eig) / maximum, 0, 1))
    return np.where(eig == 0, 0, levels).astype(np.uint8)


def color_table() -> UInt8[Array, "256 3"]:
    """Make the colors of EIG: row 0 for what no view shows, then those of the EIG maps of the results page."""
    colors = matplotlib.colormaps["inferno"](np.linspace(0, 1, 255), bytes=True)[:, :3]
    return np.concatenate([np.array([_UNSEEN], np.uint8), colors])


def write_scene_page(path: str | Path, page: ScenePage) -> None:
    """Write a page as one HTML file without external resources.

    Raises:
        ValueError: there is no Gaussian.
        DiskFullError: the disk is full.
    """
    if not page.gaussians.count:
        raise ValueError("the scene has no Gaussians: expected at least one to show.")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    maximum, table = eig_scale([page.eig]), color_table()
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        page=page,
        maximum=f"{maximum:.2g}",
        gradient=", ".join(f"rgb({r}, {g}, {b})" for r, g, b in table[1 :: 254 // _STOPS]),
        unseen="rgb({}, {}, {})".format(*_UNSEEN),
        has_unseen=bool((page.eig == 0).any()),
        settings=_settings(page),
        viewer=(VIEWER / "gsplat.min.js").read_text(encoding="utf-8"),
        license=(VIEWER / "LICENSE").read_text(encoding="utf-8"),
        splats=_base64(splat.encode(_within_half_precision(page.gaussians))),
        levels=_base64(eig_levels(page.eig, maximum).tobytes()),
        table=_base64(table.tobytes()),
        sky=_base64(to_bytes(255 * page.sky).tobytes()),
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _within_half_precision(gaussians: GaussianArrays) -> GaussianArrays:
    return gaussians._replace(log_scales=np.minimum(gaussians.log_scales, np.log(_MAX_STD)))


def _settings(page: ScenePage) -> dict[str, Any]:
    """Collect what the script of the page reads: the camera as position and quaternion (xyzw), and sizes.

    The viewer has its principal point in the middle of the image, so its camera looks along the ray of the middle: for
    a small angle, the image moves by the distance of the two points.
    """
    view = page.view
    pose = np.asarray(view.world_from_camera, np.float64)
    right, down = (np.array([view.width, view.height]) / 2 - view.K[:2, 2]) / np.diag(view.K)[:2]
    to_middle = Rotation.from_rotvec([-np.arctan(down), np.arctan(right), 0.0])
    return {
        "position": pose[:3, 3].tolist(),
        "rotation": (Rotation.from_matrix(pose[:3, :3]) * to_middle).as_quat().tolist(),
        "focal": [float(view.K[0, 0]), float(view.K[1, 1])],
        "size": [view.width, view.height],
        "sky": [page.sky.shape[1], page.sky.shape[0]],
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
