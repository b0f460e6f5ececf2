"""`ringrift env` and `ringrift warmup`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numba
import pytest

from ringrift_cli.game import jit, warm
from ringrift_cli.game.version import rules_hash
from ringrift_cli.version import __version__
from tests.conftest import Ringrift


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_a_bug_report_needs(ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGRIFT_BOARD", "square8")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    run = ringrift("env", "--json")
    told = json.loads(run.out)
    assert (run.code, run.err) == (0, "")
    assert told["versions"]["ringrift"] == __version__
    assert told["versions"]["rules"] == rules_hash()
    assert {"numba", "numpy", "torch", "python"} <= set(told["versions"])
    assert "core" in told["machine"]["cpu"]
    assert told["compiled"]["rules"] == str(jit.machine_code("game").folder)
    assert told["folders"]["models"] == "models"
    assert told["environment"]["RINGRIFT_BOARD"] == "square8"
    assert "hunter2" not in run.out
    text = ringrift("env").out
    for name in told["versions"]:
        assert f"  {name} " in text
    Path("ringrift.yaml").write_text("run: {bord: 1}")  # is told, and stops nothing
    assert "there is no key 'bord'" in ringrift("env").out


@pytest.mark.usefixtures("compiled_rules")
def test_nothing_is_compiled_twice(ringrift: Ringrift) -> None:
    run = ringrift("warmup", "--json")
    told = json.loads(run.out)
    assert (run.code, run.err) == (0, "")
    assert told["folder"] == str(jit.cache_root())


def test_several_at_once_compile_once_with_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = jit.MachineCode("game", tmp_path, tmp_path / "complete")
    monkeypatch.setattr(jit, "machine_code", lambda _package: code)
    compiled: list[int] = []
    functions: list[int] = []
    notes: list[str] = []
    both = threading.Barrier(2)

    def call() -> None:
        compiled.append(1)
        square: Callable[[int], int] = numba.njit(lambda x: x * x)  # noqa: TID251
        assert square(3) == 9

    def start() -> None:
        both.wait(60)
        warm.compile_package("game", "it", call, notes.append, lambda: functions.append(1))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(compiled) == len(functions) == 1
    assert sum(note.startswith("Compiling it") for note in notes) == 1
    assert warm.functions_of("game") > 50
