"""Jobs on a host: started once, told of truly, and their logs read."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.jobbing import SOON, State, end_all, ended, job, log_of, python, start, state
from tests.fleet.remotes import Remote, remote

NASTY = [
    "", " ", "a b", "'", '"', "$HOME", "`id`", "$(id)", "\\", "\\n", "!", "*", "?", "~", "#",
    "%s", "a\nb", "\t", "é", "日本", ";", "&", "|", "<", ">", "(", ")", "{a,b}", "[a]", "^", "=",
    "--", "-x", "\x1b[31m", "\x7f", "x" * 20_000,
]  # fmt: skip


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Remote]:
    with remote(tmp_path) as found:
        yield found
        end_all(found)


# ---- starting -----------------------------------------------------------------------------------


def test_a_job_is_told_of_from_its_start_to_its_end(half: Remote, tmp_path: Path) -> None:
    code = "import sys, time; print(1, flush=True); print(2, file=sys.stderr); time.sleep(1)"
    wanted = job(argv=python(code), meta={"gpus": [0], "loop": "a"})
    before = time.time()
    found = start(half, wanted)
    assert found["state"] == "running"
    assert found["id"] == "one"
    assert before - 1 < found["started"] < time.time() + 1
    assert found["argv"] == wanted["argv"]
    assert found["meta"] == {"gpus": [0], "loop": "a"}
    assert found["heartbeat_age_s"] < 5
    assert (found["games"], found["shards"], found["ended"], found["code"]) == (0, 0, None, None)
    assert os.getsid(found["pid"]) == found["pid"]  # its own session: nothing reaches it by chance
    assert Path(f"/proc/{found['pid']}/cwd").readlink() == tmp_path
    end = ended(half)
    assert (end["state"], end["code"], end["signal"], end["error"]) == ("done", 0, None, None)
    assert 0.9 < end["seconds"] < 10
    assert end["ended"] == pytest.approx(end["started"] + end["seconds"], abs=0.5)
    assert sorted(log_of(half).split()) == [b"1", b"2"]
    assert end["bytes_log"] == 4


@pytest.mark.parametrize(
    ("argv", "word", "code", "number"),
    [
        (["true"], "done", 0, None),
        (["sh", "-c", "exit 3"], "failed", 3, None),
        (["sh", "-c", "kill -SEGV $$"], "failed", None, signal.SIGSEGV),
        (["sh", "-c", "kill -TERM $$"], "failed", None, signal.SIGTERM),
    ],
)
def test_how_it_ended(
    half: Remote, argv: list[str], word: str, code: int | None, number: int | None
) -> None:
    start(half, job(argv=argv))
    end = ended(half)
    assert (end["state"], end["code"], end["signal"]) == (word, code, number)


@pytest.mark.parametrize(
    ("argv", "code", "quoted"),
    [
        (["no-such-program"], 127, "no-such-program cannot be started: No such file"),
        (["/etc/passwd"], 126, "/etc/passwd cannot be started: Permission denied."),
        (["true", "x" * (1 << 21)], 126, "Argument list too long"),
    ],
)
def test_what_cannot_be_started_has_failed(
    half: Remote, argv: list[str], code: int, quoted: str
) -> None:
    found = start(half, job(argv=argv))
    assert (found["state"], found["code"]) == ("failed", code)
    assert quoted in found["error"]
    assert found["pid"] is None


def test_ringrift_is_the_one_that_was_deployed(half: Remote, tmp_path: Path) -> None:
    program = tmp_path / "venv" / "bin" / "python"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@" "$RINGRIFT_OUT" "$PYTHONPATH"\n')
    start(half, job(argv=["ringrift", "selfplay", "--board", "hex8"], env={"RINGRIFT_OUT": "x y"}))
    ended(half)
    (code,) = (tmp_path / ".ringrift").glob("code-*")
    assert log_of(half) == f"-P|-m|ringrift_cli|selfplay|--board|hex8|x y|{code}|".encode()


def test_every_character_survives(half: Remote, tmp_path: Path) -> None:
    code = "import os, sys; f = open('told', 'w'); f.write(ascii([sys.argv[1:], dict(os.environ)]))"
    env = {"A B": "x", "NASTY": "\n".join(NASTY[:-1]), "é$": "`", "EMPTY": ""}
    start(half, job(argv=[*python(code), *NASTY], env=env))
    assert ended(half)["state"] == "done", log_of(half)
    argv, environment = eval((tmp_path / "told").read_text())
    assert argv == NASTY
    assert {name: environment[name] for name in env} == env
    assert state(half)["argv"] == [*python(code), *NASTY]


def test_another_folder_to_work_in(half: Remote, tmp_path: Path) -> None:
    (tmp_path / "runs" / "a b").mkdir(parents=True)
    start(half, job(argv=["pwd"], cwd="runs/a b"))
    ended(half)
    assert log_of(half).decode().strip() == str(tmp_path / "runs" / "a b")


def test_nothing_is_held_open(half: Remote) -> None:
    start(half, job(argv=["sh", "-c", "ls -l /proc/self/fd; cat; echo ended"]))
    ended(half)
    said = log_of(half).decode()
    assert "ended" in said  # standard input is empty
    opened = [row.split(" -> ")[1] for row in said.splitlines() if " -> " in row]
    assert not [name for name in opened if "pipe" in name or "socket" in name]


WRONG: list[tuple[State, str]] = [
    ({"id": "../x"}, "usage"),
    ({"id": ".x"}, "usage"),
    ({"id": "a/b"}, "usage"),
    ({"id": "x" * 65}, "usage"),
    ({"id": "x\n"}, "usage"),
    ({"id": ""}, "usage"),
    ({"id": None}, "usage"),
    ({"argv": []}, "usage"),
    ({"argv": [""]}, "usage"),
    ({"argv": ["a\0b"]}, "usage"),
    ({"argv": "ls"}, "usage"),
    ({"env": {"A=B": "x"}}, "usage"),
    ({"env": {"": "x"}}, "usage"),
    ({"env": {"A": 1}}, "usage"),
    ({"env": []}, "usage"),
    ({"meta": []}, "usage"),
    ({"lease_s": 0}, "usage"),
    ({"lease_s": True}, "usage"),
    ({"grace_s": -1}, "usage"),
    ({"shell": True}, "usage"),
    ({"cwd": "/tmp"}, "path"),
    ({"cwd": ".."}, "path"),
    ({"cwd": "none"}, "missing"),
    ({"out": "/etc"}, "path"),
    ({"out": "a/../.."}, "path"),
]


def test_what_is_no_job(half: Remote, tmp_path: Path) -> None:
    for wrong, kind in WRONG:
        reply = half.ask("start", job={**job(), **wrong})
        assert (reply["end"], reply["kind"]) == ("error", kind), (wrong, reply)
    assert half.ask("start", job=None)["kind"] == "usage"
    assert half.ask("jobs")["jobs"] == []
    assert not (tmp_path / "jobs").exists()


def test_starting_twice_is_harmless(half: Remote, tmp_path: Path) -> None:
    wanted = job(argv=["sh", "-c", "echo x >>ran; sleep 1000"], meta={"gpus": [1]})
    first = half.ask("start", job=wanted)
    again = half.ask("start", job=dict(reversed(wanted.items())))
    assert (first["started"], again["started"]) == (True, False)
    assert again["state"]["pid"] == first["state"]["pid"]
    with remote(tmp_path) as other:
        assert not other.ask("start", job=wanted)["started"]
    changed: State
    for changed in ({"argv": ["true"]}, {"env": {"A": "1"}}, {"meta": {}}, {"lease_s": 61}):
        reply = half.ask("start", job={**wanted, **changed})
        assert (reply["end"], reply["kind"]) == ("error", "conflict")
    half.ask("stop", id="one", insist=True)
    ended(half)
    assert not half.ask("start", job=wanted)["started"]  # it ran; it is not run again
    assert (tmp_path / "ran").read_text() == "x\n"


def test_two_that_start_the_same_at_once(tmp_path: Path) -> None:
    wanted = [job(f"job{n}", ["sh", "-c", f"echo {n} >>ran; sleep 1000"]) for n in range(5)]
    halves = [remote(tmp_path) for _ in range(4)]
    replies: list[Any] = []
    ready = threading.Barrier(len(halves))

    def begin(half: Remote) -> None:
        for one in wanted:
            ready.wait()
            replies.append(half.ask("start", job=one))

    threads = [threading.Thread(target=begin, args=(half,)) for half in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply["end"] for reply in replies] == ["ok"] * 20
    assert sum(reply["started"] for reply in replies) == 5
    end = time.monotonic() + SOON
    while len((tmp_path / "ran").read_text().split()) < 5 and time.monotonic() < end:
        time.sleep(0.02)
    assert sorted((tmp_path / "ran").read_text().split()) == list("01234")
    assert sorted(p.name for p in (tmp_path / "jobs").iterdir()) == [one["id"] for one in wanted]
    end_all(halves[0])
    for half in halves:
        half.close()


# ---- heartbeats and logs ------------------------------------------------------------------------


def test_the_heartbeat_goes_on(half: Remote, tmp_path: Path) -> None:
    start(half, job(lease_s=1.2))
    path = tmp_path / "jobs" / "one" / "heartbeat"
    first, end = path.stat().st_mtime, time.monotonic() + SOON
    while path.stat().st_mtime < first + 1.2:  # longer than its lease
        assert time.monotonic() < end, "it beats no more"
        time.sleep(0.05)
    assert state(half)["state"] == "running"


def test_a_log_is_read_while_it_grows(half: Remote) -> None:
    code = "import time\nfor n in range(40): print('line', n, flush=True); time.sleep(0.03)"
    start(half, job(argv=python(code)))
    said, offset = b"", 0
    while True:
        over = state(half)["ended"] is not None
        *frames, last = half.stream("log", id="one", offset=offset, most=50)
        new = b"".join(frame for frame in frames if isinstance(frame, bytes))
        assert isinstance(last, dict)
        assert last["offset"] == offset + len(new) <= last["size"]
        assert len(new) <= 50
        said, offset = said + new, last["offset"]
        if over and offset == last["size"]:
            break
    assert said == b"".join(b"line %d\n" % n for n in range(40))
    assert last["state"]["state"] == "done"
    assert log_of(half, offset=1 << 40) == b""
    assert log_of(half, offset=5, most=3) == said[5:8]


def test_a_large_log(half: Remote) -> None:
    start(half, job(argv=["head", "-c", "3000000", "/dev/zero"]))
    ended(half)
    assert log_of(half) == bytes(3_000_000)


def test_games_of_a_job_are_counted(half: Remote, tmp_path: Path) -> None:
    code = (
        "import json, pathlib; out = pathlib.Path('jobs/one/out'); out.mkdir()\n"
        "rows = [{'sha256': f'{n:064x}', 'file': f'{n}.shard', 'games': 7} for n in range(3)]\n"
        "(out / 'manifest.jsonl').write_text(''.join(json.dumps(r) + '\\n' for r in rows) + '{')"
    )
    start(half, job(argv=python(code)))
    end = ended(half)
    assert (end["games"], end["shards"]) == (21, 3)
    for _ in range(2):  # counted, then remembered
        (found,) = half.ask("jobs")["jobs"]
        assert (found["games"], found["shards"]) == (21, 3)
    assert (tmp_path / ".ringrift" / "counts.json").is_file()
    start(half, job("two", ["true"], out="jobs/one/out"))
    assert ended(half, "two")["games"] == 21


def test_files_of_a_job_that_make_no_sense_hide_no_other(half: Remote, tmp_path: Path) -> None:
    for identity in ("one", "two"):
        start(half, job(identity, ["true"]))
        ended(half, identity)
    told = json.loads((tmp_path / "jobs" / "one" / "job.json").read_bytes())
    for name, text in (
        ("job.json", "{}"),
        ("job.json", json.dumps({**told, "job": 7})),
        ("job.json", json.dumps({**told, "job": {**told["job"], "out": ["x"]}})),
        ("exit.json", '{"code": 0}'),
        ("exit.json", "{}"),
    ):
        path = tmp_path / "jobs" / "one" / name
        kept = path.read_bytes()
        path.write_text(text)
        states = {one["id"]: one for one in half.ask("facts")["jobs"]}
        assert states["two"]["state"] == "done"
        assert states["one"]["state"] == "lost"
        assert "make no sense" in states["one"]["error"]
        path.write_bytes(kept)
    (tmp_path / "jobs" / "one" / "heartbeat").write_text('{"pid": "x"}')
    assert half.ask("jobs", ids=["one"])["jobs"][0]["state"] == "done"  # that was noted
    (tmp_path / "jobs" / "one" / "job.json").unlink()
    assert [one["id"] for one in half.ask("jobs")["jobs"]] == ["two"]
    (tmp_path / "jobs" / "three").symlink_to(tmp_path.parent)
    assert half.ask("facts")["end"] == "ok"
