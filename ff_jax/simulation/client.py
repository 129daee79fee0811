"""A client of the services, for tests and measurements: one method call per gRPC call, messages in and out."""

from types import TracebackType
from typing import Any

import grpc

from ff_jax.simulation.messages import SENSORSIM_SERVICE, TRUST_SERVICE, methods

MAX_MESSAGE = 64 << 20  # bytes, as AlpaSim's client
TIMEOUT = 300.0  # seconds, as AlpaSim's client


class Client:
    """A connection to a server of scenes; close it, or use it in a `with` block."""

    def __init__(self, address: str):
        """Connect to HOST:PORT when the first call is made."""
        sizes = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
        self.channel = grpc.insecure_channel(address, options=sizes)
        self._calls = {
            name: (service, *pair)
            for service in (SENSORSIM_SERVICE, TRUST_SERVICE)
            for name, pair in methods(service).items()
        }

    def call(self, name: str, request: Any = None, timeout: float = TIMEOUT) -> Any:
        """Make a call and return its answer; without a request, with an empty one.

        Raises:
            grpc.RpcError: the call ended with a status code.
        """
        service, request_class, answer_class = self._calls[name]
        function = self.channel.unary_unary(
            f"/{service}/{name}", request_class.SerializeToString, answer_class.FromString
        )
        return function(request_class() if request is None else request, timeout=timeout, wait_for_ready=True)

    def __enter__(self) -> "Client":
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.channel.close()
