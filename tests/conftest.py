"""What the tests of every package share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringrift_cli.cli.app import main
from ringrift_cli.game.warm import compile_rules
from ringrift_cli.nn.warm import compile_network
from ringrift_cli.players.warm import compile_players
from tests.children import restore_signals

CONFORMANCE = Path(__file__).parent / "conformance"

restore_signals()


@dataclass(frozen=True)
class Run:
    """What a command line did."""

    code: int
    out: str
    err: str


Ringrift = Callable[..., Run]


@pytest.fixture(scope="session", autouse=True)
def compiled_rules() -> None:
    """All that is compiled, in the cache, so that no command announces that it compiles."""
    compile_rules()
    compile_network()
    compile_players()


@pytest.fixture(scope="session", autouse=True)
def own_profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No profile of this machine decides how tests play, and they leave no transcripts here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGRIFT_PROFILES", str(tmp_path_factory.mktemp("machines")))
        patch.setenv("RINGRIFT_TRANSCRIPTS", str(tmp_path_factory.mktemp("transcripts")))
        yield


@pytest.fixture
def ringrift(capsys: pytest.CaptureFixture[str]) -> Ringrift:
    """Runs a command line in this process."""

    def run(*args: object) -> Run:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run


@pytest.fixture
def ringrift_process() -> Ringrift:
    """Runs a command line in a process of its own, as a shell does."""

    def run(*args: object) -> Run:
        command = [sys.executable, "-m", "ringrift_cli", *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        return Run(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def conformance_files() -> list[Path]:
    """The recorded games, one file for each board and number of players."""
    files = sorted(CONFORMANCE.glob("*.jsonl.gz"))
    assert len(files) == 13
    return files
