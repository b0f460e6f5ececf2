"""Jobs as they are remembered here: once, whole, and only those that were started."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ringrift_cli.errors import RemoteError, UsageError
from ringrift_cli.fleet import jobs
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import JobState
from ringrift_cli.fleet.plan import Placed, job_of
from ringrift_cli.fleet.wire import Wire
from tests.fleet.goods import Liar, Message

HOST = Host(name="a", addresses=("127.0.0.1:22",))


def placed(*words: str, identity: str = "n-a") -> Placed:
    return Placed("a", (), job_of(["selfplay", *words], identity, HOST, ()))


def test_a_job_is_remembered_once(tmp_path: Path) -> None:
    new, first = jobs.remember(tmp_path, placed())
    assert new
    assert jobs.remember(tmp_path, placed()) == (False, first)
    with pytest.raises(UsageError, match="another job of the name n-a"):
        jobs.remember(tmp_path, placed("--games", "5"))
    assert jobs.remembered(tmp_path) == {"n-a": first}
    jobs.forget(tmp_path, "n-a")
    assert jobs.remembered(tmp_path) == {}


def test_a_job_has_a_seed_of_its_own_also_under_a_name_of_the_past(tmp_path: Path) -> None:
    seeds = set()
    for _ in range(3):
        seeds.add(jobs.remember(tmp_path, placed())[1].job.env["RINGRIFT_SEED"])
        jobs.forget(tmp_path, "n-a")
    assert len(seeds) == 3
    given = placed("--seed", "7")
    assert jobs.remember(tmp_path, given) == (True, given)


def test_of_two_jobs_of_a_name_one_is_remembered(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    outcomes: list[bool | None] = []

    def remember(number: int) -> None:
        barrier.wait()
        try:
            outcomes.append(jobs.remember(tmp_path, placed("--games", str(number % 2)))[0])
        except UsageError:
            outcomes.append(None)

    threads = [threading.Thread(target=remember, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [False] * 3 + [None] * 4 + [True]


def test_what_a_host_refuses_was_never_started(tmp_path: Path) -> None:
    def refuse(_message: Message, wire: Wire) -> None:
        wire.send({"end": "error", "kind": "disk", "sentence": "The disk is full."})

    with Liar(start=refuse).link() as client, pytest.raises(RemoteError, match="disk is full"):
        jobs.start(client, tmp_path, placed())
    assert jobs.remembered(tmp_path) == {}
    jobs.remember(tmp_path, placed())
    with Liar(start=refuse).link() as client, pytest.raises(RemoteError, match="disk is full"):
        jobs.start(client, tmp_path, placed())
    assert set(jobs.remembered(tmp_path)) == {"n-a"}  # an earlier call may have started it


def test_how_jobs_ended_is_kept(tmp_path: Path) -> None:
    jobs.remember(tmp_path, placed())
    jobs.settle(
        tmp_path, [JobState(id="n-a", state="running"), JobState(id="foreign", state="done")]
    )
    assert jobs.ended(tmp_path) == {}
    jobs.settle(tmp_path, [JobState(id="n-a", state="failed", code=3)])
    assert jobs.ended(tmp_path)["n-a"].code == 3
