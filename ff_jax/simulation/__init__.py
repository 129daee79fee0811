"""Serve trained scenes to a simulator of driving: AlpaSim's renderer contract over gRPC, and EIG maps beside it.

service = Service(SceneCache({"street": lambda: SimulatedScene(reader)}, capacity=1), version="0.1.0", revision="")
server = Server(service)                                    # of `ff_jax.simulation.server`, which needs gRPC
Client(f"127.0.0.1:{server.port}").call("get_available_scenes")
"""

from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.limits import DEFAULT_LIMITS, Limits
from ff_jax.simulation.scene import SimulatedScene
from ff_jax.simulation.scenes import SceneCache
from ff_jax.simulation.service import Service

__all__ = ["DEFAULT_LIMITS", "Limits", "RequestError", "SceneCache", "Service", "SimulatedScene"]
