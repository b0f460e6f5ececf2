"""`ringrift fleet run|jobs|logs|stop|retry` with SSH servers: jobs outlive whoever began them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import RemoteError
from ringrift_cli.fleet import cost, jobs
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.jobs import remembered
from ringrift_cli.fleet.messages import TAKEN, JobState
from ringrift_cli.fleet.plan import Placed
from tests.conftest import Ringrift, Run
from tests.fleet.campaigning import jobs_of
from tests.fleet.gpus import MB, lines, smi, with_gpus
from tests.fleet.opening import at
from tests.fleet.servers import Farm, Server, local_link
from tests.fleet.stations import Station, install, keep_account, until

HARD = [
    "a b", "$HOME", "`id`", '"', "'", "\\", "a\\nb", "line\nbreak", "*", "?", "[x]", "{a,b}", "~",
    ";", "&", "|", "<", ">", "(", ")", "#", "!", "^", "%", "=", "", " ", "\t", "é", "\N{SNOWMAN}",
    "--", "-x", "$(touch x)", "${x}", "a'b\"c\\d$e`f",
]  # fmt: skip
LONG = ("--last", "100")


@pytest.fixture
def desk(farm: Farm, here: Station) -> Server:
    """One host, on which the stub is deployed."""
    server = farm.server("desk")
    install(server)
    here.know(server)
    return server


def told(run: Run) -> Any:
    return json.loads(run.out)


def play(ringrift: Ringrift, name: str, *words: object, options: tuple[str, ...] = ()) -> Run:
    """Starts jobs that print, and play as the stub does."""
    return ringrift("fleet", "run", "--name", name, *options, "--json", "--", "selfplay", *words)


def state(ringrift: Ringrift, name: str = "n-desk") -> dict[str, Any]:
    """A job as `fleet jobs` tells it."""
    rows = told(ringrift("fleet", "jobs", "--ended", "--json"))["jobs"]
    (found,) = [row for row in rows if row["id"] == name]
    assert isinstance(found, dict)
    return found


def ended(ringrift: Ringrift, name: str = "n-desk") -> dict[str, Any]:
    until(lambda: state(ringrift, name)["state"] not in ("starting", "running"), "it goes on")
    return state(ringrift, name)


def begun(server: Server, name: str = "n-desk") -> dict[str, Any]:
    """What the stub was given."""
    log = server.work / "jobs" / name / "log"
    until(lambda: log.read_bytes().count(b"\n") >= 2, "it prints nothing")
    found = json.loads(log.read_text().splitlines()[0])
    assert isinstance(found, dict)
    return found


def test_a_job_from_its_beginning_to_its_end(
    here: Station, desk: Server, ringrift: Ringrift
) -> None:
    run = play(ringrift, "n", "--board", "hex8", "--games", 5, "--say", "grüße", "--last", "1")
    assert run.code == 0, run.err
    (row,) = told(run)["placed"]
    assert (row["host"], row["id"], row["outcome"]) == ("desk", "n-desk", "started")
    followed = here.process("fleet", "logs", "n-desk", "-f")  # which ends with the job
    assert followed.code == 0
    assert followed.out.splitlines()[1:] == ["grüße"]
    found = ended(ringrift)
    assert (found["state"], found["code"], found["games"]) == ("done", 0, 5)
    assert found["seconds"] >= 1
    told_there = begun(desk)
    words = ["--board", "hex8", "--games", "5", "--say", "grüße", "--last", "1"]
    assert told_there["argv"] == ["-P", "-m", "ringrift_cli", "selfplay", *words]
    assert told_there["env"]["RINGRIFT_OUT"] == "jobs/n-desk/out"
    assert told_there["env"]["RINGRIFT_GPUS"] == "none"
    assert int(told_there["env"]["RINGRIFT_SEED"]) > 0
    assert ringrift("fleet", "jobs").out == "no jobs\n"
    text = ringrift("fleet", "jobs", "--ended").out.splitlines()
    assert text[0].split() == ["job", "host", "state", "gpu", "run", "beat", "games", "command"]
    assert text[1].split()[:4] == ["n-desk", "desk", "done", "-"]
    assert text[1].endswith("selfplay --board hex8 --games 5 --say 'grüße' --last 1")


def test_arguments_survive_every_character_of_a_shell(
    desk: Server, here: Station, ringrift: Ringrift
) -> None:
    assert play(ringrift, "n", *HARD).code == 0
    assert begun(desk)["argv"] == ["-P", "-m", "ringrift_cli", "selfplay", *HARD]
    assert not list(desk.home.rglob("x"))
    ended(ringrift)
    assert state(ringrift)["argv"] == ["ringrift", "selfplay", *HARD]
    assert "\n" not in ringrift("fleet", "jobs", "--ended").out.splitlines()[1]


def test_a_job_outlives_the_connection_and_this_program(
    desk: Server, here: Station, ringrift: Ringrift
) -> None:
    process = here.start("fleet", "run", "--name", "n", "--", "selfplay", *LONG)
    log = desk.work / "jobs/n-desk/log"
    until(lambda: log.exists() and log.read_bytes().count(b"\n") >= 2, "it does not begin")
    process.kill()
    process.communicate()
    desk.stop()
    run = ringrift("fleet", "jobs", "--json")
    assert run.code == 1
    (row,) = told(run)["jobs"]
    assert (row["id"], row["state"]) == ("n-desk", "unknown")
    assert "connection refused" in told(run)["silent"]["desk"]
    assert "desk cannot be asked: " in ringrift("fleet", "jobs").err
    desk.start()
    found = state(ringrift)
    assert (found["state"], found["error"]) == ("running", None)
    assert play(ringrift, "n", *LONG).code == 0  # and so it is still the only one
    assert begun(desk)["pid"] == found["pid"]
    assert ringrift("fleet", "stop", "n-desk").out == "n-desk: stopped\n"
    desk.stop()
    (row,) = told(ringrift("fleet", "jobs", "--ended", "--json"))["jobs"]
    assert row["state"] == "stopped"  # as its host has said


def test_the_same_name_again_starts_nothing_twice(
    desk: Server, here: Station, ringrift: Ringrift
) -> None:
    assert play(ringrift, "n", *LONG).code == 0
    again = play(ringrift, "n", *LONG)
    assert again.code == 0
    (row,) = told(again)["placed"]
    assert (row["started"], row["outcome"]) == (False, "there already, running")
    other = play(ringrift, "n", "--last", "200")
    assert other.code == 1
    assert "There is another job of the name n-desk" in told(other)["placed"][0]["error"]
    assert other.err == "ringrift: There is another job of the name n-desk.\n"
    assert ringrift("fleet", "stop", "--all").code == 0
    assert ended(ringrift)["state"] == "stopped"
    again = play(ringrift, "n", *LONG)
    assert (again.code, told(again)["placed"][0]["outcome"]) == (0, "there already, stopped")
    assert [path.name for path in (desk.work / "jobs").iterdir() if path.is_dir()] == ["n-desk"]


@pytest.mark.parametrize("names", [("n", "n"), ("n", "m")])
def test_two_at_once_start_one(
    desk: Server, here: Station, ringrift: Ringrift, names: tuple[str, str]
) -> None:
    both = [
        here.start("fleet", "run", "--name", name, "--json", "--", "selfplay", *LONG)
        for name in names
    ]
    outs = [process.communicate(timeout=60)[0] for process in both]
    documents = [json.loads(out) for out in outs]
    assert sum(bool(row["started"]) for one in documents for row in one["placed"]) == 1
    codes = sorted(process.returncode for process in both)
    if names[0] == names[1]:
        assert codes == [0, 0]
    else:
        assert codes == [0, 1]
        assert [one["refused"] for one in documents if one["refused"]] == [{"desk": "it is busy"}]
    (row,) = told(ringrift("fleet", "jobs", "--json"))["jobs"]
    assert row["state"] == "running"


def test_two_coordinators_share_no_gpu(farm: Farm, here: Station, tmp_path: Path) -> None:
    """Neither knows of the other: the host decides."""
    server = farm.server("desk")
    with_gpus(server, smi(lines(2)))
    there = Station(farm, tmp_path / "there")
    there.folder.mkdir()
    words = ("fleet", "run", "--per-gpu", "--json", "--name")
    begun = []
    for station, name in ((here, "n"), (there, "m"), (here, "o"), (there, "p")):
        station.know(server.entry(gpus=2))
        begun.append(station.start(*words, name, "--", "selfplay", *LONG))
    for process in begun:
        process.communicate(timeout=120)
    active = [job for job in jobs_of(server).values() if job.active]
    assert sorted(job.meta.gpus for job in active) == [[0], [1]]
    for job in active:
        with local_link(server.work) as client:
            jobs.stop(client, job.id, grace=5.0)


def test_a_gpu_that_cannot_be_used_gets_no_job(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("desk")
    full = f"NVIDIA GeForce RTX 4090, 98, 23000, {MB}, 70, 300"
    query = ["WARNING: infoROM is corrupted at gpu 0000:04:00.0", *lines(3, gpu0=full)]
    query[2] = "1, NVIDIA GeForce RTX 4090, ERR!, [Unknown Error], ERR!, [N/A], [N/A]"
    with_gpus(server, smi([*query, "Unable to determine the device handle for GPU 3"], code=15))
    here.know(server.entry(gpus=4))
    run = play(ringrift, "n", *LONG, options=("--per-gpu",))
    assert [row["id"] for row in told(run)["placed"]] == ["n-desk-gpu2"]
    refused = told(play(ringrift, "m", *LONG))["refused"]["desk"]
    for why in ("it is busy", "GPU 0 is used by others: 22.5 of 24.0 GB", "GPU 1 reports 'ERR!'"):
        assert why in refused
    assert "GPU 3 is not there" in refused
    shown = ringrift("fleet", "status")
    assert shown.code == 1
    assert "it has 3 of 4 GPUs" in shown.out
    assert "infoROM is corrupted" in shown.out
    (server.folder / "nvidia-smi").write_text("#!/bin/sh\necho 'Driver mismatch'; exit 18\n")
    refused = told(play(ringrift, "o", *LONG))["refused"]["desk"]
    assert refused == "its GPUs cannot be asked: nvidia-smi failed (18): Driver mismatch"


def test_a_job_for_each_gpu(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    server, small = farm.server("desk"), farm.server("small")
    with_gpus(server, smi(lines(2)))
    install(small)
    here.know(server.entry(gpus=2), small)
    assert play(ringrift, "n", *LONG, options=("--per-gpu",)).code == 0
    assert begun(server, "n-desk-gpu0")["env"]["CUDA_VISIBLE_DEVICES"] == "0"
    one = begun(server, "n-desk-gpu1")["env"]
    assert one["CUDA_VISIBLE_DEVICES"] == "1"
    assert one["RINGRIFT_GPUS"] == "0"
    assert begun(small, "n-small")["env"]["RINGRIFT_GPUS"] == "none"
    seeds = {begun(server, f"n-desk-gpu{gpu}")["env"]["RINGRIFT_SEED"] for gpu in (0, 1)}
    assert len(seeds) == 2
    assert ringrift("fleet", "stop", "n-desk-gpu1", "n-small").code == 0
    run = play(ringrift, "m", *LONG)
    assert run.code == 0
    placed = {row["host"]: row["gpus"] for row in told(run)["placed"]}
    assert placed == {"desk": [1], "small": []}
    run = play(ringrift, "n", *LONG, options=("--per-gpu",))
    assert run.code == 0
    outcomes = {row["id"]: row["outcome"] for row in told(run)["placed"]}
    assert outcomes == {
        "n-desk-gpu0": "there already, running",
        "n-desk-gpu1": "there already, stopped",
        "n-small": "there already, stopped",
    }
    run = play(ringrift, "n", *LONG)  # another way to place it is another job
    assert told(run)["refused"] == {"desk": "it is busy"}


def test_a_gpu_that_is_taken_meanwhile(
    farm: Farm, here: Station, ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = farm.server("desk")
    with_gpus(server, smi(lines(2)))
    here.know(server.entry(gpus=2))
    real = jobs.start

    def start(client: Client, folder: Path, placed: Placed) -> tuple[bool, JobState]:
        if placed.gpus == (0,):
            raise RemoteError("desk: GPU 0 is held by another job.", kind=TAKEN)
        return real(client, folder, placed)

    monkeypatch.setattr(jobs, "start", start)
    run = play(ringrift, "n", *LONG, options=("--per-gpu",))
    assert run.code == 1
    outcomes = {row["id"]: row["outcome"] for row in told(run)["placed"]}
    assert outcomes["n-desk-gpu0"] == "desk: GPU 0 is held by another job."
    assert outcomes["n-desk-gpu1"] == "started"


def test_who_gets_nothing_is_told_why(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    servers = farm.servers(8)
    for server in servers[:6]:
        install(server)
    (code,) = (servers[6].work / ".ringrift").glob("code-*")
    code.rename(code.with_name("code-older"))
    servers[7].stop()
    here.know(
        servers[0].entry(roles=["train"]),
        servers[1].entry(boards=["square8"]),
        servers[2].entry(memory=1, board_memory={"hex8": 4}),
        servers[3].entry(),
        servers[4].entry(),
        servers[6].entry(),
        servers[7].entry(),
        servers[5].entry(labels=["good"]),
    )
    busy = play(ringrift, "other", *LONG, options=("--on", "host-3"))
    assert busy.code == 0
    drained = ringrift("fleet", "drain", "host-4", "--json")
    assert drained.code == 0, drained
    words = ("--board", "hex8", *LONG)
    before = remembered(here.state)
    run = play(ringrift, "n", *words, options=("--dry-run",))
    assert run.code == 0
    document = told(run)
    assert document["dry_run"]
    assert [row["id"] for row in document["placed"]] == ["n-host-5"]
    assert "started" not in document["placed"][0]
    assert document["refused"].pop("host-7").startswith("host-7 cannot be reached: ")
    assert document["refused"] == {
        "host-0": "its roles are train, not selfplay",
        "host-1": "its boards are square8, not hex8",
        "host-2": "it has 1 GB of memory, hex8 needs 4",
        "host-3": "it is busy",
        "host-4": "it is drained: ringrift fleet drain --undo host-4",
        "host-6": "it has another ringrift: ringrift fleet deploy host-6",
    }
    assert remembered(here.state) == before
    assert not (servers[5].work / "jobs").exists()
    run = play(ringrift, "n", *words, options=("--on", "host-0,host-3"))
    assert run.code == 1
    assert set(told(run)["refused"]) == {"host-0", "host-3"}  # which is one document
    assert "No host can take this job now." in run.err
    text = ringrift("fleet", "run", "--dry-run", "--label", "good", "--name", "n", "--", "selfplay")
    assert text.out == "host-5: n-host-5 on the processor\n"


def test_nothing_begins_over_budget(desk: Server, here: Station, ringrift: Ringrift) -> None:
    here.know(desk.entry(price=3.0))
    now = time.time()
    spent = cost.Account(now, now - 3600)
    keep_account(here.state, "desk", spent)
    run = play(ringrift, "n", *LONG, options=("--budget", "1"))
    assert run.code == 1
    assert "the budget is $1.00" in told(run)["refused"]["desk"]
    assert play(ringrift, "n", *LONG, options=("--budget", "100")).code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--", "play"], "'play' is no command that hosts run"),
        (["run", "--", "selfplay", "--board", "hex9"], "--board hex9"),
        (["run", "--name", "../x", "--", "selfplay"], "'../x' is no name of a job"),
        (["run"], "Missing argument"),
        (["run", "--budget", "-1", "--", "selfplay"], "--budget"),
        (["logs", "x"], "No host has a job 'x'"),
        (["stop"], "No jobs given"),
        (["stop", "x", "--all"], "exclude each other"),
        (["retry", "x"], "No job 'x' was started from here"),
    ],
)
def test_what_cannot_be_is_wrong_usage(
    desk: Server, ringrift: Ringrift, words: list[str], sentence: str
) -> None:
    run = ringrift("fleet", *words)
    assert run.code == 2, run
    assert sentence in run.err
    assert not (desk.work / "jobs").exists()


def test_stopping_asks_and_then_insists(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    servers = farm.servers(2)
    for server in servers:
        install(server)
    here.know(*servers)
    assert play(ringrift, "mild", *LONG, options=("--on", "host-0")).code == 0
    assert play(ringrift, "hard", *LONG, "--stubborn", options=("--on", "host-1")).code == 0
    begun(servers[0], "mild-host-0")
    begun(servers[1], "hard-host-1")
    run = ringrift("fleet", "stop", "--all", "--grace", "1", "--json")
    assert run.code == 0, run
    rows = {row["id"]: row for row in told(run)["jobs"]}
    mild, hard = rows["mild-host-0"], rows["hard-host-1"]
    assert (mild["state"], mild["code"]) == ("stopped", 0)
    assert (hard["state"], hard["signal"]) == ("stopped", signal.SIGKILL)
    assert ringrift("fleet", "logs", "mild-host-0").out.splitlines()[-1] == "stopping"
    assert ringrift("fleet", "logs", "hard-host-1").out.splitlines()[-1] == "no"
    assert ringrift("fleet", "stop", "--all").out == "no jobs\n"
    servers[1].stop()
    run = ringrift("fleet", "stop", "--all")
    assert run.code == 1
    assert run.out.startswith("host-1: host-1 cannot be reached")


def test_a_job_is_begun_again_elsewhere(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    servers = farm.servers(3)
    for server in servers[1:]:
        install(server)
    with_gpus(servers[0], smi(lines(2)))
    here.know(servers[0].entry(gpus=2), servers[1], servers[2].entry(roles=["train"]))
    words = ("--exit", "3", "--say", "a b")
    assert play(ringrift, "n", *words, options=("--on", "host-0")).code == 0
    found = ended(ringrift, "n-host-0")
    assert (found["state"], found["code"]) == ("failed", 3)
    run = ringrift("fleet", "jobs")
    assert run.code == 1
    assert "failed (3)" in run.out
    assert "job n-host-0 failed (exit 3)" in ringrift("fleet", "status", "--on", "host-0").out
    run = ringrift("fleet", "retry", "n-host-0", "--json")
    assert run.code == 0, run
    assert {key: told(run)[key] for key in ("host", "id", "was", "retries")} == {
        "host": "host-0", "id": "n-host-0.2", "was": "failed", "retries": "n-host-0",
    }  # fmt: skip
    first, second = (begun(servers[0], name) for name in ("n-host-0", "n-host-0.2"))
    assert first["argv"] == second["argv"]
    assert second["env"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert first["env"]["RINGRIFT_SEED"] != second["env"]["RINGRIFT_SEED"]
    servers[0].stop()
    run = ringrift("fleet", "retry", "n-host-0")
    assert (run.code, run.out) == (1, "")
    assert "host-0 cannot take it: host-0 cannot be reached" in run.err
    run = ringrift("fleet", "retry", "n-host-0", "--on", "host-2")
    assert run.code == 1
    assert "host-2 cannot take it: its roles are train, not selfplay." in run.err
    run = ringrift("fleet", "retry", "n-host-0", "--on", "host-1")
    assert run.code == 0, run
    assert run.out.startswith("host-1: n-host-0.3 ")
    assert begun(servers[1], "n-host-0.3")["argv"] == first["argv"]
    here.know(servers[1])  # the first host was given back
    assert ended(ringrift, "n-host-0.3")["state"] == "failed"
    run = ringrift("fleet", "retry", "n-host-0", "--on", "host-1")
    assert run.code == 0, run
    assert run.out.endswith("n-host-0 was on a host that is gone\n")


def test_a_job_that_runs_is_not_begun_again(desk: Server, ringrift: Ringrift) -> None:
    assert play(ringrift, "n", *LONG).code == 0
    run = ringrift("fleet", "retry", "n-desk")
    assert run.code == 1
    assert "n-desk is running." in run.err


def test_a_job_that_its_host_has_lost_is_told(
    desk: Server, here: Station, ringrift: Ringrift
) -> None:
    assert play(ringrift, "n", *LONG).code == 0
    assert play(ringrift, "m").code == 1  # it is busy
    desk.end()
    subprocess.run(["rm", "-r", desk.work / "jobs"], check=True)
    desk.start()
    run = ringrift("fleet", "jobs", "--json")
    assert run.code == 1
    (row,) = told(run)["jobs"]
    assert (row["id"], row["state"]) == ("n-desk", "lost")
    assert row["error"] == "its host knows nothing of it"


def test_ended_jobs_of_a_silent_host_are_remembered(
    desk: Server, here: Station, ringrift: Ringrift
) -> None:
    assert play(ringrift, "n", "--games", 3).code == 0
    ended(ringrift)
    desk.stop()
    run = ringrift("fleet", "jobs", "--ended", "--json")
    assert run.code == 1
    (row,) = told(run)["jobs"]
    assert (row["state"], row["games"]) == ("done", 3)
    assert told(ringrift("fleet", "jobs", "--json"))["jobs"] == []


def test_the_end_of_a_long_log_or_all_of_it(
    desk: Server, here: Station, ringrift: Ringrift
) -> None:
    assert play(ringrift, "n", "--say", "end").code == 0
    ended(ringrift)
    log = desk.work / "jobs/n-desk/log"
    line = "é" * 499 + "\n"
    log.write_text(line * 20_000 + "end\n")  # more than is asked for at once
    tail = ringrift("fleet", "logs", "n-desk").out
    assert tail.endswith(line + "end\n")
    assert len(tail.encode()) <= 20_002
    whole = ringrift("fleet", "logs", "n-desk", "--whole").out
    assert whole == log.read_text()


def test_following_ends_when_it_is_interrupted(desk: Server, here: Station) -> None:
    assert here.process("fleet", "run", "--name", "n", "--", "selfplay", *LONG).code == 0
    process = here.start("fleet", "logs", "n-desk", "-f")
    assert process.stdout is not None
    assert process.stdout.readline().startswith('{"argv"')
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert json.loads(here.process("fleet", "jobs", "--json").out)["jobs"][0]["state"] == "running"


def test_hosts_that_nobody_may_ask_are_not(desk: Server, here: Station, ringrift: Ringrift) -> None:
    assert play(ringrift, "n", *LONG).code == 0
    here.know(desk.entry(enabled=False), {"name": "other", "addresses": at(1)})
    run = ringrift("fleet", "logs", "n-desk")
    assert run.code == 2
    assert "Host desk is not enabled" in run.err
