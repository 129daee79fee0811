"""Every call over the wire, on a tiny run with one actor and two cameras; hostile clients; many clients."""

import contextlib
import dataclasses
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import jax.numpy as jnp
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image

from ff_jax.eig.scene_posterior import render_with_eig
from ff_jax.pipeline.any_view import render_any
from ff_jax.render.camera import make_camera, resize
from ff_jax.render.lenses import fisheye_lens
from ff_jax.scene import View, edit
from ff_jax.simulation import DEFAULT_LIMITS, SceneCache, Service, SimulatedScene
from ff_jax.simulation.client import Client
from ff_jax.simulation.frames_of_reference import to_pose
from ff_jax.simulation.messages import SENSORSIM_SERVICE, message
from ff_jax.simulation.server import Server
from tests.ff_jax.data import tiny
from tests.ff_jax.simulation.tiny_scene import posterior_without_views, tiny_reader
from tests.ff_jax.viewer.tiny_run import difference

LIMITS = dataclasses.replace(DEFAULT_LIMITS, sizes=4, items=4, objects=3, waiting=32)
BOX = tiny.pose(10)  # of the actor at time 0


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return tiny_reader(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def opened():
    return []


@pytest.fixture(scope="module")
def server(reader, opened):
    def opener(name):
        def open_scene():
            opened.append(name)
            return SimulatedScene(reader, limits=LIMITS)

        return open_scene

    scenes = SceneCache({name: opener(name) for name in ("street", "second", "third")}, capacity=2)
    scenes._openers["broken"] = lambda: SimulatedScene(reader, version="Reconstruction only")
    server = Server(Service(scenes, "1.2.3", "abc", LIMITS))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    with Client(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture(scope="module")
def cameras(client):
    return client.call("get_available_cameras", message("AvailableCamerasRequest")(scene_id="street")).available_cameras


@pytest.fixture(scope="module")
def image_request(cameras):
    """Make requests of the first recorded image of a camera, with changes."""

    def make(camera=0, forward=0.0, objects=(("7", BOX),), **changes):
        rig = np.eye(4)
        rig[0, 3] = forward
        local_from_camera = rig @ matrix(cameras[camera].rig_to_camera)
        entries = [message("DynamicObject")(track_id=name, pose_pair=pair(pose)) for name, pose in objects]
        start = {
            **{"scene_id": "street", "camera_intrinsics": cameras[camera].intrinsics, "image_format": 1},
            **{"sensor_pose": pair(local_from_camera), "dynamic_objects": entries},
        }
        return message("RGBRenderRequest")(**(start | changes))

    return make


def matrix(pose):
    """Convert a pose with the axes of a camera on the vehicle, written down by hand: x fwd = z, y left = -x."""
    np.testing.assert_allclose([pose.quat.w, pose.quat.x, pose.quat.y, pose.quat.z], [0.5, -0.5, 0.5, -0.5], atol=1e-6)
    result = np.eye(4)
    result[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    result[:3, 3] = pose.vec.x, pose.vec.y, pose.vec.z
    return result


def pair(start, end=None):
    return message("PosePair")(start_pose=to_pose(start), end_pose=to_pose(start if end is None else end))


def pixels(answer):
    return np.asarray(Image.open(io.BytesIO(answer.image_bytes)))


def expected(reader, camera, objects, width=tiny.WIDTH, height=tiny.HEIGHT):
    """Render with the functions of the library."""
    model = reader.load(reader.newest_checkpoints()["Fused"]).model
    scene = edit.place(model.scene, dict(enumerate(objects)))
    zero, none = jnp.int32(0), jnp.int32(-1)
    view = View(resize(camera, width, height), zero, none, none, jnp.float32(0), zero, jnp.float32(0))
    rgb = render_any(model.replace(scene=scene), view, {})[1].rgb
    return np.round(np.clip(np.asarray(rgb), 0, 1) * 255)


def failure(client, name, request):
    with pytest.raises(grpc.RpcError) as caught:
        client.call(name, request)
    return caught.value.code().name, caught.value.details()


@pytest.mark.slow
def test_versions_scenes_masks_and_health(client):
    version = client.call("get_version")
    assert (version.version_id, version.git_hash) == ("1.2.3", "abc")
    assert (version.grpc_api_version.major, version.grpc_api_version.minor) == (0, 54)
    assert list(client.call("get_available_scenes").scene_ids) == ["street", "second", "third", "broken"]
    assert len(client.call("get_available_ego_masks").ego_mask_metadata) == 0
    health = health_pb2_grpc.HealthStub(client.channel)
    for name in ("", SENSORSIM_SERVICE):
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == 1  # SERVING


def test_cameras_and_trajectory_are_those_of_the_log(client, cameras):
    assert [camera.logical_id for camera in cameras] == ["a", "b"]
    lens = cameras[0].intrinsics.opencv_pinhole_param
    assert (lens.focal_length_x, lens.principal_point_x, lens.principal_point_y) == (20, 12, 8)
    spec = cameras[0].intrinsics
    assert (spec.resolution_w, spec.resolution_h, spec.shutter_type, spec.logical_id) == (24, 16, 5, "a")
    np.testing.assert_allclose(matrix(cameras[1].rig_to_camera)[:3, 3], [0, -0.5, 0], atol=1e-6)
    answer = client.call("get_available_trajectories", message("AvailableTrajectoriesRequest")(scene_id="street"))
    (entry,) = answer.available_trajectories
    assert [pose.timestamp_us for pose in entry.trajectory.poses] == [0, 100_000, 200_000]
    assert [pose.pose.vec.x for pose in entry.trajectory.poses] == [0, 1, 2]


def test_an_image_is_that_of_the_library(client, reader, image_request):
    image = pixels(client.call("render_rgb", image_request()))
    camera = make_camera(tiny.K, matrix_of_optical_axes(), tiny.WIDTH, tiny.HEIGHT)
    np.testing.assert_allclose(image, expected(reader, camera, [BOX]), atol=1)
    assert image.std() > 5


def matrix_of_optical_axes():
    result = np.eye(4)
    result[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    return result


@pytest.mark.slow
def test_another_size_scales_the_intrinsics(client, reader, image_request):
    image = pixels(client.call("render_rgb", image_request(resolution_w=48, resolution_h=16)))
    camera = make_camera(tiny.K, matrix_of_optical_axes(), tiny.WIDTH, tiny.HEIGHT)
    np.testing.assert_allclose(image, expected(reader, camera, [BOX], 48, 16), atol=1)
    native = pixels(client.call("render_rgb", image_request()))
    assert difference(image[:, ::2], native) < difference(image[:, 24:], native)  # the same field of view


@pytest.mark.slow
def test_a_fisheye_is_rendered_and_black_beyond_its_angle(client, reader, image_request):
    request, numbers = image_request(), {"focal_length_x": 20, "focal_length_y": 20, "radial_coeffs": [0.1]}
    fisheye = message("OpenCVFisheyeCameraParam")(principal_point_x=12, principal_point_y=8, max_angle=0.5, **numbers)
    request.camera_intrinsics.opencv_fisheye_param.CopyFrom(fisheye)
    image = pixels(client.call("render_rgb", request))
    lens = fisheye_lens([0.1], 0.5)
    camera = make_camera(tiny.K, matrix_of_optical_axes(), tiny.WIDTH, tiny.HEIGHT).replace(lens=lens)
    rows, columns = np.indices((16, 24)) + 0.5
    radius = np.hypot(columns - 12, rows - 8) / 20
    is_inside = radius < 0.5 * (1 + 0.1 * 0.5**2)
    np.testing.assert_allclose(image, expected(reader, camera, [BOX]) * is_inside[..., None], atol=1)
    assert is_inside.any() and not is_inside.all()


def test_objects_that_are_not_listed_vanish_and_others_are_where_they_are_put(client, image_request):
    shown, gone = (pixels(client.call("render_rgb", image_request(objects=o))) for o in ((("7", BOX),), ()))
    red = (shown[..., 0].astype(int) - shown[..., 1]) > 100  # the actor is red
    assert red.sum() >= 4 and not ((gone[..., 0].astype(int) - gone[..., 1]) > 100).any()
    left = pixels(client.call("render_rgb", image_request(objects=(("7", tiny.pose(10, 2.0)),))))
    moved = (left[..., 0].astype(int) - left[..., 1]) > 100
    # 2 m to the left at a distance of 10 m: 20 px * 2 / 10 = 4 px.
    assert np.nonzero(red)[1].mean() - np.nonzero(moved)[1].mean() == pytest.approx(4, abs=1)


def test_a_meter_forward_in_the_rig_frame_zooms_in(client, image_request):
    def spread(forward):
        image = pixels(client.call("render_rgb", image_request(forward=forward)))
        rows, columns = np.nonzero((image[..., 0].astype(int) - image[..., 1]) > 100)
        return len(rows), columns.mean() - 11.5, rows.mean() - 7.5

    (near, x, y), (far, *_), (back, *_) = spread(5), spread(0), spread(-5)
    assert near > far > back and abs(x) < 2 and abs(y) < 2


def test_a_batch_has_one_image_per_camera(client, image_request):
    item = message("BatchRGBRenderRequestItem")
    requests = [image_request(0), image_request(1), image_request(objects=(("99", BOX),))]
    items = [item(camera_name=name, request=r) for name, r in zip(("left", "right", "wrong"), requests, strict=True)]
    answers = client.call("batch_render_rgb", message("BatchRGBRenderRequest")(items=items)).items
    assert [answer.camera_name for answer in answers] == ["left", "right", "wrong"]
    assert [answer.success for answer in answers] == [True, True, False]
    for answer, request in zip(answers[:2], requests, strict=False):
        np.testing.assert_array_equal(pixels(answer.result), pixels(client.call("render_rgb", request)))
    assert difference(pixels(answers[0].result), pixels(answers[1].result)) > 0.5
    assert answers[2].error_message == "unknown track id '99': the scene has 7." and not answers[2].result.image_bytes


def test_formats(client, image_request):
    png = pixels(client.call("render_rgb", image_request()))
    planar = client.call("render_rgb", image_request(image_format=4)).image_bytes
    np.testing.assert_array_equal(np.frombuffer(planar, np.uint8).reshape(3, 16, 24).transpose(1, 2, 0), png)
    good, bad = (client.call("render_rgb", image_request(image_format=2, image_quality=q)) for q in (95, 5))
    assert good.image_bytes[:2] == b"\xff\xd8" and len(good.image_bytes) > len(bad.image_bytes)
    assert difference(pixels(good), png) < difference(pixels(bad), png) < 60
    assert client.call("render_rgb", image_request(image_format=2)) == good  # the quality of clients by default


@pytest.mark.slow
def test_a_sensor_pose_that_moves_is_a_rolling_shutter(client, image_request, cameras):
    """The camera moves to the right: the last line sees the actor further left than the first."""
    start = matrix(cameras[0].rig_to_camera)
    end = tiny.pose(0, -1.0) @ start
    rolling = image_request().camera_intrinsics
    rolling.shutter_type = 1
    down = pixels(client.call("render_rgb", image_request(sensor_pose=pair(start, end), camera_intrinsics=rolling)))
    rolling.shutter_type = 3
    up = pixels(client.call("render_rgb", image_request(sensor_pose=pair(end, start), camera_intrinsics=rolling)))
    np.testing.assert_array_equal(down, up)  # the lines from bottom to top, with the motion backwards
    rolling.shutter_type = 5
    still = pixels(client.call("render_rgb", image_request(sensor_pose=pair(start, end), camera_intrinsics=rolling)))
    at_end = pixels(client.call("render_rgb", image_request(sensor_pose=pair(end))))
    np.testing.assert_array_equal(still, at_end)  # an image belongs to the time at which the shutter closes
    assert difference(down, still) > 0.5


@pytest.mark.slow
def test_trust_is_the_eig_of_the_library(client, reader, image_request, monkeypatch):
    posterior, maps = posterior_without_views(reader), []

    def keep(*arguments):
        maps.append(render_with_eig(*arguments))
        return maps[-1]

    monkeypatch.setattr("ff_jax.simulation.scene.fit_posterior", lambda *_: posterior)
    monkeypatch.setattr("ff_jax.simulation.scene.render_with_eig", keep)
    answer = client.call("render_trust", image_request())
    nats = np.asarray(maps[0].eig)
    levels = np.asarray(Image.open(io.BytesIO(answer.eig_png)))
    assert levels.dtype == np.uint16 and levels.max() == 65_535 and nats.max() > 0.01
    np.testing.assert_allclose(levels * answer.nats_per_level, nats, atol=answer.nats_per_level)
    assert answer.threshold_nats == reader.config.eig.tau
    assert answer.unknown_share == pytest.approx((nats >= reader.config.eig.tau).mean())
    assert answer.mean_nats == pytest.approx(nats.mean(), rel=1e-5)


def test_the_least_recently_used_scene_makes_room(client, opened):
    def cameras_of(name):
        return client.call("get_available_cameras", message("AvailableCamerasRequest")(scene_id=name))

    cameras_of("street")
    for name in ("second", "street", "third"):
        cameras_of(name)
    loaded = client.call("get_loaded_scenes")
    assert [scene.scene_id for scene in loaded.scenes] == ["street", "third"]
    assert loaded.loaded_instance_capacity == 2 and loaded.scenes[0].loaded_instance_count == 1
    assert opened.count("street") == 1 and opened.count("second") == 1
    code, text = failure(client, "get_available_cameras", message("AvailableCamerasRequest")(scene_id="broken"))
    assert code == "FAILED_PRECONDITION" and "has no 'Reconstruction only' yet" in text


def hostile(image_request):
    """List bad requests, with the status code and words of the sentence that they must get."""
    nan = image_request()
    nan.sensor_pose.end_pose.vec.x = np.nan
    lens = image_request()
    lens.camera_intrinsics.opencv_pinhole_param.focal_length_x = 0
    fisheye = image_request()
    fisheye.camera_intrinsics.opencv_fisheye_param.focal_length_x = 20
    distorted = image_request()
    distorted.camera_intrinsics.opencv_pinhole_param.radial_coeffs.append(np.nan)
    stranger = image_request()
    stranger.camera_intrinsics.logical_id = "roof"
    poseless = image_request()
    poseless.ClearField("sensor_pose")
    many = [(str(i), BOX) for i in range(9)]
    return [
        (nan, "INVALID_ARGUMENT", "invalid sensor_pose.end_pose: position"),
        (poseless, "INVALID_ARGUMENT", "expected start_pose and end_pose"),
        (lens, "INVALID_ARGUMENT", "invalid focal length 0: expected pixels"),
        (fisheye, "INVALID_ARGUMENT", "opencv_fisheye_param: invalid max_angle"),
        (distorted, "INVALID_ARGUMENT", "at most 6 finite numbers"),
        (stranger, "NOT_FOUND", "unknown camera 'roof': the scene has a, b."),
        (image_request(scene_id="x" * 5000), "NOT_FOUND", "unknown scene_id 'xxx"),
        (image_request(objects=(("99", BOX),)), "NOT_FOUND", "unknown track id '99': the scene has 7."),
        (image_request(objects=(("7", BOX), ("7", BOX))), "INVALID_ARGUMENT", "listed twice"),
        (image_request(objects=many), "INVALID_ARGUMENT", "9 dynamic objects in one image: expected at most 3."),
        (image_request(resolution_w=100_000, resolution_h=100_000), "INVALID_ARGUMENT", "10000000000 pixels in one"),
        (image_request(resolution_w=24), "INVALID_ARGUMENT", "invalid resolution 24 x 0"),
        (image_request(image_format=5), "UNIMPLEMENTED", "image_format=5 is not supported"),
        (image_request(image_format=2, image_quality=300), "INVALID_ARGUMENT", "invalid image_quality=300"),
        (image_request(insert_ego_mask=True), "INVALID_ARGUMENT", "insert_ego_mask needs a mask"),
        (image_request(frame_start_us=2, frame_end_us=1), "INVALID_ARGUMENT", "expected start <= end"),
    ]


def test_hostile_requests_end_with_a_sentence_while_a_good_client_keeps_its_images(client, image_request, server):
    good, stop, images = image_request(), threading.Event(), []

    def keep_rendering():
        with Client(f"127.0.0.1:{server.port}") as other:
            while not stop.is_set():
                images.append(other.call("render_rgb", good).image_bytes)

    expected_bytes = client.call("render_rgb", good).image_bytes
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(keep_rendering)
        try:
            for request, code, words in hostile(image_request):
                found = failure(client, "render_rgb", request)
                assert found[0] == code and words in found[1] and len(found[1]) < 1000, found
            check_batches_and_bytes(client, good)
        finally:
            stop.set()
        running.result()
    assert len(images) > 3 and set(images) == {expected_bytes}


def check_batches_and_bytes(client, good):
    item, batch = message("BatchRGBRenderRequestItem"), message("BatchRGBRenderRequest")
    many = batch(items=[item(camera_name=str(i)) for i in range(10_000)])
    assert failure(client, "batch_render_rgb", many) == (
        *("INVALID_ARGUMENT",),
        "10000 items in one batch: expected 1 to 4.",
    )
    twice = batch(items=[item(camera_name="a", request=good)] * 2)
    assert failure(client, "batch_render_rgb", twice)[0] == "INVALID_ARGUMENT"
    for name, data, code, words in (
        (
            "render_rgb",
            b"\xff\xff\xff no",
            "INVALID_ARGUMENT",
            "the bytes are no RGBRenderRequest message.",
        ),
        ("render_lidar", b"", "UNIMPLEMENTED", "render_lidar is not supported"),
        ("render_rgb", bytes(LIMITS.request_bytes + 1), "RESOURCE_EXHAUSTED", "larger than max"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary(f"/{SENSORSIM_SERVICE}/{name}")(data)
        assert caught.value.code().name == code and words in caught.value.details()


def test_only_some_sizes_are_compiled(client, image_request, server):
    scene = server_scene(server)
    before = dict(scene._settings)
    scene._settings.update({(i, 1): None for i in range(LIMITS.sizes)})
    try:
        code, text = failure(client, "render_rgb", image_request(resolution_w=25, resolution_h=16))
        assert code == "RESOURCE_EXHAUSTED" and "use one of the sizes of before" in text
        assert client.call("render_rgb", image_request()).image_bytes
    finally:
        scene._settings = before


def test_an_image_that_does_not_fit_is_rendered_again(client, image_request, server):
    scene, request = server_scene(server), image_request()
    good, size = client.call("render_rgb", request).image_bytes, (tiny.WIDTH, tiny.HEIGHT)
    suffices, limits = scene._settings[size], scene.limits
    scene._settings[size] = dataclasses.replace(suffices, capacity=1)
    try:
        assert client.call("render_rgb", request).image_bytes == good
        assert scene._settings[size].capacity > 1
        scene.limits = dataclasses.replace(LIMITS, intersections=1)
        code, text = failure(client, "render_rgb", request)
        assert code == "RESOURCE_EXHAUSTED" and "tile intersections, more than 1: render a smaller image" in text
        item = message("BatchRGBRenderRequestItem")(camera_name="a", request=request)
        (answer,) = client.call("batch_render_rgb", message("BatchRGBRenderRequest")(items=[item])).items
        assert not answer.success and answer.error_message == text
    finally:
        scene._settings[size], scene.limits = suffices, limits
    assert client.call("render_rgb", request).image_bytes == good


def server_scene(server):
    return server.service.scenes._scenes["street"]


@pytest.mark.slow
def test_sixteen_clients_at_once(client, image_request, server):
    request = image_request()
    expected_bytes = client.call("render_rgb", request).image_bytes

    def use(_):
        with Client(f"127.0.0.1:{server.port}") as other:
            return [other.call("render_rgb", request).image_bytes for _ in range(3)]

    with ThreadPoolExecutor(16) as threads:
        answers = [data for part in threads.map(use, range(16)) for data in part]
    assert len(answers) == 48 and set(answers) == {expected_bytes}


def test_clients_that_leave_cost_nothing(client, image_request, server):
    """While the render thread is busy, a client cancels, another one dies, and one's time is up: none is rendered."""
    scene, rendered = server_scene(server), []
    entered, release = threading.Event(), threading.Event()

    def wait():
        entered.set()
        release.wait(30)

    busy = server.renders.submit(wait)
    assert entered.wait(30)
    original = scene.start
    scene.start = lambda request: rendered.append(request) or original(request)
    try:
        path, data = f"/{SENSORSIM_SERVICE}/render_rgb", image_request().SerializeToString()
        cancelled = client.channel.unary_unary(path).future(data)
        late = client.channel.unary_unary(path).future(data, timeout=0.2)
        with contextlib.closing(grpc.insecure_channel(f"127.0.0.1:{server.port}")) as channel:
            dead = channel.unary_unary(path).future(data)
            assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
            cancelled.cancel()
        assert dead.cancelled() or dead.exception() is not None
        deadline = time.time() + 30
        while server.renders._places._value < LIMITS.waiting - 1 and time.time() < deadline:
            time.sleep(0.01)  # until the server knows that they have gone
    finally:
        release.set()
    busy.result()
    assert client.call("render_rgb", image_request()).image_bytes and len(rendered) == 1
    del scene.start


def test_too_many_waiting_calls_are_refused(client, image_request, server):
    release = threading.Event()
    jobs = [server.renders.submit(lambda: release.wait(30)) for _ in range(LIMITS.waiting)]
    try:
        assert failure(client, "render_rgb", image_request()) == (
            *("RESOURCE_EXHAUSTED",),
            "too many images wait to be rendered: try again later.",
        )
        assert client.call("get_version").version_id  # calls that render nothing are answered
    finally:
        release.set()
    [job.result() for job in jobs]
    assert client.call("render_rgb", image_request()).image_bytes


def test_addresses_of_other_machines_need_permission(server):
    for host in ("0.0.0.0", "::", "example.org"):
        with pytest.raises(ValueError, match=f"invalid --host={host}: .*--allow_remote"):
            Server(server.service, host)
    with pytest.raises(ValueError, match="cannot listen on"):
        Server(server.service, port=server.port)
