"""Installs this version of ringrift on a host in its own virtual environment, and verifies it.

The package goes into a folder named by its hash; older versions stay while jobs may use them. The
environment gets the dependencies in the locally installed versions, except torch and the CUDA
packages, which must fit the driver of the host. A host counts as deployed when its ringrift reports
the same hashes of rules and actions as this one and, if it has GPUs, has run kernels on them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import msgspec
from msgspec.structs import replace

from ringrift_cli.errors import RemoteError, UsageError
from ringrift_cli.fleet import package, probe
from ringrift_cli.fleet.agent.layout import CODE, INNER
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.messages import Record
from ringrift_cli.store.hashes import sha256
from ringrift_cli.text import printable
from ringrift_cli.version import __version__

NAME = "ringrift"
NOT_LOCKED = re.compile(rf"(torch|triton|nvidia-.*|cuda-.*|numba-cuda|{NAME})$")
REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
GPU_EXTRA, CUDA_EXTRA = "gpu", re.compile(r"\[cu\d+\]")  # ours, and that of numba-cuda
LEAST_DRIVER = (12, 0)  # CUDA version of which numba-cuda still has a build
# CUDA versions for which the index of torch has builds. One of the same major version will do.
TORCH_BUILDS = ((13, 0), (12, 8), (12, 6))
TORCH_INDEX = "https://download.pytorch.org/whl/cu"
GB = 1e9
TORCH_SIZE, REST_SIZE = (6.0, 14.0), (0.5, 2.0)  # GB to download, GB of disk for the installation
INSTALL_SECONDS = 3600.0
SCRIPT = "ringrift_cli/fleet/agent/install.py"


class Found(Record):
    """What the host has before an installation (agent/install.py)."""

    broken: bool
    installed: str
    active: list[str]
    free: int
    driver: str | None
    torch: list[str | None] | None


@dataclass(frozen=True)
class Installation:
    """What an installation will do."""

    lock: str  # constraints of pip, with the requirements as comments
    requirements: list[str]
    torch: list[str] | None  # arguments of pip for a torch that fits; None: what is there will do
    size: tuple[float, float] | None  # GB to download at most, GB of disk; None: nothing to do


def lock() -> str:
    """Locally installed package versions as pip constraints, without `NOT_LOCKED`."""
    found = {}
    for distribution in metadata.distributions():
        name = _normal(distribution.metadata["Name"])
        if not NOT_LOCKED.fullmatch(name):
            found[name] = distribution.version.partition("+")[0]
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def requirements(extra: str | None = None) -> list[str]:
    """The package's dependencies as pip requirements, or those that only an extra has.

    `UsageError` if there is no metadata of the package, or it names the package itself: what an
    index has under that name is not ours.
    """
    try:
        required = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError as error:
        raise UsageError(
            f"{NAME} runs here without being installed: what it needs is not known.",
            hint="pip install -e . in its checkout",
        ) from error
    found = []
    for line in required:
        requirement, _, marker = line.partition(";")
        name = REQUIREMENT.match(requirement)
        condition = re.search(r"\bextra\s*==\s*['\"]([^'\"]+)", marker)
        if (condition and condition[1]) != extra:
            continue
        if name is None or _normal(name[1]) == NAME:
            raise UsageError(f"The metadata of {NAME} requires {line!r}: expected other packages.")
        found.append(requirement.strip())
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def planned(host: Host, found: Found) -> Installation:
    """The installation that a host needs; `RemoteError` if its driver or its disk cannot do."""
    wanted, torch = requirements(), None
    missing = found.torch is None
    if host.gpus:
        driver = _driver(host, found)
        major = min(driver[0], TORCH_BUILDS[0][0])
        wanted += [CUDA_EXTRA.sub(f"[cu{major}]", one) for one in requirements(GPU_EXTRA)]
        built = found.torch and found.torch[0]  # None: for the CPU
        if not built or int(built.partition(".")[0]) > driver[0]:
            build = next((b for b in TORCH_BUILDS if b <= driver), TORCH_BUILDS[-1])
            index = f"{TORCH_INDEX}{build[0]}{build[1]}"
            torch = [*(one for one in wanted if one.startswith("torch")), "--index-url", index]
            missing = True
    constraints = lock() + "".join(f"# {requirement}\n" for requirement in wanted)
    size = None
    if found.broken or found.installed != constraints or torch is not None:
        size = TORCH_SIZE if missing else REST_SIZE
        if found.free < size[1] * GB:
            raise RemoteError(
                f"{host.name}: {found.free / GB:.1f} GB are free in {host.work}, and the"
                f" installation needs {size[1]:g}.",
                hint="ringrift fleet clean, or `work:` on a larger disk",
            )
    return Installation(constraints, wanted, torch, size)


def _driver(host: Host, found: Found) -> tuple[int, int]:
    """The CUDA version of the driver."""
    if found.driver is None:
        raise RemoteError(
            f"{host.name}: nvidia-smi there names no CUDA version, and hosts.yaml has gpus:"
            f" {host.gpus}.",
            hint="install the NVIDIA driver there, or set gpus: 0",
        )
    major, minor = map(int, found.driver.split("."))
    if (major, minor) < LEAST_DRIVER:
        least = ".".join(map(str, LEAST_DRIVER))
        raise RemoteError(
            f"{host.name}: its driver is for CUDA {found.driver}, the kernels need {least} or"
            " later.",
            hint="a newer NVIDIA driver there",
        )
    return major, minor


def deploy(
    open_client: Callable[[bool], Client],
    host: Host,
    expected: dict[str, str],
    on_step: Callable[[str], None],
) -> dict[str, Any]:
    """Installs ringrift on a host; returns version, hashes and Python of the installation.

    `open_client` takes whether the client needs the agent. `expected`: our hashes of "rules" and
    "codec".

    `RemoteError` if a step fails, if running jobs use packages that would be replaced, if another
    deploy is running there, or if the installation reports other hashes.
    """
    with open_client(False) as client:
        _send_code(client, host, on_step)
        found = _found(client, host)
        printed = _install(client, host, found, on_step)
        if printed is None:  # the environment has lost packages
            printed = _install(client, host, replace(found, installed=""), on_step) or ""
        try:
            reported = json.loads(printed.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise RemoteError(f"{host.name}: its ringrift printed {printed[:200]!r}.") from error
        if reported != expected:
            raise RemoteError(f"{host.name}: its ringrift is {reported}, and ours is {expected}.")
        with open_client(True):
            pass  # its agent starts
    return {"version": __version__, "code": package.code_hash(), "python": host.python, **reported}


def _install(
    client: Client, host: Host, found: Found, on_step: Callable[[str], None]
) -> str | None:
    """What the installation reports; None if packages are missing that were found to be there."""
    plan = planned(host, found)
    if found.active and plan.size is not None:
        raise RemoteError(
            f"{host.name}: {', '.join(found.active)} would lose the packages under it.",
            hint=f"wait, or ringrift fleet stop --on {host.name}",
        )
    if found.broken:
        on_step("creating the virtual environment")
    if plan.size is not None:
        what = "torch, " if plan.size is TORCH_SIZE else ""
        on_step(
            f"installing {what}packages: up to {plan.size[0]:g} GB to download,"
            f" {found.free / GB:.0f} GB are free"
        )
    on_step("verifying the installation")
    reply = _script(
        client,
        host,
        "install",
        lock=plan.lock,
        requirements=plan.requirements,
        torch=plan.torch,
        packages=plan.size is not None,
    )
    printed: str | None = reply["printed"]
    return printed


def _found(client: Client, host: Host) -> Found:
    document = _script(client, host, "look")
    try:
        return msgspec.convert(document, Found)
    except msgspec.ValidationError as error:
        raise RemoteError(f"{host.name}: what it has does not fit: {error}.") from error


def _script(client: Client, host: Host, operation: str, **request: Any) -> Any:
    """The reply of agent/install.py on the host."""
    request |= {"gpus": host.gpus, "folders": probe.SMI_FOLDERS}
    python = probe.home(host.python)
    command = f"{python} -I {_code()}/{SCRIPT} {operation} {_code()}"
    printed = _run(client, host, command, "", stdin=json.dumps(request).encode())
    try:
        return json.loads(printed.strip().splitlines()[-1])  # after what a login script prints
    except (ValueError, IndexError) as error:
        raise RemoteError(f"{host.name}: its Python printed {printed[:200]!r}.") from error


def _code() -> str:
    return CODE + package.code_hash()


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
        f"touch {INNER}",
        f"its work folder {host.work} cannot be written",
        hint=f"`work:` of {host.name} in hosts.yaml",
        inside=f"mkdir -p -m 700 {work}/{INNER} && cd {work}",
    )
    _run(
        client,
        host,
        f"{python} -c {shlex.quote(check)}",
        f"{host.python} is not Python {least} or later with venv",
        hint=f"`python:` of {host.name} in hosts.yaml, or apt-get install python3-venv there",
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
    code, out, err = client.run(probe.shell(script), stdin, timeout_s=INSTALL_SECONDS)
    if code:
        text = err.decode(errors="replace") or out.decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = printable(lines[-1])[:500] if lines else "it printed nothing"
        raise RemoteError(": ".join(filter(None, (host.name, failed, last))), hint=hint)
    return out.decode(errors="replace")
