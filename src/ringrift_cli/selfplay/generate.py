"""Self-play with a model: one process per GPU or core, games written to shards.

The manifest lists the games of all complete shards. Running the same setting again after an
interruption plays the missing ones.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import numpy as np

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.playout import available_threads
from ringrift_cli.players.spec import make_player, pinned
from ringrift_cli.runtime.machine import device_name
from ringrift_cli.runtime.processes import SHUTDOWN_S, ProcessGroup
from ringrift_cli.runtime.profiles import Choice, Key, OnChoice, find, ignore_choice, network_named
from ringrift_cli.selfplay.actor import Counts
from ringrift_cli.selfplay.worker import Flag, GenerateSetting, WorkerReport, WorkerSetup, work
from ringrift_cli.settings import Config
from ringrift_cli.store.hashes import sha256_of_file
from ringrift_cli.store.manifest import ShardEntry, read_manifest

GAMES_ON_A_CORE, GAMES_ON_A_GPU = 128, 2048
POLL_SECONDS = 0.25  # between checks of the time limit and of stop requests
EXIT_TIMEOUT = 60.0  # seconds for a process to exit


@dataclass
class Generated:
    """Result of a self-play run."""

    known: int = 0  # games of the same setting recorded before
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    evaluating: float = 0.0  # seconds in the evaluator, over all processes
    shards: list[Path] = field(default_factory=list)
    stopped: bool = False  # before all games were played
    notes: list[str] = field(default_factory=list)  # messages for the user

    def document(self) -> dict[str, Any]:
        counts = {item.name: getattr(self.counts, item.name) for item in fields(Counts)}
        return {
            "known_games": self.known,
            **counts,
            "seconds": round(self.seconds, 3),
            "evaluator_seconds": round(self.evaluating, 3),
            "games_per_hour": round(3600 * self.counts.games / max(self.seconds, 1e-9), 1),
            "shards": [path.name for path in self.shards],
            "stopped": self.stopped,
            "notes": self.notes,
        }


def devices_named(gpus: str) -> tuple[str, ...]:
    """Devices of `--gpus all|none|0,1`, one process each; all CPU cores if no GPU is used.

    `UsageError` for a missing GPU.
    """
    cores = ("cpu",) * available_threads()
    if gpus == "none":
        return cores
    import torch

    count = torch.cuda.device_count()
    if gpus == "all":
        return tuple(f"cuda:{i}" for i in range(count)) or cores
    numbers = gpus.split(",")
    if not all(number.isdecimal() and len(number) < 4 for number in numbers):
        raise UsageError(f"--gpus is {gpus!r}, expected all, none or numbers such as 0,1.")
    missing = [number for number in numbers if int(number) >= count]
    if missing:
        raise UsageError(
            f"--gpus {gpus}: there is no GPU {missing[0]}; torch sees {count}.", hint="--gpus none"
        )
    if len({int(number) for number in numbers}) < len(numbers):
        raise UsageError(f"--gpus {gpus} names a GPU twice.")
    return tuple(f"cuda:{int(number)}" for number in numbers)


def of_config(
    config: Config,
    model: Path | None,
    identity: str,
    *,
    seed: int,
    generation: int,
    devices: tuple[str, ...],
    run: str | None = None,
    on_choice: OnChoice = ignore_choice,
) -> GenerateSetting:
    """Self-play setting for a checkpoint, or without `model` for the teacher heuristic.

    `run` is the identity of the run of the learning loop that asks for the games; `on_choice`
    receives the number of concurrent games and the reason.
    """
    pool, play = config.run, config.selfplay
    if play.sparring_share:
        play = replace(play, partner=_partner(play.partner, pool.board, pool.players))
    key = key_of(model, pool.board, pool.players) if model and not play.concurrent else None
    play = replace(play, concurrent=games_at_once(devices, play.concurrent, key, on_choice))
    return GenerateSetting(
        pool.board,
        pool.players,
        pool.pie_rule,
        seed,
        model,
        identity,
        play,
        generation,
        devices,
        run=run,
    )


def _partner(spec: str, board: str, players: int) -> str:
    """The spec of a sparring partner, by the identity of a model; `UsageError` for a wrong one."""
    if spec.startswith("exec:"):
        raise UsageError(
            f"selfplay.partner is {spec!r}: programs cannot be sparring partners.",
            hint="selfplay.partner=mcts:sims=16",
        )
    make_player(spec, board, players).close()
    return pinned(spec, board, players)


def key_of(model: Path, board: str, players: int) -> Key:
    """Profile key of self-play with a checkpoint."""
    from ringrift_cli.nn.checkpoint import read_about

    return Key("selfplay", board, players, network_named(read_about(model)["architecture"]))


def games_at_once(
    devices: tuple[str, ...],
    requested: int | None,
    key: Key | None = None,
    on_choice: OnChoice = ignore_choice,
) -> int:
    """Concurrent games per process; the reason goes to `on_choice`.

    `requested`, else the minimum over the device profiles for `key`, else a default for the kind
    of device. It does not affect which games are played. `RecordError` for a damaged profile.
    """
    each = "games at once in a process"
    if requested:
        on_choice(Choice(f"{requested:,} {each}, as requested."))
        return requested
    default = GAMES_ON_A_CORE if devices[0] == "cpu" else GAMES_ON_A_GPU
    if key is None:
        on_choice(Choice(f"{default:,} {each}: the default."))
        return default
    found = [find(name, key) for name in dict.fromkeys(device_name(one) for one in devices)]
    entries = [one.entry for one in found if one.entry is not None]
    if len(entries) == len(found):
        games = min(entry.batch for entry in entries)
        on_choice(Choice(f"{games:,} {each}: {found[0].text}."))
        return games
    missing = next(one for one in found if one.entry is None)
    on_choice(Choice(f"{default:,} {each}, the default: {missing.text}.", missing.refused))
    return default


def recorded(folder: Path, setting: GenerateSetting) -> list[ShardEntry]:
    """The complete shards of this setting in the folder; of sources, those searched again."""
    found = []
    for entry in read_manifest(folder):
        path = folder / entry.file
        made = setting.made(setting.identity, setting.generation, entry.source)
        pool = (setting.board, setting.players, setting.pie_rule)
        ours = entry.made == made and (entry.board, entry.players, entry.pie_rule) == pool
        ours &= bool(setting.sources) == (entry.source is not None)
        if ours and path.is_file() and sha256_of_file(path) == entry.sha256:
            found.append(entry)
    return found


def generate(
    setting: GenerateSetting,
    folder: Path,
    *,
    games: int | None = None,
    seconds: float | None = None,
    advance: Callable[[Counts, Generated], None] = lambda more, so_far: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generated:
    """Plays until complete shards hold `games` games of the setting, or for `seconds`, or both.

    With `setting.sources` it searches these again: all that are missing, or for `seconds`.
    `advance` receives the counts since its last call and the totals. After `seconds` no game or
    source is started, and those in progress are finished; if `should_stop` returns true, finished
    games are written at once and the others are dropped. `RingriftError` if a process fails;
    complete shards remain.
    """
    if not setting.sources and games is None and seconds is None:
        raise UsageError("Self-play needs a number of games or a time.")
    entries = recorded(folder, setting)
    known, shards = sum(entry.games for entry in entries), len(entries)
    summary = Generated(known=min(known, games) if games is not None else known)
    missing = 1 << 60 if games is None else games - summary.known
    if setting.sources:
        done = {entry.source[:16] for entry in entries if entry.source}
        left = tuple(path for path in setting.sources if path.stem not in done)
        setting, missing = replace(setting, sources=left), len(left)
    if missing <= 0:
        return summary
    folder.mkdir(parents=True, exist_ok=True)
    start, playing = time.monotonic(), float("inf")
    with _workers(setting, folder, missing, shards) as team:
        while team.waiting:
            if should_stop() and not summary.stopped:
                summary.stopped = True
                team.stop.set()
            summary.seconds = time.monotonic() - start
            if seconds is not None and time.monotonic() - playing >= seconds:
                team.limit.value = 0
            for report in team.listen():
                playing = min(playing, time.monotonic())  # the time limit excludes start-up
                _add(summary, report)
                advance(report.counts, summary)
    summary.seconds = time.monotonic() - start
    summary.stopped = summary.stopped and (games is None or summary.counts.games < missing)
    return summary


def _add(summary: Generated, report: WorkerReport) -> None:
    for item in fields(Counts):
        total = getattr(summary.counts, item.name) + getattr(report.counts, item.name)
        setattr(summary.counts, item.name, total)
    summary.evaluating += report.evaluating
    if report.note:
        summary.notes.append(report.note)
    if report.shard is not None:
        summary.shards.append(report.shard)


class _Team:
    """The worker processes of a run and their shared state."""

    def __init__(self, context: SpawnContext, group: ProcessGroup, missing: int) -> None:
        self.tickets = context.Value("q", 0)
        # lock-free: a dead process must not block this one
        self.limit, self.stop = context.RawValue("q", missing), Flag(context)
        self.group = group
        self.waiting: dict[Connection, int] = {}  # running processes

    def listen(self) -> Iterator[WorkerReport]:
        """Reports received within `POLL_SECONDS`; `RingriftError` if a process failed."""
        for connection in wait(list(self.waiting), timeout=POLL_SECONDS):
            assert isinstance(connection, Connection)
            number = self.waiting[connection]
            try:
                report = connection.recv()
            except EOFError:
                process = self.group.processes[number]
                process.join(EXIT_TIMEOUT)
                raise RingriftError(
                    f"Process {number} of the self-play ended with exit code {process.exitcode};"
                    " the shards written so far are whole.",
                    hint="repeat the command to continue",
                ) from None
            if report.error is not None:
                raise report.error
            if report.ended:
                del self.waiting[connection]
            yield report


@contextmanager
def _workers(setting: GenerateSetting, folder: Path, missing: int, salt: int) -> Iterator[_Team]:
    """Starts one process per device; all have ended when the context exits.

    `salt` makes the games differ from those of earlier runs of the same setting.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessGroup(context, len(setting.devices)) as group:
        team = _Team(context, group, missing)
        try:
            for number, device in enumerate(setting.devices):
                entropy = [setting.seed, setting.generation, salt, number]
                seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1
                receiving, sending = context.Pipe(duplex=False)
                shared = WorkerSetup(team.tickets, team.limit, team.stop, sending, os.getpid())
                name = f"ringrift-selfplay-{number}"
                group.start(work, setting, folder, device, seed, shared, name=name)
                sending.close()
                team.waiting[receiving] = number
            yield team
        finally:
            team.stop.set()
            group.patience = SHUTDOWN_S if team.waiting else EXIT_TIMEOUT
