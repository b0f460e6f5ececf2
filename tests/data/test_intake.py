"""What other machines send: only games that are right, new and what they are said to be."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ringrift_cli.data import game_index
from ringrift_cli.data import retention as cycle_data
from ringrift_cli.data.game_index import FILE, GameIndex, hashes_of_entry
from ringrift_cli.data.intake import Intake, adopt, conflict, place
from ringrift_cli.data.shard import MAGIC, SearchedGame, write_searched
from ringrift_cli.data.window import WindowSetting, choose
from ringrift_cli.errors import RecordError, RulesMismatch
from ringrift_cli.game.container import DIGEST
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.registry import Registry
from ringrift_cli.selfplay import random_games as selfplay
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import (
    COMPACT,
    READABLE,
    SEARCHED,
    ShardEntry,
    add_to_manifest,
    new_entry,
    read_manifest,
    remove_from_manifest,
    searched,
)
from tests.fleet.goods import entry_of
from tests.nn.networks import network
from tests.searched import searched_games

pytestmark = pytest.mark.usefixtures("compiled_rules")

MADE = {"model": "0123456789abcdef", "generation": 3}


def shard(folder: Path, games: list[SearchedGame]) -> tuple[Path, ShardEntry]:
    """A shard as another machine wrote it, and what its manifest says of it."""
    path = write_searched(folder, MADE, games, "hex8", 2, False)
    (entry,) = (e for e in read_manifest(folder) if e.file == path.name)
    return path, entry


def take(path: Path, entry: ShardEntry, folder: Path) -> None:
    """Enters a file that was found right."""
    write_whole(folder / path.name, path.read_bytes())
    add_to_manifest(folder, entry)


@pytest.fixture(scope="module")
def games() -> list[SearchedGame]:
    return searched_games("hex8", 2, 60, seed=1)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def refused(path: Path, entry: ShardEntry, here: Path, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        Intake().check(path, entry, here)


# ---- what is right -------------------------------------------------------------------------------


def test_a_shard_that_is_right_passes_and_can_be_trained_on(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    path, entry = shard(tmp_path / "far", games[:20])
    Intake().check(path, entry, here)
    take(path, entry.received_now("far"), here)
    assert choose(here, WindowSetting("hex8", 2, max_age=1.0)).read()[0].sha256 == entry.sha256
    run = tmp_path / "hex8-2p"
    assert place(tmp_path, entry, lambda *asked: asked == (run, entry)) == run / "selfplay"
    assert place(tmp_path, entry, lambda *_: False) == run / "foreign"


@pytest.mark.parametrize("readable", [False, True])
def test_random_games_that_are_right_pass(readable: bool, tmp_path: Path, here: Path) -> None:
    far = tmp_path / "far"
    selfplay.run(selfplay.RandomSetting("square8", 3, 12, 5), far, readable=readable)
    (entry,) = read_manifest(far)
    path = far / entry.file
    assert path.name.endswith(READABLE if readable else COMPACT)
    arrivals = Intake()
    arrivals.check(path, entry, here)
    arrivals.check(path, entry, here)  # the same again is no repetition
    assert place(tmp_path, entry, lambda *_: False) == tmp_path / "square8-3p" / "random"
    with pytest.raises(RecordError, match="games is 12"):
        Intake().check(path, replace(entry, games=13), here)


def test_the_clock_of_a_host_makes_no_data_fresh(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    now = dt.datetime.now(dt.UTC)
    path, entry = shard(tmp_path / "far", games[:20])
    ahead = now + dt.timedelta(days=1)
    received = now - dt.timedelta(hours=5)
    take(path, replace(entry, time=ahead, received=received), here)
    assert cycle_data.newest_hours(searched(here)) == pytest.approx(5, abs=0.1)
    with pytest.raises(RecordError, match="stale"):
        choose(here, WindowSetting("hex8", 2, max_age=4.0))
    assert choose(here, WindowSetting("hex8", 2, max_age=6.0)).games == 20
    second, told = shard(tmp_path / "other", games[20:40])
    behind = now - dt.timedelta(days=1)
    take(second, replace(told, time=behind, received=now), here)
    assert cycle_data.newest_hours(searched(here)) == pytest.approx(5, abs=0.1)


# ---- what is not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("games", 21),
        ("decisions", 1),
        ("positions", 10**9),
        ("board", "square8"),
        ("players", 3),
        ("pie_rule", True),
        ("made", {**MADE, "generation": 99}),
        ("made", {}),
    ],
)
def test_an_entry_that_says_something_else_is_refused(
    games: list[SearchedGame], tmp_path: Path, here: Path, key: str, value: Any
) -> None:
    path, entry = shard(tmp_path / "far", games[:20])
    refused(path, replace(entry, **{key: value}), here, f"its {key} is .* in its manifest entry")
    assert not (here / FILE).exists()


def test_games_of_other_rules_are_refused(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    path, entry = shard(tmp_path / "far", games[:5])
    for key in ("rules", "codec"):
        with pytest.raises(RulesMismatch, match=f"{key} 'older'"):
            Intake().check(path, replace(entry, **{key: "older"}), here)


def rewritten(
    path: Path, header: dict[str, Any], body: bytes | None = None
) -> tuple[Path, ShardEntry]:
    """The shard with another header or body, its checksum and name right again."""
    data = path.read_bytes()
    line, _, packed = data[len(MAGIC) : -DIGEST].partition(b"\n")
    told = {**json.loads(line), **header}
    packed = packed if body is None else zlib.compress(body, 1)
    new = MAGIC + json.dumps(told).encode() + b"\n" + packed
    new += bytes.fromhex(sha256(new))
    target = path.with_name(f"{sha256(new)[:16]}{SEARCHED}")
    target.write_bytes(new)
    facts = {key: value for key, value in told.items() if key != "choices"}
    return target, new_entry(**facts, sha256=sha256(new), file=target.name)


def test_shards_that_do_not_replay_are_refused(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    path, entry = shard(tmp_path / "far", games[:5])
    line, _, packed = path.read_bytes()[len(MAGIC) : -DIGEST].partition(b"\n")
    body = zlib.decompress(packed)
    header = json.loads(line)
    at = 10 * header["games"]
    illegal = body[:at] + b"\xff\x00\x00\x00" + body[at + 4 :]
    refused(*rewritten(path, {}, illegal), here, "not legal|is none")
    refused(*rewritten(path, {"games": 6}), here, "its body has")
    refused(path.rename(tmp_path / "0123456789abcdef.shard"), entry, here, "hash")


def test_a_body_that_would_fill_the_memory_is_not_unpacked(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    path, _ = shard(tmp_path / "far", games[:5])
    start = time.monotonic()
    bomb, entry = rewritten(path, {}, bytes(1 << 26))
    refused(bomb, entry, here, "bytes or more")
    huge = {"games": 1 << 40, "decisions": 1 << 40, "positions": 1 << 40, "choices": 1 << 40}
    refused(*rewritten(path, huge), here, "more than the")
    assert time.monotonic() - start < 5


def test_a_file_that_is_not_what_its_name_says_is_refused(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    _, entry = shard(tmp_path / "far", games[:5])
    for ending in (COMPACT, READABLE, ".txt", SEARCHED):
        other = tmp_path / f"x{ending}"
        other.write_bytes(b"\x1f\x8bnot at all" if ending != SEARCHED else b"x")
        refused(
            other, entry, here, "not a compact|not valid JSON|not a file of games|does not begin"
        )


@pytest.mark.parametrize(
    "change",
    [
        {"board": "../../etc"},
        {"players": 5},
        {"pie_rule": True, "players": 3},
    ],
)
def test_there_is_no_place_for_games_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    entry = ShardEntry.from_json({**entry_of(b""), **change})
    with pytest.raises(RecordError, match=r"its manifest entry: board .* expected a board of"):
        place(tmp_path, entry, lambda *_: True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rules": "older"}, "other rules"),
        ({"board": "hex8"}, "its board"),
        ({"moves": ["nonsense"]}, "line 3"),
        ({"moves": [5]}, "line 3"),
        ({"result": None}, "line 3"),
        ({"steps": []}, "other rules"),
    ],
)
def test_readable_games_are_checked_line_by_line(
    tmp_path: Path, here: Path, change: dict[str, Any], says: str
) -> None:
    far = tmp_path / "far"
    selfplay.run(selfplay.RandomSetting("square8", 2, 5, 5), far, readable=True)
    (entry,) = read_manifest(far)
    lines = (far / entry.file).read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    path = tmp_path / f"x{READABLE}"
    path.write_text("\n".join(lines))
    decisions = sum(len(json.loads(line)["moves"]) for line in lines)
    refused(path, replace(entry, decisions=decisions), here, says)


# ---- games that are known ------------------------------------------------------------------------


def test_games_that_were_here_already_are_refused(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    first, entry = shard(tmp_path / "far", games[:30])
    arrivals = Intake()
    arrivals.check(first, entry, here)
    take(first, entry, here)
    for count in (2, 29):
        path, other = shard(tmp_path / f"far{count}", [*games[:count], *games[30 : 60 - count]])
        for one in (arrivals, Intake()):
            with pytest.raises(RecordError, match=f"repeats {count} of .*{first.name} holds"):
                one.check(path, other, here)
    path, other = shard(tmp_path / "far1", [*games[:1], *games[30:59]])
    arrivals.check(path, other, here)
    again, same = shard(tmp_path / "twice", [*games[40:50], *games[40:43]])
    refused(again, same, here, "repeats 3 of its 13 games, each within itself")


def test_of_many_games_a_few_may_be_known(tmp_path: Path, here: Path) -> None:
    many = searched_games("hex8", 2, 200, seed=3, share=0.02)
    first, entry = shard(tmp_path / "a", many[:100])
    take(first, entry, here)
    for known in (2, 3):
        path, other = shard(tmp_path / f"b{known}", [*many[:known], *many[100 : 200 - known]])
        if known == 3:
            refused(path, other, here, "repeats 3 of its 100")
        else:
            Intake().check(path, other, here)


def test_what_passed_is_known_before_it_is_entered_and_its_second_copy_passes(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    path, entry = shard(tmp_path / "a", games[:10])
    arrivals = Intake()
    arrivals.check(path, entry, here)
    arrivals.check(path, entry, here)
    other, told = shard(tmp_path / "b", games[5:20])
    with pytest.raises(RecordError, match="repeats 5"):
        arrivals.check(other, told, here)


def held(folder: Path, other: Path, entry: ShardEntry) -> tuple[int, str | None]:
    with GameIndex(folder) as index:
        return index.holders(hashes_of_entry(other.parent, entry))


def test_the_index_is_a_cache_that_may_go_or_be_damaged(
    games: list[SearchedGame], tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, entry = shard(tmp_path / "a", games[:10])
    second, later = shard(tmp_path / "b", games[10:20])
    Intake().check(first, entry, here)
    take(first, entry, here)
    path = here / FILE
    assert held(here, first, entry) == (10, first.name)
    whole = path.read_bytes()

    def unread(*_: object) -> None:
        raise AssertionError("it is in the index")

    with monkeypatch.context() as patch:
        patch.setattr(game_index, "hashes_of_entry", unread)
        with GameIndex(here) as index:
            assert index.knows(entry.sha256)
    for damaged in (b"", b"another program's\n", whole[:100], whole[:4096], whole[:-4096]):
        path.write_bytes(damaged)
        with contextlib.suppress(RecordError):  # it was damaged and has been deleted
            held(here, first, entry)
        assert held(here, first, entry) == (10, first.name)
    path.unlink()
    take(second, later, here)
    assert held(here, second, later) == (10, second.name)
    remove_from_manifest(here, [later.sha256])
    (here / second.name).unlink()
    assert held(here, second, later) == (0, None)


def test_two_processes_share_the_index(games: list[SearchedGame], tmp_path: Path) -> None:
    first, entry = shard(tmp_path / "a", games[:10])
    second, later = shard(tmp_path / "b", games[10:20])
    here = tmp_path / "here"
    with GameIndex(here) as one, GameIndex(here) as other:
        one.add(entry.sha256, first.name, hashes_of_entry(first.parent, entry))
        other.add(later.sha256, second.name, hashes_of_entry(second.parent, later))
        assert other.knows(entry.sha256)
        assert one.holders(hashes_of_entry(second.parent, later)) == (10, second.name)


def test_what_cannot_be_read_here_is_no_fault_of_what_comes(
    games: list[SearchedGame], tmp_path: Path, here: Path
) -> None:
    first, entry = shard(tmp_path / "a", games[:10])
    take(first, entry, here)
    (here / first.name).write_bytes(b"damaged")
    path, other = shard(tmp_path / "b", games[10:20])
    Intake().check(path, other, here)
    with GameIndex(here) as index:
        assert not index.knows(entry.sha256)
    assert "does not begin" in index.unread[first.name]


# ---- models --------------------------------------------------------------------------------------


def test_a_checkpoint_is_taken_in_and_never_made_champion(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    path = checkpoint.save(tmp_path / "far", network("hex8", 2), {"pie_rule": False})
    assert adopt(registry, path).pool == "hex8-2p"
    assert registry.champion("hex8-2p") is None
    assert [entry.identity for entry in registry.models("hex8-2p")] == [path.stem]
    for pool in ("square8-2p", "hex8-2p-pie", "hex8-3p"):
        with pytest.raises(RecordError, match="not a checkpoint of"):
            adopt(registry, path, pool)
    weights = path.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RecordError, match="not a checkpoint"):
        adopt(registry, path)
    for text in ("{}", "[]", "x", '{"format": 5}'):
        path.write_text(text)
        with pytest.raises(RecordError, match="not a checkpoint"):
            adopt(registry, path)


def test_a_history_that_ours_goes_on_from_may_be_replaced() -> None:
    def history(*names: str) -> bytes:
        events = [{"identity": name, "time": "2026"} for name in names]
        return json.dumps({"history": events}).encode()

    assert conflict(history("a"), history("a", "b")) is None
    assert conflict(history("a", "b"), history("a", "b")) is None
    assert conflict(b"damaged", history("a")) is None
    for theirs in (history("a", "b"), history("c"), history("a", "c", "d")):
        assert "different history" in (conflict(theirs, history("a", "x")) or "")
