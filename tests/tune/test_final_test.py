"""The verdict: what is better is accepted, what is not is not, and interruptions change nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ringrift_cli.evaluate.rounds import StopCheck, TuningStopped, never, opening_rows
from ringrift_cli.players.features import NAMES, N
from ringrift_cli.players.profiles import profile_named, write_profile
from ringrift_cli.tune import final_test as tune_verdict
from ringrift_cli.tune import run as tune
from ringrift_cli.tune.final_test import TuningVerdict, accepted_profile, presentable, reach
from ringrift_cli.tune.journal import VERDICT, opened
from ringrift_cli.tune.run import TuningRun
from ringrift_cli.tune.setup import TuningSetup

DEFAULT = profile_named("default", "hex8", 2)
PLAIN = TuningSetup("hex8", 2, DEFAULT, DEFAULT, 6, 2, 0.3, 4)
REVERSED = PLAIN.profile("reversed", -DEFAULT.array)
BAD = replace(PLAIN, start=REVERSED, population=12, games=4, sigma=1.0, elo1=150.0, test_games=70)
HOPELESS = replace(PLAIN, sigma=1e-9, test_games=30)


def judged(
    setting: TuningSetup, folder: Path, generations: int, should_stop: StopCheck = never
) -> tuple[TuningRun, TuningVerdict]:
    """A run up to so many generations, and its verdict."""
    with opened(folder, setting.document(), resume=True) as journal:
        search = tune.restore(setting, journal)
        tune.advance(search, journal, generations=generations)
        return search, reach(search, journal, should_stop=should_stop)


@pytest.fixture(scope="module")
def improved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuningVerdict]:
    """A run from weights that want the opposite of what they should."""
    folder = tmp_path_factory.mktemp("improved")
    return folder, judged(BAD, folder, 6)[1]


def test_a_bad_start_is_improved_and_the_result_accepted(
    improved: tuple[Path, TuningVerdict],
) -> None:
    _, verdict = improved
    assert verdict.accepted
    assert (verdict.decision, verdict.finished) == ("H1", True)
    assert verdict.llr >= verdict.upper
    assert verdict.elo_low is not None
    assert verdict.elo_low > 0
    assert verdict.entrants[verdict.chosen] == max(verdict.entrants.values())
    assert set(verdict.entrants) >= {"mean", "average"}
    assert verdict.games == 2 * sum(verdict.counts)
    assert verdict.share == pytest.approx(
        (verdict.counts[1] + 2 * verdict.counts[2]) / verdict.games
    )


def test_the_file_holds_the_verdict(improved: tuple[Path, TuningVerdict]) -> None:
    folder, verdict = improved
    document = json.loads((folder / VERDICT).read_text())
    assert document == {**msgspec.structs.asdict(verdict), "accepted": True}
    assert judged(BAD, folder, 6)[1] == verdict  # and nothing is played again


def test_what_is_written_is_what_was_tested(
    improved: tuple[Path, TuningVerdict], tmp_path: Path
) -> None:
    _, verdict = improved
    path = tmp_path / "profile.yaml"
    write_profile(path, accepted_profile(BAD, verdict))
    profile = profile_named(str(path), "hex8", 2)
    assert dict(profile.weights) == verdict.weights
    for part in (
        f"{verdict.date}, ringrift cmaes --board hex8 --players 2 --seed 4 --start reversed",
        f"{verdict.training_games} games",
        verdict.elo_text,
        "against heuristic:reversed",
        "SPRT of 0 and 150 Elo accepted",
    ):
        assert part in profile.about


def test_nothing_better_is_not_accepted(tmp_path: Path) -> None:
    """Candidates that differ from the start by nothing at all."""
    _, verdict = judged(HOPELESS, tmp_path, 1)
    assert verdict.finished
    assert not verdict.accepted
    assert verdict.decision != "H1"
    assert verdict.blocks == 15
    assert verdict.retest_games == 30


def test_an_interrupted_test_goes_on(
    improved: tuple[Path, TuningVerdict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TuningStopped in the re-test, before the test, and twice within it."""
    monkeypatch.setattr(tune_verdict, "BLOCKS", 4)
    _, whole = judged(HOPELESS, tmp_path / "whole", 1)
    folder = tmp_path / "parts"
    asked = 0

    def tested() -> int | None:
        """Blocks of the test, as the file says."""
        path = folder / VERDICT
        return int(json.loads(path.read_text())["blocks"]) if path.exists() else None

    def in_the_retest() -> bool:
        nonlocal asked
        asked += 1
        return asked > 20

    with opened(folder, HOPELESS.document(), resume=True) as journal:
        search = tune.restore(HOPELESS, journal)
        tune.advance(search, journal, generations=1)
        with pytest.raises(TuningStopped):
            reach(search, journal, should_stop=in_the_retest)
    assert tested() is None
    for blocks in (0, 4, 8):
        before = tested()
        with pytest.raises(TuningStopped):
            judged(HOPELESS, folder, 1, lambda before=before: tested() != before)  # type: ignore[misc]
        assert tested() == blocks
    assert judged(HOPELESS, folder, 1)[1] == whole
    assert len((folder / "journal.jsonl").read_text().splitlines()) == 1


def test_more_generations_are_tested_anew(tmp_path: Path) -> None:
    _, first = judged(HOPELESS, tmp_path, 1)
    _, second = judged(HOPELESS, tmp_path, 2)
    assert (first.generations, second.generations) == (1, 2)
    assert second.training_games == 2 * first.training_games
    assert json.loads((tmp_path / VERDICT).read_text())["generations"] == 2


def test_openings_that_are_there_twice_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_threes(*arguments: object) -> np.ndarray:
        rows = opening_rows(*arguments)  # type: ignore[arg-type]
        return rows[np.arange(len(rows)) // 3 * 3]

    monkeypatch.setattr(tune_verdict, "opening_rows", in_threes)
    _, verdict = judged(HOPELESS, tmp_path, 1)
    assert (verdict.blocks, verdict.duplicates) == (15, 10)
    assert sum(verdict.counts) == 5
    assert verdict.games == 10


def test_training_test_and_retest_share_no_opening() -> None:
    """By construction: their seeds are derived along different paths."""
    from ringrift_cli.evaluate.rounds import derived
    from ringrift_cli.tune.setup import AGAIN, HELD_OUT, TEST, TRAINING

    paths = [(kind, number) for kind in (TRAINING, AGAIN, HELD_OUT, TEST) for number in (1, 2)]
    keys = [
        {row.tobytes() for row in opening_rows("hex8", 2, derived(0, *path), 0, 100)}
        for path in paths
    ]
    assert len(set().union(*keys)) == 100 * len(paths)


def test_only_the_scale_of_all_weights_is_made_presentable() -> None:
    other = DEFAULT.array * np.linspace(0.5, 2, N)
    plain, scaled, moved, zero = presentable(
        PLAIN, np.array([DEFAULT.array, 7 * DEFAULT.array, other, np.zeros(N)])
    )
    assert plain == pytest.approx(DEFAULT.array, rel=1e-5)
    assert scaled == pytest.approx(plain, rel=1e-5)
    assert np.ptp(moved / other) == pytest.approx(0, abs=1e-5)  # one factor for all
    assert 0.3 < (moved / other).mean() < 1.5
    assert (zero == 0).all()
    assert all(float(f"{weight:.6g}") == weight for weight in moved.tolist())


def test_a_verdict_of_another_form_is_reached_again(tmp_path: Path) -> None:
    _, before = judged(HOPELESS, tmp_path, 1)
    (tmp_path / VERDICT).write_text('{"generations": 1}')
    assert tune_verdict.read(tmp_path) is None
    assert judged(HOPELESS, tmp_path, 1)[1] == before


@pytest.mark.parametrize(
    ("elo", "low", "high", "share", "text"),
    [
        (85.4, 60.2, 111.0, 0.62, "+85 Elo, 95 % from +60 to +111"),
        (-3.0, -20.0, 14.0, 0.49, "-3 Elo, 95 % from -20 to +14"),
        (None, 310.0, None, 1.0, "+infinity Elo, 95 % from +310 to +infinity"),
        (None, None, -310.0, 0.0, "-infinity Elo, 95 % from -infinity to -310"),
    ],
)
def test_elo_in_words(
    improved: tuple[Path, TuningVerdict],
    elo: float | None,
    low: float | None,
    high: float | None,
    share: float,
    text: str,
) -> None:
    _, verdict = improved
    assert (
        msgspec.structs.replace(verdict, elo=elo, elo_low=low, elo_high=high, share=share).elo_text
        == text
    )


@pytest.mark.long
def test_the_default_is_beaten_in_a_few_minutes(tmp_path: Path) -> None:
    """With the settings of the command, and a third of its generations."""
    setting = TuningSetup("hex8", 2, DEFAULT, DEFAULT, 64, 8, 0.8, 1)
    _, verdict = judged(setting, tmp_path, 25)
    assert verdict.accepted
    assert verdict.elo_low is not None
    assert verdict.elo_low > 0
    assert list(verdict.weights) == list(NAMES)
