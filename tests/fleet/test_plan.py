"""Placement: who gets a job, and what is said of those who do not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import JobMeta, JobState
from ringrift_cli.fleet.plan import (
    Need,
    Placed,
    again,
    job_of,
    need_of,
    option,
    place,
    retried,
    slots,
    unsuitable,
)
from ringrift_cli.fleet.probe import unusable
from tests.fleet.gpus import facts_of, gpu

ARGV = ("selfplay", "--board", "hex8", "--hours", "8")


def host(name: str, **values: Any) -> Host:
    return Host(name=name, addresses=("127.0.0.1:22",), **values)


def job(identity: str, state: Any = "running", gpus: tuple[int, ...] = ()) -> JobState:
    return JobState(id=identity, state=state, meta=JobMeta(gpus=[*gpus]))


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--board", "hex8"], "hex8"),
        (["--board=square8"], "square8"),
        (["--board"], None),
        (["--boards", "hex8"], None),
        ([], None),
    ],
)
def test_an_option_is_read_in_both_spellings(argv: list[str], value: str | None) -> None:
    assert option(argv, "--board") == value


def test_a_command_says_what_it_needs() -> None:
    assert need_of(ARGV) == Need("selfplay", "hex8")
    assert need_of(["train"]) == Need("train", None)
    with pytest.raises(UsageError, match="'play' is no command that hosts run"):
        need_of(["play"])
    with pytest.raises(UsageError, match="--board hex9"):
        need_of(["selfplay", "--board", "hex9"])


@pytest.mark.parametrize(
    ("values", "board", "reason"),
    [
        ({}, "hex8", None),
        ({"roles": ("train",)}, "hex8", "its roles are train, not selfplay"),
        ({"roles": ()}, "hex8", "its roles are none, not selfplay"),
        ({"boards": ("square8",)}, "hex8", "its boards are square8, not hex8"),
        ({"boards": ("square8",)}, None, None),
        ({"gpus": 1, "gpu_memory": 8.0}, "hexagonal", "it has 8 GB of GPU memory, hexagonal needs"),
        ({"gpus": 1, "gpu_memory": 8.0, "board_memory": {"hexagonal": 8.0}}, "hexagonal", None),
        ({"gpus": 1, "memory": 1.0}, "hexagonal", None),  # its GPU memory is not known
        ({"memory": 1.0}, "hexagonal", "it has 1 GB of memory, hexagonal needs 3"),
    ],
)
def test_a_host_that_may_not_have_a_job_says_why(
    values: dict[str, Any], board: str | None, reason: str | None
) -> None:
    found = unsuitable(host("a", **values), Need("selfplay", board))
    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_slots_are_what_no_job_uses() -> None:
    two, there = host("a", gpus=2), [gpu(0), gpu(1)]
    assert slots(two, [], there, per_gpu=True) == [(0,), (1,)]
    assert slots(two, [], there, per_gpu=False) == [(0, 1)]
    assert slots(two, [job("x", gpus=(0,))], there, per_gpu=True) == [(1,)]
    assert slots(two, [job("x", gpus=(0,))], there, per_gpu=False) == [(1,)]
    over = [job("x", "done", (0,)), job("y", "lost", (1,))]
    assert slots(two, over, there, per_gpu=False) == [(0, 1)]
    assert slots(two, [job("x", gpus=(0, 1))], there, per_gpu=True) == []
    assert slots(host("b"), [], [], per_gpu=True) == [()]
    assert slots(host("b"), [job("x")], [], per_gpu=False) == []


def test_a_gpu_that_cannot_be_used_gets_no_job_and_is_named() -> None:
    three, busy = host("a", gpus=3), [job("x", gpus=(0,))]
    full = gpu(0, memory_used_mb=23000)
    there = [full, gpu(1, fault="ERR!")]
    assert slots(three, [], there, per_gpu=True) == []
    plan = place(ARGV, "night", [three], {"a": facts_of([], there)})
    assert plan.refused == {
        "a": "GPU 0 is used by others: 22.5 of 24.0 GB; GPU 1 reports 'ERR!'; GPU 2 is not there"
    }
    assert slots(three, busy, [full, gpu(2)], per_gpu=True) == [(2,)]  # that job uses the first
    ended = job("x", "done", (0,))
    for over, free in ((1.0, [(0,)]), (60.0, [])):  # what its last job has left is not of others
        just = [replace(ended, over_s=over)]
        assert slots(host("a", gpus=1), just, [full], per_gpu=True) == free
        assert slots(host("a", gpus=1), just, [gpu(0, fault="ERR!")], per_gpu=True) == []
    desktop = gpu(0, memory_used_mb=1500)
    assert slots(host("a", gpus=1), [], [desktop], per_gpu=False) == [(0,)]
    slices = [gpu(index, memory_total_mb=None, uuid=f"MIG-{index}") for index in range(2)]
    assert slots(three, [], slices, per_gpu=True) == [(0,), (1,)]
    assert slots(three, [], slices, per_gpu=False) == [(0,)]


def test_a_busy_gpu_with_little_memory_in_use_is_not_free() -> None:
    assert unusable(gpu(0, use_percent=49, memory_used_mb=2000)) is None
    assert unusable(gpu(1, use_percent=99)) == "GPU 1 is used by others: 99 % busy"
    assert unusable(gpu(2, use_percent=None)) is None


def test_a_plan_names_every_host() -> None:
    hosts = [host("a", gpus=2), host("b"), host("c", roles=("train",)), host("d"), host("e")]
    known = {"a": facts_of(gpus=2), "b": facts_of([job("other")]), "d": facts_of()}
    plan = place(ARGV, "night", hosts, known, per_gpu=True, not_now={"d": "it is drained"})
    assert [(p.host, p.gpus, p.identity) for p in plan.placed] == [
        ("a", (0,), "night-a-gpu0"),
        ("a", (1,), "night-a-gpu1"),
    ]
    assert plan.refused == {
        "b": "it is busy",
        "c": "its roles are train, not selfplay",
        "d": "it is drained",
        "e": "it was not reached",
    }


def test_the_same_name_again_plans_the_same_jobs() -> None:
    hosts = [host("a", gpus=2), host("b")]
    running = {"a": facts_of(gpus=2), "b": facts_of()}
    first = place(ARGV, "night", hosts, running, per_gpu=True)
    for placed in first.placed:
        running[placed.host].jobs.append(job(placed.identity, gpus=placed.gpus))
    assert place(ARGV, "night", hosts, running, per_gpu=True) == first
    assert place(ARGV, "day", hosts, running, per_gpu=True).placed == ()


def test_jobs_share_no_folder_unless_they_are_told_to() -> None:
    one = job_of(ARGV, "night-a", host("a"), ())
    two = job_of(ARGV, "night-b", host("b", gpus=1), (0,))
    assert one.argv == ["ringrift", *ARGV]
    assert one.out == one.env["RINGRIFT_OUT"] == "jobs/night-a/out"
    assert one.env["RINGRIFT_GPUS"] == "none"
    assert two.env["CUDA_VISIBLE_DEVICES"] == "0"
    assert (two.env["RINGRIFT_GPUS"], two.env["RINGRIFT_DEVICE"]) == ("0", "cuda")
    told = job_of([*ARGV, "--seed", "7", "--out=runs/x"], "night-a", host("a"), ())
    assert "RINGRIFT_OUT" not in told.env
    assert told.out == "runs/x"


def test_a_name_means_the_same_jobs_only_where_they_are_placed_alike() -> None:
    two = host("a", gpus=2)
    whole = facts_of([job("night-a", gpus=(0, 1))], 2)
    assert place(ARGV, "night", [two], {"a": whole}, per_gpu=True).refused == {"a": "it is busy"}
    each = facts_of([job("night-a-gpu1", gpus=(1,)), job("night-a-gpu0", "done", (0,))], 2)
    plan = place(ARGV, "night", [two], {"a": each}, per_gpu=True)
    assert [one.identity for one in plan.placed] == ["night-a-gpu0", "night-a-gpu1"]
    plan = place(ARGV, "night", [two], {"a": each})
    assert [(one.identity, one.gpus) for one in plan.placed] == [("night-a", (0,))]


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "", "x" * 65, "a/b"])
def test_a_name_that_no_job_can_have_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a job"):
        place(ARGV, name, [host("a")], {"a": facts_of()})


def test_a_job_begins_again_where_it_may_and_can() -> None:
    first = Placed("a", (1,), job_of(ARGV, "n-a", host("a", gpus=2), (1,)))
    elsewhere = again(first, "n-a.2", host("b", gpus=4), facts_of([job("x", gpus=(0,))], 4))
    assert isinstance(elsewhere, Placed)
    assert (elsewhere.host, elsewhere.gpus, elsewhere.identity) == ("b", (1,), "n-a.2")
    assert elsewhere.job.argv == first.job.argv
    assert elsewhere.job.meta.retries == "n-a"
    both = Placed("a", (0, 1), job_of(ARGV, "m-a", host("a", gpus=2), (0, 1)))
    fewer = again(both, "m-a.2", host("b", gpus=1), facts_of(gpus=1))
    assert isinstance(fewer, Placed)
    assert fewer.gpus == (0,)
    assert (
        again(both, "m-a.2", host("b", gpus=2), facts_of([job("x", gpus=(0,))], 2)) == "it is busy"
    )
    bare = again(first, "n-a.2", host("b"), facts_of())
    assert isinstance(bare, Placed)
    assert (bare.gpus, bare.job.env["RINGRIFT_GPUS"]) == ((), "none")
    assert again(first, "n-a.2", host("b"), facts_of([job("x")])) == "it is busy"
    reason = again(first, "n-a.2", host("b", roles=("train",)), facts_of())
    assert reason == "its roles are train, not selfplay"
    file, small = ["selfplay", "--config", "x.yaml"], host("b", memory=1.0)  # as a loop starts it
    meta = JobMeta(board="hexagonal", loop="l", campaign="c")
    looped = Placed("a", (), job_of(file, "l-a", host("a"), (), meta))
    assert again(looped, "l-a.2", small, facts_of()) == "it has 1 GB of memory, hexagonal needs 3"
    once_more = again(looped, "l-a.2", host("b"), facts_of())
    assert isinstance(once_more, Placed)
    assert once_more.job.meta == JobMeta(host="b", board="hexagonal", retries="l-a")


def test_an_attempt_has_the_next_free_number() -> None:
    assert retried("night-a", ["night-a"]) == "night-a.2"
    assert retried("night-a.2", ["night-a", "night-a.2", "night-a.3"]) == "night-a.4"
    assert retried("v1.x", []) == "v1.x.2"
    long = retried("x" * 64, [])
    assert (len(long), retried(long, [long])) == (64, f"{long[:-1]}3")


def test_jobs_of_long_names_have_names_of_their_own() -> None:
    hosts = [host(f"rented-4090-with-a-long-name-{n:03}") for n in range(3)]
    name = "selfplay-hexagonal-20261130-190430"  # as it is without --name
    there = {one.name: facts_of(gpus=2) for one in hosts}
    for per_gpu in (False, True):
        hosts = [replace(one, gpus=2) for one in hosts]
        first = place(ARGV, name, hosts, there, per_gpu=per_gpu)
        names = {one.identity for one in first.placed}
        assert len(names) == len(first.placed) == len(hosts) * (2 if per_gpu else 1)
        assert max(map(len, names)) <= 64
        assert {
            one.identity for one in place(ARGV, name, hosts, there, per_gpu=per_gpu).placed
        } == names


def test_what_a_job_makes_goes_to_its_own_folder_and_comes_from_its_own_seed() -> None:
    with pytest.raises(UsageError, match="--out games: the output of a job goes to its own folder"):
        place([*ARGV, "--out", "games"], "night", [host("a")], {"a": facts_of()})
    both = {"a": facts_of(), "b": facts_of()}
    with pytest.raises(UsageError, match="--seed 7 for 2 jobs: they would play the same games"):
        place([*ARGV, "--seed", "7"], "night", [host("a"), host("b")], both)
    assert len(place([*ARGV, "--seed", "7"], "night", [host("a")], both).placed) == 1
