"""Settings bind the options of every command: flag > environment > file > default."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli import settings
from ringrift_cli.cli.app import command_tree
from ringrift_cli.runtime import profiles
from tests.conftest import Ringrift


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its name, groups and their callbacks included."""
    yield name, command
    for short, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {short}".strip())


EVERY = dict(commands(command_tree()))


def perft(ringrift: Ringrift, *words: object) -> dict[str, Any]:
    run = ringrift("perft", "--depth", 1, "--json", "-q", *words)
    assert run.code == 0, run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (perft(ringrift)["board"], perft(ringrift)["players"]) == ("hex8", 2)
    Path("ringrift.yaml").write_text("run: {board: square8, players: 3}\n")
    found = perft(ringrift)
    assert (found["board"], found["players"]) == ("square8", 3)
    monkeypatch.setenv("RINGRIFT_PLAYERS", "4")
    found = perft(ringrift)
    assert (found["board"], found["players"]) == ("square8", 4)
    found = perft(ringrift, "--players", 2, "--board", "hex8")
    assert (found["board"], found["players"]) == ("hex8", 2)


def test_the_pie_rule_of_the_file_can_be_taken_back(ringrift: Ringrift) -> None:
    Path("ringrift.yaml").write_text("run: {pie_rule: true}\n")
    run = ringrift("perft", "--depth", 1, "--players", 3)
    assert run.code == 2
    assert "try: --no-pie" in run.err
    assert perft(ringrift, "--players", 3, "--no-pie")["players"] == 3


def test_help_shows_the_defaults_of_the_file(ringrift: Ringrift) -> None:
    Path("ringrift.yaml").write_text("run: {board: square19}\n")
    assert "default: square19" in ringrift("perft", "--help").out
    assert "RINGRIFT_BOARD" in ringrift("perft", "--help").out


@pytest.mark.parametrize(
    "line",
    [
        *("perft", "selfplay --games 1", "train", "cycle", "status", "report", "models list"),
        *("play", "eval match random random", "eval sprt random random", "cmaes"),
        *("bench engine", "sync pull", "cycle --config wrong.yaml", "train --config wrong.yaml"),
    ],
)
def test_a_wrong_key_is_refused_by_every_command_that_reads_settings(
    ringrift: Ringrift, line: str
) -> None:
    Path("wrong.yaml" if "wrong.yaml" in line else "ringrift.yaml").write_text("run: {bord: hex8}")
    run = ringrift(*line.split())
    assert (run.code, run.out) == (2, "")
    assert "yaml:1: there is no key 'bord' in run; did you mean 'board'?" in run.err


def test_commands_without_settings_do_not_read_them(ringrift: Ringrift) -> None:
    Path("ringrift.yaml").write_text("run: {bord: hex8}")
    assert ringrift("--version").code == 0
    assert ringrift("init", "--yes", "-q").code == 0
    assert settings.load(environment={}) == settings.Config()


@pytest.mark.parametrize("name", [name for name in EVERY if EVERY[name].params])
def test_an_option_that_follows_a_setting_has_its_default(name: str) -> None:
    for parameter in EVERY[name].params:
        declared = settings.VARIABLES.get(str(parameter.envvar))
        if declared is not None and parameter.default is not None:
            assert parameter.default == declared.default, parameter.name


@pytest.mark.parametrize("name", EVERY)
def test_a_path_of_the_home_folder_can_be_given_everywhere(name: str) -> None:
    for parameter in EVERY[name].params:
        kind = parameter.type_descriptor
        if "Path" in str(kind.annotation):
            path = kind.parameter_info.parser("~/x.png")
            assert path == Path.home() / "x.png", parameter.name


def offered(*words: str) -> set[str]:
    """What a shell offers for the last of these words."""
    line = {"_RINGRIFT_COMPLETE": "complete_bash", "COMP_WORDS": f"ringrift {' '.join(words)}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**line, "COMP_CWORD": str(len(words))}.items():
            patch.setenv(name, value)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            command_tree()(prog_name="ringrift")
    return set(out.getvalue().split())


def test_completion() -> None:
    Path("models/square8-3p").mkdir(parents=True)
    Path("models/square8-3p/0123456789abcdef.json").write_text("{}")
    where = ("--board", "square8", "--players", "3")
    for line in ("models show", "models promote", "models export"):
        names = offered(*line.split(), *where, "")
        assert {"champion", "previous", "0123456789abcdef"} <= names
    for line in ("selfplay", "bench search"):
        assert "0123456789abcdef" in offered(*line.split(), *where, "--model", "01")
    for line in ("eval match", "eval sprt", "eval gauntlet", "bench player"):
        assert {"random", "heuristic:default", "mcts:sims=", "exec:"} <= offered(*line.split(), "")
        assert "model:0123456789abcdef" in offered(*line.split(), *where, "model:")
    for option in ("--opponent", "--hint"):
        assert offered("play", option, "heur") >= {"heuristic", "heuristic:default"}
    assert "heuristic" in offered("engine", "--player", "heur")
    for line in ("cycle", "init", "selfplay"):
        assert "selfplay.sims=" in offered(line, "--set", "selfplay.s")
    assert offered("cycle", "--set", "run.board=h") == {"run.board=hex8", "run.board=hexagonal"}
    assert offered("train", "--size", "t") == {"tiny"}
    assert offered("bench", "search", "--size", "t") == {"tiny"}


def test_help_of_each_option_stands_alone() -> None:
    """A sentence that begins with a capital letter and ends with a full stop."""
    for name, command in EVERY.items():
        for parameter in command.params:
            text = str(getattr(parameter, "help", None) or "")
            own = parameter.name not in ("install_completion", "show_completion", "help")
            if own and (text or parameter.param_type_name == "option"):
                assert text[:1].isupper() or text.startswith(("heuristic", "random")), (name, text)
                assert text.endswith("."), (name, parameter.name, text)
                assert len(text.split()) > 1, (name, text)


def test_the_home_folder(ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    assert ringrift("init", "--out", "~/other.yaml", "--set", "run.folder=~/all").code == 0
    assert settings.load(Path("other.yaml"), environment={}).run.folder == f"{Path.cwd()}/all"
    assert ringrift("status", "--config", "~/other.yaml").code == 0
    monkeypatch.setenv("RINGRIFT_PROFILES", "~/machines")
    monkeypatch.setenv("RINGRIFT_CACHE_DIR", "~/cache")
    assert ringrift("--version").code == 0
    assert os.environ["RINGRIFT_CACHE_DIR"] == f"{Path.cwd()}/cache"
    assert profiles.folder() == Path.cwd() / "machines"
    monkeypatch.setenv("RINGRIFT_FOLDER", "~/runs")
    assert settings.load().folder == Path.cwd() / "runs" / "hex8-2p"
