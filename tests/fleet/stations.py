"""Hosts as the command line meets them: an sshd each, a ringrift on it, a hosts.yaml, a place here.

What a host has for its ringrift is a stub, a program of these tests: what a job does there is not
the matter, how it is started, told of and ended is.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.fleet import cost
from tests.conftest import Run
from tests.fleet.servers import Farm, Server, furnish

SOON = 20.0  # s in which what must happen must have happened
STUB = Path(__file__).with_name("stub.py")


def install(server: Server) -> None:
    """Lets the jobs of a host find the stub for our ringrift."""
    furnish(server.work, shlex.join([sys.executable, "-I", "-S", str(STUB)]))


def keep_account(state: Path, host: str, account: cost.Account) -> None:
    """Sets what a host has cost."""
    with cost.LEDGER.changing(state) as ledger:
        ledger[host] = account


def program(path: Path, text: str) -> Path:
    """Writes a program."""
    path.write_text(text)
    path.chmod(0o755)
    return path


class Station:
    """This machine: a working folder, and the command line with the hosts of a farm."""

    def __init__(self, farm: Farm, folder: Path) -> None:
        self.farm, self.folder = farm, folder
        self.state = folder / "runs" / "fleet"
        self.hosts = folder / "hosts.yaml"

    def know(self, *hosts: Server | dict[str, Any], **top: Any) -> None:
        """Writes hosts.yaml; `top` are keys beside `hosts`."""
        self.farm.hosts_yaml(hosts, self.hosts, **{"deadline": 10, **top})

    def start(self, *args: object, **options: Any) -> subprocess.Popen[str]:
        """Starts `ringrift` in a process of its own."""
        command = [sys.executable, "-m", "ringrift_cli", *map(str, args)]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def process(self, *args: object) -> Run:
        """Runs `ringrift` in a process of its own."""
        process = self.start(*args)
        out, err = process.communicate(timeout=120)
        return Run(process.returncode, out, err)

    def events(self) -> list[dict[str, Any]]:
        """What was noted here."""
        lines = (self.state / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def until(there: Callable[[], object], what: str) -> None:
    """Returns when it is so."""
    end = time.monotonic() + SOON
    while not there():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def station(farm: Farm, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Station:
    """This machine, in a folder of its own, in which this process then works too."""
    made = Station(farm, folder / "here")
    made.folder.mkdir()
    monkeypatch.chdir(made.folder)
    for name in [name for name in os.environ if name.startswith("RINGRIFT_")]:
        if name not in ("RINGRIFT_KNOWN_HOSTS", "RINGRIFT_SSH_CONFIG"):
            monkeypatch.delenv(name)
    return made
