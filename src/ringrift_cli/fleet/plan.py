"""Placement of jobs on hosts, as data, before anything is started.

A command line has requirements (`need_of`), a host has free slots (`slots`); a plan matches them or
gives the reason why a host gets no job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import JOB_NAME, Facts, Gpu, Job, JobMeta, JobState
from ringrift_cli.fleet.probe import SETTLING_S, unusable
from ringrift_cli.settings import BOARDS

ROLES = {
    "selfplay": "selfplay",
    "train": "train",
    "eval": "eval",
    "cmaes": "eval",
    "bench": "selfplay",
    "verify": "eval",
    "perft": "eval",
}
# GB of GPU memory, or of RAM without a GPU, per board: search trees of 2,048 parallel games on a
# GPU, or of 128 per core without one (docs/performance.md).
BOARD_GB = {"square8": 2.0, "hex8": 2.0, "square19": 8.0, "hexagonal": 12.0}
ON_CPU = 0.25  # share of BOARD_GB without a GPU
GRACE = 30.0  # seconds for a job to write its games before it is killed
LONGEST_NAME = 64  # characters of a job name
BUSY = "it is busy"
SLICE = "MIG-"  # with which the UUID of a part of a GPU begins
SEED_OPTION, OUT_OPTION, GPUS_OPTION = "--seed", "--out", "--gpus"
SEED_VARIABLE = "RINGRIFT_SEED"


@dataclass(frozen=True)
class Need:
    """Requirements of a command."""

    role: str
    board: str | None  # None: not specified


@dataclass(frozen=True)
class Placed:
    """A job and its host."""

    host: str
    gpus: tuple[int, ...]  # empty: CPU only
    job: Job

    @property
    def identity(self) -> str:
        return self.job.id


@dataclass(frozen=True)
class JobPlan:
    """Jobs to start, and the reasons why other hosts get none."""

    placed: tuple[Placed, ...]
    refused: dict[str, str]  # reason by host


def option(argv: Sequence[str], name: str) -> str | None:
    """The value of an option on a command line, as `--board hex8` or `--board=hex8`."""
    for at, word in enumerate(argv):
        if word == name and at + 1 < len(argv):
            return argv[at + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def need_of(argv: Sequence[str]) -> Need:
    """Requirements of `ringrift ARGV`; `UsageError` for a command that cannot be a job."""
    command = argv[0] if argv else ""
    if command not in ROLES:
        raise UsageError(
            f"{command!r} is no command that hosts run: expected one of {', '.join(ROLES)}.",
            hint="ringrift fleet run -- selfplay --board hex8 --games 1000",
        )
    board = option(argv, "--board")
    if board is not None and board not in BOARDS:
        raise UsageError(f"--board {board}: expected one of {', '.join(BOARDS)}.")
    return Need(ROLES[command], board)


def unsuitable(host: Host, need: Need) -> str | None:
    """Why a host cannot run such jobs; None if it can."""
    if need.role not in host.roles:
        return f"its roles are {', '.join(host.roles) or 'none'}, not {need.role}"
    if need.board is None:
        return None
    if host.boards and need.board not in host.boards:
        return f"its boards are {', '.join(host.boards)}, not {need.board}"
    share = 1.0 if host.gpus else ON_CPU
    required = host.board_memory.get(need.board, share * BOARD_GB[need.board])
    memory = host.gpu_memory if host.gpus else host.memory
    if memory and memory < required:
        kind = "GPU memory" if host.gpus else "memory"
        return f"it has {memory:g} GB of {kind}, {need.board} needs {required:g}"
    return None


def taken(jobs: Sequence[JobState]) -> tuple[set[int], bool]:
    """GPUs used by active jobs, and whether any job is active."""
    active = [job for job in jobs if job.here]
    gpus = {gpu for job in active for gpu in job.meta.gpus}
    return gpus, bool(active)


def slots(
    host: Host, jobs: Sequence[JobState], gpus: Sequence[Gpu], *, per_gpu: bool
) -> list[tuple[int, ...]]:
    """Free slots of a host, each as a tuple of GPUs; `[()]`: one job on the CPU.

    `gpus`: those that the host has. CUDA shows a process one MIG slice, so a job gets one.
    """
    used, working = taken(jobs)
    if not host.gpus:
        return [] if working else [()]
    reasons = _unusable(host, jobs, gpus)
    free = [gpu for gpu in range(host.gpus) if gpu not in used and gpu not in reasons]
    if per_gpu:
        return [(gpu,) for gpu in free]
    whole = not any((gpu.uuid or "").startswith(SLICE) for gpu in gpus)
    return [tuple(free if whole else free[:1])] if free else []


def _unusable(host: Host, jobs: Sequence[JobState], gpus: Sequence[Gpu]) -> dict[int, str]:
    """Reasons by GPU that no job uses and none can use."""
    present = {gpu.index: gpu for gpu in gpus}
    used, _ = taken(jobs)
    recent = [job for job in jobs if job.over_s is not None and job.over_s < SETTLING_S]
    left = {gpu for job in recent for gpu in job.meta.gpus}
    found = {}
    for index in range(host.gpus):
        gpu = present.get(index)
        missing = f"GPU {index} is not there"
        why = missing if gpu is None else unusable(gpu, settling=index in left)
        if why is not None and index not in used:
            found[index] = why
    return found


def occupied(host: Host, jobs: Sequence[JobState], gpus: Sequence[Gpu]) -> str:
    """Why a host has no free slot."""
    _, working = taken(jobs)
    reasons = [*_unusable(host, jobs, gpus).values()]
    return "; ".join([BUSY] * working + reasons)


def job_of(
    argv: Sequence[str],
    identity: str,
    host: Host,
    gpus: tuple[int, ...],
    meta: JobMeta | None = None,
) -> Job:
    """The job of one slot, executed without a shell; `meta` is completed by host and GPUs.

    Each job has its own folder unless the command line sets one.
    """
    out = f"jobs/{identity}/out"
    environment = {"RINGRIFT_MODELS": "models", "PYTHONUNBUFFERED": "1"}
    if option(argv, OUT_OPTION) is None:
        environment["RINGRIFT_OUT"] = out
    if gpus:  # explicit, so that a job fails without them instead of using the CPU
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi counts
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        environment["RINGRIFT_GPUS"] = ",".join(map(str, range(len(gpus))))
        environment["RINGRIFT_DEVICE"] = "cuda"
    elif option(argv, GPUS_OPTION) is None:
        environment["RINGRIFT_GPUS"] = "none"
    return Job(
        id=identity,
        argv=["ringrift", *argv],
        env=environment,
        out=option(argv, OUT_OPTION) or out,
        lease_s=host.lease,
        grace_s=GRACE,
        exclusive=True,
        meta=structs.replace(meta or JobMeta(), gpus=[*gpus], host=host.name),
    )


def place(
    argv: Sequence[str],
    name: str,
    hosts: Sequence[Host],
    facts: Mapping[str, Facts],
    *,
    per_gpu: bool = False,
    not_now: Mapping[str, str] | None = None,
) -> JobPlan:
    """Places jobs on all hosts that are suitable and have free slots.

    `facts`: of each host that was reached; `not_now`: reasons why others get none. Jobs are
    named `NAME-HOST`, with `-gpuN` if there is one per GPU. An existing job of that name keeps its
    slot, so repeating a command starts nothing twice.
    """
    if option(argv, OUT_OPTION) is not None:
        raise UsageError(
            f"{OUT_OPTION} {option(argv, OUT_OPTION)}: the output of a job goes to its own folder,"
            " from which it is pulled.",
            hint=f"leave out {OUT_OPTION}",
        )
    _check_name(name)
    need, refused, placed = need_of(argv), dict(not_now or {}), []
    for host in hosts:
        reason = refused.get(host.name) or unsuitable(host, need)
        if reason is None and host.name not in facts:
            reason = "it was not reached"
        if reason is not None:
            refused[host.name] = reason
            continue
        stem = f"{name}-{host.name}"
        jobs, gpus_there = facts[host.name].jobs, facts[host.name].gpus or []
        found = {
            _identity(stem, gpus, per_gpu=per_gpu): gpus
            for gpus in slots(host, jobs, gpus_there, per_gpu=per_gpu)
        }
        known = _named(jobs, stem, per_gpu=per_gpu)
        found = {**found, **known} if per_gpu else known or found
        if not found:
            refused[host.name] = occupied(host, jobs, gpus_there)
        for identity, gpus in found.items():
            placed.append(Placed(host.name, gpus, job_of(argv, identity, host, gpus)))
    if len(placed) > 1 and option(argv, SEED_OPTION) is not None:
        raise UsageError(
            f"{SEED_OPTION} {option(argv, SEED_OPTION)} for {len(placed)} jobs: they would play the"
            " same games.",
            hint=f"leave out {SEED_OPTION}: every job has one of its own; or --on HOST",
        )
    return JobPlan(tuple(placed), refused)


def _identity(stem: str, gpus: tuple[int, ...], *, per_gpu: bool) -> str:
    return fitted(stem, f"-gpu{gpus[0]}" if per_gpu and gpus else "")


def fitted(stem: str, end: str = "") -> str:
    """A job name; a hash takes the place of the middle of a stem that is too long."""
    room = LONGEST_NAME - len(end)
    if len(stem) > room:
        mark = hashlib.sha256(stem.encode()).hexdigest()[:8]
        stem = f"{stem[: room - 2 * len(mark) - 2]}-{mark}-{stem[-len(mark) :]}"
    return stem + end


def _named(jobs: Sequence[JobState], stem: str, *, per_gpu: bool) -> dict[str, tuple[int, ...]]:
    """Jobs of this name that an earlier call started, with their slots."""
    found = {job.id: tuple(job.meta.gpus) for job in jobs}
    return {
        identity: gpus
        for identity, gpus in sorted(found.items())
        if identity == _identity(stem, gpus, per_gpu=per_gpu)
    }


def _check_name(identity: str) -> None:
    if not JOB_NAME.fullmatch(identity):
        raise UsageError(
            f"{identity!r} is no name of a job: expected 1 to 64 of letters, digits, '.', '_' and"
            " '-', the first a letter or digit.",
            hint="--name night",
        )


def again(first: Placed, identity: str, host: Host, facts: Facts) -> Placed | str:
    """Retries a job under another name with as many GPUs; or the reason why the host cannot."""
    argv = first.job.argv[1:]
    need, board = need_of(argv), first.job.meta.board
    reason = unsuitable(host, replace(need, board=need.board or board))
    if reason is not None:
        return reason
    gpus_there = facts.gpus or []
    found = slots(host, facts.jobs, gpus_there, per_gpu=False)
    free = [gpu for slot in found for gpu in slot]
    wanted = min(max(len(first.gpus), 1), host.gpus)
    if len(free) < wanted or not found:
        return occupied(host, facts.jobs, gpus_there)
    gpus = tuple(free[:wanted])
    _check_name(identity)
    job = job_of(argv, identity, host, gpus, JobMeta(board=board, retries=first.identity))
    return Placed(host.name, gpus, job)


def retried(identity: str, known: Collection[str]) -> str:
    """The name of the next attempt of a job: `ID.2`, `ID.3`, …"""
    stem, dot, number = identity.rpartition(".")
    if not dot or not number.isdecimal():
        stem, number = identity, "1"
    attempt = int(number) + 1
    while fitted(stem, f".{attempt}") in known:
        attempt += 1
    return fitted(stem, f".{attempt}")
