"""Serve scenes of runs to a simulator of driving: cameras over gRPC, as AlpaSim's runtime asks for them, and EIG maps.

python -m experiments.serve --run=runs/demo                                      # scene_id "demo" on 127.0.0.1:50051
python -m experiments.serve --run=street=runs/demo --run=runs/kitti --max_scenes=1
"""

import functools
import importlib.metadata
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from experiments.cli.served_runs import runs_by_id
from ff_jax.runtime.run_facts import code_revision
from ff_jax.simulation import SceneCache, Service, SimulatedScene

_RUN = flags.DEFINE_multi_string(
    "run",
    None,
    "Folder of a run; its name is the scene_id, or the ID of ID=FOLDER. Once for each scene.",
    required=True,
)
_VERSION = flags.DEFINE_enum(
    "version", None, ["Fused", "Reconstruction only"], "Which scene of the runs; default: last."
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to serve on; others than this machine's need --allow_remote.")
_ALLOW_REMOTE = flags.DEFINE_bool(
    "allow_remote", False, "Serve other machines: there is no password and no encryption, so all must be trusted."
)
_PORT = flags.DEFINE_integer("port", 50051, "Port to serve on; 0: a free one.", lower_bound=0, upper_bound=65_535)
_MAX_SCENES = flags.DEFINE_integer(
    "max_scenes",
    2,
    "Scenes that stay open; the least recently used one makes room.",
    lower_bound=1,
    upper_bound=1000,
)
_ANY_CAMERA = flags.DEFINE_bool(
    "any_camera", False, "Also render cameras with a name that the log lacks, with the exposure of its first camera."
)


def open_scene(folder: Path) -> SimulatedScene:
    """Open the scene of a run."""
    return SimulatedScene(command_line.open_run(folder), version=_VERSION.value, any_camera=_ANY_CAMERA.value)


def program_version() -> str:
    """Return the version of the installed program; "checkout" if it runs without being installed."""
    try:
        return importlib.metadata.version("faithfusion-jax")
    except importlib.metadata.PackageNotFoundError:
        return "checkout"


def main(_: list[str]) -> None:
    """Serve until interrupted."""
    try:
        import simplejpeg  # noqa: F401  # of the encoder; all of these are optional dependencies

        from ff_jax.simulation.server import Server
    except ImportError as error:
        packages = "grpcio grpcio-health-checking protobuf simplejpeg"
        raise ValueError(f"the server needs pip install {packages} ({error}).") from None
    runs = runs_by_id(_RUN.value)
    scenes = SceneCache(
        {name: functools.partial(open_scene, folder) for name, folder in runs.items()}, _MAX_SCENES.value
    )
    service = Service(scenes, program_version(), code_revision())
    server = Server(service, _HOST.value, _PORT.value, allow_remote=_ALLOW_REMOTE.value)
    print(f"serving {', '.join(runs)} on {_HOST.value}:{server.port}", flush=True)
    try:
        server.wait()
    finally:
        server.stop()


if __name__ == "__main__":
    command_line.run(main)
