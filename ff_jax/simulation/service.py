"""The calls of the services: messages in, messages out. What touches a scene runs in the render thread."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ff_jax.eig import eig_mask
from ff_jax.simulation.cameras import to_available_camera
from ff_jax.simulation.encoding import encode, encode_eig
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.frames_of_reference import to_pose
from ff_jax.simulation.limits import DEFAULT_LIMITS, Limits
from ff_jax.simulation.messages import TRUST, message
from ff_jax.simulation.requests import ImageRequest, parse_batch, parse_image_request
from ff_jax.simulation.scene import StartedImage, TrustMap
from ff_jax.simulation.scenes import SceneCache

API_VERSION = (0, 54, 0)  # of the contract
ENCODERS = 8  # threads that encode the images of one batch

R = TypeVar("R")
Work = Callable[[Callable[[], R]], R]  # runs a function in the render thread and returns its result


@dataclasses.dataclass(frozen=True)
class Service:
    """All calls of both services; each takes its message and `work`, and returns the answer.

    Attributes:
        scenes: to serve.
        version: of this program.
        revision: of its code.
        limits: bounds of requests.
    """

    scenes: SceneCache
    version: str
    revision: str
    limits: Limits = DEFAULT_LIMITS

    def get_version(self, request: Any, work: Work) -> Any:
        """Return the versions of the program and of the contract."""
        major, minor, patch = API_VERSION
        api = message("VersionId.APIVersion", "common")(major=major, minor=minor, patch=patch)
        return message("VersionId", "common")(version_id=self.version, git_hash=self.revision, grpc_api_version=api)

    def get_available_scenes(self, request: Any, work: Work) -> Any:
        """List the ids of all scenes."""
        return message("AvailableScenesReturn", "common")(scene_ids=self.scenes.scene_ids)

    def get_loaded_scenes(self, request: Any, work: Work) -> Any:
        """List the scenes that are open, and how many may be."""
        counts = {"loaded_instance_count": 1, "reusable_instance_count": 1}
        entries = [message("LoadedSceneEntry")(scene_id=name, **counts) for name in self.scenes.loaded]
        return message("LoadedScenesReturn")(scenes=entries, loaded_instance_capacity=self.scenes.capacity)

    def get_available_cameras(self, request: Any, work: Work) -> Any:
        """List the cameras of a scene; opens it."""
        cameras = work(lambda: self.scenes.get(request.scene_id).cameras)
        return message("AvailableCamerasReturn")(available_cameras=map(to_available_camera, cameras.values()))

    def get_available_trajectories(self, request: Any, work: Work) -> Any:
        """Return the recorded drive of a scene; opens it."""
        poses = work(lambda: self.scenes.get(request.scene_id).trajectory())
        at_time = message("PoseAtTime", "common")
        trajectory = message("Trajectory", "common")(
            poses=[at_time(pose=to_pose(pose), timestamp_us=time) for time, pose in poses]
        )
        entry = message("AvailableTrajectoriesReturn.AvailableTrajectory")(trajectory=trajectory)
        return message("AvailableTrajectoriesReturn")(available_trajectories=[entry])

    def get_available_ego_masks(self, request: Any, work: Work) -> Any:
        """Return the empty list: own parts of the vehicle are masked out of the training, not rendered."""
        return message("AvailableEgoMasksReturn")()

    def render_rgb(self, request: Any, work: Work) -> Any:
        """Render one image."""
        parsed = parse_image_request(request, self.limits)
        started = work(lambda: self.scenes.get(parsed.scene_id).start(parsed))
        return message("RGBRenderReturn")(image_bytes=self._encoded(parsed, started, work))

    def _encoded(self, request: ImageRequest, started: StartedImage, work: Work) -> bytes:
        """Wait for an image outside of the render thread, and encode it; it is rendered again if it did not fit."""
        image = started.finish()
        if image is None:
            image = work(lambda: self.scenes.get(request.scene_id).render(request))
        return encode(image, request.encoding)

    def batch_render_rgb(self, request: Any, work: Work) -> Any:
        """Render one image for every item; an item that fails has a sentence instead."""
        parsed = parse_batch(request, self.limits)
        started = work(lambda: [self._started_or_error(item) for _, item in parsed])

        def item_of(name: str, request: ImageRequest | RequestError, image: StartedImage | RequestError) -> Any:
            item = message("BatchRGBRenderReturnItem")
            try:
                if isinstance(request, RequestError) or isinstance(image, RequestError):
                    return item(camera_name=name, success=False, error_message=str(image))
                result = message("RGBRenderReturn")(image_bytes=self._encoded(request, image, work))
                return item(camera_name=name, success=True, result=result)
            except RequestError as error:  # of an image that is rendered again
                return item(camera_name=name, success=False, error_message=str(error))

        with ThreadPoolExecutor(min(len(parsed), ENCODERS), "encode") as threads:
            items = threads.map(item_of, *zip(*parsed, strict=True), started)
        return message("BatchRGBRenderReturn")(items=items)

    def _started_or_error(self, item: ImageRequest | RequestError) -> StartedImage | RequestError:
        try:
            return item if isinstance(item, RequestError) else self.scenes.get(item.scene_id).start(item)
        except RequestError as error:
            return error

    def render_trust(self, request: Any, work: Work) -> Any:
        """Render the EIG map of an image."""
        parsed = parse_image_request(request, self.limits)

        def trust_and_threshold() -> tuple[TrustMap, float]:
            scene = self.scenes.get(parsed.scene_id)
            return scene.trust(parsed), scene.reader.config.eig.tau

        (eig, is_inside), tau = work(trust_and_threshold)
        png, nats_per_level = encode_eig(eig)
        return message("TrustReturn", TRUST)(
            eig_png=png,
            nats_per_level=nats_per_level,
            threshold_nats=tau,
            unknown_share=float(np.asarray(eig_mask(eig, tau))[is_inside].mean()),
            mean_nats=float(eig[is_inside].mean()),
        )
