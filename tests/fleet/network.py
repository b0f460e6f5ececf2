"""What can go wrong between a client and an SSH server, on loopback ports."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

LOOPBACK = "127.0.0.1"
PATIENCE = 20.0  # s for something to start or end


class Listener:
    """A port on which something else than a server answers; `serve` is run for each connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def serve(self, one: socket.socket) -> None:
        """What becomes of a connection: nothing at all, until it is closed."""

    def cut(self) -> int:
        """Cuts all connections; how many there were."""
        with self._lock:
            ended, self._open = self._open, set()
        for one in ended:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        return len(ended)

    def keep(self, one: socket.socket) -> None:
        """Has it closed by `cut`."""
        with self._lock:
            self._open.add(one)

    def close(self) -> None:
        """Ends it with all its connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._socket.accept()
                self.keep(one)
                self.serve(one)


class Babbler(Listener):
    """Says the same to everybody."""

    def __init__(self, junk: bytes) -> None:
        self.junk = junk
        super().__init__()

    def serve(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.sendall(self.junk)


class Proxy(Listener):
    """Stands between a client and a server, and does harm when it is told to.

    What it is told holds from then on for the bytes to come, until it is told otherwise. Offsets
    are counted from the beginning of each connection, for each direction.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0  # before anything is passed on
        self.silent = False  # nothing is passed on, and nobody is told
        self.refusing = False  # new connections are closed at once
        self.truncate_down: int | None = None  # bytes from the server after which it is cut
        self.truncate_up: int | None = None  # the same of those to the server
        self.stall_down: int | None = None  # bytes from the server after which it falls silent
        self.flip_down: int | None = None  # offset of a byte from the server that is changed
        self.flip_up: int | None = None
        self.accepted = 0  # connections
        self.passed_down = 0  # bytes of all connections
        self.passed_up = 0
        self.flipped = 0  # bytes
        self._closing = False
        super().__init__()

    def close(self) -> None:
        self._closing = True
        super().close()

    def serve(self, one: socket.socket) -> None:
        self.accepted += 1
        if self.refusing:
            self._end(one)
            return
        try:
            there = socket.create_connection((LOOPBACK, self.target), PATIENCE)
        except OSError:
            self._end(one)
            return
        there.settimeout(None)
        self.keep(there)
        for source, sink, down in ((one, there, False), (there, one, True)):
            threading.Thread(target=self._pump, args=(source, sink, down), daemon=True).start()

    def _end(self, *ended: socket.socket) -> None:
        with self._lock:
            self._open -= {*ended}
        for one in ended:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        offset = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.delay_s:
                    time.sleep(self.delay_s)
                while self.silent and not self._closing:
                    time.sleep(0.02)
                most = self.truncate_down if down else self.truncate_up
                flip = self.flip_down if down else self.flip_up
                if flip is not None and offset <= flip < offset + len(data):
                    changed = bytearray(data)
                    changed[flip - offset] ^= 1
                    data = bytes(changed)
                    self.flipped += 1
                cut = most is not None and offset + len(data) > most
                if most is not None and cut:
                    data = data[: max(most - offset, 0)]
                stall = self.stall_down if down else None
                if stall is not None and offset + len(data) > stall:
                    sink.sendall(data[: max(stall - offset, 0)])
                    while not self._closing and source.recv(1 << 16):
                        pass
                    break
                sink.sendall(data)
                offset += len(data)
                if down:
                    self.passed_down += len(data)
                else:
                    self.passed_up += len(data)
                if cut:
                    break
        self._end(source, sink)
