"""Folders made the same at both ends, with hosts that are honest, cut off, or lie."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import BadOutput, HostUnreachable, OutputError, RemoteError
from ringrift_cli.fleet import mirror, pull, transfer
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import Exchange
from ringrift_cli.fleet.mirror import HELD, fetch_folder, send_folder
from ringrift_cli.fleet.transfer import TransferMeter, TransferStopped
from ringrift_cli.fleet.wire import Wire
from ringrift_cli.store.hashes import sha256, sha256_of_file
from tests.fleet.goods import Liar, Message, ends, says, sends
from tests.fleet.network import LOOPBACK
from tests.fleet.opening import opened
from tests.fleet.servers import Farm, local_link

THERE = "runs/hex8-2p/train-0/cycle-00001"
LAST = "state.json"
FILES = {
    LAST: b'{"tensors": "state-1.safetensors"}',
    "state-1.safetensors": b"weights" * 5000,
    "models/0123456789abcdef.json": b"{}",
    "models/0123456789abcdef.safetensors": b"weights" * 5000,  # the same content
    "log.csv": b"step,loss\n1,2\n",
}


def exchange(**options: Any) -> Exchange:
    """What a transfer with an open client needs."""
    return Exchange("host", lambda: pytest.fail("it is open"), Path("none"), **options)


def fill(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def held_by(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with local_link(tmp_path / "work") as found:
        yield found


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "work" / THERE


def test_there_and_back(client: Client, tmp_path: Path, there: Path) -> None:
    source = fill(tmp_path / "source")
    (source / ".lock").write_bytes(b"")
    assert send_folder(client, exchange(), source, THERE, LAST) == len(FILES)
    assert held_by(there) == FILES
    assert send_folder(client, exchange(), source, THERE, LAST) == 0
    here = tmp_path / "here"
    assert fetch_folder(client, exchange(), THERE, here, LAST) == len(FILES)
    assert held_by(here) == FILES
    assert fetch_folder(client, exchange(), THERE, here, LAST) == 0
    (there / LAST).write_bytes(b"newer")
    (there / ".lock").write_bytes(b"theirs")
    assert fetch_folder(client, exchange(), THERE, here, LAST) == 1
    assert held_by(here) == {**FILES, LAST: b"newer"}


def test_a_folder_that_is_not_there(client: Client, tmp_path: Path) -> None:
    assert fetch_folder(client, exchange(), THERE, tmp_path / "here", LAST) == 0
    assert held_by(tmp_path / "here") == {}


def test_the_file_that_tells_goes_last(
    client: Client, tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways, and nothing refers to what has not come when that breaks."""
    put, moved = transfer.put, transfer.move_in
    order: list[str] = []

    def sent(client: Client, source: Path, path: str, *rest: object, **more: object) -> int:
        order.append(path.removeprefix(f"{THERE}/"))
        return put(client, source, path, *rest, **more)  # type: ignore[arg-type]

    def came(part: Path, target: Path) -> None:
        order.append(target.name)
        moved(part, target)

    monkeypatch.setattr(mirror, "put", sent)
    monkeypatch.setattr(mirror, "move_in", came)
    send_folder(client, exchange(), fill(tmp_path / "source"), THERE, LAST)
    assert order[-1] == LAST
    assert sorted(order) == sorted(FILES)
    order.clear()

    def breaks(part: Path, target: Path) -> None:
        if len(order) == 2:
            raise OutputError("The disk is full.")
        came(part, target)

    here = fill(tmp_path / "here", {LAST: b"older", "state-0.safetensors": b"older"})
    monkeypatch.setattr(mirror, "move_in", breaks)
    with pytest.raises(OutputError):
        fetch_folder(client, exchange(), THERE, here, LAST)
    assert (here / LAST).read_bytes() == b"older"
    assert (here / "state-0.safetensors").exists()
    monkeypatch.setattr(mirror, "move_in", came)
    fetch_folder(client, exchange(), THERE, here, LAST)
    assert order[-1] == LAST
    assert held_by(here) == {**FILES, "state-0.safetensors": b"older"}


def test_asked_to_stop(client: Client, tmp_path: Path, there: Path) -> None:
    fill(there)
    with pytest.raises(TransferStopped):
        fetch_folder(client, exchange(should_stop=lambda: True), THERE, tmp_path / "here", LAST)
    assert not (tmp_path / "here" / LAST).exists()
    with pytest.raises(TransferStopped):
        send_folder(client, exchange(should_stop=lambda: True), there, "runs/other", LAST)
    assert not (tmp_path / "work" / "runs" / "other").exists()


def test_no_room_here(
    client: Client, tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(there)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
    with pytest.raises(OutputError, match=r"0\.05 GB are free") as caught:
        fetch_folder(client, exchange(), THERE, tmp_path / "here", LAST)
    assert caught.value.hint is not None


def test_a_transfer_that_is_cut_goes_on(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = farm.server()
    big = b"".join(bytes([n]) * 400_000 for n in range(20))
    fill(server.work / THERE, {**FILES, "models/big.safetensors": big})
    proxy = farm.proxy(server)
    host = farm.host(server, addresses=[f"{LOOPBACK}:{proxy.port}"])
    here, tries, came = tmp_path / "here", 0, 0
    proxy.truncate_down = 3_000_000
    while True:
        tries += 1
        meter = TransferMeter()
        try:
            with opened(host) as client:
                fetch_folder(client, exchange(meter=meter), THERE, here, LAST)
            break
        except HostUnreachable:
            came += meter.done
            assert not (here / LAST).exists()
            assert tries < 10
    assert tries > 2
    assert came + meter.done == len(big) + sum(map(len, FILES.values())) - 35_000  # one of a pair
    assert held_by(here) == {**FILES, "models/big.safetensors": big}
    assert not (here / HELD).exists()


# ---- hosts that lie ------------------------------------------------------------------------------


def from_liar(liar: Liar, here: Path) -> int:
    with liar.link() as client:
        return fetch_folder(client, exchange(), THERE, here, LAST)


def row(path: str, data: bytes = b"x") -> list[object]:
    return [path, len(data), sha256(data)]


@pytest.mark.parametrize(
    "name", [".lock", ".incoming/x.part", "models/.hidden", ".ssh/authorized_keys"]
)
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    liar = Liar(files=says({"files": [row(f"{THERE}/{name}")]}), send=sends(b"x"))
    with pytest.raises(BadOutput, match="which cannot be"):
        from_liar(liar, tmp_path / "here")
    assert held_by(tmp_path) == {}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        f"{THERE}/../../../../../../escaped",
        f"{THERE}/models/../../escaped",
        f"{THERE}//escaped",
        f"{THERE}-other/escaped",
        "runs/hex8-2p/escaped",
        f"{THERE}/esc\x1b[2Japed",
        f"{THERE}/{'long' * 500}",
    ],
)
def test_paths_that_lead_elsewhere(tmp_path: Path, path: str) -> None:
    liar = Liar(files=says({"files": [row(path)]}), send=sends(b"x"))
    assert from_liar(liar, tmp_path / "here") == 0
    assert held_by(tmp_path) == {}
    assert [asked["op"] for asked in liar.asked] == ["files"]


def test_a_file_that_is_a_folder_too(tmp_path: Path) -> None:
    rows = [row(f"{THERE}/a"), row(f"{THERE}/a/b")]
    liar = Liar(files=says({"files": rows}), send=sends(b"x"))
    with pytest.raises(OutputError, match="Cannot write"):
        from_liar(liar, tmp_path / "here")


def test_a_file_that_changes_on_the_way_comes_again(tmp_path: Path) -> None:
    data, sent = b"y" * 1000, [b"z" * 1000, b"y" * 1000]

    def send(message: Message, wire: Wire) -> None:
        sends(sent.pop(0))(message, wire)

    theirs = {"sha256": {f"{THERE}/{LAST}": sha256(data)}}
    liar = Liar(
        files=says({"files": [row(f"{THERE}/{LAST}", data)]}), send=send, hash=ends(**theirs)
    )
    assert from_liar(liar, tmp_path / "here") == 1
    assert held_by(tmp_path / "here") == {LAST: data}


def test_a_file_that_is_never_what_it_is_said_to_be(tmp_path: Path) -> None:
    theirs = {"sha256": {f"{THERE}/{LAST}": sha256(b"y" * 1000)}}
    liar = Liar(
        files=says({"files": [row(f"{THERE}/{LAST}", b"y" * 1000)]}),
        send=sends(b"z" * 1000),
        hash=ends(**theirs),
    )
    here = fill(tmp_path / "here", {LAST: b"older"})
    with pytest.raises(BadOutput, match="did not come whole: it hashes to "):
        from_liar(liar, here)
    assert [asked["op"] for asked in liar.asked].count("send") == pull.TRIES
    assert (here / LAST).read_bytes() == b"older"


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    """It goes on behind what came, and a host that sends nothing more is found out."""
    data = b"y" * 1000

    def send(message: Message, wire: Wire) -> None:
        wire.send({"size": len(data)})
        part = data[message["offset"] :][:400]
        wire.send_bytes(part)
        wire.send({"end": "ok", "sent": len(part)})

    liar = Liar(files=says({"files": [row(f"{THERE}/{LAST}", data)]}), send=send)
    assert from_liar(liar, tmp_path / "here") == 1
    assert held_by(tmp_path / "here") == {LAST: data}
    assert [asked.get("offset") for asked in liar.asked] == [None, 0, 400, 800]

    def nothing(_message: Message, wire: Wire) -> None:
        wire.send({"size": len(data)})
        wire.send({"end": "ok", "sent": 0})

    liar = Liar(files=says({"files": [row(f"{THERE}/{LAST}", data)]}), send=nothing)
    with pytest.raises(BadOutput, match="0 of 1000 bytes came"):
        from_liar(liar, tmp_path / "other")


def test_a_host_that_sends_more_than_it_said(tmp_path: Path) -> None:
    data = b"y" * 1000
    liar = Liar(
        files=says({"files": [row(f"{THERE}/{LAST}", data)]}), send=sends(data + b"more", 1000)
    )
    with pytest.raises(BadOutput, match="sends more of"):
        from_liar(liar, tmp_path / "here")
    assert not (tmp_path / "here" / LAST).exists()


def test_a_host_that_takes_nothing(tmp_path: Path) -> None:
    def refuse(_message: Message, wire: Wire) -> None:
        wire.send({"end": "error", "kind": "disk", "sentence": "The disk has 0.0 MB free."})

    source = fill(tmp_path / "source")
    with Liar(put=refuse).link() as client, pytest.raises(RemoteError, match="The disk has"):
        send_folder(client, exchange(), source, THERE, LAST)
    assert sha256_of_file(source / LAST) == sha256(FILES[LAST])
