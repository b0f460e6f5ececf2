"""Files for hosts to offer, and hosts that answer what they are told to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.errors import RecordError
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.destination import Destination
from ringrift_cli.fleet.wire import Wire, WireError
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import MANIFEST, ShardEntry

ENDINGS = (".shard", ".rrg")
TIME = "2026-01-31T12:00:00Z"
Message = dict[str, Any]
Answer = Callable[[Message, Wire], None]


def contents(count: int, size: int = 1000, seed: int = 0) -> list[bytes]:
    """Different bytes, so many times."""
    rng = np.random.default_rng(seed)
    return [rng.bytes(size) for _ in range(count)]


def entry_of(data: bytes, ending: str = ".shard", **more: Any) -> dict[str, Any]:
    """The manifest entry of a file."""
    name = sha256(data)
    entry: dict[str, Any] = {
        "sha256": name,
        "file": f"{name[:16]}{ending}",
        "rules": "r",
        "codec": "c",
    }
    entry |= {"board": "hex8", "players": 2, "pie_rule": False, "made": {}}
    return {**entry, "games": 5, "decisions": 9, "host": "far", "time": TIME, **more}


def offer(folder: Path, files: Iterable[bytes], **more: Any) -> list[dict[str, Any]]:
    """Puts files into a folder with their manifest, as self-play does; their entries."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [entry_of(data, **more) for data in files]
    for entry, data in zip(entries, files, strict=True):
        (folder / entry["file"]).write_bytes(data)
    with (folder / MANIFEST).open("a") as manifest:
        manifest.write("".join(json.dumps(entry) + "\n" for entry in entries))
    return entries


def destination(
    runs: Path, refuse: Callable[[Path], str | None] = lambda path: None
) -> Destination:
    """Folders by the entry's pool; `refuse` says what is wrong with a file."""

    def place(entry: ShardEntry) -> Path:
        if entry.board != "hex8":
            raise RecordError(f"there is no board {entry.board!r}")
        return runs / "hex8-2p" / "selfplay"

    def check(path: Path, entry: ShardEntry, folder: Path) -> None:
        assert sha256(path.read_bytes()) == entry.sha256
        assert path.name == entry.file
        why = refuse(path)
        if why is not None:
            raise RecordError(why)

    def folders() -> list[Path]:
        return [path.parent for path in runs.glob(f"*/*/{MANIFEST}")]

    return Destination(folders, place, check, ENDINGS)


class SocketTransport:
    """A `client.Transport` over a socket."""

    def __init__(self, one: socket.socket) -> None:
        self.socket = one

    def read(self, most: int, within: float) -> bytes:
        """As `client.Transport`."""
        self.socket.settimeout(within)
        return self.socket.recv(most)

    def write(self, data: bytes | bytearray | memoryview, within: float) -> None:
        """As `client.Transport`."""
        self.socket.settimeout(within)
        self.socket.sendall(data)

    def exit_status(self) -> str | None:
        """As `client.Transport`."""
        return None

    def run(self, command: str, stdin: bytes, within: float) -> tuple[int, bytes, bytes]:
        """As `client.Transport`."""
        raise AssertionError(f"no test runs {command!r} beside this agent")

    def close(self) -> None:
        """As `client.Transport`."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Liar:
    """A host that answers each operation as it is told, and with an empty end otherwise."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[Message] = []

    def link(self, name: str = "liar") -> Client:
        """A link to it."""
        near, far = socket.socketpair()
        threading.Thread(target=self._serve, args=(far,), daemon=True).start()
        return Client(SocketTransport(near), host=name)

    def _serve(self, far: socket.socket) -> None:
        wire = Wire(far.recv, far.sendall)
        with contextlib.suppress(OSError, WireError), far:
            while (message := wire.receive()) is not None:
                asked = json.loads(bytes(message))
                self.asked.append(asked)
                self.answers.get(asked["op"], end)(asked, wire)


def end(_message: Message, wire: Wire) -> None:
    """Nothing, in order."""
    wire.send({"end": "ok"})


def ends(**fields: Any) -> Answer:
    """A reply of one frame."""

    def answer(_message: Message, wire: Wire) -> None:
        wire.send({"end": "ok", **fields})

    return answer


def says(*frames: Message) -> Answer:
    """These frames, and the end."""

    def answer(_message: Message, wire: Wire) -> None:
        for frame in frames:
            wire.send(frame)
        if not any("end" in frame for frame in frames):
            wire.send({"end": "ok"})

    return answer


def sends(data: bytes, size: int | None = None) -> Answer:
    """A file, said to be of `size` bytes."""

    def answer(message: Message, wire: Wire) -> None:
        wire.send({"size": len(data) if size is None else size})
        rest = data[message["offset"] :]
        for first in range(0, len(rest), 1 << 20):
            wire.send_bytes(rest[first : first + (1 << 20)])
        wire.send({"end": "ok", "sent": len(rest)})

    return answer


def lists(*entries: Mapping[str, Any], size: int = 1000, folder: str = "runs/x") -> Answer:
    """Shards of one folder."""
    rows = [[entry["file"], size, entry["sha256"]] for entry in entries]
    return says({"folder": folder, "shards": rows})
