"""The messages and services of the renderer, built at run time from compiled descriptors.

`proto/*.proto` is the contract; `proto/messages.binpb` is what protoc makes of it (`compile_command`), and a test
compiles it again. The classes are made from these descriptors and not from generated Python code: generated code of
protobuf runs only with the protobuf version that it was made for or a newer one, and a simulator in the same
environment brings its own. The classes live in a pool of their own, so that a program may load AlpaSim's classes of
the same names beside them.
"""

from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "proto"
COMPILED = FOLDER / "messages.binpb"
SENSORSIM, TRUST = "nre.grpc.protos.sensorsim", "faithfusion"  # packages
SENSORSIM_SERVICE, TRUST_SERVICE = f"{SENSORSIM}.SensorsimService", f"{TRUST}.TrustService"


def compile_command(output: str | Path) -> list[str]:
    """Return the arguments of `python -m grpc_tools.protoc` that compile the contract into the file `output`."""
    names = ("common.proto", "sensorsim.proto", "faithfusion.proto")
    return [f"-I{FOLDER}", f"--descriptor_set_out={output}", *(str(FOLDER / name) for name in names)]


@cache
def pool() -> Any:
    """Load the descriptors of all messages and services (cached)."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    loaded, files = descriptor_pool.DescriptorPool(), descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(COMPILED.read_bytes())
    for file in files.file:
        loaded.AddSerializedFile(file.SerializeToString())
    return loaded


@cache
def message(name: str, package: str = SENSORSIM) -> Any:
    """Return the class of a message.

    Args:
        name: of the message, such as "RGBRenderRequest" or "VersionId.APIVersion".
        package: "common", SENSORSIM or TRUST.
    """
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"{package}.{name}"))


@cache
def number(enum: str, name: str) -> int:
    """Return the number of a value of an enum of the contract, such as ("ImageFormat", "PNG")."""
    return pool().FindEnumTypeByName(f"{SENSORSIM}.{enum}").values_by_name[name].number


@cache
def methods(service: str) -> dict[str, tuple[Any, Any]]:
    """Return the classes of request and answer of every call of a service."""
    from google.protobuf import message_factory

    found = pool().FindServiceByName(service).methods
    classes = message_factory.GetMessageClass
    return {method.name: (classes(method.input_type), classes(method.output_type)) for method in found}
