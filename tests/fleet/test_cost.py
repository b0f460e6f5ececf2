"""The ledger: whose hours count, and from when to when."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from ringrift_cli.fleet import cost
from ringrift_cli.fleet.hosts import Budget, Fleet, Host
from tests.conftest import Ringrift
from tests.fleet.servers import Farm
from tests.fleet.stations import Station, install, keep_account

NOON = dt.datetime.fromisoformat("2026-11-21T12:00").timestamp()  # local time
A = Host(name="a", addresses=("a:22",), price=0.5)
B = Host(name="b", addresses=("b:22",), price=2.0)


def test_hours_count_from_the_first_answer_on(tmp_path: Path) -> None:
    cost.accrue(tmp_path, [A, B], {}, NOON)
    assert cost.read(tmp_path) == {}
    cost.accrue(tmp_path, [A, B], {"a": ("x", 0)}, NOON)
    ledger = cost.accrue(tmp_path, [A, B], {}, NOON + 7200)  # silent, and billed all the same
    assert cost.spent(ledger, A, NOON + 7200) == cost.Spent(1.0, 1.0, 0.5)
    assert cost.spent(ledger, B, NOON + 7200) == cost.Spent(0.0, 0.0, 2.0)
    assert cost.read(tmp_path) == ledger


def test_nothing_counts_twice_or_while_disabled(tmp_path: Path) -> None:
    cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON)
    cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON + 3600)
    cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON + 3600)
    away = replace(A, enabled=False)
    cost.accrue(tmp_path, [away], {}, NOON + 7200)
    cost.accrue(tmp_path, [away], {}, NOON + 10800)
    assert cost.read(tmp_path)["a"].total == 0.5
    cost.accrue(tmp_path, [A], {}, NOON + 14400)  # enabled, but it has not answered yet
    cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON + 18000)
    ledger = cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON + 21600)
    assert ledger["a"].total == 1.0
    assert cost.accrue(tmp_path, [], {}, NOON + 30000)["a"].total == 1.0  # taken out


def test_games_are_those_of_the_last_answer(tmp_path: Path) -> None:
    cost.accrue(tmp_path, [A, B], {"a": ("x", 5)}, NOON)
    cost.accrue(tmp_path, [A, B], {"a": ("x", 8)}, NOON + 60)
    cost.accrue(tmp_path, [A, B], {"b": ("x", 2)}, NOON + 120)  # a is silent
    ledger = cost.accrue(tmp_path, [B], {"b": ("x", 3)}, NOON + 180)  # and taken out
    assert {name: account.games for name, account in ledger.items()} == {"a": 8, "b": 3}


def test_games_outlive_the_work_folder_that_held_them(tmp_path: Path) -> None:
    """A host may be set up anew, have jobs removed by hand, or get its former disk back."""
    found = []
    reports = (("x", 50), ("x", 60), ("y", 0), ("y", 7), ("y", 4), ("y", 9), ("x", 60), ("x", 61))
    for second, report in enumerate(reports):
        ledger = cost.accrue(tmp_path, [A], {"a": report}, NOON + second)
        found.append(ledger["a"].games)
    assert found == [50, 60, 60, 67, 67, 69, 69, 70]


def test_an_account_without_folders_counts_nothing_twice(tmp_path: Path) -> None:
    keep_account(tmp_path, "a", cost.Account(NOON, NOON, 7.0, games=50))
    assert cost.accrue(tmp_path, [A], {"a": ("", 0)}, NOON)["a"].games == 50  # not deployed
    assert cost.accrue(tmp_path, [A], {"a": ("x", 55)}, NOON)["a"].games == 55
    assert cost.accrue(tmp_path, [A], {"a": ("y", 5)}, NOON)["a"].games == 60


def test_two_processes_that_look_at_once_count_an_hour_once(tmp_path: Path) -> None:
    cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON)
    for second in (3600.0, 3599.0, 3600.5, 3599.5, 3601.0):  # the later ones come first
        ledger = cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON + second)
    assert ledger["a"].total == pytest.approx(0.5 * 3601 / 3600)
    cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON - 86400)  # the clock was set back
    assert cost.accrue(tmp_path, [A], {"a": ("x", 0)}, NOON - 82800)["a"].total == pytest.approx(
        1.0, abs=0.01
    )


def test_runs_that_share_hosts_count_their_price_once(
    farm: Farm, here: Station, ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = farm.server("desk")
    install(server)
    here.know(server.entry(price=2.0))
    before = cost.Account(NOON, None, 7.0, {"2026-11-21": 7.0})
    keep_account(here.folder / "other" / "fleet", "gone", before)  # as a run kept it by itself
    assert ringrift("fleet", "status").code == 0
    keep_account(here.state, "desk", cost.Account(NOON, None, 3.0))
    for folder in ("other", "third"):
        monkeypatch.setenv("RINGRIFT_FOLDER", str(here.folder / folder))
        for _ in range(2):
            assert "1 of 1 host reached" in ringrift("fleet", "status").out
        found = {
            row["name"]: row for row in json.loads(ringrift("fleet", "cost", "--json").out)["hosts"]
        }
        assert found["desk"]["total"] == pytest.approx(3.0, abs=0.1)
        assert found["gone"]["total"] == 7.0


def test_every_day_has_its_own_part(tmp_path: Path) -> None:
    evening = NOON + 10 * 3600
    cost.accrue(tmp_path, [A], {"a": ("x", 0)}, evening)
    ledger = cost.accrue(tmp_path, [A], {"a": ("x", 0)}, evening + 28 * 3600)
    assert ledger["a"].days == {
        "2026-11-21": pytest.approx(1.0),
        "2026-11-22": pytest.approx(12.0),
        "2026-11-23": pytest.approx(1.0),
    }
    total = cost.all_spent(ledger, [A, B], evening + 28 * 3600)
    assert total.today == pytest.approx(1.0)
    assert total.total == pytest.approx(14.0)
    assert total.per_hour == 2.5


def test_a_budget_stops_work_and_says_why(tmp_path: Path) -> None:
    cost.accrue(tmp_path, [B], {"b": ("x", 0)}, NOON)
    ledger = cost.accrue(tmp_path, [B], {"b": ("x", 0)}, NOON + 3600)

    def over(**limits: float) -> str | None:
        return cost.over_budget(Fleet((B,), budget=Budget(**limits)), ledger, NOON + 3600)

    assert over() is None
    assert over(per_day=2.01, total=2.01) is None
    assert over(per_day=2.0) == "$2.00 were spent today, and the budget is $2.00"
    assert over(total=1.5) == "$2.00 were spent in all, and the budget is $1.50"
