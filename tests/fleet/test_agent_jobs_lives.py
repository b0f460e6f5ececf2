"""Jobs outlive whatever started them, and end when they are asked to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringrift_cli.system import began, lives
from tests.fleet.jobbing import beat, end_all, ended, gone, job, log_of, python, start, state, until
from tests.fleet.remotes import Remote, off, remote


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Remote]:
    with remote(tmp_path) as found:
        yield found
        end_all(found)


# ---- outliving ----------------------------------------------------------------------------------


def test_it_outlives_the_connection_and_whoever_started_it(tmp_path: Path) -> None:
    code = "import time; [(print(n, flush=True), time.sleep(0.1)) for n in range(30)]"
    first = remote(tmp_path)
    found = start(first, job(argv=python(code)))
    os.killpg(first.process.pid, signal.SIGHUP)  # as when a terminal goes
    os.killpg(first.process.pid, signal.SIGKILL)
    first.close()
    assert lives(found["pid"], began(found["pid"]))
    with remote(tmp_path) as half:
        assert state(half)["state"] == "running"
        end = ended(half)
        assert (end["state"], end["code"]) == ("done", 0)
        assert log_of(half).split() == [b"%d" % n for n in range(30)]


def test_whoever_started_it_is_not_held_up(tmp_path: Path) -> None:
    """sshd waits until nobody holds its pipes; so the pipes must have been let go."""
    half = remote(tmp_path)
    start(half, job())
    assert half.process.stdin is not None
    half.process.stdin.close()
    assert half.receive() is None  # the end of its output
    half.close()
    with remote(tmp_path) as other:
        end_all(other)


def test_a_job_without_supervisor_goes_on_and_is_lost_only_after_both(
    half: Remote, tmp_path: Path
) -> None:
    found = start(half, job(lease_s=2))
    os.kill(beat(tmp_path)["pid"], signal.SIGKILL)
    gone(beat(tmp_path)["pid"])
    time.sleep(2.2)  # longer than the lease
    alone = state(half)
    assert (alone["state"], alone["error"]) == ("running", "unsupervised")
    assert alone["heartbeat_age_s"] > 2
    os.kill(found["pid"], signal.SIGKILL)
    gone(found["pid"])
    lost = state(half)
    assert (lost["state"], lost["ended"], lost["code"]) == ("lost", None, None)
    assert not half.ask("start", job=job(lease_s=2))["started"]


def test_it_is_not_lost_before_its_lease_is_over(half: Remote, tmp_path: Path) -> None:
    found = start(half, job(lease_s=2))
    for pid in (beat(tmp_path)["pid"], found["pid"]):
        os.kill(pid, signal.SIGKILL)
        gone(pid)
    now = state(half)
    assert now["state"] == "running"
    assert now["error"].startswith("silent for")
    until(half, "one", lambda s: s["state"] == "lost")
    assert half.ask("facts")["idle_s"] < 10


def test_a_job_that_was_never_started_is_lost_in_the_end(half: Remote, tmp_path: Path) -> None:
    start(half, job("other", ["true"]))
    ended(half, "other")
    folder = tmp_path / "jobs" / "one"
    folder.mkdir()
    for name in ("job.json", "log"):
        (folder / name).write_bytes((tmp_path / "jobs" / "other" / name).read_bytes())
    (folder / "heartbeat").write_bytes(b" " * 4096)
    assert state(half)["state"] == "starting"
    told = json.loads((folder / "job.json").read_bytes())
    told["made"]["up"] -= 100
    (folder / "job.json").write_text(json.dumps(told))
    assert state(half)["state"] == "lost"


def test_a_number_that_another_process_has_now_is_not_the_job(half: Remote, tmp_path: Path) -> None:
    found = start(half, job(lease_s=1))
    for pid in (beat(tmp_path)["pid"], found["pid"]):
        os.kill(pid, signal.SIGKILL)
        gone(pid)
    told = beat(tmp_path)
    told["pid"] = told["child"] = os.getpid()
    (tmp_path / "jobs" / "one" / "heartbeat").write_text(json.dumps(told))
    until(half, "one", lambda s: s["state"] == "lost")


def test_after_a_restart_of_the_machine_nothing_lives(half: Remote, tmp_path: Path) -> None:
    start(half, job())
    told = beat(tmp_path)
    half.ask("stop", id="one", insist=True)
    ended(half)
    (tmp_path / "jobs" / "one" / "exit.json").unlink()
    me = {"pid": os.getpid(), "began_itself": began(os.getpid()), "child": os.getpid()}
    told.update(me, child_began=began(os.getpid()))
    told["at"].update(boot_id="another", time=time.time() + 86400)
    (tmp_path / "jobs" / "one" / "heartbeat").write_text(json.dumps(told))
    assert state(half)["state"] == "lost"  # the boot was longer ago than its lease


def moved(folder: Path, host: str) -> None:
    """Lets a job have been started by another host that shares the work folder."""
    for name, keys in (("job.json", ["made"]), ("heartbeat", ["at", "began"])):
        told = json.loads((folder / name).read_bytes())
        for key in keys:
            told[key].update(host=host, boot_id="another", up=5.0, time=told[key]["time"] + 500)
        (folder / name).write_text(json.dumps(told))


def test_a_job_belongs_to_the_host_that_started_it(half: Remote, tmp_path: Path) -> None:
    """Only its heartbeat tells of it elsewhere, by the clock of the disk: hosts' clocks differ."""
    folder = tmp_path / "jobs" / "one"
    start(half, job(exclusive=True))
    told = (folder / "heartbeat").read_bytes()
    half.ask("stop", id="one", insist=True)
    ended(half)
    (folder / "exit.json").unlink()
    (folder / "stop").unlink()
    (folder / ".stop").write_bytes(b" " * 4096)
    (folder / "heartbeat").write_bytes(told)
    moved(folder, "another-host")
    found = state(half)
    assert (found["state"], found["elsewhere"], found["error"]) == ("running", "another-host", None)
    assert half.ask("stop", id="one")["end"] == "ok"  # its own supervisor reads that
    assert (folder / "stop").exists()
    assert start(half, job("two", exclusive=True))["state"] == "running"  # this host is free
    os.utime(folder / "heartbeat", (time.time() - 70,) * 2)
    found = state(half)
    assert (found["state"], found["elsewhere"]) == ("lost", "another-host")
    os.utime(folder / "heartbeat")  # the network was slow: it is not lost for ever
    assert state(half)["state"] == "running"
    os.utime(folder / "heartbeat", (0, 0))


@pytest.mark.parametrize("clock", [86400.0, -86400.0])
def test_a_clock_that_jumps_a_day_loses_nothing(half: Remote, tmp_path: Path, clock: float) -> None:
    found = start(half, job(lease_s=1))
    with remote(tmp_path, before=off(clock)) as wrong:
        assert abs(wrong.ask("facts")["time"] - time.time()) > 80_000
        now = state(wrong)
        assert now["state"] == "running"
        assert now["heartbeat_age_s"] < 1
        assert now["seconds"] < 60
        for pid in (beat(tmp_path)["pid"], found["pid"]):
            os.kill(pid, signal.SIGKILL)
            gone(pid)
        until(wrong, "one", lambda s: s["state"] == "lost")


# ---- stopping -----------------------------------------------------------------------------------

PATIENT = python(
    "import signal, time, sys\n"
    "def end(*_): print('finishing', flush=True); time.sleep(0.5); print('whole'); sys.exit(143)\n"
    "signal.signal(signal.SIGTERM, end); print('ready', flush=True); time.sleep(1000)"
)
STUBBORN = python(
    "import signal, time, os\n"
    "signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True)); child = os.fork()\n"
    "print('ready', flush=True)\n"
    "while True: time.sleep(1)"
)


def ready(half: Remote, count: int = 1) -> None:
    until(half, "one", lambda s: s["bytes_log"] >= count * len("ready\n"))


def test_it_may_finish_what_it_has_in_hand(half: Remote) -> None:
    start(half, job(argv=PATIENT))
    ready(half)
    began_at = time.monotonic()
    reply = half.ask("stop", id="one", grace_s=30)
    assert time.monotonic() - began_at < 5
    assert reply["state"]["id"] == "one"
    end = ended(half)
    assert (end["state"], end["code"]) == ("stopped", 143)
    assert log_of(half) == b"ready\nfinishing\nwhole\n"


def test_what_does_not_end_is_ended(half: Remote) -> None:
    start(half, job(argv=STUBBORN))
    ready(half, 2)
    pid = state(half)["pid"]
    half.ask("stop", id="one", grace_s=1.0)
    began_at = time.monotonic()
    end = ended(half)
    assert 0.7 < time.monotonic() - began_at < 10
    assert (end["state"], end["code"], end["signal"]) == ("stopped", None, signal.SIGKILL)
    assert group(pid) == []
    words = sorted(log_of(half).split())  # of two that write at the same time
    assert b"".join(words).count(b"no") == 2  # asked once, and all of the group


def group(leader: int) -> list[int]:
    """The processes of a group that live."""
    found = subprocess.run(["ps", "-eo", "pid,pgid,stat"], capture_output=True, check=True)
    rows = [line.split() for line in found.stdout.decode().splitlines()[1:]]
    return [int(pid) for pid, pgid, stat in rows if int(pgid) == leader and stat[0] != "Z"]


def test_an_order_overtakes_a_request(half: Remote) -> None:
    start(half, job(argv=STUBBORN))
    ready(half, 2)
    half.ask("stop", id="one", grace_s=1000)
    time.sleep(0.6)
    assert state(half)["state"] == "running"
    half.ask("stop", id="one", insist=True)
    assert ended(half)["signal"] == signal.SIGKILL


def test_what_a_job_leaves_behind_ends_with_it(half: Remote) -> None:
    start(half, job(argv=["sh", "-c", "sleep 1000 & sleep 1000 & echo ready"]))
    end = ended(half)
    assert end["state"] == "done"
    assert group(end["pid"]) == []


@pytest.mark.parametrize("insist", [False, True])
def test_a_job_without_supervisor_is_stopped_too(
    half: Remote, tmp_path: Path, insist: bool
) -> None:
    start(half, job(argv=PATIENT))
    ready(half)
    os.kill(beat(tmp_path)["pid"], signal.SIGKILL)
    gone(beat(tmp_path)["pid"])
    for _ in range(2):  # two that stop it do not quarrel
        half.ask("stop", id="one", grace_s=30, insist=insist)
    end = ended(half)
    assert (end["state"], end["code"]) == ("stopped", None)
    assert "supervisor had died" in end["error"]
    assert log_of(half) == (b"ready\n" if insist else b"ready\nfinishing\nwhole\n")


def test_stopping_what_has_ended_changes_nothing(half: Remote) -> None:
    start(half, job(argv=["true"]))
    end = ended(half)
    again = half.ask("stop", id="one", grace_s=0)["state"]
    assert {**again, "over_s": 0} == {**end, "over_s": 0}
    assert state(half)["state"] == "done"


def test_jobs_that_are_not_there(half: Remote) -> None:
    for op in ("stop", "log"):
        reply = half.ask(op, id="none")
        assert (reply["end"], reply["kind"]) == ("error", "unknown")
        assert half.ask(op, id="../none")["kind"] == "usage"
    assert half.ask("jobs", ids=["none"])["jobs"] == []
    assert half.ask("jobs", ids=["..", "a/b"])["kind"] == "usage"


def test_the_supervisor_is_not_ended_by_what_ends_others(half: Remote, tmp_path: Path) -> None:
    start(half, job(argv=["sh", "-c", "sleep 1; exit 5"]))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(beat(tmp_path)["pid"], number)
    end = ended(half)
    assert (end["state"], end["code"]) == ("failed", 5)


def test_a_supervisor_leaves_no_process(half: Remote, tmp_path: Path) -> None:
    start(half, job(argv=["true"]))
    ended(half)
    gone(beat(tmp_path)["pid"])


def test_what_is_seen_of_it_by_others(half: Remote, tmp_path: Path) -> None:
    """What `ps` shows of a supervisor names the job, and nothing of its environment."""
    start(half, job(env={"TOKEN": "hunter2"}))
    words = Path(f"/proc/{beat(tmp_path)['pid']}/cmdline").read_bytes().split(b"\0")
    assert b"one" in words
    assert b"hunter2" not in b" ".join(words)
    assert "hunter2" not in json.dumps(half.ask("jobs"))
    assert (tmp_path / "jobs" / "one").stat().st_mode & 0o077 == 0
