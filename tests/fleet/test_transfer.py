"""Moving files: the rate, the pieces, and that a host's word is not enough."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import pytest

from ringrift_cli.errors import BadOutput, HostUnreachable, OutputError, RemoteError
from ringrift_cli.fleet import messages, transfer
from ringrift_cli.fleet.transfer import (
    TransferMeter,
    Waiting,
    Wanted,
    fetch,
    move_in,
    never,
    put,
)
from ringrift_cli.fleet.wire import Wire
from ringrift_cli.store.hashes import sha256, sha256_of_file
from tests.fleet.goods import Liar, Message, contents, sends
from tests.fleet.servers import local_link

DATA = contents(1, 3 << 20)[0]
SHA = sha256(DATA)


def test_a_rate_holds_over_all_threads_and_after_a_pause() -> None:
    meter = TransferMeter(1_000_000)
    meter.take(1)
    time.sleep(0.3)  # what was not used does not come at once
    start = time.monotonic()

    def work() -> None:
        own = TransferMeter(whole=meter)
        for _ in range(10):
            own.take(20_000)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.monotonic() - start
    assert 0.45 < spent < 20
    assert meter.done == 600_001


def test_what_remains_is_counted_once_however_often_it_is_tried() -> None:
    whole = TransferMeter()
    own, other = TransferMeter(whole=whole), TransferMeter(whole=whole)
    other.remain(50)
    own.remain(100)
    own.take(30)
    own.remain(70)
    own.remain(75)  # 5 bytes have to come again
    assert (own.total, whole.total, whole.done) == (105, 155, 30)


def test_what_was_under_way_waits_again_in_its_order(tmp_path: Path) -> None:
    files = [Wanted(f"runs/x/{number}", 1000, f"{number:064x}") for number in range(5)]
    waiting = Waiting(files)

    def breaks(message: Message, wire: Wire) -> None:
        if message["path"].endswith("2"):
            raise OSError
        sends(bytes(1000))(message, wire)

    came: list[Wanted] = []
    with Liar(send=breaks).link() as client:
        found = fetch(client, waiting, tmp_path, TransferMeter(), never)
        with pytest.raises(HostUnreachable, match="link broke"):
            came.extend(held.wanted for held in found)
    left = [waiting.take() for _ in range(6 - len(came))]
    assert [*came, *left] == [*files, None]
    assert len(came) < 3


# ---- to a host -----------------------------------------------------------------------------------


def test_a_file_goes_over_and_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    source, work = tmp_path / "source", tmp_path / "work"
    source.write_bytes(DATA)
    with local_link(work) as client:
        client.begin(messages.Put(path="runs/x", size=len(DATA), sha256=SHA))
        client.receive()
        client.send_bytes(DATA[: 1 << 20])
    with local_link(work) as client:
        assert put(client, source, "runs/x", SHA, TransferMeter()) == 2 << 20
        assert (work / "runs" / "x").read_bytes() == DATA
        assert put(client, source, "runs/x", SHA, TransferMeter()) == 0
        source.write_bytes(b"another")
        other = sha256(b"another")
        with pytest.raises(RemoteError, match="another file"):
            put(client, source, "runs/x", other, TransferMeter())
        assert put(client, source, "runs/x", other, TransferMeter(), replace=True) == 7
        with pytest.raises(RemoteError, match="SHA-256"):
            put(client, source, "runs/y", SHA, TransferMeter())
        with pytest.raises(RemoteError, match="not allowed"):
            put(client, source, "../y", other, TransferMeter())
        assert client.ask(messages.Hash(paths=["runs/x"])).sha256 == {"runs/x": other}
    assert not (work / "runs" / "y").exists()


@pytest.mark.parametrize("have", [-1, 1 << 40, "1", None, True])
def test_a_host_that_holds_what_cannot_be_is_not_believed(tmp_path: Path, have: object) -> None:
    (tmp_path / "source").write_bytes(DATA)

    def answer(message: Message, wire: Wire) -> None:
        wire.send({"have": have})

    with (
        Liar(put=answer).link() as client,
        pytest.raises(BadOutput, match=r"it holds|does not fit"),
    ):
        put(client, tmp_path / "source", "runs/x", SHA, TransferMeter())


@pytest.mark.parametrize("reply", [{"sha256": "0" * 64}, {"sha256": 5}, {}])
def test_success_is_nothing_but_the_hash_of_the_host(tmp_path: Path, reply: Message) -> None:
    (tmp_path / "source").write_bytes(DATA)

    def answer(message: Message, wire: Wire) -> None:
        wire.send({"have": 1, "same": True})
        wire.send({"end": "ok", **reply})

    wrong = pytest.raises(BadOutput, match=r"hashes to|does not fit")
    with Liar(put=answer).link() as client, wrong:
        put(client, tmp_path / "source", "runs/x", SHA, TransferMeter())


# ---- here ----------------------------------------------------------------------------------------


def test_a_file_moves_to_another_disk_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a" / "x", tmp_path / "b" / "x"
    source.parent.mkdir()
    source.write_bytes(DATA)
    real = Path.replace

    def replace(path: Path, to: Path) -> Path:
        if path.parent != to.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(path, to)

    monkeypatch.setattr(Path, "replace", replace)
    with monkeypatch.context() as patch:
        patch.setattr(
            transfer, "sha256_of_file", lambda path: path.name
        )  # the copy is not the same
        with pytest.raises(OutputError, match="Cannot write"):
            move_in(source, target)
    assert source.read_bytes() == DATA
    assert list(target.parent.iterdir()) == []
    move_in(source, target)
    assert (sha256_of_file(target), source.exists()) == (SHA, False)
    assert [path.name for path in target.parent.iterdir()] == ["x"]


def test_what_cannot_be_read_or_moved_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Cannot read"):
        sha256_of_file(tmp_path / "nothing")
    with pytest.raises(OutputError, match="Cannot write"):
        move_in(tmp_path / "nothing", tmp_path / "y")
