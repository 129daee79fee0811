"""The compiled contract is that of the .proto files, and has the published names and numbers."""

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2

from ff_jax.simulation.messages import (
    COMPILED,
    SENSORSIM_SERVICE,
    TRUST_SERVICE,
    compile_command,
    message,
    methods,
    number,
)


def test_the_compiled_descriptors_are_those_of_the_text(tmp_path):
    output = tmp_path / "messages.binpb"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *compile_command(output)], check=True)
    compiled, committed = descriptor_pb2.FileDescriptorSet(), descriptor_pb2.FileDescriptorSet()
    compiled.ParseFromString(output.read_bytes())
    committed.ParseFromString(COMPILED.read_bytes())
    assert compiled == committed


# Facts of the contract (NVlabs/alpasim, sensorsim.proto and common.proto of version 0.54.0).
NUMBERS = {
    "RGBRenderRequest": {
        **{"scene_id": 1, "resolution_h": 2, "resolution_w": 3, "camera_intrinsics": 4, "frame_start_us": 5},
        **{"frame_end_us": 6, "sensor_pose": 7, "dynamic_objects": 8, "image_format": 9, "image_quality": 10},
        **{"insert_ego_mask": 11, "ego_mask_id": 12},
    },
    "CameraSpec": {
        **{"temporary_camera_spec": 1, "ftheta_param": 2, "opencv_pinhole_param": 3, "opencv_fisheye_param": 4},
        **{"logical_id": 5, "resolution_h": 7, "resolution_w": 8, "shutter_type": 9},
        "bivariate_windshield_model_param": 10,
    },
    "PosePair": {"start_pose": 1, "end_pose": 2},
    "DynamicObject": {"track_id": 1, "pose_pair": 2},
    "BatchRGBRenderRequestItem": {"camera_name": 1, "request": 2},
    "BatchRGBRenderReturnItem": {"camera_name": 1, "result": 2, "success": 3, "error_message": 4},
    "AvailableCamerasReturn.AvailableCamera": {"intrinsics": 1, "rig_to_camera": 2, "logical_id": 3},
    "AvailableTrajectoriesReturn.AvailableTrajectory": {"trajectory": 2},
    "LoadedSceneEntry": {"scene_id": 1, "loaded_instance_count": 2, "reusable_instance_count": 3},
}


@pytest.mark.parametrize("name", NUMBERS)
def test_fields_have_the_numbers_of_the_contract(name):
    assert {field.name: field.number for field in message(name).DESCRIPTOR.fields} == NUMBERS[name]


def test_calls_have_the_paths_of_the_contract():
    assert SENSORSIM_SERVICE == "nre.grpc.protos.sensorsim.SensorsimService"
    calls = {
        name: (request.__name__, answer.__name__) for name, (request, answer) in methods(SENSORSIM_SERVICE).items()
    }
    assert calls["batch_render_rgb"] == ("BatchRGBRenderRequest", "BatchRGBRenderReturn")
    assert calls["get_loaded_scenes"] == ("Empty", "LoadedScenesReturn") and len(calls) == 8
    assert list(methods(TRUST_SERVICE)) == ["render_trust"]
    formats = ("UNDEFINED", "PNG", "JPEG", "JPEG2000", "RGB_UINT8_PLANAR", "AVC", "AV1")
    assert [number("ImageFormat", name) for name in formats] == list(range(7))
    shutters = ("TOP_TO_BOTTOM", "LEFT_TO_RIGHT", "BOTTOM_TO_TOP", "RIGHT_TO_LEFT")
    assert [number("ShutterType", f"ROLLING_{name}") for name in shutters] == [1, 2, 3, 4]


def test_bytes_on_the_wire_are_those_of_protobuf():
    """Field 6 as fixed64 (tag 0x31), field 2 as varint (tag 0x10): written down by hand."""
    request = message("RGBRenderRequest")(resolution_h=3, frame_end_us=1)
    assert request.SerializeToString() == bytes([0x10, 3, 0x31, 1, 0, 0, 0, 0, 0, 0, 0])
