"""Installs this version of ringrift on a host in its own virtual environment, and verifies it.

The package goes into a folder named by its hash; older versions stay while jobs may use them. The
environment gets the dependencies in the locally installed versions, except torch and the CUDA
packages: the host's image often has them for its driver. A host counts as deployed when its
ringrift reports the same hashes of rules and actions as this one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from importlib import metadata
from typing import Any

from ringrift_cli.errors import RemoteError
from ringrift_cli.fleet import jobs, package, probe
from ringrift_cli.fleet.agent.layout import CODE, INNER, VENV
from ringrift_cli.fleet.client import Client, NotDeployed
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.store.hashes import sha256
from ringrift_cli.version import __version__

NOT_LOCKED = re.compile(r"(torch|triton|nvidia-.*|cuda-.*|numba-cuda|ringrift)$")
LOCK = f"{VENV}/ringrift-lock.txt"  # installed versions
INSTALL_SECONDS = 1800.0
REPORT = (
    "import json, sys; sys.path.insert(0, sys.argv[1]);"
    "from ringrift_cli.game.version import codec_hash, rules_hash; import torch;"
    "print(json.dumps({'rules': rules_hash(), 'codec': codec_hash()}))"
)


def lock() -> bytes:
    """Locally installed package versions as pip constraints, without `NOT_LOCKED`."""
    found = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if not NOT_LOCKED.fullmatch(name):
            found[name] = distribution.version.partition("+")[0]
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items())).encode()


def requirements() -> list[str]:
    """The package's dependencies as pip requirements, without extras."""
    return [
        one.partition(";")[0].strip()
        for one in metadata.requires("ringrift") or []
        if "extra ==" not in one
    ]


def deploy(
    open_client: Callable[[bool], Client],
    host: Host,
    expected: dict[str, str],
    on_step: Callable[[str], None],
) -> dict[str, Any]:
    """Installs ringrift on a host; returns version, hashes and Python of the installation.

    `open_client` takes whether the client needs the agent. `expected`: our hashes of "rules" and
    "codec".

    `RemoteError` if a step fails, if running jobs use packages that would be replaced, or if the
    installation reports other hashes.
    """
    with open_client(False) as client:
        _send_code(client, host, on_step)
        locked = lock()
        changed = _run(client, host, f"cat {LOCK} 2>/dev/null || :", "its disk fails") != (
            locked.decode()
        )
        if changed:
            _install(client, host, locked, _active(open_client), on_step)
        on_step("verifying the installation")
        own = f"{VENV}/bin/python -I -c {shlex.quote(REPORT)} {_code()}"
        printed = _run(client, host, own, "it does not start")
        try:
            found = json.loads(printed.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise RemoteError(f"{host.name}: its ringrift printed {printed[:200]!r}.") from error
        if found != expected:
            raise RemoteError(f"{host.name}: its ringrift is {found}, and ours is {expected}.")
        with open_client(True) as agent:
            if not any(job.active for job in jobs.states(agent)):  # no job uses another version
                others = f'for f in {CODE}*; do [ "$f" = {_code()} ] || rm -rf "$f"; done'
                _run(client, host, others, "old versions cannot be removed")
    return {"version": __version__, "code": package.code_hash(), "python": host.python, **found}


def _code() -> str:
    return CODE + package.code_hash()


def _active(open_client: Callable[[bool], Client]) -> list[str]:
    """Active jobs of a host; none if its agent cannot start yet."""
    try:
        with open_client(True) as agent:
            return [job.id for job in jobs.states(agent) if job.active]
    except RemoteError as error:
        if isinstance(error, NotDeployed) or error.kind == "start":
            return []
        raise


def _send_code(client: Client, host: Host, on_step: Callable[[str], None]) -> None:
    """Sends the package unless it is already there."""
    work, python = probe.home(host.work), probe.home(host.python)
    least = ".".join(map(str, probe.LEAST_PYTHON))
    check = (
        f"import sys; sys.version_info >= {probe.LEAST_PYTHON} or sys.exit("
        "'it is Python ' + '.'.join(map(str, sys.version_info[:3]))); import venv, ensurepip"
    )
    _run(
        client,
        host,
        f"{python} -c {shlex.quote(check)}",
        f"{host.python} is not Python {least} or later with venv",
        hint=f"`python:` of {host.name} in hosts.yaml, or apt-get install python3-venv there",
        inside=f"mkdir -p -m 700 {work}/{INNER} && cd {work}",
    )
    data = package.zipped()
    on_step(f"sending ringrift, {len(data) / 1e6:.1f} MB")
    _run(
        client,
        host,
        f"{python} -I -c {shlex.quote(package.UNPACK)} {_code()} {sha256(data)}",
        "ringrift could not be sent",
        stdin=data,
    )


def _install(
    client: Client, host: Host, locked: bytes, active: list[str], on_step: Callable[[str], None]
) -> None:
    """Creates the virtual environment and installs the dependencies."""
    if active:
        raise RemoteError(
            f"{host.name}: {', '.join(active)} would lose the packages under it.",
            hint=f"wait, or ringrift fleet stop --on {host.name}",
        )
    on_step("creating the virtual environment")
    own, python = f"{VENV}/bin/python", probe.home(host.python)
    _run(
        client,
        host,
        f"{{ test -x {own} || {python} -m venv --system-site-packages {VENV}; }}",
        "no virtual environment could be made",
    )
    on_step("installing")
    pip = f"{own} -m pip install --quiet --no-input --disable-pip-version-check"
    _run(
        client,
        host,
        f"cat > {LOCK}.new && {pip} -c {LOCK}.new {shlex.join(requirements())}"
        f" && mv {LOCK}.new {LOCK}",
        "pip could not install what it needs",
        stdin=locked,
    )


def _run(
    client: Client,
    host: Host,
    command: str,
    failed: str,
    *,
    hint: str | None = None,
    stdin: bytes = b"",
    inside: str | None = None,
) -> str:
    """Output of a command in the work folder; `RemoteError` with its last line if it fails."""
    script = f"{inside or f'cd {probe.home(host.work)}'} && {command}"
    code, out, err = client.run(
        f"exec sh -c {probe.quote(script)}", stdin, timeout_s=INSTALL_SECONDS
    )
    if code:
        text = err.decode(errors="replace") or out.decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = lines[-1][:300] if lines else "it printed nothing"
        raise RemoteError(f"{host.name}: {failed}: {last}", hint=hint)
    return out.decode(errors="replace")
