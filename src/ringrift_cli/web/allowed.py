"""The players that a browser can choose, by name: no spec from a browser makes a player."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from ringrift_cli.errors import UsageError
from ringrift_cli.play.session import Seat
from ringrift_cli.players.ladder import LEVELS, level_spec
from ringrift_cli.players.model import SIMULATIONS
from ringrift_cli.players.player import Choices, Decisions, Player
from ringrift_cli.players.spec import make_player, pinned
from ringrift_cli.review.analysis import models

PERSON = "person"
LEVEL_LABELS = {1: "random", 2: "beginner", 5: "fair", 7: "good", 10: "strongest by hand"}


class AllowedPlayer(NamedTuple):
    """A player as listed: what the browser sends, what it shows, and what it stands for."""

    name: str
    label: str
    seat: Seat


class AllowedPlayers:
    """Levels, models shipped and in the registry, and what the command line added."""

    def __init__(self, specs: Sequence[str] = ()) -> None:
        self._specs = tuple(specs)
        self._players: dict[tuple[str, str, int], _SharedPlayer] = {}
        self._making = threading.RLock()

    def listed(self, board: str, players: int) -> list[AllowedPlayer]:
        """The players of a board and number of players, weakest levels first."""
        found = []
        for level in LEVELS:
            about = f" ({LEVEL_LABELS[level]})" if level in LEVEL_LABELS else ""
            seat = Seat(level_spec(level, board, players), level)
            found.append(AllowedPlayer(f"level-{level}", f"Level {level}{about}", seat))
        for name in models(board, players):
            spec = pinned(f"model:{name},sims={SIMULATIONS}", board, players)
            label = f"Network: {name}, {SIMULATIONS} simulations"
            found.append(AllowedPlayer(f"network-{name}", label, Seat(spec)))
        for number, spec in enumerate(self._specs, 1):
            found.append(AllowedPlayer(f"extra-{number}", spec, Seat(spec)))
        return found

    def seat(self, name: str, board: str, players: int) -> Seat:
        """The occupant that a browser named; `UsageError` if it is not allowed."""
        if name == PERSON:
            return Seat()
        for player in self.listed(board, players):
            if player.name == name:
                return player.seat
        raise UsageError(f"There is no player {name[:40]!r} here: choose one of the list.")

    def check_seats(self, seats: Sequence[Seat], board: str, players: int) -> None:
        """`UsageError` unless every occupant, of a saved game, is allowed."""
        known = {player.seat.spec for player in self.listed(board, players)}
        for seat in seats:
            if not seat.is_person and seat.spec not in known:
                raise UsageError(
                    f"The game is one against {str(seat.spec)[:60]!r}, which does not play here.",
                    hint="ringrift web --player SPEC, or another player in its place",
                )

    def player(self, spec: str, board: str, players: int) -> Player:
        """A player of a checked spec, shared by all games."""
        key = (spec, board, players)
        with self._making:
            if key not in self._players:
                self._players[key] = _SharedPlayer(make_player(spec, board, players))
            return self._players[key]

    def close(self) -> None:
        for player in self._players.values():
            player.end()


class _SharedPlayer:
    """A player for several games: external programs answer one at a time."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self.spec, self.identity = player.spec, player.identity
        self._lock = threading.Lock()

    def choose(self, asked: Decisions) -> Choices:
        if not self.spec.startswith("exec:"):
            return self._player.choose(asked)
        with self._lock:
            return self._player.choose(asked)

    def close(self) -> None:
        """A game ends: the player stays for others."""

    def end(self) -> None:
        self._player.close()
