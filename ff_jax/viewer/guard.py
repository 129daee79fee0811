"""Guard of a viser server: who may connect, and which messages of clients reach the page.

viser accepts connections from every web page that the user visits, hands on messages with any value, and starts a
public tunnel when a client asks for one. All clients share the controls and the thread that renders, so one bad value
would stop all of them. Only cameras and values of controls pass here, and only in their ranges.
"""

import math
import socket
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

MAX_CLIENTS = 16  # every client costs the time of its images
MAX_RATE = 200  # messages of a client per second; dragging a control sends at most 60
FLOOD = 20 * MAX_RATE  # messages per second that close the connection
MAX_ASPECT = 4.0  # of a window, and its inverse: every other size of images is compiled
MAX_SIDE = 16384  # of a window, pixels
MAX_DISTANCE = 1e6  # meters
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ROUNDING = 1e-6  # of the numbers of a browser
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013  # codes of RFC 6455 for closed connections


class Guard:
    """The guard of one server; it lives as long as the server."""

    def __init__(self, server: Any, origins: Collection[str] = ()):
        """Install the guard on a viser server.

        Args:
            server: a `viser.ViserServer` without clients.
            origins: names of hosts whose pages may connect, besides this machine.
        """
        self._sockets, self._controls = server._websock_server, server.gui._gui_input_handle_from_uuid
        self._origins = LOOPBACK | {socket.gethostname().lower()} | {name.lower() for name in origins}
        self._counts: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))  # by client: second, messages in it
        self._protect(self._sockets)
        self._sockets.on_client_connect(self._admit)
        self._sockets.on_client_disconnect(lambda connection: self._counts.pop(connection.client_id, None))

    async def _admit(self, connection: Any) -> None:
        """Close a new connection that comes from a foreign page, or that is one too many."""
        self._protect(connection)
        live = self._sockets._live_connections
        own = live[connection.client_id]
        address = str(own.local_address[0]) if own.local_address else ""
        if not is_known_origin(own.request.headers.get("Origin"), self._origins | {address}):
            await own.close(_POLICY_VIOLATION, "this page may not use the viewer")
        elif len(live) > MAX_CLIENTS:
            await own.close(_TRY_AGAIN_LATER, f"{MAX_CLIENTS} clients are connected")

    def _protect(self, target: Any) -> None:
        """Let only valid messages reach the handlers of a server or a connection."""
        handle = target._handle_incoming_message

        async def handle_if_valid(client: int, message: Any) -> None:
            # Server and connection get each message; it counts once.
            count = self._count(client, target is self._sockets)
            if count <= MAX_RATE and is_valid(message, self._controls):
                await handle(client, message)
            elif count > FLOOD and client in self._sockets._live_connections:
                await self._sockets._live_connections[client].close(_POLICY_VIOLATION, "too many messages")

        target._handle_incoming_message = handle_if_valid

    def _count(self, client: int, is_new: bool) -> int:
        """Count the messages of a client in this second."""
        now, (second, count) = int(time.monotonic()), self._counts[client]
        self._counts[client] = now, (count if second == now else 0) + is_new
        return self._counts[client][1]


def is_known_origin(origin: str | None, names: Collection[str]) -> bool:
    """Test whether a connection comes from a page of one of the hosts; programs other than browsers send no origin."""
    if origin is None:
        return True
    try:
        return (urlsplit(origin).hostname or "") in names
    except ValueError:
        return False


def is_valid(message: Any, controls: Mapping[str, Any]) -> bool:
    """Test whether a message of a client may reach the page.

    Args:
        message: of viser.
        controls: handles of the page's controls by their identifiers.
    """
    try:
        kind = type(message).__name__
        if kind == "ViewerCameraMessage":
            return _is_camera(message)
        return kind == "GuiUpdateMessage" and _is_update(message, controls)
    except (AttributeError, ArithmeticError, TypeError, ValueError):
        return False  # of another type than viser declares: it does not check


def _is_camera(message: Any) -> bool:
    width, height = message.image_width, message.image_height
    sides = all(type(side) is int and 0 < side <= MAX_SIDE for side in (width, height))
    return (
        sides
        and 1 / MAX_ASPECT <= width / height <= MAX_ASPECT
        and _are_numbers(message.wxyz, 4, 2.0)
        and math.hypot(*message.wxyz) > 0.5
        and all(_are_numbers(v, 3, MAX_DISTANCE) for v in (message.position, message.look_at, message.up_direction))
        and _are_numbers((message.fov,), 1, 3.0)
        and message.fov > 0.01
        and _are_numbers((message.near, message.far), 2, math.inf)
    )


def _is_update(message: Any, controls: Mapping[str, Any]) -> bool:
    """Test an update of a control: its value alone, and in the range of the control."""
    control = controls.get(message.uuid)
    if control is None or list(message.updates) != ["value"]:
        return False
    value, kind = message.updates["value"], type(control).__name__
    if kind in ("GuiCheckboxHandle", "GuiButtonHandle"):
        return isinstance(value, bool)
    if kind == "GuiDropdownHandle":
        return isinstance(value, str) and value in control.options
    if kind == "GuiSliderHandle":
        return _are_numbers((value,), 1, math.inf) and control.min - _ROUNDING <= value <= control.max + _ROUNDING
    return kind == "GuiVector3Handle" and _are_numbers(value, 3, MAX_DISTANCE)


def _are_numbers(values: Any, count: int, largest: float) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == count
        and all(type(value) in (int, float) and math.isfinite(value) and abs(value) <= largest for value in values)
    )
