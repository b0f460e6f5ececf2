"""Games of tuning and matches on workers: tasks, their results, and the checks of these here.

A round is split by candidates, a match by blocks. Tasks and results are JSON, whose numbers are
exact. A result echoes the hash of its task. Of a round's result one opening, chosen by chance, is
played again here; the games of a match are replayed under the rules.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from ringrift_cli.errors import BadOutput, RingriftError, RulesMismatch, UsageError
from ringrift_cli.evaluate import match as matches
from ringrift_cli.evaluate.match import CONCURRENT, Match
from ringrift_cli.evaluate.results import PlayedGame, Pool
from ringrift_cli.evaluate.rounds import GameRound, TuningStopped, never
from ringrift_cli.game.playout import BoolArray
from ringrift_cli.game.version import rules_hash
from ringrift_cli.players.player import Player
from ringrift_cli.players.scoring import FloatArray
from ringrift_cli.players.spec import make_player, portable
from ringrift_cli.runtime.task_pool import Task, TaskPool

SHARES = 4  # tasks of a round per worker, so that fast ones take more
MATCH_GAMES = 32  # of a task, at most; a task is lost as a whole


class RoundTask(msgspec.Struct, frozen=True, tag="round", forbid_unknown_fields=True):
    """Candidates of a round."""

    rules: str
    board: str
    players: int
    seed: int
    first: int
    opponents: list[list[float]]  # [P, features]
    meets: list[int]  # [J]
    candidates: list[list[float]]  # [K, features]

    def play(self, should_stop: Callable[[], bool] = never) -> BoolArray:
        """Which games were won, [K, J, players]."""
        opponents, meets = np.array(self.opponents), np.array(self.meets, np.int64)
        game_round = GameRound(self.board, self.players, self.seed, opponents, meets, self.first)
        return game_round.play(np.array(self.candidates), should_stop)

    def sample(self, k: int, j: int) -> RoundTask:
        """The games of one candidate from one opening."""
        return msgspec.structs.replace(
            self,
            first=self.first + j,
            meets=[self.meets[j]],
            candidates=[self.candidates[k]],
        )


class MatchTask(msgspec.Struct, frozen=True, tag="match", forbid_unknown_fields=True):
    """Games of a match."""

    rules: str
    pool: Pool
    specs: list[str]
    identities: list[str]
    seed: int
    opening_turns: int
    games: list[tuple[int, int]]  # block, rotation


class RoundDone(msgspec.Struct, frozen=True, tag="round", forbid_unknown_fields=True):
    """Result of a `RoundTask`."""

    task: str
    won: str  # base64 of the bits of [K, J, players]


class MatchDone(msgspec.Struct, frozen=True, tag="match", forbid_unknown_fields=True):
    """Result of a `MatchTask`."""

    task: str
    games: list[PlayedGame]


class TaskFailed(msgspec.Struct, frozen=True, tag="failed", forbid_unknown_fields=True):
    """The sentence of the error of a task."""

    sentence: str


_TASKS = msgspec.json.Decoder(RoundTask | MatchTask)
_RESULTS = msgspec.json.Decoder(RoundDone | MatchDone | TaskFailed)


def task_id(payload: bytes) -> str:
    """The hash by which a result names its task."""
    return hashlib.sha256(payload).hexdigest()


# ---- at the worker ------------------------------------------------------------------------------


class Performer:
    """Performs tasks; keeps the players of the last match."""

    def __init__(self, should_stop: Callable[[], bool] = never) -> None:
        self._should_stop = should_stop
        self._match: Match | None = None

    def perform(self, payload: bytes) -> bytes:
        """The result of a task; `TuningStopped` after `should_stop`."""
        try:
            return msgspec.json.encode(self._done(payload))
        except msgspec.MsgspecError as error:
            return msgspec.json.encode(TaskFailed(f"The task is not valid: {error}."))
        except RingriftError as error:
            return msgspec.json.encode(TaskFailed(error.message))

    def _done(self, payload: bytes) -> RoundDone | MatchDone:
        task, name = _TASKS.decode(payload), task_id(payload)
        if task.rules != rules_hash():
            raise RulesMismatch(f"it has rules {rules_hash()}, the task is for {task.rules}")
        if isinstance(task, RoundTask):
            bits = np.packbits(task.play(self._should_stop))
            return RoundDone(name, base64.b64encode(bits.tobytes()).decode())
        match = self._made(task)
        done = matches.play(match, task.games, should_stop=self._should_stop)
        games = [game for batch in done for game in batch]
        if self._should_stop():
            raise TuningStopped
        return MatchDone(name, games)

    def _made(self, task: MatchTask) -> Match:
        """The match of a task; `UsageError` if its players are others here."""
        made = self._match
        key = (task.pool, tuple(task.specs), task.seed, task.opening_turns)
        if made is None or (made.pool, made.specs, made.seed, made.opening_turns) != key:
            if made is not None:
                made.close()
                self._match = None
            players: list[Player] = [
                make_player(spec, task.pool.board, task.pool.players) for spec in task.specs
            ]
            made = Match(task.pool, tuple(players), task.seed, task.opening_turns, key[1])
            self._match = made
        for spec, player, wanted in zip(task.specs, made.entrants, task.identities, strict=True):
            if player.identity != wanted:
                raise UsageError(f"Player {spec!r} is {player.identity} there, not {wanted}.")
        return made


# ---- here ----------------------------------------------------------------------------------------


def _decoded(payload: bytes, result: bytes) -> RoundDone | MatchDone:
    done: RoundDone | MatchDone | TaskFailed
    try:
        done = _RESULTS.decode(result)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadOutput(f"its result does not fit: {error}.") from error
    if isinstance(done, TaskFailed):
        raise BadOutput(f"its games failed: {done.sentence[:300]}")
    if done.task != task_id(payload):
        raise BadOutput("its result is that of another task.")
    return done


class _RoundWork:
    """`task_pool.TaskKind` of a round."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def task(self, item: tuple[int, RoundTask]) -> Task:
        return Task(msgspec.json.encode(item[1]))

    def check(self, item: tuple[int, RoundTask], result: bytes) -> BoolArray:
        """The games won, [K, J, players]."""
        _, task = item
        done = _decoded(msgspec.json.encode(task), result)
        shape = (len(task.candidates), len(task.meets), task.players)
        size = int(np.prod(shape))
        try:
            data = base64.b64decode(done.won if isinstance(done, RoundDone) else "", validate=True)
        except ValueError as error:
            raise BadOutput("its result is not base64.") from error
        if len(data) != -(-size // 8):
            raise BadOutput(f"its result has {len(data)} bytes, not {-(-size // 8)}.")
        won = np.unpackbits(np.frombuffer(data, np.uint8), count=size).astype(bool).reshape(shape)
        k, j = secrets.randbelow(shape[0]), secrets.randbelow(shape[1])
        if not np.array_equal(task.sample(k, j).play(self._should_stop)[0, 0], won[k, j]):
            raise BadOutput("its games end otherwise than the same games here.")
        return won

    def here(self, item: tuple[int, RoundTask]) -> BoolArray:
        return item[1].play(self._should_stop)


@dataclass
class _MatchWork:
    """`task_pool.TaskKind` of a match."""

    match: Match
    should_stop: Callable[[], bool]

    @cached_property
    def _portable(self) -> tuple[list[str], dict[str, Path]]:
        pool = self.match.pool
        made = [portable(spec, pool.board, pool.players) for spec in self.match.specs]
        files = {name: path for _, named in made for name, path in named.items()}
        return [spec for spec, _ in made], files

    def task(self, item: list[tuple[int, int]]) -> Task:
        match, (specs, files) = self.match, self._portable
        identities = [entrant.identity for entrant in match.entrants]
        made = MatchTask(rules_hash(), match.pool, specs, identities, match.seed, match.turns, item)
        return Task(msgspec.json.encode(made), files)

    def check(self, item: list[tuple[int, int]], result: bytes) -> list[PlayedGame]:
        """The games of the item, in its order."""
        done = _decoded(self.task(item).payload, result)
        games = done.games if isinstance(done, MatchDone) else []
        by_number = {(game.block, game.rotation): game for game in games}
        if len(games) != len(item) or set(by_number) != set(item):
            raise BadOutput("it sent other games than were asked for.")
        ordered = [by_number[task] for task in item]
        replayed = matches.replay(self.match, item, [game.actions for game in ordered])
        for sent, ours in zip(ordered, replayed, strict=True):
            if sent != ours:
                raise BadOutput(
                    f"game {sent.rotation + 1} of block {sent.block + 1} is none under the rules."
                )
        return ordered

    def here(self, item: list[tuple[int, int]]) -> list[PlayedGame]:
        games = [
            game
            for batch in matches.play(self.match, item, should_stop=self.should_stop)
            for game in batch
        ]
        if len(games) < len(item):
            raise TuningStopped
        return games


class DistributedRunner:
    """`GameRunner` on the workers of an open pool."""

    def __init__(self, pool: TaskPool) -> None:
        self._pool = pool

    def round(
        self,
        game_round: GameRound,
        candidates: FloatArray,
        should_stop: Callable[[], bool] = never,
    ) -> BoolArray:
        """See `GameRunner`; `TuningStopped` after `should_stop`."""
        K, of = len(candidates), game_round
        share = -(-K // (SHARES * self._pool.size))
        opponents, meets = of.opponents.tolist(), of.meets.tolist()
        items = [
            (
                k,
                RoundTask(
                    rules_hash(),
                    of.board,
                    of.players,
                    of.seed,
                    of.first,
                    opponents,
                    meets,
                    candidates[k : k + share].tolist(),
                ),
            )
            for k in range(0, K, share)
        ]
        won = np.zeros((K, len(meets), of.players), bool)
        missing = len(items)
        work = _RoundWork(should_stop)
        for (k, _), found in self._pool.map(items, work, should_stop):
            won[k : k + share] = found
            missing -= 1
        if missing:
            raise TuningStopped
        return won

    def games(
        self,
        match: Match,
        tasks: Iterable[tuple[int, int]],
        *,
        concurrent: int = CONCURRENT,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[list[PlayedGame]]:
        """See `GameRunner`; `UsageError` for players that other machines cannot have."""
        work = _MatchWork(match, should_stop)
        share = max(match.rotations, min(MATCH_GAMES, concurrent // self._pool.size))
        if isinstance(tasks, list):
            share = min(share, -(-len(tasks) // self._pool.size))
        waiting = iter(tasks)
        items = iter(lambda: list(itertools.islice(waiting, share)), [])
        work.task([])  # the error, if there is one, before any game
        with closing(self._pool.map(items, work, should_stop)) as found:
            try:
                for _, games in found:
                    yield games
            except TuningStopped:
                return
