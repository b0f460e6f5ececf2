"""What a host says of itself: true, complete, and in time."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.fleet.probe import parse_gpus, unusable
from ringrift_cli.version import __version__
from tests.fleet.gpus import MB, lines, smi
from tests.fleet.jobbing import beat, end_all, ended, gone, job, log_of, start
from tests.fleet.remotes import Remote, remote

EPYC = (
    "0, NVIDIA GeForce RTX 4090, 97, 20123, 24564, 71, 301.52\n"
    "1, NVIDIA H100, SXM, 0, 3, 81559, 33, [N/A]\n"
)


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Remote]:
    with remote(tmp_path) as found:
        yield found


MIG = """\
GPU 0: NVIDIA A100 (UUID: GPU-11111111-2222-3333-4444-555555555555)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaaaaaa-2222-3333-4444-555555555555)
  MIG 4g.20gb     Device  1: (UUID: MIG-GPU-bbbbbbbb-2222-3333-4444-555555555555/2/0)
GPU 1: NVIDIA A100 (UUID: GPU-66666666-2222-3333-4444-555555555555)"""


def with_smi(tmp_path: Path, script: str) -> Remote:
    """An agent whose host has this nvidia-smi."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return remote(tmp_path / "work", env={"PATH": f"{folder}:{os.environ['PATH']}"})


def test_the_machine(half: Remote, tmp_path: Path) -> None:
    facts = half.ask("facts", deadline_s=2.5)
    assert facts["hostname"] == os.uname().nodename
    assert facts["time"] == pytest.approx(time.time(), abs=30)
    assert facts["uptime_s"] > 0
    assert 1 <= facts["cores"] <= (os.cpu_count() or 1)
    assert len(facts["load"]) == 3
    assert 0 < facts["ram_available"] <= facts["ram_total"]
    disk = os.statvfs(tmp_path)
    assert facts["disk_total"] == disk.f_blocks * disk.f_frsize
    assert 0 < facts["disk_free"] <= facts["disk_total"]
    empty = ("idle_s", "gpus_error", "jobs_error")
    assert {facts[name] for name in empty} == {None}
    assert facts["version"] == __version__
    assert (facts["gpus"], facts["models"], facts["jobs"]) == ([], {}, [])


def test_gpus(tmp_path: Path) -> None:
    with with_smi(
        tmp_path, f"cat <<'END'\n{EPYC}2, Old, [N/A], 1, 2, [Not Supported], [N/A]\nEND"
    ) as half:
        facts = half.ask("facts")
    assert facts["gpus_error"] is None
    assert facts["gpus"][0] == {
        "index": 0,
        "name": "NVIDIA GeForce RTX 4090",
        "use_percent": 97,
        "memory_used_mb": 20123,
        "memory_total_mb": 24564,
        "temperature_c": 71,
        "power_w": 301,
    }
    assert facts["gpus"][1]["name"] == "NVIDIA H100, SXM"
    assert facts["gpus"][2]["use_percent"] is None
    assert facts["gpus"][2]["temperature_c"] is None


@pytest.mark.parametrize(
    ("query", "indices", "faults"),
    [
        (["WARNING: infoROM is corrupted at gpu 0000:04:00.0", *lines(2)], [0, 1], {}),
        ([*lines(3)[1:], "Unable to determine the device handle: GPU is lost"], [1, 2], {}),
        (lines(2, gpu1="ERR!, ERR!, ERR!, ERR!, ERR!, ERR!"), [0, 1], {1: "ERR!"}),
        (
            lines(2, gpu0="A100, [GPU requires reset], 1, 2, 3, 4"),
            [0, 1],
            {0: "[GPU requires reset]"},
        ),
        (lines(1, gpu0="GB10, 0, [N/A], [N/A], [N/A], [N/A]"), [0], {}),
        (["", "\x1b[0m", *lines(1), "1, what"], [0], {}),
    ],
)
def test_an_odd_line_hides_no_gpu(
    tmp_path: Path, query: list[str], indices: list[int], faults: dict[int, str]
) -> None:
    with with_smi(tmp_path, smi(query, code=14)) as half:
        facts = half.ask("facts")
    assert [gpu["index"] for gpu in facts["gpus"]] == indices
    assert {g["index"]: g["fault"] for g in facts["gpus"] if g.get("fault")} == faults
    odd = [line for line in query if line.strip() and not line[:3].endswith(", ")]
    assert (facts["gpus_error"] is None) == (not odd)
    assert not odd or repr(odd[0].strip())[1:-1] in facts["gpus_error"]


def test_a_divided_gpu_is_its_slices(tmp_path: Path) -> None:
    query = lines(2, gpu0="NVIDIA A100, [N/A], 13, 40960, 30, 60.5")
    details = f"if [ $1 = -q ]; then cat <<'END'\n{DETAILS}\nEND\nexit; fi\n"
    with with_smi(tmp_path, details + smi(query, MIG.splitlines())) as half:
        facts = half.ask("facts")
    assert [(gpu["index"], gpu["uuid"][:7], gpu["name"]) for gpu in facts["gpus"]] == [
        (0, "MIG-aaa", "NVIDIA A100 MIG 3g.20gb"),
        (1, "MIG-GPU", "NVIDIA A100 MIG 4g.20gb"),
        (2, "GPU-666", "NVIDIA GeForce RTX 4090"),
    ]
    assert [gpu["memory_total_mb"] for gpu in facts["gpus"]] == [19968, 19968, MB]


DETAILS = """\
<?xml version="1.0" ?><nvidia_smi_log><gpu id="00000000:01:00.0">
<uuid>GPU-11111111-2222-3333-4444-555555555555</uuid><mig_devices>
<mig_device><index>0</index><fb_memory_usage><total>19968 MiB</total><reserved>0 MiB</reserved>
<used>19 MiB</used><free>19949 MiB</free></fb_memory_usage></mig_device>
<mig_device><index>1</index><fb_memory_usage><total>19968 MiB</total>
<used>15000 MiB</used></fb_memory_usage></mig_device>
</mig_devices></gpu><gpu id="00000000:02:00.0"/></nvidia_smi_log>"""


@pytest.mark.parametrize(
    ("details", "memory"),
    [
        (DETAILS, [(19, 19968), (15000, 19968)]),
        (DETAILS.replace("19 MiB", "[N/A]"), [(None, None), (15000, 19968)]),
        (DETAILS.replace("11111111", "99999999"), [(None, None)] * 2),
        (DETAILS[:-20], [(None, None)] * 2),
        ("No such option", [(None, None)] * 2),
    ],
)
def test_a_slice_that_others_use_is_seen(
    details: str, memory: list[tuple[int | None, int | None]]
) -> None:
    gpus, error = parse_gpus("\n".join(lines(2)), MIG, details)
    assert error is None
    assert gpus is not None
    found = [(gpu.memory_used_mb, gpu.memory_total_mb) for gpu in gpus]
    assert found == [*memory, (4, MB)]
    used = [memory[1][0] is not None]
    assert [unusable(gpu) is not None for gpu in gpus] == [False, *used, False]


# ---- claims -------------------------------------------------------------------------------------


def exclusive(identity: str, *gpus: int, **more: Any) -> dict[str, Any]:
    return job(identity, exclusive=True, meta={"gpus": [*gpus]}, **more)


def test_a_gpu_is_held_for_as_long_as_its_job_lives(tmp_path: Path) -> None:
    with with_smi(tmp_path, smi(lines(3))) as half:
        found = start(half, exclusive("one", 0, 1, lease_s=1))
        for gpus in ((1,), (0, 2), (3,)):  # held, held in part, not there
            reply = half.ask("start", job=exclusive("two", *gpus))
            assert (reply["end"], reply["kind"]) == ("error", "taken")
        assert [one["id"] for one in half.ask("jobs")["jobs"]] == ["one"]  # nothing is left
        assert start(half, exclusive("free", 2))["state"] == "running"
        assert start(half, exclusive("one", 0, 1, lease_s=1))["pid"] == found["pid"]
        supervisor = beat(tmp_path / "work")["pid"]
        os.kill(supervisor, signal.SIGKILL)  # the job goes on
        gone(supervisor)
        assert half.ask("start", job=exclusive("two", 1))["kind"] == "taken"
        os.killpg(found["pid"], signal.SIGKILL)
        gone(found["pid"])
        assert start(half, exclusive("two", 1))["state"] == "running"
        end_all(half)


def test_a_gpu_is_busy_with_what_its_job_has_left_or_with_others(tmp_path: Path) -> None:
    """The job that holds it is named before what it uses; what the last one left does not stay."""
    looks = tmp_path / "looks"
    full = smi(lines(1, gpu0=f"RTX 4090, 99, {MB}, {MB}, 70, 60.5"))
    script = (
        f"echo >>{looks}; if [ $(wc -l <{looks}) -lt 6 ]; then {full}; else {smi(lines(1))}; fi"
    )
    with with_smi(tmp_path, smi(lines(1))) as half:
        start(half, exclusive("one", 0))
        with_smi(tmp_path, full).close()
        reply = half.ask("start", job=exclusive("two", 0))
        assert (reply["kind"], reply["sentence"]) == ("taken", "GPU 0 is held by another job.")
        end_all(half)
        with_smi(tmp_path, script).close()
        assert start(half, exclusive("two", 0))["state"] == "running"
        end_all(half)
        with_smi(tmp_path, full).close()
        reply = half.ask("start", job=exclusive("three", 0))
        assert reply["kind"] == "taken"
        assert reply["sentence"].startswith("GPU 0 is used by others: ")


def test_of_many_that_want_one_gpu_at_once_one_gets_it(tmp_path: Path) -> None:
    first = with_smi(tmp_path, smi(lines(1)))
    halves = [first, *(with_smi(tmp_path, smi(lines(1))) for _ in range(3))]
    ready = threading.Barrier(len(halves))

    def begin(number: int) -> bool:
        ready.wait()
        return bool(halves[number].ask("start", job=exclusive(f"j{number}", 0))["end"] == "ok")

    with ThreadPoolExecutor(len(halves)) as pool:
        assert sum(pool.map(begin, range(len(halves)))) == 1
    end_all(first)
    assert start(first, exclusive("cpu"))["state"] == "running"  # as the CPU
    assert first.ask("start", job=exclusive("more"))["kind"] == "taken"
    end_all(first)
    for half in halves:
        half.close()


def test_a_claim_holds_for_all_work_folders_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with remote(tmp_path / "one") as one, remote(tmp_path / "two") as two:
        assert start(one, exclusive("a"))["state"] == "running"
        assert two.ask("start", job=exclusive("b"))["kind"] == "taken"
        monkeypatch.setenv("RINGRIFT_MACHINE", "another")  # of those that a machine stands for
        with remote(tmp_path / "three") as three:
            assert start(three, exclusive("b"))["state"] == "running"
            end_all(three)
        end_all(one)
        assert start(two, exclusive("b"))["state"] == "running"
        end_all(two)


def test_a_job_sees_the_gpu_that_it_holds(tmp_path: Path) -> None:
    """By its UUID, whatever number CUDA gives it."""
    with with_smi(tmp_path, smi(lines(2), MIG.splitlines())) as half:
        argv = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
        start(half, exclusive("one", 0, 2, argv=argv, env={"CUDA_VISIBLE_DEVICES": "0,2"}))
        ended(half)
        first, second = log_of(half).decode().strip().split(",")
    assert (first[:7], second[:7]) == ("MIG-aaa", "GPU-666")


# ---- what it says -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "quoted"),
    [
        ("echo 'No devices were found'; exit 6", "failed (6): No devices were found"),
        ("exit 9", "failed (9): it printed nothing"),
        ("echo what", "cannot be read: 'what'"),
        ("head -c 100 /dev/urandom", "cannot be read"),
        ("kill -9 $$", "failed (-9)"),
    ],
)
def test_an_nvidia_smi_that_fails(tmp_path: Path, script: str, quoted: str) -> None:
    with with_smi(tmp_path, script) as half:
        facts = half.ask("facts")
    assert facts["gpus"] is None
    assert quoted in facts["gpus_error"]


def test_an_nvidia_smi_that_cannot_be_started(tmp_path: Path) -> None:
    with with_smi(tmp_path, "") as half:
        (tmp_path / "bin" / "nvidia-smi").write_bytes(b"\x7fELF")
        facts = half.ask("facts")
    assert facts["gpus"] is None
    assert "cannot be started: Exec format error" in facts["gpus_error"]


def test_an_nvidia_smi_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! >{tmp_path}/child; trap '' TERM; while :; do sleep 1000; done"
    with with_smi(tmp_path, script) as half:
        began = time.monotonic()
        facts = half.ask("facts", deadline_s=1.0)
        assert time.monotonic() - began < 20.0
        assert facts["gpus"] is None
        assert facts["gpus_error"].startswith("nvidia-smi did not answer within 0.")
        assert facts["ram_total"] > 0
        gone(int((tmp_path / "child").read_text()))  # all that it started is ended with it


def test_champions(half: Remote, tmp_path: Path) -> None:
    for pool, text in (
        ("hex8-2p", json.dumps({"champion": "0123456789abcdef"})),
        ("square8-2p", "damaged"),
        ("square8-3p", '{"champion": 7}'),
        (".hidden", '{"champion": "x"}'),
    ):
        (tmp_path / "models" / pool).mkdir(parents=True)
        (tmp_path / "models" / pool / "champion.json").write_text(text)
    (tmp_path / "models" / "empty").mkdir()
    (tmp_path / "models" / "file").write_bytes(b"")
    digest = hashlib.sha256(b'{"champion": "0123456789abcdef"}').hexdigest()
    expected = {"hex8-2p": {"champion": "0123456789abcdef", "sha256": digest}}
    assert half.ask("facts")["models"] == expected


def test_idle_time(half: Remote) -> None:
    start(half, job())
    facts = half.ask("facts")
    assert facts["idle_s"] is None
    assert [one["state"] for one in facts["jobs"]] == ["running"]
    began = time.monotonic()
    end_all(half)
    ended(half)
    time.sleep(0.5)
    facts = half.ask("facts")
    assert 0.4 < facts["idle_s"] < time.monotonic() - began + 0.1


def test_jobs_that_take_too_long_are_said_to_be_missing(half: Remote, tmp_path: Path) -> None:
    start(half, job("job0", ["true"]))
    ended(half, "job0")
    for number in range(1, 3000):
        folder = tmp_path / "jobs" / f"job{number}"
        folder.mkdir()
        for name in ("job.json", "heartbeat", "exit.json", "log"):
            (folder / name).hardlink_to(tmp_path / "jobs" / "job0" / name)
    began = time.monotonic()
    facts = half.ask("facts", deadline_s=0.3)
    assert time.monotonic() - began < 20
    assert facts["jobs_total"] == 3000
    assert facts["jobs_error"].endswith("of 3000 jobs could be looked at in time")
    whole = half.ask("facts", deadline_s=60)  # what was read is remembered
    assert (len(whole["jobs"]), whole["jobs_total"], whole["jobs_error"]) == (500, 3000, None)
    names: list[str] = []
    while len(names) < 3000:
        page = half.ask("jobs", skip=len(names), most=700)
        assert page["total"] == 3000
        names += [one["id"] for one in page["jobs"]]
    assert {*names} == {f"job{number}" for number in range(3000)}
    assert half.ask("jobs", states=["failed"]) == {"end": "ok", "jobs": [], "total": 0}


def test_it_is_quick(half: Remote) -> None:
    half.ask("facts")
    began = time.monotonic()
    for _ in range(20):
        half.ask("facts")
    assert (time.monotonic() - began) / 20 < 0.1
