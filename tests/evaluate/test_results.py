"""The results file: nothing twice, nothing lost, and blocks that are fair."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from ringrift_cli.errors import OutputError, RecordError
from ringrift_cli.evaluate.results import PlayedGame, Pool, Results

POOL = Pool("hex8", 2)
AB = ("a" * 16, "b" * 16)


def game(block: int, rotation: int, *, winner: int = 0, moves: int | None = None) -> PlayedGame:
    """A game between a and b; by default its moves are its own."""
    seats = AB if rotation == 0 else AB[::-1]
    own = 1000 * block + rotation if moves is None else moves
    entrant = winner if rotation == 0 else 1 - winner
    return PlayedGame(block, rotation, seats, winner, entrant, "stalemate", (own, 2, 3))


def begin(results: Results, seed: int = 0) -> str:
    return results.begin({"seed": seed}, {AB[0]: "first", AB[1]: "second"})


def test_blocks_count_from_the_first_to_the_first_gap(tmp_path: Path) -> None:
    with Results(tmp_path / "r.sqlite") as results:
        match = begin(results)
        for block in (0, 1, 3):
            results.add(match, POOL, [game(block, 0), game(block, 1, winner=1)])
        results.add(match, POOL, [game(2, 1)])
        found = results.blocks(match, 2)
        assert (found.numbers, found.winners) == ([0, 1], [(0, 0), (0, 0)])
        assert (found.complete, found.games, found.duplicates) == (2, 7, 0)
        results.add(match, POOL, [game(2, 0)])
        assert results.blocks(match, 2).numbers == [0, 1, 2, 3]
        assert results.blocks(match, 2).winners[2] == (0, 1)


def test_nothing_is_entered_twice(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path) as one, Results(path) as two:
        match = begin(one)
        assert begin(two) == match
        assert begin(two, seed=1) != match
        one.add(match, POOL, [game(0, 0), game(0, 1)])
        two.add(match, POOL, [game(0, 0, winner=1, moves=5), game(0, 1), game(1, 0)])
        assert one.played(match) == two.played(match) == {(0, 0), (0, 1), (1, 0)}
        assert one.blocks(match, 2).winners == [(0, 1)]  # as the first one said
        assert one.blocks(match, 2).duplicates == 0


def test_a_repeated_game_takes_its_block_out(tmp_path: Path) -> None:
    with Results(tmp_path / "r.sqlite") as results:
        match = begin(results)
        results.add(match, POOL, [game(0, 0), game(0, 1)])
        results.add(match, POOL, [game(1, 0, moves=0), game(1, 1)])
        results.add(match, POOL, [game(2, 0), game(2, 1)])
        found = results.blocks(match, 2)
        assert found.numbers == [0, 2]
        assert (found.complete, found.duplicates) == (3, 1)
        other = begin(results, seed=9)
        results.add(other, POOL, [game(0, 0), game(0, 1, moves=77), game(1, 0), game(1, 1)])
        assert results.blocks(other, 2).numbers == [0, 1]  # a match stands for itself
        assert len(results.rated_games(POOL)) == 4 + 2  # but a rating counts no game twice


def test_which_game_is_the_repeated_one_does_not_depend_on_who_ended_first(tmp_path: Path) -> None:
    with Results(tmp_path / "r.sqlite") as results:
        match = begin(results)
        results.add(match, POOL, [game(1, 0, moves=0), game(1, 1)])
        results.add(match, POOL, [game(0, 0), game(0, 1)])
        assert results.blocks(match, 2).numbers == [0]


def test_the_same_moves_in_other_seats_or_pools_are_no_duplicate(tmp_path: Path) -> None:
    with Results(tmp_path / "r.sqlite") as results:
        match = begin(results)
        results.add(match, POOL, [game(0, 0, moves=1), game(0, 1, moves=1)])
        results.add(begin(results, 1), Pool("square8", 2), [game(0, 0, moves=1)])
        results.add(begin(results, 2), Pool("hex8", 2, True), [game(0, 0, moves=1)])
        assert results.blocks(match, 2).duplicates == 0
        assert dict(results.pools()) == {
            POOL: 2,
            Pool("hex8", 2, True): 1,
            Pool("square8", 2): 1,
        }
        assert len(results.rated_games(POOL)) == 2


def _enter(path: Path, first: int) -> None:
    with Results(path) as results:
        match = begin(results)
        for block in range(first, first + 60):
            for rotation in (0, 1):
                results.add(match, POOL, [game(block, rotation)])


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_enter, args=(path, first)) for first in (0, 20, 40, 60)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    with Results(path) as results:
        found = results.blocks(begin(results), 2)
        assert found.numbers == list(range(120))
        assert found.games == 240


def test_a_failed_entry_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringrift_cli.evaluate.results.BUSY", 0.05)
    with Results(tmp_path / "r.sqlite") as results:
        match = begin(results)
        other = sqlite3.connect(tmp_path / "r.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match=r"Cannot use the results file .*locked"):
            results.add(match, POOL, [game(0, 0), game(0, 1)])
        other.execute("ROLLBACK")
        other.close()
        assert results.played(match) == set()


def test_files_that_are_no_results(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, though long enough to be one " * 40)
    with pytest.raises(RecordError, match="not a results file"):
        Results(text)
    with pytest.raises(OutputError, match="Cannot use the results file"):
        Results(tmp_path)
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE stuff (a)")
    with pytest.raises(RecordError, match="a database of something else"):
        Results(foreign)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RecordError, match="of version 99"):
        Results(newer)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with pytest.raises(OutputError, match="unable to open database file"):
        Results(path, read_only=True)
    assert not path.exists()
    path.touch()  # as a process leaves it that has only begun to make it
    with Results(path, read_only=True) as empty:
        assert empty.pools() == []
    assert path.read_bytes() == b""
    with Results(path) as results:
        match = begin(results)
        with Results(path, read_only=True) as looking:  # beside one that writes
            results.add(match, POOL, [game(0, 0), game(0, 1)])
            assert looking.pools() == [(POOL, 2)]
            with pytest.raises(OutputError, match="readonly database"):
                looking.add(match, POOL, [game(1, 0)])
    before = path.read_bytes()
    with Results(path, read_only=True) as looking:
        assert looking.blocks(match, 2).numbers == [0]
    assert path.read_bytes() == before


def _open(path: Path) -> None:
    Results(path).__exit__()


def test_many_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=_open, args=(tmp_path / "r.sqlite",)) for _ in range(6)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
        assert maker.exitcode == 0
