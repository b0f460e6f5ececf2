"""Our very version of ringrift on a host, in a virtual environment of its own, and proof of it.

The wheel is made from the files that are running here. The lock says which versions of other
packages go with it; torch and what belongs to CUDA are left to the host, whose image often has them
for its driver. A host counts as deployed when its own ringrift has told its version, rules and
actions, and they are ours.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ringrift_cli.errors import FleetError, RemoteError
from ringrift_cli.fleet import jobs
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.plan import ACTIVE
from ringrift_cli.fleet.status import Ours
from ringrift_cli.fleet.transfer import Meter, hash_of, put

NOT_LOCKED = re.compile(r"(torch|triton|nvidia-.*|cuda-.*|numba-cuda|ringrift)$")
FOLDER = ".ringrift/deploy"
DEPLOYED = ".ringrift/deployed.json"
LOCK = "lock.txt"
VENV = "venv"
LEAST_PYTHON = (3, 11)
LOOK_AT_PYTHON = (
    "import sys;"
    f"sys.version_info >= {LEAST_PYTHON} or sys.exit("
    '"it is Python " + ".".join(map(str, sys.version_info[:3])));'
    "import venv, ensurepip"
)
INSTALL_SECONDS, SHORT_SECONDS = 1800.0, 120.0
TELL = (
    "import json; from ringrift_cli.version import __version__ as version;"
    "from ringrift_cli.game.version import codec_hash, rules_hash;"
    "print(json.dumps({'version': version, 'rules': rules_hash(), 'codec': codec_hash()}))"
)


@dataclass(frozen=True)
class Package:
    """What is put on the hosts."""

    wheel: Path
    lock: Path  # a file of pip constraints


def source_folder() -> Path | None:
    """The folder of pyproject.toml that this ringrift runs from; None if it was installed."""
    folder = Path(__file__).parents[3]
    return folder if (folder / "pyproject.toml").is_file() else None


def build(folder: Path) -> Package:
    """The wheel of this ringrift: built from its source, or fetched where it was installed from.

    `FleetError` with what pip said if that fails.
    """
    source = source_folder()
    if source is not None:
        words = ["wheel", "--no-deps", str(source)]
    else:
        words = ["download", "--no-deps", f"ringrift=={metadata.version('ringrift')}"]
    target = "--wheel-dir" if source is not None else "--dest"
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(
        [*command, target, str(folder)], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("ringrift-*.whl"))
    if done.returncode or len(wheels) != 1:
        raise FleetError(
            f"pip could not make a wheel of ringrift: {_last_line(done.stderr)}",
            hint=shlex.join([*command, target, str(folder)]),
        )
    (folder / LOCK).write_bytes(lock())
    return Package(wheels[0], folder / LOCK)


def lock() -> bytes:
    """The versions of the packages here as pip constraints, but what is the host's choice."""
    found = {}
    for package in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        if not NOT_LOCKED.fullmatch(name):
            found[name] = package.version.partition("+")[0]
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items())).encode()


def deploy(
    link: Link, host: Host, package: Package, ours: Ours, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Installs ringrift on a host and returns what it says of itself.

    `RemoteError` if a step fails there, if jobs run with what would be replaced under them, or if
    what was installed is not what we are.
    """
    running = [job["id"] for job in jobs.states(link) if job["state"] in ACTIVE]
    if running:
        raise RemoteError(
            f"{host.name}: {', '.join(running)} would lose the ringrift under it.",
            hint=f"wait, or ringrift fleet stop --on {host.name}",
        )
    for file in (package.wheel, package.lock):
        tell(f"sending {file.name}, {file.stat().st_size / 1e6:.1f} MB")
        put(link, file, f"{FOLDER}/{file.name}", hash_of(file), Meter(), replace=True)
    inside = f"cd {_home(host.work)} && "
    python = _home(host.python)
    least = ".".join(map(str, LEAST_PYTHON))
    _run(
        link,
        inside + f"{python} -c '{LOOK_AT_PYTHON}'",
        f"{host.python} is not Python {least} or later with venv",
        SHORT_SECONDS,
        hint=f"`python:` of {host.name} in hosts.yaml, or apt-get install python3-venv there",
    )
    tell("looking after its virtual environment")
    own = f"{VENV}/bin/python"
    _run(
        link,
        inside + f"{{ test -x {own} || {python} -m venv --system-site-packages {VENV}; }}",
        "no virtual environment could be made",
        INSTALL_SECONDS,
    )
    pip = f"{own} -m pip install --quiet --no-input --disable-pip-version-check"
    wheel = shlex.quote(f"{FOLDER}/{package.wheel.name}")
    tell("installing")
    for words in (f"-c {FOLDER}/{LOCK} {wheel}", f"--force-reinstall --no-deps {wheel}"):
        _run(link, inside + f"{pip} {words}", "pip could not install it", INSTALL_SECONDS)
    tell("asking what it is")
    said = _run(link, inside + f"{own} -c {shlex.quote(TELL)}", "it does not start", SHORT_SECONDS)
    return _confirm(link, host, package, ours, said)


def _confirm(link: Link, host: Host, package: Package, ours: Ours, said: str) -> dict[str, Any]:
    """Holds what a host's ringrift says of itself to what we are, and notes it there."""
    try:
        found = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise RemoteError(f"{host.name}: its ringrift says {said[:200]!r} of itself.") from error
    expected = {"version": ours.version, "rules": ours.rules, "codec": ours.codec}
    if found != expected:
        raise RemoteError(f"{host.name}: its ringrift is {found}, and ours is {expected}.")
    installed = link.ask("facts", deadline_s=SHORT_SECONDS)["installed"]
    if installed is None:
        raise RemoteError(f"{host.name}: ringrift answers, but is not in {host.work}/{VENV}.")
    note = {
        **found,
        "wheel_sha256": hash_of(package.wheel),
        "record_sha256": installed["record_sha256"],
        "python": host.python,
        "time": time.time(),
    }
    file = package.wheel.with_name(f"deployed-{host.name}.json")
    file.write_bytes((json.dumps(note, indent=1) + "\n").encode())
    put(link, file, DEPLOYED, hash_of(file), Meter(), replace=True)
    return note


def _home(path: str) -> str:
    """A path for the shell, whose `~` it is to expand."""
    if path == "~":
        return "~"
    if path.startswith("~/"):
        return "~/" + shlex.quote(path[2:])
    return shlex.quote(path)


def _run(link: Link, command: str, failed: str, seconds: float, hint: str | None = None) -> str:
    """What a command on a host prints; `RemoteError` with its last words if it fails."""
    code, out, err = link.run(command, timeout_s=seconds)
    if code:
        last = _last_line(err.decode(errors="replace") or out.decode(errors="replace"))
        raise RemoteError(f"{link.host}: {failed}: {last}", hint=hint)
    return out.decode(errors="replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
