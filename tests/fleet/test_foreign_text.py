"""What another machine wrote is never obeyed by the terminal of whoever reads it."""

from __future__ import annotations

import json
import shlex

import pytest

from ringrift_cli.cli.output import Output
from ringrift_cli.text import UNPRINTABLE, printable, printable_lines
from tests.conftest import Ringrift
from tests.fleet.servers import Farm, furnish
from tests.fleet.stations import Station, install, program

HARMFUL = {
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "title": "\x1b]0;root@desk\x1b\\",
    "screen": "\x1b[2J\x1b[H",
    "conceal": "\x1b[8m",
    "C1": "\x9b2J\x9d52;c;cm0=\x9c",
    "back": "right\b\b\b\b\bwrong",
    "bidi": "\u202egnorw\u202c",
    "hidden": "a\u200bb\U000e0041",
}


def harmless(text: str) -> bool:
    return printable_lines(text) == text


@pytest.mark.parametrize("text", HARMFUL.values(), ids=HARMFUL)
def test_one_filter(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert UNPRINTABLE in printable(text)
    assert printable(text).isprintable()
    lines = f"größer\t… 日本\u00a0\n{text}\r\nnext"
    assert harmless(printable_lines(lines))
    assert printable_lines(lines).startswith("größer\t… 日本\u00a0\n")
    assert printable_lines(lines).endswith("\nnext")
    out = Output()
    out.text(lines)
    out.note(lines)
    out.error(lines, lines)
    out.table([(text, 1)], ("a", "b"))
    Output(as_json=True).result({"a": text})
    shown = capsys.readouterr()
    assert harmless(shown.out)
    assert harmless(shown.err)
    assert json.loads(shown.out.splitlines()[-1]) == {"a": text}


def test_colours_of_our_own_are_kept() -> None:
    assert printable_lines("\x1b[31mred\x1b[0m", colour=True) == "\x1b[31mred\x1b[0m"
    assert harmless(printable_lines("\x1b[31mred\x1b[2J", colour=False))
    assert printable_lines("\x1b[2J", colour=True) == f"{UNPRINTABLE}[2J"


def test_logs_and_errors_of_a_job(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    server = farm.server("desk")
    install(server)
    here.know(server)
    say = "".join(HARMFUL.values()) + "\rend"
    words = ["selfplay", "--board", "hex8", "--say", say, "--exit", "3"]
    assert ringrift("fleet", "run", "--name", "n", "--", *words).code == 0
    for follow in (["-f"], []):
        run = ringrift("fleet", "logs", "n-desk", *follow)
        assert "\nend\n" in run.out
        assert harmless(run.out)
        assert UNPRINTABLE in run.out
    for command in ("jobs", "status"):
        assert harmless(ringrift("fleet", command).out)


def test_what_commands_on_a_host_print(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    server = farm.server("desk")
    text = "".join(HARMFUL.values())
    (server.home / "text").write_text(text)
    here.know(server)
    run = ringrift("fleet", "exec", "--", "cat ~/text; cat ~/text >&2; exit 1")
    assert UNPRINTABLE in run.out
    assert harmless(run.out)
    script = f"#!/bin/sh\ncat {shlex.quote(str(server.home / 'text'))} >&2\nexit 1\n"
    python = program(server.folder / "python", script)
    furnish(server.work, python=str(python))
    here.know(server.entry(python=str(python)))
    for words in (["fleet", "status"], ["fleet", "deploy"], ["sync", "pull"]):
        run = ringrift(*words)
        assert run.code == 1
        assert harmless(run.out)
        assert harmless(run.err)
