"""Many positions and actions turned at once, against one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from ringrift_cli.game.symmetry import symmetries
from ringrift_cli.game.topology import BOARDS
from ringrift_cli.nn.symmetry import exact_symmetries, transform_all
from tests.nn.networks import rows_of
from tests.walks import CONFIGURATIONS, KIND_NAMES, SMALL, kinds, positions


@pytest.mark.parametrize("board", BOARDS)
def test_exact_symmetries_are_those_of_the_game(board: str) -> None:
    every = symmetries(BOARDS[board])
    exact = exact_symmetries(board)
    assert exact[0] == 0
    assert exact == [i for i, by in enumerate(every) if by.exact]


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_turned_rows_and_actions_agree_with_those_of_the_game(board: str, players: int) -> None:
    plies, every, games = (None, 4, 3) if (board, players) in SMALL else (200, 25, 1)
    shown = [
        position
        for seed in range(games)
        for position in positions(board, players, seed, plies)
        if position.ply % every == 0 and not position.is_over
    ]
    rows, actions, offsets = rows_of(shown)
    exact = exact_symmetries(board)
    which = np.array([exact[i % len(exact)] for i in range(len(shown))])
    before = rows.copy(), actions.copy()
    turned, numbers = transform_all(board, players, rows, actions, offsets, which)
    assert np.array_equal(rows, before[0])
    assert np.array_equal(actions, before[1])
    for i, (position, number) in enumerate(zip(shown, which.tolist(), strict=True)):
        assert np.array_equal(turned[i], position.symmetric(number).row)
        own = slice(offsets[i], offsets[i + 1])
        expected = [position.symmetric_action(action, number) for action in actions[own].tolist()]
        assert numbers[own].tolist() == expected


def test_lines_and_regions_are_among_the_actions_turned() -> None:
    """The two kinds whose cell depends on the position, in every exact symmetry of each board."""
    for board in ("square8", "hex8"):
        seen: set[tuple[str, int]] = set()
        for seed in range(30):
            shown = [p for p in positions(board, 3, seed) if not p.is_over]
            _, actions, offsets = rows_of(shown)
            found = np.isin(kinds(board, actions), [KIND_NAMES.index(k) for k in RENAMED])
            at = np.searchsorted(offsets, np.flatnonzero(found), side="right") - 1
            shown = [shown[i] for i in sorted(set(at.tolist()))]
            if not shown:
                continue
            rows, actions, offsets = rows_of(shown)
            for number in exact_symmetries(board):
                which = np.full(len(shown), number)
                _, numbers = transform_all(board, 3, rows, actions, offsets, which)
                for i, position in enumerate(shown):
                    own = slice(offsets[i], offsets[i + 1])
                    assert numbers[own].tolist() == [
                        position.symmetric_action(action, number)
                        for action in actions[own].tolist()
                    ]
                seen |= {(KIND_NAMES[k], number) for k in kinds(board, actions).tolist()}
        for kind in RENAMED:
            assert {number for name, number in seen if name == kind} == set(exact_symmetries(board))


RENAMED = ("line_all", "line_part", "region")
