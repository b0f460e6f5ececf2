"""Self-play leaves whole shards and a manifest that lists each once, whatever stopped it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ringrift_cli.errors import OutputError, RecordError, UsageError
from ringrift_cli.game import playout
from ringrift_cli.game.record import GameRecord, read_records
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.selfplay import random_games as selfplay
from ringrift_cli.selfplay.random_games import RandomSetting, Summary, play_random, recorded, run
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import MANIFEST, read_manifest
from tests.walks import CONFIGURATIONS

SETTING = RandomSetting("hex8", 2, 50, seed=3)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 games a shard, and 8 between two looks at what should stop the run."""
    monkeypatch.setattr(selfplay, "SHARD_GAMES", 16)
    real = selfplay.play_random

    def eight(setting: RandomSetting, first: int, count: int) -> list[GameRecord]:
        return real(setting, first, min(count, 8))

    monkeypatch.setattr(selfplay, "play_random", eight)


pytestmark = pytest.mark.usefixtures("small_shards")


def visible(folder: Path) -> dict[str, bytes]:
    """Content of the files in a folder; those of writers at work begin with a dot."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")
    }


def check_folder(folder: Path) -> dict[int, GameRecord]:
    """Asserts that the manifest fits the files; all games by number, none of them twice."""
    entries = read_manifest(folder)
    assert len({entry.sha256 for entry in entries}) == len(entries)
    assert set(visible(folder)) == {MANIFEST, *(entry.file for entry in entries)}
    games: dict[int, GameRecord] = {}
    for entry in entries:
        path = folder / entry.file
        assert sha256(path.read_bytes()) == entry.sha256
        assert path.name.startswith(entry.sha256[:16])
        records = read_records(path)
        assert len(records) == entry.games
        assert sum(len(record.actions) for record in records) == entry.decisions
        numbers = [record.made["number"] for record in records]
        first = entry.made["first"]
        assert numbers == list(range(first, first + len(records)))
        assert not set(numbers) & set(games)
        games.update(zip(numbers, records, strict=True))
    return games


def stop_after(calls: int) -> Callable[[], bool]:
    """Says to stop when asked that many times."""
    left = [calls]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] <= 0

    return should_stop


# ---- whole runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("readable", [False, True])
def test_a_run_leaves_its_games_in_shards(tmp_path: Path, readable: bool) -> None:
    told: list[tuple[int, int]] = []
    summary = run(SETTING, tmp_path, readable=readable, advance=lambda *more: told.append(more))
    games = check_folder(tmp_path)
    assert sorted(games) == list(range(50))
    assert [len(read_records(path)) for path in summary.shards] == [16, 16, 16, 2]
    assert all(path.suffix == (".jsonl" if readable else ".rrg") for path in summary.shards)
    decisions = sum(len(record.actions) for record in games.values())
    assert (summary.games, summary.decisions, summary.stopped) == (50, decisions, False)
    assert [sum(column) for column in zip(*told, strict=True)] == [50, decisions]
    assert len({record.actions for record in games.values()}) == 50


def test_the_manifest_says_what_made_each_shard(tmp_path: Path) -> None:
    run(replace(SETTING, pie_rule=True), tmp_path)
    for entry in read_manifest(tmp_path):
        assert (entry.board, entry.players, entry.pie_rule) == ("hex8", 2, True)
        assert (entry.rules, entry.codec) == (rules_hash(), codec_hash())
        assert entry.made == {"policy": "random", "seed": 3, "first": entry.made["first"]}
        assert entry.host
        assert entry.time.tzinfo


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_every_board_can_be_played(tmp_path: Path, board: str, players: int) -> None:
    run(RandomSetting(board, players, 2, seed=1), tmp_path)
    games = check_folder(tmp_path)
    assert {(record.board, record.players) for record in games.values()} == {(board, players)}


def test_games_longer_than_a_log_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = play_random(SETTING, 0, 8)
    monkeypatch.setattr(selfplay, "LOG", 7)
    assert play_random(SETTING, 0, 8) == expected
    assert all(len(record.actions) > 7 for record in expected)


def test_games_depend_on_seed_and_number_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(SETTING, tmp_path / "one")
    monkeypatch.setattr(selfplay, "SHARD_GAMES", 100)
    monkeypatch.setattr(playout, "available_threads", lambda: 5)
    run(SETTING, tmp_path / "two")
    assert check_folder(tmp_path / "one") == check_folder(tmp_path / "two")
    run(replace(SETTING, seed=4), tmp_path / "three")
    others = check_folder(tmp_path / "three")
    assert not {r.actions for r in others.values()} & {
        r.actions for r in check_folder(tmp_path / "one").values()
    }


def test_the_same_run_leaves_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    for readable in (False, True):
        folders = [tmp_path / f"{name} {readable}" for name in ("one", "two")]
        for folder in folders:
            run(SETTING, folder, readable=readable)
        shards = [
            {name: data for name, data in visible(folder).items() if name != MANIFEST}
            for folder in folders
        ]
        assert shards[0] == shards[1]
        assert len(shards[0]) == 4


# ---- again, and further -------------------------------------------------------------------------


def test_the_same_run_again_plays_nothing(tmp_path: Path) -> None:
    run(SETTING, tmp_path)
    before = visible(tmp_path)
    again = run(SETTING, tmp_path)
    assert again == Summary(50, 0, 0, [], False)
    assert visible(tmp_path) == before
    fewer = run(replace(SETTING, games=20), tmp_path)
    assert (fewer.known, fewer.games) == (20, 0)
    assert visible(tmp_path) == before


def test_a_longer_run_goes_on_behind_the_games_that_are_there(tmp_path: Path) -> None:
    run(SETTING, tmp_path / "twice")
    more = run(replace(SETTING, games=70), tmp_path / "twice")
    assert (more.known, more.games) == (50, 20)
    run(replace(SETTING, games=70), tmp_path / "at once")
    assert check_folder(tmp_path / "twice") == check_folder(tmp_path / "at once")


def test_runs_of_other_settings_share_a_folder(tmp_path: Path) -> None:
    settings = [SETTING, replace(SETTING, seed=4), replace(SETTING, pie_rule=True)]
    settings += [replace(SETTING, players=3), replace(SETTING, board="square8")]
    for setting in settings:
        assert recorded(tmp_path, setting, readable=False) == 0
        assert run(replace(setting, games=17), tmp_path).games == 17
    for setting in settings:
        assert recorded(tmp_path, setting, readable=False) == 17
        assert recorded(tmp_path, setting, readable=True) == 0
    assert len(read_manifest(tmp_path)) == 10


def test_a_shard_that_is_gone_or_spoiled_is_played_again(tmp_path: Path) -> None:
    summary = run(SETTING, tmp_path)
    before = visible(tmp_path)
    for path, spoil in zip(summary.shards, (b"", b"spoiled", None), strict=False):
        if spoil is None:
            path.unlink()
        else:
            path.write_bytes(spoil)
        again = run(SETTING, tmp_path)
        assert again.games > 0
        assert visible(tmp_path) == before
        check_folder(tmp_path)


# ---- what stops a run ---------------------------------------------------------------------------


@pytest.mark.parametrize(("looks", "games"), [(1, 8), (2, 16), (3, 24), (6, 48)])
def test_a_stopped_run_keeps_its_games_and_can_go_on(
    tmp_path: Path, looks: int, games: int
) -> None:
    folder = tmp_path / "stopped"
    stopped = run(SETTING, folder, should_stop=stop_after(looks))
    assert (stopped.games, stopped.stopped) == (games, True)
    assert sorted(check_folder(folder)) == list(range(games))
    rest = run(SETTING, folder)
    assert (rest.known, rest.games, rest.stopped) == (games, 50 - games, False)
    run(SETTING, tmp_path / "at once")
    assert check_folder(folder) == check_folder(tmp_path / "at once")


def test_stopping_after_the_last_game_is_no_stop(tmp_path: Path) -> None:
    assert not run(SETTING, tmp_path, should_stop=stop_after(7)).stopped
    assert len(check_folder(tmp_path)) == 50


@pytest.mark.parametrize("writes", range(12))
def test_full_disk_leaves_whole_shards_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """It fills up after so many flushes: of a shard, its folder, the manifest, its folder."""
    real, left = os.fsync, [writes]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match="No space left on device"):
        run(SETTING, tmp_path)
    monkeypatch.undo()
    names = {path.name for path in tmp_path.iterdir()}
    assert not {name for name in names if name.startswith(".") and not name.endswith(".lock")}
    for entry in read_manifest(tmp_path):
        assert len(read_records(tmp_path / entry.file)) == entry.games
    for name in names:
        assert not name.endswith(".rrg") or read_records(tmp_path / name)


def test_a_run_goes_on_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(SETTING, tmp_path, should_stop=stop_after(2))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError):
            run(SETTING, tmp_path)
    run(SETTING, tmp_path)
    assert len(check_folder(tmp_path)) == 50


# ---- several at a time --------------------------------------------------------------------------


def test_several_writers_share_a_folder(tmp_path: Path) -> None:
    """Four runs of different seeds, each of them by two writers at once."""
    settings = [replace(SETTING, seed=seed, games=40) for seed in (0, 1, 2, 3) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        summaries = list(pool.map(lambda setting: run(setting, tmp_path), settings))
    assert all(summary.known + summary.games == 40 for summary in summaries)
    entries = read_manifest(tmp_path)
    spans = {(entry.made["seed"], entry.made["first"]) for entry in entries}
    assert len(entries) == len(spans) == 4 * 3
    assert sum(entry.games for entry in entries) == 4 * 40
    assert set(visible(tmp_path)) == {MANIFEST, *(entry.file for entry in entries)}
    assert all(read_records(tmp_path / entry.file) for entry in entries)


# ---- what is refused ----------------------------------------------------------------------------


def test_unknown_board_and_number_of_players(tmp_path: Path) -> None:
    for setting, said in (
        (replace(SETTING, board="hex9"), "hex9"),
        (replace(SETTING, players=5), "not 5"),
    ):
        with pytest.raises(UsageError, match=said):
            run(setting, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "truncated"),
        ("", "truncated"),
        ("[" * 100_000, "Expected `object`, got `array`"),
        ("[]", "Expected `object`, got `array`"),
        ('{"sha256": 3}', r"Expected `str`, got `int` - at `\$.sha256`"),
    ],
)
def test_damaged_manifest_is_named_and_left_alone(tmp_path: Path, line: str, said: str) -> None:
    run(SETTING, tmp_path)
    manifest = tmp_path / MANIFEST
    manifest.write_text(manifest.read_text() + line + "\n")
    before = visible(tmp_path)
    with pytest.raises(RecordError, match=f"{manifest}, line 5: .*{said}"):
        run(replace(SETTING, games=60), tmp_path)
    assert visible(tmp_path) == before


@pytest.mark.parametrize(
    "spoiled",
    [
        {"made": {}},
        {"made": {"first": "0"}},
        {"file": "elsewhere.rrg"},
        {"board": "square8"},
        {"pie_rule": True},
    ],
)
def test_foreign_entries_of_a_manifest_are_passed_over(
    tmp_path: Path, spoiled: dict[str, object]
) -> None:
    """What another program entered is no game of this run, and no reason to stop."""
    run(replace(SETTING, games=16), tmp_path)
    (entry,) = read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({**entry.to_json(), **spoiled}) + "\n")
    assert recorded(tmp_path, SETTING, readable=False) == 0
