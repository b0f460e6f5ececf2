"""Ctrl-C at any moment: the engine ends, and its player is closed once and not asked again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ringrift_cli.players.engine import Engine
from ringrift_cli.players.player import Choices, Decisions
from ringrift_cli.players.uniform import RandomPlayer

PATIENCE = 30.0  # seconds after which a test gives up
LINES = (b"newgame board hex8 players 2", b"go")


class Watched(RandomPlayer):
    """Answers once it is told to stop, and remembers what happened to it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.events: list[str] = []

    def choose(self, asked: Decisions) -> Choices:
        self.asked.set()
        while not asked.should_stop():
            threading.Event().wait(0.002)
        self.events.append("answered")
        return super().choose(asked)

    def close(self) -> None:
        self.events.append("closed")


def interrupted(
    monkeypatch: pytest.MonkeyPatch, player: Watched, start: Callable[[threading.Thread], None]
) -> threading.Thread:
    """Runs an engine whose search is started so, after which Ctrl-C comes; the thread of that."""
    made: list[threading.Thread] = []

    class Thread(threading.Thread):
        def start(self) -> None:
            made.append(self)
            if len(made) == 1:  # this one reads the lines
                super().start()
            else:
                start(self)
                raise KeyboardInterrupt

    monkeypatch.setattr("ringrift_cli.players.engine.Thread", Thread)
    with pytest.raises(KeyboardInterrupt):
        Engine(LINES, lambda _: None, "random", make=lambda *_: player).run()
    return made[1]


def test_a_search_that_has_not_begun_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Watched()
    thread = interrupted(monkeypatch, player, lambda _: None)
    assert player.events == ["closed"]
    threading.Thread.start(thread)  # the system may still get round to it
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not player.asked.is_set()


def test_a_search_that_has_begun_ends_before_its_player(monkeypatch: pytest.MonkeyPatch) -> None:
    player = Watched()

    def start(thread: threading.Thread) -> None:
        threading.Thread.start(thread)
        assert player.asked.wait(PATIENCE)

    thread = interrupted(monkeypatch, player, start)
    assert player.events == ["answered", "closed"]
    assert not thread.is_alive()


@pytest.mark.parametrize("begun", [False, True])
def test_an_engine_that_is_told_to_end_hears_no_further_line(begun: bool) -> None:
    player, said, hold = Watched(), list[str](), threading.Event()

    def lines() -> Iterator[bytes]:
        if begun:
            yield from LINES
            yield b"legal"  # waits for the end of the search
            assert player.asked.wait(PATIENCE)
        engine.interrupt()
        yield b"isready"
        hold.wait(PATIENCE)  # the input goes on

    engine = Engine(lines(), said.append, "random", make=lambda *_: player)
    engine.run()
    hold.set()
    assert said == ([f"id identity {player.identity}"] if begun else [])
    assert player.events == (["answered", "closed"] if begun else [])
