"""Runs the application on a port."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ringrift_cli.errors import UsageError
from ringrift_cli.web.app import Site, build

MAX_CONNECTIONS = 512
REQUEST_S = 10.0  # for the head of a request to arrive
KEEP_ALIVE_S = 15
BACKLOG = 128


class _Connection(H11Protocol):
    """Closes connections whose request does not arrive in time, and those above the limit."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._deadline = self.loop.call_later(REQUEST_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        unfinished = bool(self.conn.trailing_data[0]) or self.cycle is None
        if self._deadline is not None and not unfinished:
            self._deadline.cancel()
            self._deadline = None
        elif self._deadline is None and unfinished:
            self._deadline = self.loop.call_later(REQUEST_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `UsageError` if the address cannot be used."""
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=BACKLOG,
        )
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {host}, port {port}: {error.strerror}.", hint="--port 0"
        ) from error


class _Server(uvicorn.Server):
    """Ends streams before it waits for connections to close."""

    def __init__(self, config: uvicorn.Config, site: Site) -> None:
        super().__init__(config)
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._site.end()
        await super().shutdown(sockets)


def server_of(site: Site) -> uvicorn.Server:
    """A server that `serve` runs, until its `should_exit` is set."""
    config = uvicorn.Config(
        build(site),
        http=_Connection,
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=16 << 10,
    )
    return _Server(config, site)


def serve(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serves until SIGINT or SIGTERM."""
    asyncio.run(server.serve(sockets=[listening]))
