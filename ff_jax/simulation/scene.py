"""A trained scene as a simulator sees it: cameras, the recorded drive, and images with actors where it puts them."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, UInt8

from ff_jax.data.scene_data import Frame, Readout, invert_rigid, tracks
from ff_jax.eig.scene_posterior import ScenePosterior, fit_posterior, render_with_eig
from ff_jax.evaluation.shifted_views import exposure_between
from ff_jax.pipeline.any_view import ViewTooLargeError, raise_capacity, render_any, with_settings
from ff_jax.pipeline.run_reader import RunReader
from ff_jax.render.renderer import RenderSettings, lens_mask
from ff_jax.scene import RenderedScene, Scene, SceneModel, View, edit, render_scene
from ff_jax.simulation.cameras import RigCamera, rig_cameras
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.frames_of_reference import to_microseconds, upright
from ff_jax.simulation.intrinsics import Intrinsics
from ff_jax.simulation.limits import DEFAULT_LIMITS, Limits
from ff_jax.simulation.requests import ImageRequest
from ff_jax.train.batches import view_of

STARTED = 3  # images that the device computes or that wait for it: enough to keep it busy, and few that wait in vain


class StartedImage(NamedTuple):
    """An image that the device may still be computing."""

    pixels: UInt8[Array, "H W 3"]
    num_intersections: Int[Array, ""]  # tile intersections
    capacity: int  # those that fit

    def finish(self) -> UInt8[np.ndarray, "H W 3"] | None:
        """Wait for the image, in any thread; None if the capacity did not suffice for it."""
        return np.asarray(self.pixels) if int(self.num_intersections) <= self.capacity else None


class TrustMap(NamedTuple):
    """How much of an image the recording does not determine."""

    eig: Float[np.ndarray, "H W"]  # nats; 0 beyond the lens
    is_inside: Bool[np.ndarray, "H W"]  # whether the lens shows the pixel


class SimulatedScene:
    """The newest scene of a run; use it from one thread.

    Attributes:
        log: its driving log.
        model: the scene as it was trained.
        cameras: those of the log, by name.
        local_from_world: from the world of the log to the frame of the simulator.
    """

    def __init__(
        self,
        reader: RunReader,
        *,
        version: str | None = None,
        any_camera: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ):
        """Load the newest checkpoint of a run.

        Args:
            reader: of the run.
            version: which of its scenes; None takes the last one.
            any_camera: whether a request may name a camera that the log does not have.
            limits: bounds of image sizes and of the renderer's memory.

        Raises:
            ValueError: the run has no such scene yet, or its log has no meters.
        """
        self.reader, self.limits, self.any_camera = reader, limits, any_camera
        self.log = reader.recording.log
        self.cameras = rig_cameras(self.log)
        self.local_from_world = upright(np.asarray(self.log.world_from_ego, np.float64))
        self.model = load_model(reader, version)
        self._posterior: ScenePosterior | None = None
        self._settings: dict[tuple[int, int], RenderSettings] = {}
        self._started: deque[StartedImage] = deque()
        self._tracks = frozenset(tracks(self.log))

    def trajectory(self) -> list[tuple[int, Float[np.ndarray, "4 4"]]]:
        """Return the recorded drive: times (microseconds) and local_from_rig."""
        times, poses = self.log.times, self.local_from_world @ self.log.world_from_ego
        return [(to_microseconds(float(time)), pose) for time, pose in zip(times, poses, strict=True)]

    def render(self, request: ImageRequest) -> UInt8[np.ndarray, "H W 3"]:
        """Render an image.

        Raises:
            RequestError: an object or the camera is unknown, or the image needs too much memory.
        """
        started = self.start(request)
        if (image := started.finish()) is not None:
            return image
        with _too_large_is_an_error():
            count = int(started.num_intersections)
            raise_capacity(self.view(request), self._settings, count, self.limits.intersections)
        return np.asarray(self.start(request).pixels)

    def start(self, request: ImageRequest) -> StartedImage:
        """Let the device render an image without waiting for it, only for the one of `STARTED` images before.

        Raises:
            RequestError: an object or the camera is unknown.
        """
        model = self.model.replace(scene=self.place_actors(request.objects))
        model, view = with_settings(model, self.view(request), self._settings)
        while len(self._started) >= STARTED:
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # it is raised where that image is finished
                jax.block_until_ready(self._started.popleft().pixels)
        pixels, count = _render_bytes(model, view)
        pixels.copy_to_host_async()  # while the device renders the next one
        self._started.append(StartedImage(pixels, count, min(model.settings.capacity, self.limits.intersections)))
        return self._started[-1]

    def trust(self, request: ImageRequest) -> TrustMap:
        """Compute the EIG map of an image; errors as in `render` and `trust_of_view`."""
        model, view, _ = self.render_scene(request)
        return self.trust_of_view(model, view)

    def trust_of_view(self, model: SceneModel, view: View) -> TrustMap:
        """Compute the EIG map of a view; the first call computes the posterior from the recorded views.

        Args:
            model: the scene, from `render_scene`.
            view: from `render_scene`.

        Raises:
            ValueError, OSError: the recorded images cannot be read.
        """
        if self._posterior is None:
            self._posterior = fit_posterior(self.model, self.reader.batches, self.reader.config.eig.priors)
        is_inside = in_lens(view)
        return TrustMap(np.asarray(render_with_eig(model, self._posterior, view).eig) * is_inside, is_inside)

    def render_scene(self, request: ImageRequest) -> tuple[SceneModel, View, RenderedScene]:
        """Render an image; return the scene whose actors are placed and whose capacity suffices, the view, the image.

        Raises:
            RequestError: as in `render`.
        """
        model, view = self.model.replace(scene=self.place_actors(request.objects)), self.view(request)
        with _too_large_is_an_error():
            model, rendered = render_any(model, view, self._settings, max_intersections=self.limits.intersections)
        return model, view, rendered

    def place_actors(self, objects: dict[str, Float[np.ndarray, "4 4"]]) -> Scene:
        """Put the actors that are listed at their poses (local_from_object), and leave out the others.

        Tracks of the log without Gaussians of their own (objects that stand still) belong to the background.

        Raises:
            RequestError: the log has no such track.
        """
        actors = {name: index for index, name in enumerate(self.reader.recording.actors)}
        for name in objects:
            if name not in self._tracks:
                known = ", ".join(sorted(actors)) or "no object"
                raise RequestError(f"unknown track id {name!r}: the scene has {known}.", "NOT_FOUND")
        world_from_local = invert_rigid(self.local_from_world)
        poses = {actors[name]: world_from_local @ pose for name, pose in objects.items() if name in actors}
        return edit.place(self.model.scene, poses)

    def view(self, request: ImageRequest) -> View:
        """Make the view of a request; its exposure is that of the recorded images of the camera around its time.

        Raises:
            RequestError: the camera is unknown, or the image has another size than the many before.
        """
        frame = self._frame(request)
        self._check_size((frame.width, frame.height))
        view = view_of(frame, exposure_between(frame, self.log))
        recorded = recorded_center([f for f in self.log.frames if f.camera == frame.camera], frame.time)
        return view._replace(
            camera=view.camera.replace(lens=self._sensor(request).lens),
            offset=jnp.asarray(frame.world_from_camera[:3, 3] - recorded, jnp.float32),
        )

    def _sensor(self, request: ImageRequest) -> Intrinsics:
        """Return the lens of a request, or else that of its camera."""
        return self.camera(request.camera).intrinsics if request.intrinsics is None else request.intrinsics

    def _frame(self, request: ImageRequest) -> Frame:
        """Make the frame that a request describes: one that was never recorded."""
        camera, sensor = self.camera(request.camera), self._sensor(request)
        K, width, height, _ = sensor.scaled(*(request.size or (sensor.width, sensor.height)))
        pose, motion, columns = request.exposure
        return dataclasses.replace(
            next(frame for frame in self.log.frames if frame.camera == camera.name),
            time=request.time,
            K=K,
            width=width,
            height=height,
            world_from_camera=invert_rigid(self.local_from_world) @ pose,
            readout=None if motion is None else Readout(motion, columns),
        )

    def camera(self, name: str) -> RigCamera:
        """Find a camera by name; one without a name has the lens and the exposure of the first.

        Raises:
            RequestError: the log has no such camera.
        """
        if name in self.cameras:
            return self.cameras[name]
        if name and not self.any_camera:
            raise RequestError(f"unknown camera {name!r}: the scene has {', '.join(self.cameras)}.", "NOT_FOUND")
        return next(iter(self.cameras.values()))

    def _check_size(self, size: tuple[int, int]) -> None:
        if size not in self._settings and len(self._settings) >= self.limits.sizes:
            text = f"images of {size[0]} x {size[1]} would be the {len(self._settings) + 1}th size that is compiled"
            raise RequestError(f"{text}: use one of the sizes of before.", "RESOURCE_EXHAUSTED")


@contextlib.contextmanager
def _too_large_is_an_error() -> Iterator[None]:
    try:
        yield
    except ViewTooLargeError as error:
        raise RequestError(str(error), "RESOURCE_EXHAUSTED") from None


def load_model(reader: RunReader, version: str | None) -> SceneModel:
    """Load the newest scene of a run; arguments and errors as in `SimulatedScene`."""
    if not reader.recording.log.has_meters:
        raise ValueError(f"{reader.workdir}: the log has lengths of unknown unit, but a simulator needs meters.")
    newest = reader.newest_checkpoints()
    name = version or next(reversed(newest), "scene")
    if name not in newest:
        raise ValueError(f"{reader.workdir} has no {name!r} yet; it has {', '.join(newest) or 'no checkpoint'}.")
    return reader.load(newest[name]).model


def recorded_center(frames: Sequence[Frame], time: float) -> Float[np.ndarray, "3"]:
    """Interpolate the position (world, meters) of a camera at `time` from its recorded frames."""
    ordered = sorted(frames, key=lambda frame: frame.time)
    times, centers = [frame.time for frame in ordered], np.stack([frame.world_from_camera[:3, 3] for frame in ordered])
    return np.array([np.interp(time, times, centers[:, axis]) for axis in range(3)])


def in_lens(view: View) -> Bool[np.ndarray, "H W"]:
    """Find the pixels that the lens of a view shows: the others are black, as in a real image."""
    size = view.camera.height, view.camera.width
    return np.ones(size, bool) if view.camera.lens is None else np.asarray(_lens_mask(view.camera))


_lens_mask = jax.jit(lens_mask)


@jax.jit
def _render_bytes(model: SceneModel, view: View) -> tuple[UInt8[Array, "H W 3"], Int[Array, ""]]:
    """Render an image as bytes, black beyond the lens; return it with its number of tile intersections."""
    rendered = render_scene(model, view)
    pixels = to_bytes(rendered.rgb)
    if view.camera.lens is not None:
        pixels = jnp.where(lens_mask(view.camera)[..., None], pixels, jnp.uint8(0))
    return pixels, rendered.num_intersections


@jax.jit
def to_bytes(rgb: Float[Array, "H W 3"]) -> UInt8[Array, "H W 3"]:
    """Convert colors to bytes on the device; NaN is black."""
    return jnp.round(jnp.clip(jnp.nan_to_num(rgb), 0.0, 1.0) * 255).astype(jnp.uint8)
