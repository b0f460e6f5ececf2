"""`ringrift fleet init|deploy|exec|drain|forgive|cost` with SSH servers: the hosts themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringrift_cli.fleet import cost, package
from ringrift_cli.fleet.hosts import EXAMPLE
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.selfplay.random_games import RandomSetting, play_random, write_shard
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import read_manifest
from ringrift_cli.version import __version__
from tests.conftest import Ringrift, Run
from tests.fleet.opening import at
from tests.fleet.servers import Farm, Server
from tests.fleet.stations import Station, install, keep_account, program, until

HARD = ("a b", "$HOME", "`id`", "'", '"', "\\", "*", ";", "a\nb", "", "é", "--json")
OLD = """#!/bin/sh
# A Python that says it is an old one.
if [ "$1" = -c ]; then
    exec {python} -c "import sys; sys.version_info = (3, 9, 2); $2"
fi
exec {python} "$@"
"""
LOGIN_SHELL = f"ForceCommand {sys.executable} {Path(__file__).with_name('login_shell.py')}"
PASSPHRASE = "correct-horse-battery"


def told(run: Run) -> Any:
    return json.loads(run.out)


# ---- init ----------------------------------------------------------------------------------------


def test_init_writes_what_can_be_filled_in(here: Station, ringrift: Ringrift) -> None:
    run = ringrift("fleet", "init")
    assert (run.code, run.out) == (0, "hosts.yaml\n")
    assert here.hosts.read_text() == EXAMPLE
    run = ringrift("fleet", "status")
    assert run.code == 2
    assert "hosts.yaml has no enabled host" in run.err
    here.hosts.write_text("hosts: []\n")
    run = ringrift("fleet", "init")
    assert run.code == 2
    assert "Replace hosts.yaml? There is no terminal to ask." in run.err
    assert here.hosts.read_text() == "hosts: []\n"
    assert ringrift("fleet", "init", "--yes").code == 0
    assert here.hosts.read_text() == EXAMPLE


# ---- deploy --------------------------------------------------------------------------------------


def make_venv(server: Server) -> None:
    """A virtual environment that has all that a ringrift needs, so that nothing is downloaded."""
    shutil.rmtree(server.work)
    venv = server.work / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")


def test_a_deployed_host_is_what_we_are(
    farm: Farm, here: Station, ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = farm.server("desk", more=LOGIN_SHELL)
    make_venv(server)
    here.know(server, {"name": "gone", "addresses": at(farm.dead_port())})
    assert "desk: ringrift is not deployed there" in ringrift("fleet", "status", "--on", "desk").out
    run = ringrift("fleet", "deploy", "desk", "--dry-run")
    assert (run.code, run.out) == (0, f"desk: {server.work}/venv\n")
    assert not (server.work / ".ringrift").exists()

    run = ringrift("fleet", "deploy", "--json")
    assert run.code == 1  # not everywhere
    desk, gone = sorted(told(run)["hosts"], key=lambda row: str(row["name"]))
    assert "gone cannot be reached" in gone["error"]
    assert "gone cannot be reached" in run.err
    assert (desk["version"], desk["code"]) == (__version__, package.code_hash())
    assert (desk["rules"], desk["codec"]) == (rules_hash(), codec_hash())
    assert ringrift("fleet", "status", "--on", "desk").code == 0
    events = [(event["host"], event["event"]) for event in here.events()]
    assert ("desk", "deployed") in events
    assert ("gone", "deploy failed") in events
    own = "PYTHONPATH=$(echo .ringrift/code-*) venv/bin/python -P -m ringrift_cli --version"
    command = f"cd {server.work}\nenv {own}"
    run = ringrift("fleet", "exec", "--on", "desk", "--", "sh", "-c", command)
    assert run.out.splitlines()[0] == "desk: exit 0"
    assert run.out.splitlines()[-1] == f"  ringrift {__version__}"

    # another version is beside it as long as jobs run
    later = "f" * 64
    (server.work / ".ringrift" / f"code-{later}").mkdir()
    words = ("fleet", "deploy", "desk")
    long = ("fleet", "run", "--on", "desk", "--name", "m", "--", "perft", "--depth", "9")
    assert ringrift(*long).code == 0
    assert ringrift(*words).code == 0
    assert (server.work / ".ringrift" / f"code-{later}").exists()
    assert ringrift("fleet", "stop", "m-desk", "--grace", "0").code == 0
    assert ringrift(*words).code == 0
    codes = [path.name for path in (server.work / ".ringrift").glob("code-*")]
    assert codes == [f"code-{package.code_hash()}"]

    monkeypatch.setattr("ringrift_cli.game.version.rules_hash", lambda: "0" * 16)
    run = ringrift(*words)
    assert (run.code, run.out) == (1, "no host was deployed\n")
    assert "desk: its ringrift is {" in run.err
    assert "and ours is {" in run.err


def test_what_stands_in_the_way_of_a_deploy_is_said(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    old, busy, broken = farm.servers(3)
    python = program(old.folder / "python", OLD.format(python=sys.executable))
    install(busy)
    program(broken.work / "venv/bin/python", "#!/bin/sh\necho no space left >&2\nexit 1\n")
    here.know(old.entry(python=str(python)), busy, broken)
    run = ringrift("fleet", "run", "--on", "host-1", "--name", "n", "--", "selfplay", "--last", 90)
    assert run.code == 0
    run = ringrift("fleet", "deploy", "--json")
    assert run.code == 1
    errors = {row["name"]: row["error"] for row in told(run)["hosts"]}
    said = f"host-0: {python} is not Python 3.11 or later with venv: it is Python 3.9.2"
    assert errors["host-0"] == said
    assert errors["host-1"] == "host-1: n-host-1 would lose the packages under it."
    assert errors["host-2"] == "host-2: pip could not install what it needs: no space left"
    assert "  try: `python:` of host-0 in hosts.yaml" in run.err
    run = ringrift("fleet", "deploy", "nowhere")
    assert run.code == 2
    assert "has no host 'nowhere'" in run.err


def test_a_work_folder_that_cannot_be_written_is_said(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("desk")
    shutil.rmtree(server.work)
    server.work.write_text("a file")
    here.know(server)
    run = ringrift("fleet", "deploy")
    assert run.code == 1
    assert f"desk: its work folder {server.work} cannot be written: " in run.err
    assert "  try: `work:` of desk in hosts.yaml" in run.err


# ---- exec ----------------------------------------------------------------------------------------


def test_a_command_runs_on_all_hosts(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    servers = farm.servers(2)
    here.know(*servers)
    print_words = "import sys, json; print(json.dumps(sys.argv[1:]))"
    run = ringrift("fleet", "exec", "--json", "--", sys.executable, "-c", print_words, *HARD)
    assert run.code == 0
    for row in told(run)["hosts"]:
        assert json.loads(row["stdout"]) == [*HARD]
        assert (row["code"], row["stderr"]) == (0, "")
    run = ringrift(
        "fleet", "exec", "--on", "host-1", "--", "echo $((2 + 3)) >&2; echo $HOME; exit 7"
    )
    assert run.code == 1
    assert run.out == f"host-1: exit 7\n  {servers[1].home}\n  5\n"
    here.know(farm.server("fish", more=LOGIN_SHELL))
    run = ringrift("fleet", "exec", "--json", "--", sys.executable, "-c", print_words, *HARD)
    (row,) = told(run)["hosts"]
    assert json.loads(row["stdout"].splitlines()[-1]) == [*HARD], row
    here.know(*servers)
    servers[0].stop()
    run = ringrift("fleet", "exec", "--", "echo", "$HOME")
    assert run.code == 1
    down, up, said = run.out.splitlines()
    assert down.startswith("host-0: host-0 cannot be reached: ")
    assert (up, said) == ("host-1: exit 0", "  $HOME")
    run = ringrift("fleet", "exec", "--on", "host-1", "--timeout", "0.5", "--", "sleep", "5")
    assert run.code == 1
    assert "did not end a command within 0.5 s" in run.out


# ---- drain ---------------------------------------------------------------------------------------


def offer(server: Server, folder: str) -> list[str]:
    """Lets a host have made two shards of games; their hashes."""
    setting = RandomSetting("hex8", 2, 6, 5)
    for first in (0, 3):
        records = play_random(setting, first, 3)
        write_shard(server.work / folder, setting, first, records, readable=False)
    return [str(entry.sha256) for entry in read_manifest(server.work / folder)]


def test_a_drained_host_may_be_given_back(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    server = farm.server("desk")
    install(server)
    here.know(server)
    words = ("fleet", "run", "--name", "n", "--", "selfplay", "--last", 90)
    assert ringrift(*words).code == 0
    hashes = offer(server, "jobs/n-desk/out")
    run = ringrift("fleet", "drain", "desk")
    assert run.code == 2
    assert "Stop 1 job on desk? There is no terminal to ask." in run.err
    assert "try: --yes" in run.err
    run = ringrift("fleet", "drain", "desk", "--dry-run")
    assert (run.code, run.out) == (0, "desk: 1 job would be stopped, all games transferred\n")
    assert ringrift("fleet", "jobs").code == 0
    run = ringrift("fleet", "drain", "desk", "--yes", "--json")
    assert run.code == 0, run.err
    assert {key: told(run)[key] for key in ("name", "drained", "jobs", "files", "games")} == {
        "name": "desk", "drained": True, "jobs": 1, "files": 2, "games": 6,
    }  # fmt: skip
    (folder,) = {path.parent for path in here.folder.glob("runs/*/*/manifest.jsonl")}
    assert [entry.sha256 for entry in read_manifest(folder)] == hashes
    assert {sha256((folder / e.file).read_bytes()) for e in read_manifest(folder)} == {*hashes}
    run = ringrift("fleet", "run", "--name", "m", "--", "selfplay")
    assert run.code == 1
    assert run.out == "desk: nothing, it is drained: ringrift fleet drain --undo desk\n"
    status = ringrift("fleet", "status")
    assert "note: drained, it gets no work: ringrift fleet drain --undo desk" in status.out
    text = ringrift("fleet", "drain", "desk").out  # again, which brings nothing new
    assert text.startswith("desk: 0 jobs stopped, 0 files transferred; every reported file")
    assert ringrift("fleet", "drain", "desk", "--undo").out == "desk may get new jobs again\n"
    assert ringrift("fleet", "run", "--name", "m", "--", "selfplay").code == 0


def test_a_host_is_not_drained_while_something_is_missing(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("desk")
    install(server)
    here.know(server)
    offer(server, "runs/hex8-2p/random")
    entry = read_manifest(server.work / "runs/hex8-2p/random")[0]
    shard = server.work / "runs/hex8-2p/random" / entry.file
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    run = ringrift("fleet", "drain", "desk")
    assert run.code == 1
    assert entry.file in run.err
    assert "give" not in run.out
    server.stop()
    run = ringrift("fleet", "drain", "desk")
    assert run.code == 1
    assert "desk cannot be reached" in run.err


# ---- money ---------------------------------------------------------------------------------------


def test_what_hosts_cost(farm: Farm, here: Station, ringrift: Ringrift) -> None:
    server = farm.server("desk")
    install(server)
    gone = {"name": "gone", "addresses": at(farm.dead_port()), "price": 0.5}
    here.know(server.entry(price=2.0), gone, budget={"per_day": 100})
    played = ("fleet", "run", "--name", "n", "--on", "desk", "--", "selfplay", "--games", 5000)
    assert ringrift(*played).code == 0
    until((server.work / "jobs/n-desk/exit.json").exists, "it goes on")
    now = time.time()
    days = {"2026-01-01": 1.0, "2026-01-02": 2.5}
    keep_account(here.state, "desk", cost.Account(now - 90000, now - 1800, 3.5, days))
    keep_account(here.state, "returned", cost.Account(1.0, None, 2.0, {"2026-01-01": 2.0}))
    run = ringrift("fleet", "cost", "--json")
    assert run.code == 0
    found = told(run)
    rows = {row["name"]: row for row in found["hosts"]}
    assert list(rows) == ["desk", "gone", "returned"]
    assert rows["desk"]["total"] == pytest.approx(4.5, abs=0.05)
    assert rows["desk"]["games"] == 5000
    assert rows["desk"]["per_1000_games"] == pytest.approx(0.9, abs=0.01)
    assert rows["desk"]["days"]["2026-01-02"] == 2.5
    assert rows["gone"] == {
        "name": "gone", "price": 0.5, "since": None, "today": 0.0, "total": 0.0, "days": {},
        "games": None, "per_1000_games": None, "per_1000_games_now": None,
    }  # fmt: skip
    assert rows["returned"]["total"] == 2.0
    assert (found["per_hour"], found["projected_day"]) == (2.5, 60.0)
    text = ringrift("fleet", "cost").out
    assert "by day: 2026-01-01 $3.00, 2026-01-02 $2.50" in text
    assert "at $2.50/h: $60.00 per day, $1800.00 in 30 days" in text
    here.know(server.entry(price=2.0), budget={"total": 5})
    run = ringrift("fleet", "cost")
    assert run.code == 1
    assert "spent in all, and the budget is $5.00." in run.err


# ---- what is nobody's business -------------------------------------------------------------------


def locked_key(path: Path) -> str:
    """Writes a key under a passphrase; what is between the lines that begin and end it."""
    form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    lock = serialization.BestAvailableEncryption(PASSPHRASE.encode())
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(*form, lock))
    path.chmod(0o600)
    return path.read_text().splitlines()[1]


def test_nothing_secret_is_written_or_shown(
    farm: Farm, here: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, locked = farm.servers(2)
    install(server)
    locked_text = locked_key(farm.folder / "locked")
    here.know(server, locked.entry(key=str(farm.folder / "locked")))
    monkeypatch.setenv("RINGRIFT_TOKEN", "hunter2hunter2")
    secrets = [*farm.key.read_text().splitlines()[1:-1], locked_text, "hunter2hunter2", PASSPHRASE]
    seen = ""
    for words in (
        ["status"],
        ["run", "--name", "n", "--", "selfplay", "--last", "90"],
        ["exec", "--", "true"],
        ["jobs"],
        ["logs", "n-host-0"],
    ):
        process = here.start("fleet", *words)
        while process.poll() is None:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen += place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:  # it has ended
                    continue
            time.sleep(0.02)
        out, err = process.communicate()
        seen += out + err
    assert "locked needs a passphrase, and no ssh-agent holds it" in seen
    for folder in (here.state, server.work):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                seen += path.read_text(errors="replace")
    assert "n-host-0" in seen
    for secret in secrets:
        assert secret not in seen
