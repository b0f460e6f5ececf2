"""What the tests of the fleet share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.servers import Farm
from tests.fleet.stations import Station, station


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of jobs do not meet those of tests that run beside."""
    monkeypatch.setenv("RINGRIFT_MACHINE", str(tmp_path))


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    """A place for SSH servers, which are ended with the test; this process knows them."""
    with Farm(tmp_path / "farm") as made:
        made.environment(monkeypatch)
        yield made


@pytest.fixture
def here(farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Station:
    """This machine, with a folder of its own in which the test works from now on."""
    return station(farm, tmp_path, monkeypatch)
