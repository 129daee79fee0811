"""The gRPC server: calls of the services behind checks, status codes with one sentence, and a health check.

The channel is not encrypted and clients are not authenticated, as the contract has it: serve on the loopback device,
or in a network whose members are trusted.
"""

import ipaddress
import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ff_jax.runtime.out_of_memory import is_out_of_memory
from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.messages import SENSORSIM_SERVICE, TRUST_SERVICE, methods
from ff_jax.simulation.render_thread import RenderThread
from ff_jax.simulation.service import Service

NOT_SUPPORTED = ("render_lidar", "render_aggregated")  # calls of the contract
MAX_ANSWER = 64 << 20  # bytes; clients of the contract accept as many
_SPARE_THREADS = 8  # for calls that do not render, while all others wait for images

R = TypeVar("R")


class Server:
    """A running gRPC server of scenes.

    Attributes:
        service: the calls.
        renders: the thread that renders.
        port: that it listens on.
    """

    def __init__(self, service: Service, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False):
        """Listen and serve.

        Args:
            service: the calls.
            host: address to listen on.
            port: 0 takes a free one.
            allow_remote: whether `host` may be reached from other machines.

        Raises:
            ValueError: the address can be reached from other machines, or cannot be listened on.
        """
        check_host(host, allow_remote)
        self.service, limits = service, service.limits
        self.renders = RenderThread(limits.waiting)
        threads = limits.waiting + _SPARE_THREADS
        options = [
            ("grpc.max_receive_message_length", limits.request_bytes),
            ("grpc.max_send_message_length", MAX_ANSWER),
            ("grpc.so_reuseport", 0),  # a second server on the port is an error, and does not take half of the calls
        ]
        self._server = grpc.server(ThreadPoolExecutor(threads), options=options, maximum_concurrent_rpcs=threads)
        self._add_services(service)
        self.port = self._listen(host, port)
        self._server.start()

    def _add_services(self, service: Service) -> None:
        checks = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        for name in ("", SENSORSIM_SERVICE, TRUST_SERVICE):
            checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        for name in (SENSORSIM_SERVICE, TRUST_SERVICE):
            calls = {
                call: partial(answer, getattr(service, call), request_class, self.renders)
                for call, (request_class, _) in methods(name).items()
            }
            if name == SENSORSIM_SERVICE:
                calls |= {call: partial(refuse, call) for call in NOT_SUPPORTED}
            handlers = {call: grpc.unary_unary_rpc_method_handler(function) for call, function in calls.items()}
            self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])

    def _listen(self, host: str, port: int) -> int:
        try:
            return self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except RuntimeError:
            self.stop()
            raise ValueError(f"cannot listen on {host}:{port}: use another address or --port.") from None

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        self._server.wait_for_termination()

    def stop(self) -> None:
        """End all calls and the threads."""
        self._server.stop(grace=None).wait()
        self.renders.stop()


def check_host(host: str, allow_remote: bool) -> None:
    """Check that an address is that of this machine alone.

    Raises:
        ValueError: it is not, and that is not allowed.
    """
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local and not allow_remote:
        raise ValueError(
            f"invalid --host={host}: other machines could render and fill the memory, without a password; "
            "add --allow_remote if all of them are trusted."
        )


def answer(
    call: Callable[[Any, Any], Any],
    request_class: Any,
    renders: RenderThread,
    data: bytes,
    context: grpc.ServicerContext,
) -> bytes:
    """Answer one call: read its message, run it, and write the answer; a failure ends it with a status code."""

    def work(job: Callable[[], R]) -> R:
        future: Future[R] = renders.submit(job)

        def cancel() -> None:
            future.cancel()

        if not context.add_callback(cancel):  # the client has gone: nothing is rendered for it
            cancel()
        return future.result()

    try:
        return call(request_class.FromString(data), work).SerializeToString()
    except (Exception, CancelledError) as error:
        code, sentence = status_of(error, request_class.__name__)
        context.abort(getattr(grpc.StatusCode, code), sentence)
    raise AssertionError("abort raises")


def status_of(error: BaseException, request: str) -> tuple[str, str]:
    """Return the status code of a failed call, and its sentence.

    Args:
        error: why it failed.
        request: name of its message.
    """
    if isinstance(error, RequestError):
        return error.code, str(error)
    if isinstance(error, DecodeError):
        return "INVALID_ARGUMENT", f"the bytes are no {request} message."
    if isinstance(error, CancelledError):
        return "CANCELLED", "the call was cancelled before its turn."
    if isinstance(error, Exception) and is_out_of_memory(error):
        return "RESOURCE_EXHAUSTED", "the device has not enough memory for this image: render a smaller one."
    if isinstance(error, ValueError | OSError):  # of a run that cannot be read
        return "FAILED_PRECONDITION", f"the scene cannot be opened: {error}"
    logging.getLogger(__name__).error("a call with %s failed", request, exc_info=error)
    return "INTERNAL", f"the server has a bug ({type(error).__name__}); its log has the details."


def refuse(call: str, data: bytes, context: grpc.ServicerContext) -> bytes:
    """End a call that is not supported."""
    context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{call} is not supported: this server renders cameras.")
    raise AssertionError("abort raises")
