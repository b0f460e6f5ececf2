"""What the tests of the fleet share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.servers import Farm


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    """A place for SSH servers, which are ended with the test; this process knows them."""
    with Farm(tmp_path / "farm") as made:
        made.environment(monkeypatch)
        yield made
