"""The engine, without a process around it: every line has its answer, whatever else goes on."""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringrift_cli.errors import PlayerError
from ringrift_cli.game.position import Position
from ringrift_cli.players.engine import Engine
from ringrift_cli.players.player import Choices, Decisions, Player
from ringrift_cli.players.spec import make_player
from ringrift_cli.players.uniform import RandomPlayer
from ringrift_cli.version import __version__
from tests.walks import Walk, saved

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
PATIENCE = 30.0  # seconds after which a test gives up
PROMPT = 5.0  # seconds in which what should come at once has to come
NEW = "newgame board hex8 players 2"
Make = Callable[[str, str, int], Player]


def answers(
    lines: Iterable[str | bytes], spec: str = "random", *, seed: int = 0, make: Make = make_player
) -> list[str]:
    """All that an engine says to these lines, after which its input ends."""
    said: list[str] = []
    data = [line.encode() if isinstance(line, str) else line for line in lines]
    engine = Engine(data, said.append, spec, seed=seed, make=make)
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return said


class Dialogue:
    """An engine that is asked line by line while it goes on."""

    def __init__(self, spec: str = "random", *, make: Make = make_player) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._said: queue.Queue[str] = queue.Queue()
        engine = Engine(self._each(), self._said.put, spec, make=make)
        self._thread = threading.Thread(target=engine.run, daemon=True)
        self._thread.start()

    def _each(self) -> Iterator[bytes]:
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            yield line

    def say(self, *lines: str) -> None:
        for line in lines:
            self._lines.put(line.encode())

    def hear(self, seconds: float = PROMPT) -> str:
        return self._said.get(timeout=seconds)

    def is_silent(self, seconds: float = 0.1) -> bool:
        time.sleep(seconds)
        return self._said.empty()

    def end(self) -> list[str]:
        """Ends the input; what was still said. The engine must be gone in no time."""
        self._lines.put(None)
        self._thread.join(PROMPT)
        assert not self._thread.is_alive()
        return [self._said.get() for _ in range(self._said.qsize())]


class Slow:
    """Thinks till it is told to stop, or for a minute; then plays the first legal action."""

    spec = "slow"
    identity = "0" * 16

    def __init__(self) -> None:
        self.closed = False

    def choose(self, asked: Decisions) -> Choices:
        deadline = time.monotonic() + 60
        while not asked.should_stop() and time.monotonic() < deadline:
            time.sleep(0.002)
        position = Position.initial(asked.board, asked.players)
        for action in asked.histories[0] or ():
            position = position.play(action)
        return Choices(position.legal_actions()[:1], np.array([[0.25, 0.75]]))

    def close(self) -> None:
        self.closed = True


def slow(_spec: str, _board: str, _players: int) -> Player:
    return Slow()


def best_move(line: str) -> str:
    assert line.startswith("bestmove ")
    return line.removeprefix("bestmove ").partition(" value ")[0]


# ---- questions and answers -----------------------------------------------------------------------


def fits(said: str, shown: str) -> bool:
    """Whether a line is the one shown, where … is anything."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), said) is not None


def shown_session() -> list[tuple[str, list[str]]]:
    """The lines that the document sends, each with the answers it shows."""
    block = re.search(r"```\n(> rri\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert block is not None
    session: list[tuple[str, list[str]]] = []
    for line in block[1].splitlines():
        if line.startswith("> "):
            session.append((line[2:], []))
        else:
            session[-1][1].append(line.replace("0.1.0", __version__))
    return session


def test_the_session_of_the_document() -> None:
    session = shown_session()
    said = answers([sent for sent, _ in session], "heuristic:default")
    shown = [line for _, lines in session for line in lines]
    # Which move is best, and how good, is that of one version of the player.
    some_best = [re.sub("^bestmove .*", "bestmove … value …", line) for line in shown]
    assert len(said) == len(shown)
    assert [pair for pair in zip(said, some_best, strict=True) if not fits(*pair)] == []
    assert {sent.split()[0] for sent, _ in session} >= {"rri", "newgame", "position", "go", "quit"}


def test_the_best_moves_of_the_document_are_legal() -> None:
    bests, position = 0, Position.initial("hex8")
    for sent, shown in shown_session():
        if sent.startswith("position start") and not shown:
            position = Position.initial("hex8")
            for move in filter(None, sent.partition(" moves ")[2].split(" | ")):
                position = position.play(move)
        for line in shown:
            if line.startswith("bestmove "):
                bests += 1
                assert best_move(line) in position.legal_moves()
    assert bests == 2


def test_it_introduces_itself() -> None:
    said = answers(["rri"], "heuristic:default,noise=2")
    assert said[0] == "id name ringrift"
    assert "option name Player type string default heuristic:default,noise=2" in said
    assert said[-1] == "rriok"
    assert {line.split()[0] for line in said[:-1]} == {"id", "option"}


def test_identity_is_the_players() -> None:
    said = answers([NEW, "newgame board square8 players 3", "setoption name Player value random"])
    identity = RandomPlayer().identity
    assert said == [f"id identity {identity}"] * 3


@pytest.mark.parametrize(("board", "players"), [("hex8", 2), ("square8", 4), ("hexagonal", 3)])
def test_it_plays_from_moves_and_from_saved_positions(board: str, players: int) -> None:
    walk = Walk(board, players, seed=4)
    moves: list[str] = []
    lines, places = [f"newgame board {board} players {players}"], []
    for before, action, _ in walk.steps(20):
        moves.append(before.move(action))
        if len(moves) % 5:
            continue
        places.append(walk.position)
        state = json.dumps(saved(before))
        for position in (f"start moves {' | '.join(moves)}", f"state {state} moves {moves[-1]}"):
            lines += [f"position {position}", "state", "legal", "go"]
    said = [line for line in answers(lines)[1:] if not line.startswith("info ")]
    assert len(said) == 3 * 2 * len(places)
    for k, place in enumerate(each for each in places for _ in range(2)):
        told, legal, best = said[3 * k : 3 * k + 3]
        assert Position.from_json(json.loads(told.removeprefix("state "))) == place
        assert legal.removeprefix("legal ").split(" | ") == place.legal_moves()
        assert best_move(best) in place.legal_moves()


def test_a_decision_sees_how_the_game_went() -> None:
    seen: list[Decisions] = []

    class Watch(RandomPlayer):
        def choose(self, asked: Decisions) -> Choices:
            seen.append(asked)
            return super().choose(asked)

    start = Position.initial("hex8", pie_rule=True)
    state = json.dumps(saved(start))
    turn = "moves place 0,0 2 | move 0,0 2,0"
    lines = [f"{NEW} pie on", f"position start {turn}", "go", NEW, f"position state {state}", "go"]
    answers(lines, make=lambda *_: Watch())
    after = start.play("place 0,0 2")
    assert [asked.histories for asked in seen] == [
        [(start.action("place 0,0 2"), after.action("move 0,0 2,0"))],
        [None],
    ]
    assert [asked.pie_rule for asked in seen] == [True, True]
    assert (seen[0].board, seen[0].players, len(seen[0])) == ("hex8", 2, 1)


def test_the_seed_decides() -> None:
    def first_moves(*lines: str, seed: int = 0) -> list[str]:
        said = answers([NEW, *lines, "go", "go", "go"], seed=seed)
        return [best_move(line) for line in said if line.startswith("bestmove")]

    moves = first_moves()
    assert len(set(moves)) > 1
    assert first_moves() == moves
    assert first_moves(seed=8) != moves
    assert first_moves("setoption name Seed value 8") == first_moves(seed=8)
    assert first_moves("go", "go", f"setoption name Seed value {2**64 - 1}")[2:] == first_moves(
        seed=2**64 - 1
    )


def test_the_player_can_be_changed() -> None:
    lines = [NEW, "go", "setoption name Player value heuristic:default", "go"]
    bests = [line for line in answers(lines) if line.startswith("bestmove")]
    assert [" value " in line for line in bests] == [False, True]
    lines = ["setoption name Player value heuristic:default", NEW, "go"]
    assert " value " in answers(lines)[-1]


def test_players_are_closed_when_others_come() -> None:
    made: list[Slow] = []

    def make(_spec: str, _board: str, _players: int) -> Player:
        made.append(Slow())
        return made[-1]

    dialogue = Dialogue(make=make)
    dialogue.say(NEW, f"{NEW} pie on", "isready")
    dialogue.hear(), dialogue.hear(), dialogue.hear()
    assert [player.closed for player in made] == [False]  # the same player for the same board
    dialogue.say("newgame board hex8 players 3", "isready")
    dialogue.hear(), dialogue.hear()
    assert [player.closed for player in made] == [True, False]
    dialogue.end()
    assert [player.closed for player in made] == [True, True]


# ---- lines that are refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("hello", "Unknown command 'hello': expected one of rri, isready"),
        ("GO", "Unknown command 'GO'"),
        (b"\xff\xfe", "Unknown command"),
        (b"go\x00", "is not printable text"),
        (b"x" * 2_000_000, "A line has at most 1048576 bytes"),
        ("newgame board hex9 players 2", "Unknown board 'hex9'"),
        ("newgame board square8 players 7", "2, 3 or 4 players, not 7"),
        ("position start moves place 9,9 1", "there is no cell 9,9 on hex8"),
        ("position start moves castle", "begins with none of"),
        ("position start moves place 0,0 2 | move 0,0 0,1", "travels at least 2 cells"),
        ("position state {}", "Not a saved position"),
        ('position state {"format": "\\ud800\\n"}', "Not a saved position"),
        ("go depth 3", "go: found 'depth', expected one of sims, movetime"),
        ("go sims 10", "'random' does not search"),
        ("setoption name Hash value 1", "No option 'Hash': expected Player or Seed"),
        ("setoption name Seed value -1", "Seed is '-1', expected 0 to"),
        ("setoption name Seed value 99999999999999999999", "expected 0 to"),
        ("setoption name Player value chess", "Unknown player 'chess'"),
        ("setoption name Player value exec:ls", "Player is 'exec:ls', expected a built-in one"),
        ("setoption name Player value exec", "Player is 'exec', expected a built-in one"),
        ("setoption name Player value heuristic:/etc/passwd", "expected a built-in one"),
    ],
)
def test_a_refused_line_is_answered_and_changes_nothing(line: str | bytes, sentence: str) -> None:
    place = "position start moves place 0,0 2"
    said = answers([NEW, place, "state", line, "state", "isready", "go"])
    before, error, after, ready, _, best = said[1:]
    assert error.startswith("error ")
    assert sentence in error
    assert error.isprintable()
    assert (after, ready) == (before, "readyok")
    assert best.startswith("bestmove move 0,0 ")


@pytest.mark.parametrize("line", ["position start", "go", "legal", "state"])
def test_there_must_be_a_game(line: str) -> None:
    assert answers([line, "isready"]) == [
        "error No game yet: send newgame first, as newgame board hex8 players 2.",
        "readyok",
    ]


def test_a_game_that_is_over() -> None:
    walk = Walk("hex8", 2, seed=2)
    *_, (_, _, over) = walk.steps()
    result = over.result()
    assert result is not None
    said = answers([NEW, f"position state {json.dumps(saved(over))}", "legal", "go", "stop"])
    assert said[1:] == [
        "legal",
        f"error The game is over: player {result.winner} won ({result.reason}).",
    ]


def test_empty_lines_and_a_stop_without_search_mean_nothing() -> None:
    assert answers(["", "  ", "\r", "stop", "isready"]) == ["readyok"]


def test_nothing_is_obeyed_after_quit() -> None:
    assert answers(["isready", "quit", "isready"]) == ["readyok"]


class Broken(RandomPlayer):
    """Does what it is told to do wrong."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self._way = way

    def choose(self, asked: Decisions) -> Choices:
        if self._way == "error":
            raise PlayerError("The lamp went\nout.")
        if self._way == "defect":
            raise ZeroDivisionError
        return Choices(np.array([10**6], np.int32))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("error", "error The lamp went out."),
        ("defect", "error Player 'random' failed unexpectedly: see the traceback on stderr."),
        ("illegal", "error There is no action 1000000 on hex8"),
    ],
)
def test_a_player_that_fails_is_an_error_line(way: str, sentence: str) -> None:
    said = answers([NEW, "go", "legal", "state"], make=lambda *_: Broken(way))
    assert said[1].startswith(sentence)
    assert [line.split()[0] for line in said] == ["id", "error", "legal", "state"]


# ---- while it thinks -----------------------------------------------------------------------------


def thinking() -> Dialogue:
    dialogue = Dialogue(make=slow)
    dialogue.say(NEW, "go")
    assert dialogue.hear() == f"id identity {Slow.identity}"
    assert dialogue.is_silent()
    return dialogue


def test_stop_is_answered_at_once() -> None:
    dialogue = thinking()
    dialogue.say("stop")
    assert 100 <= int(dialogue.hear().removeprefix("info time ")) < 1000 * PROMPT
    assert dialogue.hear() == "bestmove place 0,-4 1 value 0.2500 0.7500"
    dialogue.say("go")
    assert dialogue.is_silent()  # the stop was for the search before
    dialogue.say("stop")
    assert dialogue.hear().startswith("info")
    assert dialogue.hear().startswith("bestmove")
    assert dialogue.end() == []


def test_ready_during_a_search() -> None:
    dialogue = thinking()
    dialogue.say("isready")
    assert dialogue.hear() == "readyok"
    assert dialogue.is_silent()
    assert [line.split()[0] for line in dialogue.end()] == ["info", "bestmove"]


def test_lines_during_a_search_wait_in_their_order() -> None:
    dialogue = thinking()
    dialogue.say("position start moves place 0,0 2", "nonsense", "go", "legal", "isready")
    assert dialogue.hear() == "readyok"
    assert dialogue.is_silent()
    dialogue.say("stop")
    assert [dialogue.hear().split()[0] for _ in range(3)] == ["info", "bestmove", "error"]
    assert dialogue.is_silent()  # the second search
    dialogue.say("stop")
    assert dialogue.hear().startswith("info")
    assert dialogue.hear().startswith("bestmove move 0,0 ")
    assert dialogue.hear().startswith("legal move 0,0 ")
    assert dialogue.end() == []


@pytest.mark.parametrize("last", ["quit", None])
def test_the_end_stops_a_search_and_loses_nothing(last: str | None) -> None:
    dialogue = thinking()
    dialogue.say("go", "position start moves place 0,0 2", "go", *filter(None, [last]))
    firsts = [line.split()[0] for line in dialogue.end()]
    assert firsts == ["info", "bestmove"] * 3


def test_a_search_that_does_not_listen_cannot_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ringrift_cli.players.engine.STOP_TIMEOUT_S", 0.1)
    hold = threading.Event()

    class Deaf(RandomPlayer):
        def choose(self, asked: Decisions) -> Choices:
            hold.wait(PATIENCE)
            return super().choose(asked)

    dialogue = Dialogue(make=lambda *_: Deaf())
    dialogue.say(NEW, "go", "quit")
    assert dialogue.hear().startswith("id ")
    assert dialogue.end() == []
    hold.set()


def test_the_clock_ends_a_search() -> None:
    dialogue = Dialogue("heuristic", make=slow)
    dialogue.say(NEW, "go movetime 150", "go sims 1000 movetime 50")
    assert dialogue.hear().startswith("id ")
    for milliseconds in (150, 50):
        time_taken = int(dialogue.hear().removeprefix("info time "))
        assert milliseconds <= time_taken < milliseconds + 1000
        assert dialogue.hear().startswith("bestmove")
    assert dialogue.end() == []


def test_limits_are_kept_apart_from_the_player() -> None:
    specs: list[str] = []

    def make(spec: str, board: str, players: int) -> Player:
        specs.append(spec)
        return RandomPlayer()

    lines = [NEW, "go", "go sims 5", "go", "go sims 5", "go movetime 9", "go sims 5"]
    bests = [line for line in answers(lines, "mcts:sims=2", make=make) if "bestmove" in line]
    assert len(bests) == 6
    assert specs == ["mcts:sims=2", "mcts:sims=5", "mcts:seconds=0.009", "mcts:sims=5"]


def test_a_real_search_plays_under_limits() -> None:
    said = answers([NEW, "go sims 8", "setoption name Player value mcts:sims=4", "go"], "heuristic")
    bests = [line for line in said if line.startswith("bestmove")]
    legal = Position.initial("hex8").legal_moves()
    assert [best_move(line) in legal for line in bests] == [True, True]


# ---- anything ------------------------------------------------------------------------------------

VOCABULARY = """
rri isready setoption newgame position go stop legal state name value Seed Player board hex8 square8
players 2 3 pie on off start moves place 0,0 1 | move 2,0 swap sims movetime {} 7 -1 random
heuristic skip_placement line 0,0;1,0 all region
"""
WORDS = st.sampled_from(VOCABULARY.split())
SENTENCES = st.lists(WORDS, min_size=1, max_size=9).map(lambda words: " ".join(words).encode())
LINES = st.lists(st.one_of(SENTENCES, st.binary(max_size=40), st.text().map(str.encode)))


@given(LINES)
@settings(deadline=None, max_examples=100)
def test_whatever_comes_it_is_ready_afterwards(lines: list[bytes]) -> None:
    lines = [line for line in lines if line.split()[:1] != [b"quit"]]
    said = answers([*lines, "setoption name Player value random", NEW, "isready", "legal"])
    assert "readyok" in said
    assert said[-1] == f"legal {' | '.join(Position.initial('hex8').legal_moves())}"
    assert {line.split()[0] for line in said} <= {
        *("id", "option", "rriok", "readyok", "info", "bestmove", "legal", "state", "error")
    }
    assert all(line.isprintable() for line in said)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
STATE = saved(Walk("hex8", 2, seed=6).position.play("place 0,0 2"))


@given(st.dictionaries(st.sampled_from([*STATE, "other"]), VALUES, max_size=3))
@settings(deadline=None, max_examples=100)
def test_whatever_a_saved_position_says(changes: dict[str, Any]) -> None:
    line = f"position state {json.dumps({**STATE, **changes})}"
    said = answers([f"{NEW} pie off", line, "go", "state"])
    assert {line.split()[0] for line in said[1:-1]} <= {"error", "info", "bestmove"}
    assert said[-1].startswith("state ")
