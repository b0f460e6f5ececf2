"""Player specs: `KIND[:ARGUMENT,…]`.

    random
    heuristic[:PROFILE][,noise=X][,blunder=P][,width=W]
                                                  PROFILE: default, tuned or a YAML file
    mcts:sims=N|seconds=S[,profile=PROFILE]       search with the heuristic as its evaluator
    model:NAME[,sims=N|seconds=S]                 search with a network; NAME: champion,
                                                  previous, an identity in the registry, shipped
                                                  (part of ringrift) or a file
    exec:COMMAND[;movetime=MS][;sims=N][;processes=N][;identity=NAME][;OPTION=VALUE…]
                                                  a program that implements docs/protocol.md

`blunder` is the probability of a random move, `noise` the scale of score noise, `width` the number
of unfinished turns played to their end. With `sims=0` a model plays its policy and takes no search
arguments; `value_scale` requires `considered` above 0, which is 0 by default with a time limit.
Model names refer to the registry's pool without the pie rule; a model of the pool with it is given
by its file. The player made is named `model:IDENTITY`, since aliases and files change.
"""

from __future__ import annotations

from pathlib import Path

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game.topology import board_named, check_players
from ringrift_cli.players.heuristic import (
    WIDTH,
    Handicap,
    HeuristicEvaluator,
    HeuristicPlayer,
)
from ringrift_cli.players.player import Player
from ringrift_cli.players.profiles import SHIPPED, profile_named
from ringrift_cli.players.searcher import MAX_SIMULATIONS, Effort, SearchPlayer
from ringrift_cli.players.team import Team
from ringrift_cli.players.uniform import RandomPlayer
from ringrift_cli.search.forest import EXPLORATION, VALUE_SCALE
from ringrift_cli.search.gumbel import considered_actions
from ringrift_cli.store.hashes import sha256_of_file

MIN_TEMPERATURE = 0.001
MAX_SECONDS = 86_400.0
MAX_WIDTH = 1000
MAX_CONSIDERED = 1000
PRIOR_TEMPERATURE = 3.0  # softmax temperature from heuristic scores to priors
KINDS = ("random", "heuristic", "mcts", "model", "exec")


def make_player(spec: str, board: str, players: int) -> Player:
    """Creates the player of a spec for a board and number of players; `UsageError` if invalid."""
    board = board_named(board).name
    check_players(players)
    kind, _, rest = spec.partition(":")
    if kind == "exec":
        from ringrift_cli.players.external import Command, ExternalPlayer

        most = Command.parse(spec, rest).processes
        return Team(lambda: ExternalPlayer(spec, rest, board, players), most)
    if kind not in KINDS:
        raise UsageError(
            f"Unknown player {spec!r}: expected one of {', '.join(KINDS)}.",
            hint="heuristic:default",
        )
    arguments = _Arguments(spec, rest)
    player: Player
    if kind == "random":
        player = RandomPlayer()
    elif kind == "heuristic":
        profile = profile_named(arguments.first(), board, players)
        handicap = Handicap(
            arguments.number("noise", 0.0), arguments.number("blunder", 0.0, most=1.0)
        )
        width = arguments.whole("width", WIDTH, most=MAX_WIDTH)
        player = HeuristicPlayer(spec, profile, handicap, width)
    elif kind == "mcts":
        player = _searcher(spec, arguments, board, players)
    else:
        player = _model(spec, arguments, board, players)
    arguments.check_all_used()
    return player


def teacher(profile: str, board: str, players: int) -> HeuristicEvaluator:
    """The heuristic of a profile as search evaluator; `UsageError` if it is unknown."""
    return HeuristicEvaluator(profile_named(profile, board, players), PRIOR_TEMPERATURE, WIDTH)


def _searcher(spec: str, arguments: _Arguments, board: str, players: int) -> Player:
    profile = profile_named(arguments.text("profile", ""), board, players)
    temperature = arguments.number("temperature", PRIOR_TEMPERATURE)
    if temperature < MIN_TEMPERATURE:
        raise UsageError(f"Player {spec!r}: temperature is below {MIN_TEMPERATURE:g}.")
    seconds = arguments.number("seconds", 0.0, most=MAX_SECONDS)
    simulations = arguments.number("sims", 0.0, most=MAX_SIMULATIONS)
    if (simulations > 0) == (seconds > 0) or simulations != int(simulations):
        raise UsageError(
            f"Player {spec!r}: expected either sims=N, a whole number, or seconds=S, above 0.",
            hint="mcts:sims=200",
        )
    width = arguments.whole("width", WIDTH, most=MAX_WIDTH)
    evaluator = HeuristicEvaluator(profile, temperature, width)
    effort = Effort(
        int(simulations),
        seconds,
        arguments.whole("considered", 0, most=MAX_CONSIDERED),
        arguments.number("exploration", EXPLORATION),
    )
    return SearchPlayer(spec, evaluator, effort)


def _model(spec: str, arguments: _Arguments, board: str, players: int) -> Player:
    from ringrift_cli.players import model

    name = arguments.first()
    if not name:
        raise UsageError(
            f"Player {spec!r}: expected the name or file of a model.",
            hint="model:champion or model:shipped",
        )
    seconds = arguments.number("seconds", 0.0, most=MAX_SECONDS)
    default = 0 if seconds > 0 else model.SIMULATIONS
    simulations = arguments.whole("sims", default, most=MAX_SIMULATIONS)
    if simulations > 0 and seconds > 0:
        raise UsageError(f"Player {spec!r}: expected either sims=N or seconds=S, not both.")
    searches = simulations > 0 or seconds > 0
    effort = _model_effort(arguments, simulations, seconds) if searches else None
    device, precision = arguments.text("device", "auto"), arguments.text("precision", "auto")
    arguments.check_all_used()  # before a network is loaded
    try:
        path, identity = model.checkpoint_named(name, board, players)
    except RingriftError as error:
        raise type(error)(f"Player {spec!r}: {error.message}", error.hint) from error
    evaluator = model.network_evaluator(path, board, players, device, precision)
    named = _renamed(spec, identity)
    if effort is None:
        return model.PolicyPlayer(named, evaluator)
    return SearchPlayer(named, evaluator, effort)


def pinned(spec: str, board: str, players: int) -> str:
    """The spec with the identity of a model instead of its name in the registry."""
    kind, _, rest = spec.partition(":")
    name = rest.partition(",")[0]
    if kind != "model" or name in ("", "shipped") or name.endswith((".json", ".safetensors")):
        return spec
    from ringrift_cli.players.model import checkpoint_named

    return _renamed(spec, checkpoint_named(name, board, players)[1])


def portable(spec: str, board: str, players: int) -> tuple[str, dict[str, Path]]:
    """The spec for another machine, and the files that it names there, by their path there.

    `UsageError` for programs, which other machines do not have.
    """
    kind, _, rest = spec.partition(":")
    if kind == "exec":
        raise UsageError(
            f"Player {spec!r} is a program of this machine; it cannot play on others.",
            hint="the same command without --fleet",
        )
    files: dict[str, Path] = {}
    parts = rest.split(",") if rest else []
    for i, part in enumerate(parts):
        name = part.removeprefix("profile=")
        if kind == "model" and i == 0 and name != "shipped":
            from ringrift_cli.players.model import checkpoint_named

            path, identity = checkpoint_named(name, board, players)
            there = f"matches/{identity}"
            files |= {f"{there}{end}": path.with_suffix(end) for end in (".json", ".safetensors")}
            parts[i] = f"{there}.json"
        elif kind in ("heuristic", "mcts") and ((i == 0 and "=" not in part) or name != part):
            if name in SHIPPED:
                continue
            path = Path(name).expanduser()
            there = f"matches/{sha256_of_file(path)[:16]}.yaml"
            files[there] = path
            parts[i] = part.removesuffix(name) + there
    return f"{kind}:{','.join(parts)}" if parts else spec, files


def _renamed(spec: str, identity: str) -> str:
    _, comma, arguments = spec.partition(",")
    return f"model:{identity}{comma}{arguments}"


def _model_effort(arguments: _Arguments, simulations: int, seconds: float) -> Effort:
    """Search parameters of a model; arguments without effect stay unused and are refused."""
    # sequential halving requires a fixed number of simulations; with a time limit: PUCT
    usual = 0 if seconds > 0 else considered_actions(simulations)
    considered = arguments.whole("considered", usual, most=MAX_CONSIDERED)
    exploration = arguments.number("exploration", EXPLORATION)
    scale = arguments.number("value_scale", VALUE_SCALE) if considered else VALUE_SCALE
    return Effort(simulations, seconds, considered, exploration, scale)


class _Arguments:
    """Arguments of a spec, after the colon."""

    def __init__(self, spec: str, text: str) -> None:
        self._spec = spec
        parts = text.split(",") if text else []
        self._first = parts.pop(0) if parts and "=" not in parts[0] else ""
        self._named: dict[str, str] = {}
        for part in parts:
            name, equals, value = part.partition("=")
            if not equals or not name or name in self._named:
                raise UsageError(f"Player {spec!r}: {part!r} is repeated or not NAME=VALUE.")
            self._named[name] = value

    def first(self) -> str:
        value, self._first = self._first, ""
        return value

    def text(self, name: str, default: str) -> str:
        return self._named.pop(name, default)

    def number(self, name: str, default: float, *, most: float = float("inf")) -> float:
        text = self._named.pop(name, None)
        if text is None:
            return default
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number <= most or number == float("inf"):
            limit = f"from 0 to {most:g}" if most < float("inf") else "of 0 or more"
            raise UsageError(f"Player {self._spec!r}: {name} is {text!r}, not a number {limit}.")
        return number

    def whole(self, name: str, default: int, *, most: int) -> int:
        text = self._named.pop(name, str(default))
        if not text.isdecimal() or len(text) > 9 or int(text) > most:
            raise UsageError(
                f"Player {self._spec!r}: {name} is {text!r}, not a whole number up to {most}."
            )
        return int(text)

    def check_all_used(self) -> None:
        left = [*filter(None, [self._first]), *self._named]
        if left:
            raise UsageError(
                f"Player {self._spec!r}: unknown argument {left[0]!r}.", hint="ringrift eval --help"
            )
