"""Programs as players: ours in whole games, and small ones that do everything wrong."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.errors import PlayerError, RingriftError, UsageError
from ringrift_cli.game.jit import cache_root
from ringrift_cli.game.position import Position
from ringrift_cli.players import external
from ringrift_cli.players.external import TIMEOUT_VARIABLE, ExternalPlayer
from ringrift_cli.players.player import Choices, Decisions
from ringrift_cli.players.program import TRANSCRIPTS_VARIABLE, conversation
from ringrift_cli.players.spec import make_player
from tests.walks import Walk

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
ENGINE = shlex.join([sys.executable, "-m", "ringrift_cli", "engine"])
Start = Callable[..., ExternalPlayer]


@pytest.fixture(autouse=True)
def transcripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the conversations with programs that failed."""
    monkeypatch.setenv(TRANSCRIPTS_VARIABLE, str(tmp_path / "transcripts"))
    return tmp_path / "transcripts"


@pytest.fixture
def start() -> Iterator[Start]:
    """Makes players of commands, and closes them when the test is over."""
    made: list[ExternalPlayer] = []

    def make(command: str, board: str = "hex8", players: int = 2) -> ExternalPlayer:
        player = ExternalPlayer(f"exec:{command}", command, board, players)
        made.append(player)
        return player

    yield make
    for player in made:
        player.close()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Writes a program of a few lines, and gives the command for it.

    It leaves the number of its process in the file `pid`, and knows the line `line`, whose first
    word is `word`, when it comes to the code in the loop.
    """

    def write(code: str, name: str = "program.py") -> str:
        path = tmp_path / name
        head = (
            "import os, subprocess, sys, time\n"
            f"with open({str(tmp_path / 'pid')!r}, 'w') as file:\n"
            "    file.write(str(os.getpid()))\n"
            "def say(text):\n"
            "    sys.stdout.write(text + '\\n')\n"
            "    sys.stdout.flush()\n"
        )
        path.write_text(head + code)
        return shlex.join([sys.executable, "-S", "-E", str(path)])

    return write


def knowing(line: str) -> str:
    """Code of a program that says a line, and then that it knows the protocol."""
    return answering("0", on_rri=f"say({line!r}); say('rriok')")


def answering(on_go: str, *, on_rri: str = "say('rriok')", first: str = "pass") -> str:
    """Code of a program that is in order but for what it does on `rri` and on `go`."""
    return f"""{first}
for line in sys.stdin:
    word = line.split()[0]
    if word == 'rri':
        {on_rri}
    elif word == 'isready':
        say('readyok')
    elif word == 'go':
        {on_go}
    elif word == 'quit':
        break
"""


def decisions(*positions: Position, seed: int = 0) -> Decisions:
    """These positions, whose course is not known."""
    seeds = np.arange(seed, seed + len(positions), dtype=np.uint64)
    rows = np.array([position.row for position in positions])
    first = positions[0]
    return Decisions(first.board_name, first.players, rows, seeds, [None] * len(positions))


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


# ---- games ---------------------------------------------------------------------------------------


def play_game(
    seats: list[ExternalPlayer], position: Position, *, pie_rule: bool = False, seed: int = 1
) -> list[int]:
    """The actions of a game; the players take turns by seat, each decision as `eval` asks it."""
    actions: list[int] = []
    seeds = np.array([seed], np.uint64)
    board, players = position.board_name, position.players
    while not position.is_over:
        asked = Decisions(board, players, position.row[None], seeds, [actions], pie_rule)
        choices = seats[position.seat - 1].choose(asked)
        actions.append(int(choices.actions[0]))
        position = position.play(actions[-1])
        if choices.values is not None:
            assert choices.values.shape == (1, players)
    return actions


@pytest.mark.parametrize(
    ("board", "players", "pie_rule"),
    [("hex8", 2, False), ("hex8", 3, False), ("square8", 2, True), ("square8", 4, False)],
)
def test_our_engine_plays_itself(start: Start, board: str, players: int, pie_rule: bool) -> None:
    heuristic = start(f"{ENGINE} --player heuristic:default,noise=2", board, players)
    others = start(f"{ENGINE} --player random", board, players)
    seats = [heuristic, *[others] * (players - 1)]
    begin = Position.initial(board, players, pie_rule=pie_rule)
    games = [play_game(seats, begin, pie_rule=pie_rule, seed=seed) for seed in (1, 2, 1)]
    assert games[0] == games[2] != games[1]


def test_the_same_game_from_other_processes(start: Start) -> None:
    begin = Position.initial("hex8")
    commands = [f"{ENGINE} --player random --seed {seed}" for seed in (1, 2)]
    games = [play_game([start(command)] * 2, begin) for command in commands]
    assert games[0] == games[1]  # what each is told before a decision outweighs its own seed


def test_the_engine_of_the_document_plays(start: Start, tmp_path: Path) -> None:
    code = re.search(
        r"```python\n(import json\nimport sys\n.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    assert code is not None
    (tmp_path / "first.py").write_text(code[1])
    player = start(shlex.join([sys.executable, str(tmp_path / "first.py")]), "square8")
    begin = position = Position.initial("square8", pie_rule=True)
    actions = play_game([player] * 2, begin, pie_rule=True)
    for action in actions:
        assert action == position.legal_actions()[0]
        if position.ply in (1, 20):  # a position without its moves
            assert player.choose(decisions(position)).actions.tolist() == [action]
        position = position.play(action)
    assert position.is_over


def test_the_saved_position_of_the_document_is_complete() -> None:
    text = re.search(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert text is not None
    assert json.loads(text[1]) == Position.initial("hex8").play("place 0,0 2").to_json()


def test_many_positions_at_once_with_and_without_their_course(start: Start) -> None:
    player = start(f"{ENGINE} --player heuristic:default")
    positions, histories = [], []
    for seed in (2, 4, 6):
        walk = Walk("hex8", 2, seed)
        histories.append([action for _, action, _ in walk.steps(10 * seed)])
        positions.append(walk.position)
    alone = decisions(*positions)
    asked = Decisions("hex8", 2, alone.rows, alone.seeds.copy(), [histories[0], None, histories[2]])
    choices = player.choose(asked)
    assert choices.values is not None
    np.testing.assert_allclose(choices.values.sum(axis=1), 1, atol=2e-4)
    for position, action in zip(positions, choices.actions.tolist(), strict=True):
        position.play(action)
    assert len(set(asked.seeds.tolist()) & set(alone.seeds.tolist())) == 0  # they stepped on
    again = player.choose(asked)
    assert again.values is not None
    np.testing.assert_allclose(again.values, choices.values)


LOGGING = """
import os
log = open(sys.argv[1], 'a')
for line in sys.stdin:
    print(line, end='', file=log, flush=True)
    word = line.split()[0]
    if word == 'rri':
        say('id name Logger')
        if len(sys.argv) > 2: say('id version ' + sys.argv[2])
        say('option name Hash type spin default 1 min 1 max 64')
        say('option name Seed type spin default 0')
        say('rriok')
    elif word == 'isready':
        say('readyok')
    elif word == 'go':
        say('bestmove place 0,0 1')
    elif word == 'quit':
        break
"""


def test_name_and_version_of_a_program_make_its_identity(
    start: Start, program: Callable[[str], str], tmp_path: Path
) -> None:
    """Not the files that it is given, which may be logs; what it is told to do counts too."""

    def identity(code: str, *words: str, settings: str = "") -> str:
        return start(f"{program(code)} {' '.join(words)}{settings}").identity

    logs = [str(tmp_path / name) for name in ("a.log", "b.log")]
    known = identity(LOGGING, logs[0], "1.0")
    assert known == identity(LOGGING, logs[0], "1.0")  # its log has grown
    assert known == identity(LOGGING, logs[1], "1.0") == identity(f"{LOGGING}# new", logs[0], "1.0")
    others = {
        identity(LOGGING, logs[0], "1.1"),
        identity(LOGGING, logs[0], "1.0", settings=";movetime=100"),
        identity(LOGGING, logs[0], "1.0", settings=";movetime=200"),
        identity(LOGGING, logs[0], "1.0", settings=";sims=200"),
        identity(LOGGING, logs[0], "1.0", settings=";Hash=2"),
        identity(LOGGING, logs[0], "1.0", settings=";identity=mine"),
    }
    assert len(others | {known}) == 7
    assert identity(LOGGING, logs[0], "1.0", settings=";processes=1") == known
    mine = [identity(LOGGING, logs[0], version, settings=";identity=mine") for version in "12"]
    assert mine[0] == mine[1]


def test_a_program_without_a_version_is_its_command_and_code(
    start: Start, program: Callable[[str], str], tmp_path: Path
) -> None:
    log = str(tmp_path / "a.log")
    known = start(f"{program(LOGGING)} {log}").identity
    assert known == start(f"{program(LOGGING)} {log}").identity
    assert known != start(f"{program(LOGGING + '# new')} {log}").identity
    plain = start(program(answering("0"))).identity
    reported = answering("0", on_rri="say('id identity 7'); say('rriok')")
    fast = start(f"{program(answering('0'))} --fast").identity
    assert len({start(program(reported)).identity, fast, plain, known}) == 4


def test_tables_have_the_name_that_a_program_reports(
    start: Start, program: Callable[[str], str], tmp_path: Path
) -> None:
    command = f"{program(LOGGING)} {tmp_path / 'a.log'}"
    assert start(f"{command} 1.0").name == "Logger 1.0"
    assert start(f"{command} 1.0;movetime=50;Hash=8").name == "Logger 1.0;movetime=50;Hash=8"
    assert start(f"{command} 1.0;identity=mine").name == "mine"
    unnamed = program(answering("0"))
    assert start(unnamed).name == f"exec:{unnamed}"


def test_limits_and_options_of_a_spec_are_sent(
    start: Start, program: Callable[[str], str], tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    command = f"{program(LOGGING)} {log} 1.0"
    player = start(f"{command};movetime=2000; sims=30 ;Hash=64")
    player.choose(decisions(Position.initial("hex8")))
    lines = log.read_text().splitlines()
    assert lines.index("setoption name Hash value 64") < lines.index(
        "newgame board hex8 players 2 pie off"
    )
    assert lines[-1] == "go sims 30 movetime 2000"
    for settings, said in (
        (";Book=x", "no option 'Book': expected one of movetime, sims, processes, identity, Hash"),
        (";Seed=1", "Seed is set anew for each decision"),
        (";movetime=0", "movetime is '0', expected a whole number from 1"),
        (";sims=1;sims=2", "'sims=2' is repeated or not NAME=VALUE"),
        (";fast", "'fast' is repeated or not NAME=VALUE"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            make_player(f"exec:{command}{settings}", "hex8", 2)


def test_a_game_begins_once(start: Start, program: Callable[[str], str], tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    player = start(f"{program(LOGGING)} {log} 1.0")
    asked = decisions(Position.initial("hex8"))
    for game in (7, 7, 7, 8, 8, 9):
        player.choose(Decisions("hex8", 2, asked.rows, asked.seeds, [[]], games=[game]))
    lines = log.read_text().splitlines()
    assert lines.count("newgame board hex8 players 2 pie off") == 3
    assert lines[-3:-1] != lines[-6:-4]  # a fresh seed for each decision


def test_what_other_engines_write_is_understood(
    start: Start, program: Callable[[str], str]
) -> None:
    """Banners, colours, long lines, values without zeros, a move to ponder on."""
    on_go = (
        "say('info ' + 'x' * 2000000); say('\\x1b[32minfo depth 3\\x1b[0m'); say('thinking');"
        "say('\\x1b[1mbestmove place 0,0 1 value .5 5E-1 ponder place 1,0 1\\x1b[0m')"
    )
    player = start(program(answering(on_go, first="say('Welcome'); say('\\x07 v2')")))
    begin = Position.initial("hex8")
    choices = player.choose(decisions(begin))
    assert choices.actions.tolist() == [begin.action("place 0,0 1")]
    assert choices.values is not None
    assert choices.values.tolist() == [[0.5, 0.5]]


def test_a_program_may_take_its_time_to_start(
    start: Start, program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, "0.7")
    monkeypatch.setattr(external, "START_FACTOR", 60)
    player = start(program(answering("say('bestmove place 0,0 1')", first="time.sleep(1.5)")))
    monkeypatch.setattr(player, "_timeout", 30.0)
    assert player.choose(decisions(Position.initial("hex8"))).values is None


def test_the_conversation_is_shown_and_kept(
    start: Start,
    program: Callable[[str], str],
    transcripts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(conversation, "on_line", shown.append)
    fails = "say('info depth 1\\x1b]52;'); raise ValueError('no rings ' + 'x' * 5000 + '\\nhere')"
    player = start(program(answering(fails)))
    with pytest.raises(PlayerError) as caught:
        player.choose(decisions(Position.initial("hex8")))
    assert "its stderr ends with 'ValueError: no rings xxx" in caught.value.message
    (kept,) = transcripts.iterdir()
    lines = kept.read_text().splitlines()
    for line in ("> rri", "< rriok", "> go", "! Traceback (most recent call last):"):
        assert line in lines
        assert any(one.endswith(line) for one in shown)
    assert any(line.startswith("! ValueError: no rings xxx") for line in lines)
    assert any(line.startswith("< info depth 1") for line in lines)
    assert all(line.isprintable() for line in [*lines, *shown])


# ---- what programs do wrong ----------------------------------------------------------------------

SILENT = "did not answer with bestmove within 0.5 s"
# What it does on `go`, and how the error ends; … is anything.
WRONG_AT_GO = {
    "crash": (
        "raise ValueError('no rings')",
        "ended with exit code 1; its stderr ends with '…ValueError: no rings'.",
    ),
    "exit": ("sys.exit(7)", "ended with exit code 7."),
    "signal": ("os.kill(os.getpid(), 9)", "was ended by SIGKILL."),
    "silence": ("pass", SILENT + "."),
    "sleep": ("time.sleep(60)", SILENT + "."),
    "illegal move": (
        "say('bestmove swap')",
        "wrote 'bestmove swap': Illegal move 'swap': … (player 1, ring_placement).",
    ),
    "no move": (
        "say('bestmove castle')",
        "wrote 'bestmove castle': Move 'castle' begins with none of …",
    ),
    "empty move": ("say('bestmove')", "wrote 'bestmove ': bestmove has no move."),
    "chances": (
        "say('bestmove place 0,0 1 value 2 3')",
        "wrote 'bestmove place 0,0 1 value 2 3': The win probabilities '2 3' do not add up to 1.",
    ),
    "garbage": (
        "os.write(1, bytes(range(14, 256)) + bytes([10]))",
        SILENT + "; it wrote '\\x0e…'.",
    ),
    "other words": ("say('hello'); time.sleep(60)", SILENT + "; it wrote 'hello'."),
    "another answer": ("say('readyok')", SILENT + "; it wrote 'readyok'."),
    "error line": ("say('error I give up')", "answered 'error I give up'."),
    "half a line": (
        "os.write(1, b'bestmo'); sys.exit(0)",
        "ended with exit code 0 in the middle of the line 'bestmo'.",
    ),
    "line without end": ("[os.write(1, b'x' * 9999) for _ in range(300)]", SILENT + "."),
    "endless info": ("[say('info ' + 'x' * 999) for _ in iter(int, 1)]", SILENT + "."),
    "long line": (
        "say('bestmove ' + 'x' * 2000000)",
        "wrote 'bestmove x…x': A line has at most 1048576 bytes.",
    ),
    "stdout closed": ("os.close(1); time.sleep(60)", "closed its stdout."),
    "last words": (
        "sys.stderr.write('x' * 9999 + '\\nso\\nbe\\nit\\n'); sys.exit(1)",
        "ended with exit code 1; its stderr ends with 'so / be / it'.",
    ),
}


@pytest.mark.parametrize("way", WRONG_AT_GO)
def test_a_program_that_fails_at_a_decision(
    way: str,
    start: Start,
    program: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, end = WRONG_AT_GO[way]
    player = start(program(answering(code)))
    monkeypatch.setattr(player, "_timeout", 0.5 if end.startswith(SILENT) else 20.0)
    begin = Position.initial("hex8")
    with pytest.raises(PlayerError) as caught:
        player.choose(decisions(begin))
    message = caught.value.message
    whole = f"Player {player.spec!r} was asked 'go' at decision 1 of hex8 and {end}"
    whole = f"{whole.removesuffix('.')}; the"
    pattern = ".*".join(map(re.escape, whole.split("…"))) + r" conversation is in (.*)\."
    assert (found := re.fullmatch(pattern, message)) is not None
    assert "> go" in Path(found[1]).read_text().splitlines()
    assert message.isprintable()
    assert len(message) < 1000
    assert not is_running(int((tmp_path / "pid").read_text()))
    with pytest.raises(PlayerError, match=re.escape(message)):  # it gets no second chance
        player.choose(decisions(begin))


SLOW = "did not answer with rriok within 2.5 s"  # five times the limit of other answers


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("raise SystemExit('no licence')", "ended with exit code 1; its stderr ends with 'no lic"),
        ("time.sleep(60)", SLOW),
        ("sys.stdin.close(); time.sleep(60)", SLOW),
        ("say('Welcome to chess'); time.sleep(60)", f"{SLOW}; it wrote 'Welcome to chess'"),
        ("say('Welcome to chess')", "ended with exit code 0"),
        ("for line in sys.stdin: say(line.rstrip())", f"{SLOW}; it wrote 'rri'"),
        (knowing("id name"), "wrote 'id name': id: expected a key and a value"),
        (knowing("option Hash"), "wrote 'option Hash': option: expected name NAME type"),
        (knowing("error Unknown command"), "answered 'error Unknown command'"),
    ],
)
def test_a_program_that_does_not_know_the_protocol(
    code: str,
    end: str,
    program: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, "0.5" if end.startswith(SLOW) else "20")
    command = program(code)
    with pytest.raises(PlayerError) as caught:
        make_player(f"exec:{command}", "hex8", 2)
    assert re.search(f"was asked '(rri|isready)' and {re.escape(end)}", caught.value.message)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_an_engine_of_ours_that_does_not_start(start: Start) -> None:
    with pytest.raises(PlayerError, match=r"ended with exit code 2; .*No heuristic profile"):
        start(f"{ENGINE} --player heuristic:missing.yaml")


@pytest.mark.parametrize(
    ("command", "kind", "pattern"),
    [
        ("", UsageError, "names no command"),
        ("python 'x", UsageError, "ends inside quotes"),
        ("/no/such/program --fast", PlayerError, "cannot be started: No such file or directory"),
        ("/etc/passwd", PlayerError, "cannot be started: Permission denied"),
        ("/", PlayerError, "cannot be started: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_started(
    command: str, kind: type[RingriftError], pattern: str
) -> None:
    with pytest.raises(kind, match=pattern):
        make_player(f"exec:{command}", "hex8", 2)


def test_a_command_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGRIFT_CACHE_DIR", str(cache_root().parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "engine").write_text(f'#!/bin/sh\nexec {ENGINE} "$@"\n')
    (tmp_path / "engine").chmod(0o755)
    player = make_player("exec:~/engine --player random", "hex8", 2)
    player.close()
    assert player.spec == "exec:~/engine --player random"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_the_timeout_is_a_number_of_seconds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    with pytest.raises(UsageError, match="not a number of seconds above 0"):
        make_player("exec:true", "hex8", 2)


@pytest.fixture
def vast(monkeypatch: pytest.MonkeyPatch) -> Position:
    """A position whose saved form is longer than what a pipe holds."""
    position = Position.initial("hexagonal")
    padded = {**position.to_json(), "padding": "x" * 300_000}
    monkeypatch.setattr(Position, "to_json", lambda _: padded)
    return position


def test_neither_side_waits_for_the_other_with_a_full_pipe(
    vast: Position, start: Start, program: Callable[[str], str]
) -> None:
    echo = "    say('info ' + line.rstrip()); sys.stderr.write(line)\n    word ="
    code = answering("say('bestmove place 0,0 1')").replace("    word =", echo)
    player = start(program(code), "hexagonal")
    for _ in range(3):
        assert player.choose(decisions(vast)).actions.tolist() == [vast.action("place 0,0 1")]


def test_a_program_that_does_not_read(
    vast: Position, start: Start, program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = answering("0").replace("say('readyok')", "say('readyok'); time.sleep(60)")
    player = start(program(code), "hexagonal")
    monkeypatch.setattr(player, "_timeout", 0.5)
    with pytest.raises(PlayerError, match=re.escape(SILENT)):
        player.choose(decisions(vast))


# ---- the end of a program ------------------------------------------------------------------------


def test_stop_reaches_the_program(start: Start, program: Callable[[str], str]) -> None:
    code = (
        answering("pass")
        .replace("word == 'quit'", "word == 'stop'")
        .replace("break", "say('bestmove place 0,0 3 value 1 0')")
    )
    player = start(program(code))
    asked = decisions(Position.initial("hex8"))
    begun = time.monotonic()
    hurried = Decisions(
        *("hex8", 2, asked.rows, asked.seeds, [[]]),
        should_stop=lambda: time.monotonic() > begun + 0.2,
    )
    choices = player.choose(hurried)
    assert choices.actions.tolist() == [Position.initial("hex8").action("place 0,0 3")]
    assert 0.2 <= time.monotonic() - begun < 5


@pytest.mark.parametrize("polite", [True, False])
def test_closing_leaves_no_process(
    polite: bool, start: Start, program: Callable[[str], str], tmp_path: Path
) -> None:
    child = (
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))"
    )
    code = answering("0", first=child)
    player = start(program(code if polite else code.replace("break", "time.sleep(60)")))
    both = [int((tmp_path / name).read_text()) for name in ("pid", "child")]
    assert all(map(is_running, both))
    begun = time.monotonic()
    player.close()
    assert time.monotonic() - begun < 3
    deadline = time.monotonic() + 5  # the child is not ours to wait for
    while is_running(both[1]) and not is_zombie(both[1]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(both[0])
    assert not is_running(both[1]) or is_zombie(both[1])
    player.close()


def is_zombie(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_player_that_is_forgotten_takes_its_program_along(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    player = ExternalPlayer("exec:x", program(answering("time.sleep(60)")), "hex8", 2)
    process = int((tmp_path / "pid").read_text())
    assert is_running(process)
    del player
    gc.collect()
    assert not is_running(process)


def test_chances_are_known_for_all_or_not_at_all(
    start: Start, program: Callable[[str], str]
) -> None:
    code = answering(
        "say('bestmove place 0,0 1' + said); said = ''", first="said = ' value 0.5 0.5'"
    )
    player = start(program(code))
    begin = Position.initial("hex8")
    first: Choices = player.choose(decisions(begin))
    assert first.values is not None
    assert first.values.tolist() == [[0.5, 0.5]]
    assert player.choose(decisions(begin)).values is None
