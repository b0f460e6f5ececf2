"""`ringrift init`: the file it writes, and what it does not overwrite."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from ringrift_cli import settings as config
from ringrift_cli.settings import Config, load
from tests.conftest import Ringrift


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_file_holds_the_defaults(ringrift: Ringrift) -> None:
    run = ringrift("init")
    assert (run.code, run.out) == (0, "ringrift.yaml\n")
    assert run.err == "Now: ringrift cycle\n"
    assert load(environment={}) == Config()
    assert Path("ringrift.yaml").read_text() == config.commented()


def test_flags_go_into_the_file(ringrift: Ringrift) -> None:
    line = ["--board", "square8", "--players", 3, "--set", "selfplay.sims=32"]
    run = ringrift("init", *line, "--out", "other.yaml", "--json", "-q")
    document = json.loads(run.out)
    found = load(Path("other.yaml"))
    assert (run.code, run.err) == (0, "")
    assert document == {"file": "other.yaml", "settings": found.document()}
    assert (found.pool, found.selfplay.sims) == ("square8-3p", 32)


def test_the_environment_does_not(ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGRIFT_TRAIN_BATCH", "7")
    assert ringrift("init", "-q").code == 0
    assert load(environment={}) == Config()


def test_a_file_is_not_overwritten(ringrift: Ringrift) -> None:
    path = Path("ringrift.yaml")
    path.write_text("mine\n")
    run = ringrift("init")
    assert (run.code, run.out) == (2, "")
    assert run.err == (
        "ringrift: Replace ringrift.yaml, 1 line? There is no terminal to ask.\n  try: --yes\n"
    )
    assert path.read_text() == "mine\n"
    assert ringrift("init", "--yes").code == 0
    assert path.read_text() == config.commented()


@pytest.mark.parametrize(("answer", "replaced"), [("y", True), ("n", False)])
def test_somebody_is_asked(
    ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch, answer: str, replaced: bool
) -> None:
    path = Path("ringrift.yaml")
    path.write_text("mine\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n"))
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    run = ringrift("init")
    assert (run.code == 0) is replaced
    assert (path.read_text() == config.commented()) is replaced
    assert "Replace ringrift.yaml, 1 line?" in run.err + run.out


def test_what_cannot_be_is_refused(ringrift: Ringrift) -> None:
    for setting, said in (
        ("sims=3", "--set sims=3: expected SECTION.KEY=VALUE."),
        ("selfplay.sims", "--set selfplay.sims: expected SECTION.KEY=VALUE."),
        ("selfplay.simz=3", "there is no key 'simz' in selfplay; did you mean 'sims'?"),
    ):
        run = ringrift("init", "--set", setting)
        assert (run.code, run.out) == (2, "")
        assert said in run.err
    assert not Path("ringrift.yaml").exists()
