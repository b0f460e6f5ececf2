"""The window: how large it is, what it refuses, and what is never trained on."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringrift_cli.data.shard import write_searched
from ringrift_cli.data.window import WindowSetting, choose, held_out, window_size
from ringrift_cli.errors import RecordError, RulesMismatch, UsageError
from ringrift_cli.store.manifest import MANIFEST, read_manifest
from tests.searched import searched_games, total_positions

pytestmark = pytest.mark.usefixtures("compiled_rules")

SETTING = WindowSetting("hex8", 2, least=30)
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


def rewrite(folder: Path, change: dict[int, dict[str, Any]]) -> None:
    """Changes lines of a manifest by their number."""
    entries = [entry.to_json() for entry in read_manifest(folder)]
    for number, new in change.items():
        entries[number].update(new)
    (folder / MANIFEST).write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards of generations 1 to 4, an hour apart, the last at noon; and of two other pools."""
    for number in range(4):
        games = searched_games("hex8", 2, 2, seed=number)
        write_searched(tmp_path, {"generation": number + 1}, games, "hex8", 2, False)
    times = [(NOON - dt.timedelta(hours=3 - k)).isoformat() for k in range(4)]
    rewrite(tmp_path, {k: {"time": time} for k, time in enumerate(times)})
    for players, pie in ((3, False), (2, True)):
        games = searched_games("hex8", players, 1, seed=1, pie_rule=pie)
        write_searched(tmp_path, {"generation": 9}, games, "hex8", players, pie)
    return tmp_path


def test_the_window_grows_as_a_power() -> None:
    assert [window_size(n, 1000) for n in (0, 10, 1000)] == [0, 10, 1000]
    sizes = [window_size(1000 * k, 1000) for k in range(1, 200)]
    assert sizes == sorted(sizes)
    assert window_size(16_000, 1000) == round(1000 * (1 + 0.4 * 7 / 0.75))
    assert all(size <= 1000 * k for k, size in enumerate(sizes, 1))


def test_newest_first_until_it_is_full(folder: Path) -> None:
    entries = read_manifest(folder)[:4]
    positions = [entry.positions for entry in entries]
    total = sum(positions)
    window = choose(folder, WindowSetting("hex8", 2, least=10**6), now=NOON)
    assert window.hashes == [entry.sha256 for entry in reversed(entries)]
    assert (window.total, window.positions, window.size, window.games) == (total, total, total, 8)
    small = choose(folder, WindowSetting("hex8", 2, least=1), now=NOON)
    size = window_size(total, 1)
    count = next(k for k in range(1, 5) if sum(positions[-k:]) >= size)
    assert small.hashes == window.hashes[:count]
    assert count < 4
    assert small.size == size
    assert small.document() == {
        "shards": count,
        "games": 2 * count,
        "positions": sum(positions[-count:]),
        "size": size,
        "total_positions": total,
        "oldest": entries[-count].time.isoformat(),
        "newest": entries[-1].time.isoformat(),
    }


def test_within_a_generation_time_decides_not_the_order_of_lines(folder: Path) -> None:
    entries = read_manifest(folder)
    later = (NOON + dt.timedelta(hours=1)).isoformat()
    rewrite(folder, {0: {"time": later, "made": entries[3].made}})
    window = choose(folder, WindowSetting("hex8", 2, least=10**6), now=NOON)
    assert window.hashes[:2] == [entries[0].sha256, entries[3].sha256]


def test_a_clock_that_is_wrong_reorders_no_generations(folder: Path) -> None:
    entries = read_manifest(folder)
    ahead, behind = NOON + dt.timedelta(days=1), NOON - dt.timedelta(days=1)
    rewrite(folder, {0: {"time": ahead.isoformat()}, 3: {"time": behind.isoformat()}})
    window = choose(folder, WindowSetting("hex8", 2, least=10**6), now=NOON)
    assert window.hashes == [entry.sha256 for entry in reversed(entries[:4])]


def test_shards_of_no_known_generation_come_last(folder: Path) -> None:
    entries = read_manifest(folder)
    rewrite(folder, {3: {"made": {"generation": "4"}}, 2: {"made": {}}})
    window = choose(folder, WindowSetting("hex8", 2, least=10**6), now=NOON)
    assert window.hashes == [entries[k].sha256 for k in (1, 0, 3, 2)]


def test_every_pool_has_its_own(folder: Path) -> None:
    for players, pie in ((3, False), (2, True)):
        window = choose(folder, WindowSetting("hex8", players, pie))
        assert [(e.players, e.pie_rule) for e in window.entries] == [(players, pie)]
    with pytest.raises(RecordError, match="no searched positions of hex8, 4 players: there is"):
        choose(folder, WindowSetting("hex8", 4))
    with pytest.raises(RecordError, match="no searched positions of square8, 2 players, pie rule"):
        choose(folder, WindowSetting("square8", 2, pie_rule=True))


def test_no_folder_is_an_empty_window(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="there is nothing to train on"):
        choose(tmp_path / "missing", SETTING)


def test_exactly_the_shards_asked_for(folder: Path) -> None:
    hashes = [entry.sha256 for entry in read_manifest(folder)[:4]]
    window = choose(folder, SETTING, hashes=[hashes[2], hashes[0], hashes[2]], now=NOON)
    assert window.hashes == [hashes[2], hashes[0]]
    assert window.size == window.positions
    with pytest.raises(RecordError, match=r"does not list shard 00 \(1 of 2 are not there\)"):
        choose(folder, SETTING, hashes=[hashes[0], "00"])
    with pytest.raises(RecordError, match="there is nothing to train on"):
        choose(folder, SETTING, hashes=[])


def test_stale_data_are_refused(folder: Path) -> None:
    young = WindowSetting("hex8", 2, least=30, max_age=2)
    assert choose(folder, young, now=NOON + dt.timedelta(hours=1.9)).entries
    with pytest.raises(RecordError, match=r"is 2\.1 hours old, but max-age is 2: its data are"):
        choose(folder, young, now=NOON + dt.timedelta(hours=2.1))
    oldest = read_manifest(folder)[0].sha256
    with pytest.raises(RecordError, match=r"is 3\.0 hours old"):
        choose(folder, young, hashes=[oldest], now=NOON)


def test_data_of_early_generations_are_refused(folder: Path) -> None:
    def behind(most: int, now: int) -> WindowSetting:
        return WindowSetting("hex8", 2, least=30, max_generations_behind=most, generation=now)

    assert choose(folder, behind(2, 6)).entries
    with pytest.raises(RecordError, match="made by generation 4, 3 behind generation 7, but"):
        choose(folder, behind(2, 7))
    rewrite(folder, {k: {"made": {}} for k in range(4)})
    with pytest.raises(RecordError, match=r"No shard of .* names its generation"):
        choose(folder, behind(2, 6))


@pytest.mark.parametrize("key", ["rules", "codec"])
def test_other_rules_are_refused(folder: Path, key: str) -> None:
    rewrite(folder, {0: {key: "abc"}})
    with pytest.raises(RulesMismatch, match=f"was made under the {key} 'abc', but these are"):
        choose(folder, SETTING)
    assert choose(folder, WindowSetting("hex8", 3)).entries  # nobody else's business


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": "noon"}, r"\$.time"),
        ({"time": "2026-01-31T12:00:00"}, r"\$.time"),
        ({"positions": "many"}, r"\$.positions"),
    ],
)
def test_a_damaged_line_is_refused(folder: Path, change: dict[str, Any], said: str) -> None:
    rewrite(folder, {1: change})
    with pytest.raises(RecordError, match=said):
        choose(folder, SETTING)


def test_reading_checks_every_shard(folder: Path) -> None:
    window = choose(folder, WindowSetting("hex8", 2), now=NOON)
    shards = window.read()
    assert [shard.sha256 for shard in shards] == window.hashes
    assert sum(total_positions(shard.games) for shard in shards) == window.positions
    victim = folder / window.entries[1].file
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RecordError, match=f"{victim}: its SHA-256 hash is"):
        window.read()
    other = (folder / window.entries[0].file).read_bytes()
    victim.write_bytes(other)  # a sync that sent the wrong file
    with pytest.raises(RecordError, match=f"{victim}: its SHA-256 hash is"):
        window.read()
    victim.unlink()
    with pytest.raises(RecordError, match=f"{victim}: No such file"):
        window.read()


def test_a_manifest_that_lies_is_refused(folder: Path) -> None:
    rewrite(folder, {3: {"made": {"generation": 7}}})
    window = choose(folder, WindowSetting("hex8", 2, least=1), now=NOON)
    with pytest.raises(RecordError, match=r"but \{'generation': 7\} in its manifest entry"):
        window.read()


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"least": 0}, "The window is 0 positions"),
        ({"max_age": 0.0}, "max-age is 0.0"),
        ({"max_generations_behind": -1, "generation": 1}, "max-generations-behind is -1"),
        ({"max_generations_behind": 1}, "requires the current generation"),
    ],
)
def test_wrong_settings(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        WindowSetting("hex8", 2, **numbers)


def test_held_out_games_stay_held_out() -> None:
    one, other = held_out("a" * 64, 20_000, 0.05), held_out("b" * 64, 20_000, 0.05)
    assert abs(one.mean() - 0.05) < 0.01
    assert (one != other).any()
    assert (held_out("a" * 64, 100, 0.05) == one[:100]).all()
    assert not np.any(one & ~held_out("a" * 64, 20_000, 0.1))  # a greater share adds games
    assert not held_out("a" * 64, 50, 0).any()
