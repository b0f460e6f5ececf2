"""Manifests on a host: what stands in them is told, whatever else stands there too."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.store.manifest import ShardEntry, add_to_manifest, read_manifest
from tests.fleet.goods import entry_of
from tests.fleet.remotes import Remote, remote

Entry = dict[str, Any]


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Remote]:
    with remote(tmp_path) as found:
        yield found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def shard(folder: Path, data: bytes, **more: Any) -> Entry:
    """Writes a shard; the entry for it."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{sha(data)[:16]}.shard"
    (folder / name).write_bytes(data)
    return entry_of(data, games=3, **more)


def row(entry: Entry, data: bytes) -> list[Any]:
    return [entry["file"], len(data), entry["sha256"]]


def told(half: Remote, *roots: str) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The shards of each folder, and the end."""
    found: dict[str, list[Any]] = {}
    *frames, last = half.stream("shards", roots=list(roots) or ["jobs", "runs"])
    assert isinstance(last, dict)
    for frame in frames:
        assert isinstance(frame, dict)
        assert len(frame["shards"]) <= 2000
        found.setdefault(frame["folder"], []).extend(frame["shards"])
    return found, last


def test_shards_of_all_folders(half: Remote, tmp_path: Path) -> None:
    assert told(half) == ({}, {"end": "ok", "damaged": []})
    first = shard(tmp_path / "jobs" / "one" / "out", b"a")
    second = shard(tmp_path / "runs" / "deep" / "er", b"bb")
    hidden = shard(tmp_path / "runs" / ".old", b"c")
    other = shard(tmp_path / "models", b"d")
    for folder, entry in (("jobs/one/out", first), ("runs/deep/er", second), ("models", other)):
        add_to_manifest(tmp_path / folder, ShardEntry.from_json(entry))
    add_to_manifest(tmp_path / "runs" / ".old", ShardEntry.from_json(hidden))
    found, _ = told(half)
    assert found == {"jobs/one/out": [row(first, b"a")], "runs/deep/er": [row(second, b"bb")]}
    found, _ = told(half, "runs/deep", "models")
    assert found == {"models": [row(other, b"d")], "runs/deep/er": [row(second, b"bb")]}


def test_a_damaged_line_hides_no_other(half: Remote, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    entry = shard(folder, b"a")
    good = json.dumps(entry)
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    named = [
        "../../secret", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "x" * 300, 7, None, ["x"]
    ]  # fmt: skip
    lines = [
        "{", "[]", "null", "", '{"a": NaN}', "{}", '{"sha256": "x"}', '{"sha256": 7}',
        json.dumps({**entry, "sha256": sha(b"a").upper()}),
        *(json.dumps({**entry, "file": name}) for name in named),
        "[" * 100_000, json.dumps({**entry, "made": "x" * (3 << 20)}), "y" * (1 << 20),
        "z" * ((1 << 20) - 1),
    ]  # fmt: skip
    gone = [json.dumps({**entry, "file": name}) for name in ("none", "link", "pipe")]
    data = "\n".join([good, *lines, *gone, good]).encode() + b"\n\xff\xfe\n" + good[:40].encode()
    (folder / "manifest.jsonl").write_bytes(data)
    found, last = told(half)
    assert found == {"runs/one": [row(entry, b"a")] * 2}
    assert len(last["damaged"]) == len(lines) + 2
    assert last["damaged"][0]["folder"] == "runs/one"
    assert last["damaged"][0]["line"] == 2
    assert "it is no entry" in last["damaged"][0]["why"]
    lines_told = list(half.stream("lines", folder="runs/one", sha256s=[sha(b"a"), sha(b"none")]))
    assert lines_told[-1] == {"end": "ok"}
    assert lines_told.count({"entry": entry}) == 2


def test_a_manifest_that_is_none(half: Remote, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "one" / "manifest.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "runs" / "two" / "manifest.jsonl")
    (tmp_path / "runs" / "three" / "manifest.jsonl").mkdir()
    found, last = told(half)
    assert found == {}
    assert [row["folder"] for row in last["damaged"]] == ["runs/one", "runs/two"]
    assert "symbolic link" in last["damaged"][0]["why"]


def test_lines_are_told_as_they_are(half: Remote, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    entries = [shard(folder, b"%d" % n, made={"seed": 2**60, "é": [0.1, None]}) for n in range(3)]
    for entry in entries:
        add_to_manifest(folder, ShardEntry.from_json(entry))
    wanted = [entries[2]["sha256"], entries[0]["sha256"]]
    frames = list(half.stream("lines", folder="runs/one", sha256s=wanted))
    assert frames == [{"entry": entries[0]}, {"entry": entries[2]}, {"end": "ok"}]
    assert half.ask("lines", folder="runs/none", sha256s=[])["kind"] == "missing"


def test_ten_thousand_in_a_second(half: Remote, tmp_path: Path) -> None:
    entries = []
    for number in range(10):
        folder = tmp_path / "runs" / f"cycle{number}"
        entries = [
            shard(folder, b"%d %d" % (number, n), made={"x": "y" * 300}) for n in range(1000)
        ]
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        (folder / "manifest.jsonl").write_text(text)
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        found, _ = told(half)
        seconds.append(time.monotonic() - began)
        assert sum(map(len, found.values())) == 10_000
    assert min(seconds) < 1


def test_entries_are_added_for_what_is_there(half: Remote, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    entries = [shard(folder, b"%d" % n, host="another") for n in range(5)]
    for _ in range(2):
        reply = half.ask("enter", folder="runs/one", entries=entries)
        assert reply == {"end": "ok"}
        assert [one.to_json() for one in read_manifest(folder)] == entries
    more = shard(folder, b"more")
    for wrong, kind in (
        ({**more, "file": "none"}, "missing"),
        ({**more, "file": "../one/x"}, "usage"),
        ({**more, "sha256": sha(b"?")}, "hash"),
        ({**more, "sha256": "?"}, "usage"),
        ("?", "usage"),
    ):
        reply = half.ask("enter", folder="runs/one", entries=[more, wrong])
        assert (reply["end"], reply["kind"]) == ("error", kind), wrong
    assert [
        one.to_json() for one in read_manifest(folder)
    ] == entries  # nothing of a wrong request is done
    assert half.ask("enter", folder="../one", entries=[])["kind"] == "path"
    assert half.ask("enter", folder="runs/one", entries={})["kind"] == "usage"


def test_entries_are_added_beside_other_writers(half: Remote, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    mine = [shard(folder, b"mine %d" % n) for n in range(30)]
    theirs = [shard(folder, b"theirs %d" % n) for n in range(30)]

    def write() -> None:
        for entry in mine:
            add_to_manifest(folder, ShardEntry.from_json(entry))

    writer = threading.Thread(target=write)
    writer.start()
    assert half.ask("enter", folder="runs/one", entries=theirs) == {"end": "ok"}
    writer.join()
    held = sorted(entry.sha256 for entry in read_manifest(folder))
    assert held == sorted(entry["sha256"] for entry in [*mine, *theirs])
