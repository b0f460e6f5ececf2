"""`ringrift engine` as other programs meet it: a process, lines, and how it ends."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ringrift_cli.game.position import Position
from tests.conftest import Ringrift

COMMAND = [sys.executable, "-m", "ringrift_cli", "engine"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
PROMPT = 5.0  # seconds, most of them for a machine that is busy
STARTING = 30.0
NEW = "newgame board hex8 players 2"


class Process:
    """The command, asked line by line."""

    def __init__(self, *args: str) -> None:
        self.popen = subprocess.Popen(
            [*COMMAND, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._said: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self._said.put(line.rstrip("\n"))

    def say(self, *lines: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("".join(f"{line}\n" for line in lines))

    def hear(self, word: str, seconds: float = PROMPT) -> str:
        """The next line that begins with the word."""
        while True:
            line = self._said.get(timeout=seconds)
            if line.split()[0] == word:
                return line

    def end(self) -> tuple[int, str]:
        """Exit code and stderr of a process that is about to end by itself."""
        code = self.popen.wait(PROMPT)
        assert self.popen.stderr is not None
        return code, self.popen.stderr.read()

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait(PROMPT)
        self._reader.join(PROMPT)
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def thinking() -> Iterator[Process]:
    """An engine that searches for a minute if nobody stops it."""
    process = Process("--player", "mcts:seconds=60")
    process.say(NEW, "isready", "go")
    process.hear("readyok", STARTING)
    yield process
    process.close()


def piped(data: bytes, *args: str) -> tuple[int, list[str], str]:
    """Exit code, lines and stderr of an engine that is given all its input at once."""
    done = subprocess.run(
        [*COMMAND, *args], input=data, capture_output=True, timeout=STARTING, check=False
    )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def test_a_script_is_answered_line_by_line() -> None:
    script = f"rri\n{NEW}\nisready\nposition start moves place 0,0 2\ngo\nhm\ngo sims 4\n"
    code, lines, err = piped(script.encode(), "--player", "heuristic:default")
    assert (code, err) == (0, "")
    words = "id id id option option rriok id readyok info bestmove error info bestmove"
    assert [line.split()[0] for line in lines] == words.split()
    legal = Position.initial("hex8").play("place 0,0 2").legal_moves()
    for line in lines:
        if line.startswith("bestmove"):
            move, _, values = line.removeprefix("bestmove ").partition(" value ")
            assert move in legal
            assert sum(map(float, values.split())) == pytest.approx(1, abs=1e-3)


def test_the_seed_is_that_of_the_command_line() -> None:
    script = f"{NEW}\ngo\ngo\ngo\n".encode()

    def moves(*args: str) -> list[str]:
        _, lines, _ = piped(script, "--player", "random", *args)
        return [line for line in lines if line.startswith("bestmove")]

    assert moves("--seed", "5") == moves("--seed", "5") != moves("--seed", "6")


def test_noise_of_all_kinds_is_answered() -> None:
    rng = np.random.default_rng(3)
    noise = [rng.bytes(200), b"x" * 3_000_000, b"\x00\n\n\xff\xfe\n", "go \u2028 ٣\n".encode()]
    script = b"\n".join([*noise, NEW.encode(), *noise, b"state", *noise, b"isready"])
    code, lines, err = piped(script)  # the last line has no end
    assert (code, err) == (0, "")
    assert lines[-1] == "readyok"
    assert {line.split()[0] for line in lines} == {"error", "id", "state", "readyok"}
    assert sum("at most 1048576 bytes" in line for line in lines) == 3


def test_every_line_goes_to_stderr_if_asked() -> None:
    code, lines, err = piped(b"isready\nhello\n", "-v")
    assert code == 0
    assert len(lines) == 2
    told = [line for line in err.splitlines() if line.startswith(("< ", "> "))]
    assert sorted(told) == ["< hello", "< isready", *sorted(f"> {line}" for line in lines)]


@pytest.mark.parametrize(
    ("player", "sentence"),
    [
        ("chess", "Unknown player 'chess'"),
        ("heuristic:missing.yaml", "No heuristic profile 'missing.yaml'"),
        ("mcts:sims=many", "not a number"),
    ],
)
def test_a_player_that_there_is_not(ringrift: Ringrift, player: str, sentence: str) -> None:
    run = ringrift("engine", "--player", player)
    assert (run.code, run.out) == (2, "")
    assert sentence in run.err


def test_a_seed_beyond_64_bits(ringrift: Ringrift) -> None:
    run = ringrift("engine", "--seed", 2**64)
    assert (run.code, run.out) == (2, "")
    assert "is greater than 18446744073709551615" in run.err


def test_stop_ends_a_long_search_at_once(thinking: Process) -> None:
    thinking.say("stop")
    best = thinking.hear("bestmove").removeprefix("bestmove ").partition(" value ")[0]
    assert best in Position.initial("hex8").legal_moves()
    thinking.say("isready")
    assert thinking.hear("readyok") == "readyok"
    thinking.say("quit")
    assert thinking.end() == (0, "")


def test_quit_ends_a_long_search_at_once(thinking: Process) -> None:
    thinking.say("quit")
    thinking.hear("bestmove")
    assert thinking.end() == (0, "")


def test_a_client_that_goes_away_takes_the_engine_along(thinking: Process) -> None:
    assert thinking.popen.stdin is not None
    thinking.popen.stdin.close()
    thinking.hear("bestmove")
    assert thinking.end() == (0, "")


@pytest.mark.parametrize(
    ("stop", "code", "word"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")],
)
def test_a_signal_ends_a_long_search(thinking: Process, stop: int, code: int, word: str) -> None:
    thinking.popen.send_signal(stop)
    assert thinking.end() == (code, f"ringrift: {word}.\n")


def test_someone_at_a_terminal_is_told_what_to_do() -> None:
    leader, follower = os.openpty()
    process = subprocess.Popen(
        COMMAND, stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    os.close(follower)
    try:
        os.write(leader, b"isready\nquit\n")
        out, err = process.communicate(timeout=STARTING)
    finally:
        process.kill()
        os.close(leader)
    assert (process.returncode, out) == (0, "readyok\n")
    assert "rri identifies the player, quit ends" in err


def test_the_session_of_the_document() -> None:
    session = re.search(r"```\n(> rri\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert session is not None
    process = Process("--player", "heuristic:default")
    try:
        for part in re.split(r"^> ", session[1], flags=re.MULTILINE)[1:]:
            line, *answers = part.rstrip("\n").split("\n")
            process.say(line)
            for expected in answers:
                answer = process.hear(expected.split()[0], STARTING)
                assert re.fullmatch(".*".join(map(re.escape, expected.split("…"))), answer)
        assert process.end() == (0, "")
    finally:
        process.close()


def test_the_client_of_the_document(tmp_path: Path) -> None:
    client = r"```python\n(import json\nimport subprocess\n.*?)```"
    code = re.search(client, DOCUMENT.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "client.py").write_text(code[1])
    binaries = Path(sys.executable).parent  # where the command ringrift is
    done = subprocess.run(
        [sys.executable, tmp_path / "client.py"],
        env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.fullmatch(r"\d+ decisions; seat [12] wins: [a-z_]+\n", done.stdout)
