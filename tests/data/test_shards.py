"""Shards: what is written is read, and what is not right is neither written nor read."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ringrift_cli.data import shard_checks
from ringrift_cli.data.shard import (
    MAGIC,
    SearchedGame,
    Shard,
    read_entry,
    read_searched,
    write_searched,
)
from ringrift_cli.data.window import WindowSetting, choose
from ringrift_cli.errors import RecordError, RulesMismatch
from ringrift_cli.game import layout as L
from ringrift_cli.game.container import DIGEST
from ringrift_cli.game.topology import BOARD_NAMES, PLAYER_COUNTS, tables
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.manifest import MANIFEST, read_manifest
from tests.searched import searched_games, total_positions

pytestmark = pytest.mark.usefixtures("compiled_rules")

MADE = {"model": "0123456789abcdef", "search": "gumbel", "generation": 3}
Change = Callable[[SearchedGame], SearchedGame]


def same(one: SearchedGame, other: SearchedGame) -> None:
    for name in ("actions", "plies", "offsets", "choices", "surprise", "values"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype, name
        assert (left == right).all(), name
    np.testing.assert_allclose(one.targets, other.targets, rtol=2e-3, atol=1e-7)
    assert (one.winner, one.reason) == (other.winner, other.reason)


def test_games_of_a_shard_are_records(tmp_path: Path) -> None:
    games = searched_games("hex8", 2, 5, seed=2, resigned=2)
    shard = read_searched(write_searched(tmp_path, MADE, games, "hex8", 2, False))
    for game, record in zip(games, shard.records(), strict=True):
        *_, (last, _) = record.positions()
        assert record.actions == tuple(game.actions.tolist())
        assert record.made == MADE
        assert record.result.winner == game.winner + 1
        assert record.result.ranks[game.winner] == 1
        if game.reason == shard_checks.RESIGNED:
            assert (record.result.reason, last.is_over) == ("resignation", False)
        else:
            assert record.result == last.result()


@pytest.mark.parametrize("board", BOARD_NAMES)
@pytest.mark.parametrize("players", PLAYER_COUNTS)
def test_what_is_written_is_read(tmp_path: Path, board: str, players: int) -> None:
    games = searched_games(board, players, 3, seed=1, resigned=1)
    path = write_searched(tmp_path, MADE, games, board, players, False)
    shard = read_searched(path)
    assert len(shard.games) == 3
    for one, other in zip(games, shard.games, strict=True):
        same(one, other)
    c = shard.columns
    sums = np.add.reduceat(c.targets, c.choice_offsets[:-1])
    np.testing.assert_allclose(sums, 1, atol=1e-6)
    assert (shard.ends[1:, L.WINNER] == c.winners[1:]).all()
    assert shard.ends[0, L.PHASE] != L.OVER
    assert shard.ends.shape == (3, int(tables(board, players)[L.T_ROW_SIZE]))


def test_the_manifest_says_what_a_shard_holds(tmp_path: Path) -> None:
    games = searched_games("hex8", 2, 5, seed=2, pie_rule=True)
    path = write_searched(tmp_path, MADE, games, "hex8", 2, True)
    assert write_searched(tmp_path, MADE, games, "hex8", 2, True) == path  # the same bytes
    (entry,) = read_manifest(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"{digest[:16]}.shard"
    document = entry.to_json()
    assert document.pop("host")
    assert document.pop("time")
    assert document == {
        "sha256": digest,
        "file": path.name,
        "rules": rules_hash(),
        "codec": codec_hash(),
        "board": "hex8",
        "players": 2,
        "pie_rule": True,
        "made": MADE,
        "games": 5,
        "decisions": sum(len(game.actions) for game in games),
        "positions": total_positions(games),
    }
    assert {p.name for p in tmp_path.iterdir()} == {path.name, MANIFEST, f".{MANIFEST}.lock"}


def test_a_shard_is_small(tmp_path: Path) -> None:
    games = searched_games("hex8", 2, 50, seed=3)
    path = write_searched(tmp_path, MADE, games, "hex8", 2, False)
    assert path.stat().st_size < 50 * 3000


def test_games_without_a_searched_decision(tmp_path: Path) -> None:
    def bare(game: SearchedGame) -> SearchedGame:
        k, m = slice(0, 0), slice(0, 1)
        return replace(
            game,
            **{name: getattr(game, name)[k] for name in ("plies", "choices", "targets")},
            **{name: getattr(game, name)[k] for name in ("surprise", "values")},
            offsets=game.offsets[m],
        )

    games = searched_games("square8", 3, 3, seed=4)
    for number, some in enumerate(([bare(games[0])], [bare(games[0]), games[1], bare(games[2])])):
        path = write_searched(tmp_path / str(number), MADE, some, "square8", 3, False)
        for one, other in zip(some, read_searched(path).games, strict=True):
            same(one, other)


def test_probabilities_that_vanish_in_float16_are_left_out(tmp_path: Path) -> None:
    (game,) = searched_games("hex8", 2, 1, seed=5)
    targets = game.targets.copy()
    n = int(game.offsets[1])
    targets[:n] = 1e-9
    targets[1] = 1 - 1e-9 * (n - 1)
    path = write_searched(tmp_path, MADE, [replace(game, targets=targets)], "hex8", 2, False)
    (read,) = read_searched(path).games
    assert read.offsets[1] == 1
    assert read.choices[0] == game.choices[1]
    assert read.targets[0] == 1
    assert (read.choices[1:] == game.choices[n:]).all()


# ---- what is not right --------------------------------------------------------------------------


def changed(name: str, at: int, value: Any) -> Change:
    def change(game: SearchedGame) -> SearchedGame:
        array = getattr(game, name).copy()
        array[at] = value
        return replace(game, **{name: array})

    return change


def with_illegal_choice(game: SearchedGame) -> SearchedGame:
    """A choice of the second position is one that is not legal there."""
    legal = game.choices[game.offsets[1] : game.offsets[2]]
    other = next(a for a in range(7000) if a not in legal)
    return changed("choices", int(game.offsets[1]), other)(game)


def with_choice_twice(game: SearchedGame) -> SearchedGame:
    return changed("choices", 1, game.choices[0])(game)


def cut_short(game: SearchedGame) -> SearchedGame:
    return replace(game, actions=game.actions[:-1])


def resigned_at_its_end(game: SearchedGame) -> SearchedGame:
    return replace(game, reason=-1)


def going_on(game: SearchedGame) -> SearchedGame:
    return replace(game, actions=np.append(game.actions, game.actions[-1]))


WRONG: list[tuple[Change, str]] = [
    (changed("actions", 5, 7629), "game 2: decision 6 is not legal."),
    (changed("actions", 5, 10**6), "game 2 has an unknown action 1000000."),
    (changed("actions", 5, -1), "game 2 has an unknown action -1."),
    (cut_short, "game 2 stops after its last decision, unfinished."),
    (going_on, "game 2: decision "),
    (resigned_at_its_end, "game 2 was resigned, but its decisions lead to its end."),
    (lambda g: replace(g, winner=1 - g.winner), "game 2: recorded winner "),
    (lambda g: replace(g, winner=2), "game 2 has an unknown winner: 2."),
    (lambda g: replace(g, reason=g.reason % 4 + 1), "recorded winner "),
    (lambda g: replace(g, reason=0), "game 2 has an unknown reason: 0."),
    (changed("targets", 0, np.nan), "game 2 has a target of nan."),
    (changed("targets", 0, -0.25), "game 2 has a target of -0.25."),
    (changed("targets", 0, 0.0), "game 2 has a target of 0.0."),
    (changed("targets", 0, 0.9), "game 2 has targets whose sum is "),
    (with_illegal_choice, "is illegal or repeated."),
    (with_choice_twice, "is illegal or repeated."),
    (changed("choices", 0, 10**6), "is illegal or repeated."),
    (changed("choices", 0, -1), "is illegal or repeated."),
    (changed("surprise", 0, np.nan), "game 2 has a surprise of nan."),
    (changed("surprise", 0, np.inf), "game 2 has a surprise of inf."),
    (changed("surprise", 0, -0.5), "game 2 has a surprise of -0.5."),
    (changed("values", 0, np.nan), "game 2 has values that are not win probabilities: [nan nan]."),
    (
        changed("values", 0, (1.5, -0.5)),
        "game 2 has values that are not win probabilities: [ 1.5 -0.5",
    ),
    (changed("values", 0, (0.6, 0.5)), "game 2 has values that are not win probabilities: "),
    (changed("plies", -1, 10**4), "game 2 has a ply beyond its last decision: 10000."),
    (changed("plies", 1, 0), "game 2 has plies that do not increase: 0."),
    (changed("plies", 0, -1), "game 2 has a ply beyond its last decision: -1."),
    (lambda g: replace(g, actions=g.actions[:0]), "game 2 has no decisions."),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_is_not_right_is_not_written(tmp_path: Path, change: Change, said: str) -> None:
    games = searched_games("hex8", 2, 3, seed=6)
    games[1] = change(games[1])
    with pytest.raises(RecordError) as raised:
        write_searched(tmp_path, MADE, games, "hex8", 2, False)
    assert said in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [change for change, _ in WRONG])
def test_what_is_not_right_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    """Written by somebody who does not look."""
    games = searched_games("hex8", 2, 3, seed=6)
    games[1] = change(games[1])
    with monkeypatch.context() as careless:
        careless.setattr(shard_checks, "check", lambda *_: None)
        # leaving out what vanishes would leave out what is 0 or negative
        careless.setattr(shard_checks.Columns, "rounded", lambda self: self)
        path = write_searched(tmp_path, MADE, games, "hex8", 2, False)
    with pytest.raises(RecordError) as raised:
        read_searched(path)
    assert f"{path}: game 2" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: replace(g, offsets=g.offsets[:-1]), "offsets, surprise and values of shapes"),
        (lambda g: replace(g, surprise=g.surprise[1:]), "offsets, surprise and values of shapes"),
        (lambda g: replace(g, values=g.values[:, :1]), "offsets, surprise and values of shapes"),
        (lambda g: replace(g, targets=g.targets[1:]), "its offsets do not divide"),
        (changed("offsets", 0, 1), "its offsets do not divide"),
        (changed("offsets", 1, 0), "its offsets do not divide"),
    ],
)
def test_lengths_must_fit(tmp_path: Path, change: Change, said: str) -> None:
    games = searched_games("hex8", 2, 2, seed=6)
    with pytest.raises(RecordError, match=f"^game 2: {said}"):
        write_searched(tmp_path, MADE, [games[0], change(games[1])], "hex8", 2, False)


def test_parts_hold_so_many_positions() -> None:
    offsets = shard_checks.offsets_of(np.array([3, 4, 0, 3, 40, 1, 1, 0]))
    assert list(shard_checks.parts(offsets, 10)) == [(0, 4), (4, 5), (5, 8)]
    assert list(shard_checks.parts(offsets, 1000)) == [(0, 8)]
    single = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 8)]
    assert list(shard_checks.parts(offsets, 1)) == single
    assert list(shard_checks.parts(offsets[:1], 10)) == []


def test_an_illegal_choice_is_found_in_any_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    games = searched_games("hex8", 2, 5, seed=3)
    games[3] = with_illegal_choice(games[3])
    monkeypatch.setattr(shard_checks, "ROW_BYTES", 1)  # a game in each
    with pytest.raises(RecordError, match=r"game 4: choice [0-9]+ at decision"):
        write_searched(tmp_path, {}, games, "hex8", 2, False)


def test_no_such_games(tmp_path: Path) -> None:
    games = searched_games("hex8", 2, 1, seed=6)
    with pytest.raises(RecordError, match="there are no games"):
        write_searched(tmp_path, MADE, [], "hex8", 2, False)
    for board, players, pie in (("hex9", 2, False), ("hex8", 5, False), ("hex8", 3, True)):
        with pytest.raises(RecordError, match="expected a board of"):
            write_searched(tmp_path, MADE, games, board, players, pie)


# ---- damaged files ------------------------------------------------------------------------------


def named_by_hash(folder: Path, data: bytes) -> Path:
    path = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.shard"
    path.write_bytes(data)
    return path


def forged(path: Path, header: dict[str, Any] | None = None, body: bytes | None = None) -> Path:
    """The file with another header or body, its checksum and name in order."""
    data = path.read_bytes()
    line, _, packed = data[len(MAGIC) : -DIGEST].partition(b"\n")
    known = {**json.loads(line), **(header or {})}
    new = MAGIC + json.dumps(known).encode() + b"\n"
    new += packed if body is None else zlib.compress(body)
    return named_by_hash(path.parent, new + hashlib.sha256(new).digest())


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_searched(tmp_path, MADE, searched_games("hex8", 2, 2, seed=7), "hex8", 2, False)


def test_a_changed_byte_is_found(shard: Path) -> None:
    whole = shard.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(len(MAGIC), len(whole), 20).tolist():
        shard.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RecordError, match="its SHA-256 hash is"):
            read_searched(shard)
    shard.write_bytes(whole[:-5])
    with pytest.raises(RecordError, match="its SHA-256 hash is"):
        read_searched(shard)
    with pytest.raises(RecordError, match="its checksum does not match"):
        read_searched(named_by_hash(shard.parent, whole[:-5]))


def test_another_shard_under_its_name_is_found(shard: Path) -> None:
    digest = hashlib.sha256(shard.read_bytes()).hexdigest()
    assert isinstance(read_searched(shard, digest), Shard)
    with pytest.raises(RecordError, match="or from its manifest entry"):
        read_searched(shard, digest[:16] + "0" * 48)
    with pytest.raises(RecordError, match="No such file"):
        read_searched(shard.with_name("missing.shard"))


def test_a_known_shard_is_checked_by_its_hash_alone(
    shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = read_manifest(shard.parent)
    full = read_searched(shard, entry.sha256)
    body = zlib.decompress(shard.read_bytes()[len(MAGIC) : -DIGEST].partition(b"\n")[2])
    illegal = forged(shard, body=body[:20] + b"\x01\0\0\0" + body[24:])
    monkeypatch.setattr(shard_checks, "check", None)
    known = read_entry(shard.parent, entry)
    assert (known.columns.targets == full.columns.targets).all()
    assert (known.ends == full.ends).all()
    assert known.records() == full.records()
    with pytest.raises(RecordError, match="its SHA-256 hash is"):
        read_entry(shard.parent, msgspec.structs.replace(entry, sha256="0" * 64))
    changed = hashlib.sha256(illegal.read_bytes()).hexdigest()
    other = read_entry(
        shard.parent, msgspec.structs.replace(entry, sha256=changed, file=illegal.name)
    )
    with pytest.raises(RecordError, match="is not legal"):
        assert other.ends is None


@pytest.mark.parametrize(
    ("header", "error", "said"),
    [
        ({"rules": "0"}, RulesMismatch, "made under the unknown rules '0'; these are"),
        ({"codec": "0"}, RulesMismatch, "numbered by the codec 0, expected"),
        ({"board": "square8"}, RecordError, "game "),
        ({"players": 3}, RecordError, "its body has"),
        ({"players": True}, RecordError, r"got `bool` - at `\$.players`"),
        ({"pie_rule": None}, RecordError, r"at `\$.pie_rule`"),
        ({"games": 3}, RecordError, "its body has"),
        ({"games": 0}, RecordError, r">= 1 - at `\$.games`"),
        ({"choices": -1}, RecordError, r">= 0 - at `\$.choices`"),
        ({"made": "by hand"}, RecordError, r"at `\$.made`"),
    ],
)
def test_a_header_that_lies(
    shard: Path, header: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        read_searched(forged(shard, header))


def test_counts_that_do_not_add_up(shard: Path) -> None:
    data = shard.read_bytes()
    header, _, packed = data[len(MAGIC) : -DIGEST].partition(b"\n")
    positions = json.loads(header)["positions"]
    body = bytearray(zlib.decompress(packed))
    choices = 2 * 10 + 4 * json.loads(header)["decisions"] + 4 * positions
    for at, what in ((0, "decisions"), (8, "positions"), (choices, "choices")):
        bad = bytearray(body)
        bad[at] ^= 1
        with pytest.raises(RecordError, match=f"its {what} are"):
            read_searched(forged(shard, body=bytes(bad)))


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(RulesMismatch, match="another version than 1"):
        read_searched(named_by_hash(tmp_path, b"RINGRIFT-SEARCHED 2\n{}"))
    with pytest.raises(RecordError, match="does not begin with RINGRIFT-SEARCHED"):
        read_searched(named_by_hash(tmp_path, b"RINGRIFT-GAMES 1\n{}"))


def test_shards_of_earlier_rules_are_read_under_them_but_not_trained_on(shard: Path) -> None:
    earlier = read_searched(forged(shard, {"rules": rules_hash(1)}))
    assert earlier.rules == 1
    assert {record.rules for record in earlier.records()} == {1}
    (entry,) = read_manifest(shard.parent)
    name = f"{earlier.sha256[:16]}.shard"
    facts = {"sha256": earlier.sha256, "file": name, "rules": rules_hash(1)}
    write_whole(
        shard.parent / MANIFEST, msgspec.json.encode(msgspec.structs.replace(entry, **facts))
    )
    with pytest.raises(
        RulesMismatch, match=r"made under the rules .* \(version 1\), but these are"
    ):
        choose(shard.parent, WindowSetting("hex8", 2))
