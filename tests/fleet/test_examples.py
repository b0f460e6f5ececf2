"""What the documents tell people to paste: valid schedules, and commands that are understood."""

from __future__ import annotations

import configparser
import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ringrift_cli.cli.app import app
from ringrift_cli.fleet.hosts import load

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "fleet.md").read_text()
UNITS = ("ringrift-cycle.service", "ringrift-cycle.timer")
ANALYZE = shutil.which("systemd-analyze")
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))  # of a line of a crontab
COMMAND = re.compile(r"(?:^|[\s/])ringrift (?P<words>[a-z].*)$")
SHELL = {">", ">>", "2>&1", "||", "|", "&&", ";"}  # where a command ends


def no_op(**_: Any) -> None:
    pass


@functools.cache
def parser() -> Any:
    """The command line of ringrift, whose commands do nothing."""
    whole = typer.main.get_command(app)
    groups = [whole]
    while groups:
        for one in getattr(groups.pop(), "commands", {}).values():
            if hasattr(one, "commands"):
                groups.append(one)
            else:
                one.callback = no_op
    return whole


def parse(words: list[str]) -> None:
    """Parses a command line of ringrift as the command line does, and does nothing then."""
    parser().main(words, prog_name="ringrift", standalone_mode=False)


def words_of(line: str) -> list[str] | None:
    """The words after `ringrift` on a line; None if there are none."""
    found = COMMAND.search(line)
    if found is None:
        return None
    words = shlex.split(found["words"], comments=True)
    ends = [at for at, word in enumerate(words) if word in SHELL]
    return words[: ends[0]] if ends else words


def crontab() -> Iterator[tuple[list[str], str]]:
    """The fields and the command of each entry."""
    for line in (EXAMPLES / "crontab").read_text().splitlines():
        if line and not line.startswith("#") and not re.match(r"[A-Z]+=\S+$", line):
            *fields, command = line.split(None, 5)
            yield fields, command


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((EXAMPLES / name).read_text())
    return parser


def commands() -> list[str]:
    """Every command of ringrift that the page or an example shows, as it stands there."""
    page = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
    page += re.findall(r"`(ringrift [^`]+)`", PAGE)
    lines = [*page, *(command for _, command in crontab())]
    lines.append(unit(UNITS[0])["Service"]["ExecStart"])
    groups = (None, ["fleet"], ["sync"])  # named in a sentence
    return sorted({line for line in lines if words_of(line) not in groups})


@pytest.mark.parametrize("line", commands())
def test_every_command_that_is_shown_is_understood(line: str) -> None:
    words = words_of(re.sub(r"\[(.*?)\]", r"\1", line))
    assert words is not None
    words = [word.rstrip("…") or "x" for word in words]
    parse(words)
    if "--" in words and words[1] == "run":
        job = words[words.index("--") + 1 :]
        if job != ["x"]:
            parse(job)


def test_what_is_not_understood_would_be_found() -> None:
    for words in (["fleet", "run", "--nope", "--", "x"], ["sync", "shove"], ["fleet", "retry"]):
        with pytest.raises(typer.TyperException):
            parse(words)


def test_the_hosts_that_are_shown_are_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "hosts.yaml").write_text(block)
    fleet = load(tmp_path / "hosts.yaml")
    assert [host.name for host in fleet.hosts] == ["rented-a", "rented-b"]
    assert {f"{host.name}" for host in fleet.enabled} <= {*re.findall(r"rented-\w", PAGE)}


def test_the_files_that_are_named_are_there() -> None:
    named = re.findall(r"\]\((examples/[^)]+)\)", PAGE)
    assert sorted(named) == sorted(f"examples/{name}" for name in ("crontab", *UNITS))
    assert all((DOCS / name).is_file() for name in named)


def test_the_crontab_is_one() -> None:
    entries = list(crontab())
    assert len(entries) == 2
    for fields, command in entries:
        assert len(fields) == 5
        for field, (least, most) in zip(fields, FIELDS, strict=True):
            every = re.fullmatch(r"(\*|[0-9]+)(?:/([0-9]+))?", field)
            assert every is not None, field
            for number in every.groups():
                assert number in (None, "*") or least <= int(number) <= most
        assert "%" not in command  # which cron takes for the end of a line
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_the_units_are_right(tmp_path: Path) -> None:
    service, timer = (unit(name) for name in UNITS)
    assert service.sections() == ["Unit", "Service"]
    assert timer.sections() == ["Unit", "Timer", "Install"]
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert timer["Timer"]["Persistent"] == "true"
    exit_codes = service["Service"]["SuccessExitStatus"].split()
    assert exit_codes == ["3"]  # an alarm of the loop, which is no failure
    program = tmp_path / "ringrift/.venv/bin/ringrift"
    assert service["Service"]["ExecStart"].split()[0] == "%h/ringrift/.venv/bin/ringrift"
    if ANALYZE is None:
        return
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "run").mkdir()
    done = subprocess.run(
        [ANALYZE, "verify", "--user", "--man=no", *(EXAMPLES / name for name in UNITS)],
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to initialize manager" not in done.stderr:  # as in some containers
        assert (done.returncode, done.stderr) == (0, "")
    when = timer["Timer"]["OnCalendar"]
    done = subprocess.run([ANALYZE, "calendar", when], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "*-*-* 22:00:00" in done.stdout
