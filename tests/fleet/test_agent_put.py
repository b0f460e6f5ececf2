"""Files that are put on a host: whole and right, or not there."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.remotes import Message, Remote, remote
from tests.fleet.test_agent_files import HOSTILE, NAMES

PIECE = 100_000
DATA = bytes(range(256)) * 2000  # 512,000 bytes


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Remote]:
    with remote(tmp_path) as found:
        yield found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begin(half: Remote, data: bytes, path: str = "models/a", **options: Any) -> Message:
    """The first frame of the answer."""
    wanted = {"path": path, "size": len(data), "sha256": sha(data), "replace": False, **options}
    half.wire.send({"op": "put", **wanted})
    first = half.receive()
    assert isinstance(first, dict)
    return first


def give(half: Remote, data: bytes) -> None:
    for at in range(0, len(data), PIECE):
        half.wire.send_bytes(data[at : at + PIECE])


def put(half: Remote, data: bytes, path: str = "models/a", **options: Any) -> Message:
    """The last frame of the answer."""
    first = begin(half, data, path, **options)
    if "end" in first:
        return first
    if "same" not in first:
        give(half, data[first["have"] :])
        half.wire.send_bytes(b"")
    last = half.receive()
    assert isinstance(last, dict)
    return last


def partials(work: Path) -> list[Path]:
    return list((work / ".ringrift" / "partial").iterdir())


def test_a_file_arrives(half: Remote, tmp_path: Path) -> None:
    for data in (DATA, b"", b"x"):
        name = f"models/new/{len(data)}"
        assert put(half, data, name) == {"end": "ok", "sha256": sha(data)}
        assert (tmp_path / name).read_bytes() == data
        umask = os.umask(0)
        os.umask(umask)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask
    assert partials(tmp_path) == []


def test_what_is_there_is_not_sent_again(half: Remote, tmp_path: Path) -> None:
    put(half, DATA)
    before = (tmp_path / "models" / "a").stat()
    assert begin(half, DATA) == {"have": len(DATA), "same": True}
    assert half.receive() == {"end": "ok", "sha256": sha(DATA)}
    assert (tmp_path / "models" / "a").stat().st_ino == before.st_ino


def test_another_file_is_replaced_only_if_it_may_be(half: Remote, tmp_path: Path) -> None:
    put(half, DATA)
    refused = put(half, DATA[::-1])
    assert (refused["end"], refused["kind"]) == ("error", "exists")
    assert (tmp_path / "models" / "a").read_bytes() == DATA
    assert put(half, DATA[::-1], replace=True)["end"] == "ok"
    assert (tmp_path / "models" / "a").read_bytes() == DATA[::-1]


def test_it_goes_on_where_a_connection_was_lost(half: Remote, tmp_path: Path) -> None:
    for kept in (PIECE, 3 * PIECE):
        with remote(tmp_path) as lost:
            have = begin(lost, DATA)["have"]
            give(lost, DATA[have:kept])
        assert partials(tmp_path)[0].stat().st_size == kept
    with remote(tmp_path) as lost:  # inside a frame
        assert begin(lost, DATA) == {"have": 3 * PIECE}
        lost.write(b"B100000\nabc")
    assert not (tmp_path / "models").exists()
    assert begin(half, DATA) == {"have": 3 * PIECE}
    give(half, DATA[3 * PIECE :])
    half.wire.send_bytes(b"")
    assert half.receive() == {"end": "ok", "sha256": sha(DATA)}
    assert partials(tmp_path) == []


def test_too_few_bytes_are_kept(half: Remote, tmp_path: Path) -> None:
    begin(half, DATA)
    give(half, DATA[:-1])
    half.wire.send_bytes(b"")
    last = half.receive()
    assert isinstance(last, dict)
    assert (last["end"], last["kind"]) == ("error", "size")
    assert begin(half, DATA) == {"have": len(DATA) - 1}
    give(half, DATA[-1:])
    half.wire.send_bytes(b"")
    assert half.receive() == {"end": "ok", "sha256": sha(DATA)}
    assert (tmp_path / "models" / "a").read_bytes() == DATA


def test_too_many_bytes_are_refused(half: Remote) -> None:
    begin(half, DATA)
    give(half, DATA + b"x")
    half.wire.send_bytes(b"")
    last = half.receive()
    assert isinstance(last, dict)
    assert (last["end"], last["kind"]) == ("error", "size")
    assert half.ask("jobs")["end"] == "ok"


def test_one_wrong_byte_is_seen_and_nothing_of_it_kept(half: Remote, tmp_path: Path) -> None:
    begin(half, DATA)
    give(half, DATA[:777] + b"!" + DATA[778:])
    half.wire.send_bytes(b"")
    last = half.receive()
    assert isinstance(last, dict)
    assert (last["end"], last["kind"]) == ("error", "hash")
    assert partials(tmp_path) == []
    assert not (tmp_path / "models").exists()
    assert put(half, DATA)["end"] == "ok"


def test_rot_of_what_was_kept_is_seen(half: Remote, tmp_path: Path) -> None:
    with remote(tmp_path) as lost:
        begin(lost, DATA)
        give(lost, DATA[:PIECE])
    partials(tmp_path)[0].write_bytes(bytes(PIECE))
    assert put(half, DATA)["kind"] == "hash"
    assert put(half, DATA)["end"] == "ok"


def test_a_connection_that_was_taken_for_dead_cannot_spoil_it(half: Remote, tmp_path: Path) -> None:
    with remote(tmp_path) as old:
        begin(old, DATA)
        give(old, DATA[:PIECE])
        while partials(tmp_path)[0].stat().st_size != PIECE:
            time.sleep(0.01)
        assert begin(half, DATA) == {"have": PIECE}
        give(old, b"!" * PIECE)  # it did not know
        last = old.receive()
        assert isinstance(last, dict)
        assert (last["end"], last["kind"]) == ("error", "busy")
        give(half, DATA[PIECE:])
        half.wire.send_bytes(b"")
        assert half.receive() == {"end": "ok", "sha256": sha(DATA)}
        give(old, b"!" * PIECE)
        old.wire.send_bytes(b"")
        assert old.ask("jobs")["end"] == "ok"
    assert (tmp_path / "models" / "a").read_bytes() == DATA


def test_many_that_put_the_same(tmp_path: Path) -> None:
    halves = [remote(tmp_path) for _ in range(4)]
    ends: list[Message] = []

    def act(half: Remote) -> None:
        ends.extend(put(half, DATA[number:], f"models/{number}") for number in range(10))

    threads = [threading.Thread(target=act, args=(half,)) for half in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for half in halves:
        half.close()
    assert len(ends) == 40
    assert {end.get("kind") for end in ends} <= {None, "busy"}
    for number in range(10):
        assert (tmp_path / "models" / str(number)).read_bytes() == DATA[number:]
    assert partials(tmp_path) == []


def test_every_name_can_be_put(half: Remote, tmp_path: Path) -> None:
    for name in NAMES:
        assert put(half, name.encode(errors="replace"), f"models/{name}")["end"] == "ok"
        assert (tmp_path / "models" / name).read_bytes() == name.encode(errors="replace")
    reply = put(half, b"x", f"models/{'x' * 256}")
    assert (reply["end"], reply["sentence"].endswith("File name too long.")) == ("error", True)


def test_nothing_outside_is_written(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "models").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (work / "out").symlink_to(tmp_path)
    (work / "link").symlink_to(tmp_path / "secret")
    (work / "dangling").symlink_to(tmp_path / "new")
    (work / "inner").symlink_to("models/b")
    (work / "models" / "up").symlink_to("../..")
    ours = (".ringrift", ".ringrift/partial", ".ringrift/partial/x", ".ringrift/code-0/x", ".")
    with remote(work) as half:
        for name in (*HOSTILE, *ours, "models", "out/new", "dangling", "inner", "dangling/x"):
            for replace in (False, True):
                reply = put(half, b"x", name, replace=replace)
                kinds = ("path", "usage", "missing", "os", "exists")
                assert (reply["end"], reply.get("kind") in kinds) == ("error", True), (name, reply)
        assert put(half, b"x", ".ringrift/deploy/x.whl")["end"] == "ok"
        assert put(half, b"{}", ".ringrift/deployed.json")["end"] == "ok"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret", "work"]
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_folder_that_becomes_a_link_meanwhile(half: Remote, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    begin(half, DATA, "models/a")
    give(half, DATA)
    (tmp_path / "models").symlink_to(outside)
    half.wire.send_bytes(b"")
    last = half.receive()
    assert isinstance(last, dict)
    assert (last["end"], last["kind"]) == ("error", "path")
    assert not list(outside.iterdir())


def test_arguments_that_make_no_sense(half: Remote) -> None:
    wrong: tuple[Message, ...]
    wrong = ({"size": -1}, {"size": 1.5}, {"sha256": "x"}, {"sha256": "A" * 64}, {"replace": 1})
    for one in wrong:
        assert begin(half, DATA, **one)["kind"] == "usage"
    assert put(half, DATA)["end"] == "ok"
