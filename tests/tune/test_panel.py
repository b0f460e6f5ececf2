"""The panel: who is in it, and who is met how often."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.players.profiles import profile_named
from ringrift_cli.tune.panel import MOST_WINNERS, Winner, panel
from ringrift_cli.tune.setup import TuningSetup

DEFAULT = profile_named("default", "hex8", 2)


def setting(start_factor: float = 1.0) -> TuningSetup:
    plain = TuningSetup("hex8", 2, DEFAULT, DEFAULT, 6, 2, 0.3, 0)
    start = plain.profile("start", DEFAULT.array * start_factor)
    return TuningSetup("hex8", 2, start, DEFAULT, 6, 2, 0.3, 0)


def winners(count: int) -> list[Winner]:
    return [Winner(10 * i, DEFAULT.array + i) for i in range(1, count + 1)]


def test_everybody_is_there_with_their_share() -> None:
    met = panel(setting(2.0), winners(1), 2, seed=1)
    assert met.names == ("start", "default", "winner-10", "persona-1", "persona-2")
    assert met.shares.tolist() == [2 / 7, 2 / 7, 1 / 7, 1 / 7, 1 / 7]
    assert (met.weights[0] == 2 * DEFAULT.array).all()
    assert (met.weights[2] == DEFAULT.array + 1).all()


def test_a_start_that_is_the_default_is_met_once_with_both_shares() -> None:
    met = panel(setting(), [], 2, seed=1)
    assert met.names == ("default", "persona-1", "persona-2")
    assert met.shares.tolist() == [4 / 6, 1 / 6, 1 / 6]


def test_only_the_newest_winners_stay() -> None:
    met = panel(setting(), winners(MOST_WINNERS + 2), 0, seed=1)
    assert met.names == ("default", "winner-30", "winner-40", "winner-50", "winner-60")


def test_personas_are_the_default_distorted_and_fresh() -> None:
    same, again, other = (panel(setting(), [], 3, seed).weights[1:] for seed in (1, 1, 2))
    assert (same == again).all()
    assert (same != other).all()
    assert (np.sign(same) == np.sign(DEFAULT.array)).all()
    logarithms = np.log(panel(setting(), [], 200, 0).weights[1:] / DEFAULT.array)
    assert logarithms.std() == pytest.approx(0.5, abs=0.02)
    assert logarithms.mean() == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("openings", [1, 4, 7, 200])
def test_openings_are_dealt_by_share(openings: int, offset: float) -> None:
    met = panel(setting(2.0), winners(4), 2, seed=1)
    dealt = met.deal(openings, offset)
    counts = np.bincount(dealt, minlength=len(met.names))
    assert counts.sum() == openings
    assert (np.abs(counts - openings * met.shares) < 1).all()
    assert met.kind(0) == "start"
    assert met.kind(len(met.names) - 1) == "persona"
