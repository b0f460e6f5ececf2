"""Files that commands write for people: never over one that ringrift did not make."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringrift_cli.version import MARK
from tests.cli.test_options import EVERY
from tests.conftest import Ringrift

START = "5./6./7./8./9./8./7./6./5. | 1 ring_placement | 18,18 | 0,0"
WRITERS = {  # command lines, of which {} is the file to write
    "show {start} --svg {}": "board.svg",
    "show {start} --png {}": "board.png",
    "eval rate --csv {}": "elo.csv",
    "eval rate --plot {}": "elo.png",
    "eval games --out {}": "games.jsonl",
    "cmaes --plot {}": "run.svg",
    "cmaes --write {}": "mine.yaml",
    "bench search --discover --plot {}": "found.png",
    "bench engine --discover --plot {}": "found.png",
    "bench selfplay --discover --plot {}": "found.png",
    "bench train --discover --plot {}": "found.svg",
    "models export champion --out {}": "model.onnx",
    "report --out {}": "page.html",
    "init --out {}": "other.yaml",
    "fleet init --out {}": "hosts.yaml",
    "play --save {}": "game.json",
    "play --record {}": "game.rrg",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def words(line: str, file: str) -> list[str]:
    return [{"{}": file, "{start}": START}.get(word, word) for word in line.split(" ")]


@pytest.mark.parametrize("line", WRITERS)
def test_a_file_of_others_stays(ringrift: Ringrift, line: str) -> None:
    path = Path(WRITERS[line])
    path.write_text("my notes on ringrift")
    run = ringrift(*words(line, path.name))
    assert run.code == 2
    assert path.name in run.err
    assert "try: " in run.err
    assert path.read_text() == "my notes on ringrift"
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize("line", WRITERS)
def test_no_folder_is_made(ringrift: Ringrift, line: str) -> None:
    run = ringrift(*words(line, f"missing/{WRITERS[line]}"))
    assert run.code == 2
    assert "There is no folder missing" in run.err
    assert not Path("missing").exists()


def test_every_file_to_write_is_among_them() -> None:
    """Options of files that are written: named so, or with a file type to choose."""
    writers = {"out", "write", "plot", "csv", "svg", "png", "save", "record"}
    for name, command in EVERY.items():
        for parameter in command.params:
            flags = {flag.removeprefix("--") for flag in parameter.opts}
            if flags & writers and "FILE" in str(parameter.metavar):
                known = [f"{name} " in line and parameter.opts[-1] in line for line in WRITERS]
                assert any(known), (name, parameter.opts)


@pytest.mark.parametrize("name", ["board.svg", "board.png"])
def test_own_pictures_are_replaced(ringrift: Ringrift, name: str) -> None:
    line = ("show", START, f"--{name[-3:]}", name, "-q")
    assert ringrift(*line, "--width", 100).code == 0
    small = Path(name).read_bytes()
    assert MARK.encode() in small[:200]
    assert ringrift(*line, "--width", 200).code == 0
    assert Path(name).read_bytes() != small
    Path(name).write_text("mine")
    assert ringrift(*line).code == 2
    assert ringrift(*line, "--force").code == 0
    assert Path(name).read_bytes() != b"mine"
