"""uvicorn, bound to one address, with our deadlines, without access log and banners; returns after a clean stop."""

import gc
import logging
import socket
import ssl
from collections.abc import Callable

import uvicorn
import uvloop
from starlette.types import ASGIApp

from gateway.adapters.http.deadline import protocol_with
from gateway.kernel.errors import Busy, Invalid

CONNECTIONS_PER_PEER = 512
SHUTDOWN_TIMEOUT_S = 10
# A request makes hundreds of objects, nearly all of which go when their last reference does: to look for circles among
# them every 700, as Python does by itself, is a twentieth of its cost.
_COLLECT_EVERY = 20_000


def bound(address: str) -> socket.socket:
    """A listening socket on ``HOST:PORT``; port 0 takes a free one.

    Raises:
        Invalid: not HOST:PORT. Busy: the address is taken.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise Invalid("not an address", at="--http", fix="write HOST:PORT")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host.strip("[]"), int(port)))
    except OSError:
        made.close()
        raise Busy("the address cannot be listened on", at="--http", fix="is another process there?") from None
    made.listen(1024)
    made.setblocking(False)
    return made


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        self._announce()


def server_for(
    app: ASGIApp, *, receive_timeout_s: float, announce: Callable[[], None], tls: ssl.SSLContext | None = None
) -> uvicorn.Server:
    """The configured server; the caller gives it sockets. With ``tls`` it speaks TLS only."""
    config = uvicorn.Config(
        app,
        http=protocol_with(receive_timeout_s=receive_timeout_s, connections_per_peer=CONNECTIONS_PER_PEER),
        loop="uvloop",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=True,
        proxy_headers=False,  # the public address is a setting; headers of strangers do not decide
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        h11_max_incomplete_event_size=65_536,
        ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
    )
    return _Server(config, announce)


def run(
    app: ASGIApp,
    address: str,
    *,
    receive_timeout_s: float,
    announce: Callable[[str], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are running are finished first.

    Args:
        announce: called with ``HOST:PORT`` once requests are taken.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    gc.set_threshold(_COLLECT_EVERY, 10, 10)
    listening = bound(address)
    host, port = listening.getsockname()[:2]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server = server_for(app, receive_timeout_s=receive_timeout_s, announce=lambda: announce(where), tls=tls)
    try:
        uvloop.run(server.serve([listening]))
    except KeyboardInterrupt:
        return
    finally:
        listening.close()
