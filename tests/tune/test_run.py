"""Tuning runs: the same however often they are interrupted, and every game is accounted for."""

from __future__ import annotations

import csv
import fcntl
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ringrift_cli.errors import RecordError, RingriftError, UsageError
from ringrift_cli.evaluate import rounds as tune_games
from ringrift_cli.evaluate.rounds import TuningStopped, never
from ringrift_cli.players.features import N
from ringrift_cli.players.profiles import profile_named
from ringrift_cli.tune import run as tune
from ringrift_cli.tune.journal import JOURNAL, LOG, SETTINGS, Generation, opened
from ringrift_cli.tune.panel import WINNER_EVERY
from ringrift_cli.tune.run import TuningRun
from ringrift_cli.tune.setup import LEAST_SCALE, TuningSetup

DEFAULT = profile_named("default", "hex8", 2)
SETTING = TuningSetup("hex8", 2, DEFAULT, DEFAULT, 6, 2, 0.3, 4)


def go(
    folder: Path,
    generations: int,
    *,
    setting: TuningSetup = SETTING,
    resume: bool = True,
    should_stop: Callable[[], bool] = never,
) -> TuningRun:
    """Goes on with the run in a folder, or begins it, up to so many generations."""
    with opened(folder, setting.document(), resume=resume) as journal:
        search = tune.restore(setting, journal)
        tune.advance(search, journal, generations=generations, should_stop=should_stop)
    return search


def entries(folder: Path) -> list[Generation]:
    return [Generation(**json.loads(line)) for line in (folder / JOURNAL).read_text().splitlines()]


def timeless(folder: Path) -> list[Generation]:
    """The journal without the time that generations took."""
    return [msgspec.structs.replace(entry, seconds=0.0) for entry in entries(folder)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuningRun]:
    """Six generations without a break."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, go(folder, 6, resume=False)


# ---- bit for bit --------------------------------------------------------------------------------


def test_three_generations_and_three_more_are_six(
    straight: tuple[Path, TuningRun], tmp_path: Path
) -> None:
    go(tmp_path, 3)
    np.random.seed(99)  # noqa: NPY002 - what others draw from numpy's own state changes nothing
    search = go(tmp_path, 6)
    folder, whole = straight
    assert timeless(tmp_path) == timeless(folder)
    assert (tmp_path / LOG).read_bytes() == (folder / LOG).read_bytes()
    assert search.optimiser.digest() == whole.optimiser.digest()
    assert np.array_equal(search.means, whole.means)
    assert [(s.generation, s.lead) for s in search.best] == [
        (s.generation, s.lead) for s in whole.best
    ]


def test_stopping_loses_only_the_generation_in_hand(
    straight: tuple[Path, TuningRun], tmp_path: Path
) -> None:
    folder, _ = straight
    stops = 0
    while len(timeless(tmp_path) if (tmp_path / JOURNAL).exists() else []) < 6:
        asked = 0

        def should_stop() -> bool:
            nonlocal asked
            asked += 1
            return asked > 150  # decisions: more than any one generation takes, fewer than two

        try:
            go(tmp_path, 6, should_stop=should_stop)
        except TuningStopped:
            stops += 1
        assert stops < 50
    assert stops > 1
    assert timeless(tmp_path) == timeless(folder)


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_line_that_was_cut_off_is_played_again(
    straight: tuple[Path, TuningRun], tmp_path: Path, cut: int
) -> None:
    """What kill -9 leaves of a line; the log may be as short."""
    folder, _ = straight
    go(tmp_path, 1)
    data = (folder / JOURNAL).read_bytes()
    first = data.index(b"\n") + 1
    second = data.index(b"\n", first) + 1
    (tmp_path / JOURNAL).write_bytes(data[: first + cut] if cut > 0 else data[: second + cut])
    (tmp_path / LOG).write_text("generation,ga")
    go(tmp_path, 2)
    assert timeless(tmp_path) == timeless(folder)[:2]
    lines = (folder / LOG).read_text().splitlines()
    assert (tmp_path / LOG).read_text().splitlines() == lines[:3]


def test_generations_have_games_of_their_own(straight: tuple[Path, TuningRun]) -> None:
    folder, _ = straight
    assert len({tuple(entry.fitness) for entry in entries(folder)}) == 6
    assert len({entry.digest for entry in entries(folder)}) == 6


# ---- what is counted ----------------------------------------------------------------------------


def test_every_game_is_counted_second_evaluations_too(
    straight: tuple[Path, TuningRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = straight
    played: list[int] = []
    play_out = tune_games.play_out

    def counting(board: str, players: int, rows: np.ndarray, *rest: object) -> object:
        played.append(len(rows))
        return play_out(board, players, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tune_games, "play_out", counting)
    go(tmp_path, 2)
    found = entries(tmp_path)
    assert played == [6 * 2, 2 * 2] * 2  # 6 candidates, and 2 of them again, 1 opening each
    assert [entry.games for entry in found] == [16, 16]
    for entry in found:
        assert len(entry.fitness) == 6
        assert len(entry.again) == len(entry.second) == 2
        assert int(np.argmin(entry.fitness)) in entry.again or 0 in entry.again
    assert timeless(tmp_path) == timeless(folder)[:2]


def test_noise_asks_for_more_games(tmp_path: Path) -> None:
    """With 2 games each, ranks are luck: the second evaluations tell, and openings are added."""
    search = go(tmp_path, 16)
    found = entries(tmp_path)
    assert search.optimiser.effort > 1.5
    assert [entry.effort for entry in found] == sorted(entry.effort for entry in found)
    assert (found[0].games, found[-1].games) == (16, 32)
    assert [winner.generation for winner in search.winners] == [WINNER_EVERY]
    assert "winner" in {kind for entry in found for kind in entry.against}
    assert "winner" not in {kind for entry in found[:WINNER_EVERY] for kind in entry.against}


def test_the_log_says_what_the_journal_says(straight: tuple[Path, TuningRun]) -> None:
    folder, search = straight
    with (folder / LOG).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["generation"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert int(rows[-1]["games"]) == sum(entry.games for entry in entries(folder))
    for row, entry in zip(rows, entries(folder), strict=True):
        assert float(row["best"]) == pytest.approx(0.5 - min(entry.fitness), abs=1e-4)
        assert float(row["mean"]) == pytest.approx(0.5 - np.mean(entry.fitness), abs=1e-4)
        assert float(row["worst"]) == pytest.approx(0.5 - max(entry.fitness), abs=1e-4)
        assert float(row["sigma"]) == pytest.approx(entry.sigma, rel=1e-5)
        assert int(row["again"]) == 2
        assert row["against_start"] == ""  # the start is the default
    assert float(rows[-1]["sigma"]) == pytest.approx(search.optimiser.sigma, rel=1e-5)


def test_fitness_is_the_share_short_of_the_fair_one(tmp_path: Path) -> None:
    """Three players: one candidate's seat of three, so 1/3 is fair."""
    trio = profile_named("default", "square8", 3)
    go(tmp_path, 1, setting=TuningSetup("square8", 3, trio, trio, 6, 3, 0.3, 0))
    (entry,) = entries(tmp_path)
    assert entry.games == (6 + 2) * 3
    shares = [round(3 * (1 / 3 - value), 9) for value in entry.fitness]
    assert set(shares) <= {0, 1, 2, 3}
    assert len(set(shares)) > 1


def test_a_budget_of_time_counts_what_was_spent_before(tmp_path: Path) -> None:
    with opened(tmp_path, SETTING.document(), resume=True) as journal:
        search = tune.restore(SETTING, journal)
        tune.advance(search, journal, seconds=1e-6)
        assert search.generations == 1
        tune.advance(search, journal, seconds=journal.seconds)
        assert search.generations == 1
        tune.advance(search, journal, seconds=journal.seconds + 1e-6)
        assert search.generations == 2


# ---- the setting --------------------------------------------------------------------------------


def test_weights_and_the_optimisers_numbers() -> None:
    zero = SETTING.profile("zero", np.zeros(N))
    setting = replace(SETTING, start=zero, default=replace(DEFAULT, weights=zero.weights))
    assert (setting.scales == LEAST_SCALE).all()  # a weight of 0 can move too
    assert SETTING.scales == pytest.approx(np.abs(DEFAULT.array))
    assert (SETTING.weights(np.zeros(N)) == DEFAULT.array).all()
    doubled = SETTING.weights(np.sign(DEFAULT.array))
    assert doubled == pytest.approx(2 * DEFAULT.array)
    assert SETTING.weights(np.zeros((3, N))).shape == (3, N)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"population": 5}, "tune.population is 5, expected an integer, at least 6"),
        ({"games": 0}, "tune.games is 0, expected an integer, at least 1"),
        ({"sigma": 0.0}, "tune.sigma is 0.0, expected a number, above 0"),
        ({"sigma": float("nan")}, "tune.sigma is nan"),
        ({"elo0": 30.0}, "elo0 must be less than elo1"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(SETTING, **change)  # type: ignore[arg-type]


# ---- the folder ---------------------------------------------------------------------------------


def test_a_run_that_is_there_is_not_begun_again(
    straight: tuple[Path, TuningRun], tmp_path: Path
) -> None:
    folder, _ = straight
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="already holds a run") as caught:
        go(folder, 6, resume=False)
    assert caught.value.hint == "--resume to continue it, or another --out"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"population": 8}, "was started with 6 as population, not 8"),
        ({"seed": 5}, "was started with 4 as seed, not 5"),
        ({"sigma": 0.2}, "was started with 0.3 as sigma, not 0.2"),
        ({"elo1": 30.0}, "was started with 20.0 as elo1, not 30.0"),
        (
            {"start": replace(DEFAULT, weights={**DEFAULT.weights, "hand": 2.0})},
            "was started with other start weights",
        ),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(
    straight: tuple[Path, TuningRun], change: dict[str, object], said: str
) -> None:
    folder, _ = straight
    before = (folder / JOURNAL).read_bytes()
    with pytest.raises(UsageError, match=said):
        go(folder, 7, setting=replace(SETTING, **change))  # type: ignore[arg-type]
    assert (folder / JOURNAL).read_bytes() == before


def test_a_run_does_not_go_on_with_another_pycma(
    straight: tuple[Path, TuningRun], tmp_path: Path
) -> None:
    go(tmp_path, 1)
    document = json.loads((tmp_path / SETTINGS).read_text())
    (tmp_path / SETTINGS).write_text(json.dumps({**document, "pycma": "3.0"}))
    with pytest.raises(UsageError, match=r"started with '3\.0' as pycma, not "):
        go(tmp_path, 2)


def test_a_state_that_does_not_come_back_is_refused(
    straight: tuple[Path, TuningRun], tmp_path: Path
) -> None:
    folder, _ = straight
    go(tmp_path, 1)
    lines = (folder / JOURNAL).read_text().splitlines()
    changed = json.loads(lines[1])
    changed["fitness"] = [value + 0.25 * i for i, value in enumerate(changed["fitness"])]
    for damaged in (changed, {**changed, "fitness": changed["fitness"][:5]}):
        (tmp_path / JOURNAL).write_text(f"{lines[0]}\n{json.dumps(damaged)}\n{lines[2]}\n")
        with pytest.raises(RecordError, match="another state of the optimiser after generation 2"):
            go(tmp_path, 3)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        '{"generation": 1}',
        "[" * 100_000,
        '{"generation": 2}',
    ],
)
def test_a_damaged_line_is_named(
    straight: tuple[Path, TuningRun], tmp_path: Path, line: str
) -> None:
    go(tmp_path, 1)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RecordError, match=r"journal\.jsonl, line 2: "):
        go(tmp_path, 2)


def test_lines_that_are_missing_are_noticed(
    straight: tuple[Path, TuningRun], tmp_path: Path
) -> None:
    folder, _ = straight
    go(tmp_path, 1)
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text(lines[0] + lines[2])
    with pytest.raises(RecordError, match=r"line 2: generation 3, expected 2"):
        go(tmp_path, 3)


def test_a_journal_without_settings_is_nobodys(tmp_path: Path) -> None:
    go(tmp_path, 1)
    (tmp_path / SETTINGS).unlink()
    with pytest.raises(RecordError, match=r"has a run but no settings\.json"):
        go(tmp_path, 2)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    go(tmp_path, 1)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RingriftError, match="Another process works on"):
            go(tmp_path, 2)
    assert go(tmp_path, 2).generations == 2
