"""A host whose disk is full: what cannot be done is said, and a job can still be watched and ended.

The work folder is a file system of one MiB of its own, which only root can make.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.jobbing import beat, end_all, ended, gone, job, start, state, until
from tests.fleet.remotes import remote
from tests.fleet.test_agent_put import DATA, PIECE, begin, give, put


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(work: Path) -> Path:
    """Takes all that is left of the disk."""
    path = work / "filling"
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    assert os.statvfs(work).f_bavail == 0
    return path


def test_a_job_that_does_not_fit(small: Path) -> None:
    with remote(small) as half:
        start(half, job("other", ["true"]))
        ended(half, "other")
        filling = fill(small)
        reply = half.ask("start", job=job())
        assert (reply["end"], reply["kind"]) == ("error", "disk")
        assert [p.name for p in (small / "jobs").iterdir()] == ["other"]
        filling.unlink()
        assert start(half, job())["state"] == "running"
        end_all(half)


def test_a_job_that_fills_the_disk_lives_is_seen_and_stopped(small: Path) -> None:
    with remote(small) as half:
        start(half, job(argv=["sh", "-c", "cat /dev/zero >zeros; exec sleep 1000"], lease_s=1))
        end = time.monotonic() + 20
        while os.statvfs(small).f_bavail:
            assert time.monotonic() < end
            time.sleep(0.01)
        fill(small)
        time.sleep(1.5)  # longer than its lease
        now = state(half)
        assert (now["state"], now["error"]) == ("running", None)
        assert now["heartbeat_age_s"] < 1
        facts = half.ask("facts")
        assert facts["disk_free"] == 0
        assert len(facts["jobs"]) == 1
        half.ask("stop", id="one", grace_s=20)
        found = ended(half)
        assert (found["state"], found["signal"]) == ("stopped", signal.SIGTERM)


def test_a_job_without_supervisor_on_a_full_disk(small: Path) -> None:
    with remote(small) as half:
        start(half, job(lease_s=1))
        fill(small)
        os.kill(beat(small)["pid"], signal.SIGKILL)
        gone(beat(small)["pid"])
        until(half, "one", lambda s: s["error"] == "unsupervised")
        half.ask("stop", id="one", grace_s=20)
        assert ended(half)["state"] == "stopped"


def test_a_file_that_does_not_fit_is_not_begun(small: Path) -> None:
    with remote(small) as half:
        reply = put(half, bytes(1 << 20))
        assert (reply["end"], reply["kind"]) == ("error", "disk")
        assert "1.0 MB are to come" in reply["sentence"]
        assert put(half, DATA)["end"] == "ok"


def test_a_disk_that_fills_while_a_file_comes(small: Path) -> None:
    with remote(small) as half:
        assert begin(half, DATA) == {"have": 0}
        give(half, DATA[:PIECE])
        (part,) = (small / ".ringrift" / "partial").iterdir()
        while part.stat().st_size < PIECE:
            time.sleep(0.01)
        filling = fill(small)
        give(half, DATA[PIECE:])
        reply = half.receive()  # at once, not when all of it has come
        assert isinstance(reply, dict)
        assert (reply["end"], reply["kind"]) == ("error", "disk")
        half.wire.send_bytes(b"")
        assert not (small / "models").exists()
        assert half.ask("jobs")["end"] == "ok"
        filling.unlink()
        first = begin(half, DATA)
        assert first["have"] >= PIECE
        give(half, DATA[first["have"] :])
        half.wire.send_bytes(b"")
        last = half.receive()
        assert isinstance(last, dict)
        assert last["end"] == "ok"
    assert (small / "models" / "a").read_bytes() == DATA


def test_hashes_that_cannot_be_remembered_are_still_right(small: Path) -> None:
    with remote(small) as half:
        put(half, DATA)
        os.utime(small / "models" / "a", (1, 1))
        fill(small)
        first, last = half.stream("files", root="models")
        assert isinstance(first, dict)
        assert [row[0] for row in first["files"]] == ["models/a"]
        assert last == {"end": "ok"}
