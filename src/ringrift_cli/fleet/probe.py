"""Probe of a host without an agent: a shell command, and the parser of its output."""

from __future__ import annotations

import re
import shlex

import msgspec

from ringrift_cli.fleet.messages import Facts, Gpu
from ringrift_cli.fleet.wire import BARE

SMI_FOLDERS = ("/usr/local/nvidia/bin", "/usr/lib/wsl/lib", "/usr/local/cuda/bin", "/opt/bin")
SMI_FIELDS = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu"
SMI_SECONDS = 1  # timeout of nvidia-smi
LEAST_PYTHON = (3, 11)
PYTHON = "import sys, venv, ensurepip; print(*sys.version_info[:3], sep='.')"
SPECIAL = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


def quote(word: str) -> str:
    """Quotes a word for any login shell, with backslashes: quotes differ between shells."""
    return SPECIAL.sub(lambda found: _escaped(found.group()), word) or "''"


def _escaped(character: str) -> str:
    return character if ord(character) > 127 else "\\" + character


def home(path: str) -> str:
    """Quotes a path for sh, except a leading `~`."""
    if path == "~":
        return "~"
    return "~/" + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def script(python: str, work: str) -> str:
    """Script for sh that prints facts as lines of name and value; empty values on failure."""
    lines = {
        "hostname": "uname -n",
        "time": "date +%s",
        "uptime": "cut -d' ' -f1 /proc/uptime",
        "cores": "nproc",
        "load": "cut -d' ' -f1-3 /proc/loadavg",
        "ram_total": "awk '/^MemTotal/ {print $2}' /proc/meminfo",
        "ram_available": "awk '/^MemAvailable/ {print $2}' /proc/meminfo",
        "disk": f"df -Pk {home(work)} . 2>/dev/null | awk 'NR == 2 {{print $2, $4}}'",
        "python": f"{home(python)} -c {shlex.quote(PYTHON)}",
        "environment": f"ls -d {home(work)}/.ringrift/code-* | head -n 1",
    }
    parts = [f"echo {BARE.decode().strip()}"]
    parts += [f'echo {name} "$({command} 2>/dev/null)"' for name, command in lines.items()]
    smi = f"timeout {SMI_SECONDS} nvidia-smi --query-gpu={SMI_FIELDS} --format=csv,noheader,nounits"
    parts.append(
        f"PATH=$PATH:{':'.join(SMI_FOLDERS)}; if command -v nvidia-smi >/dev/null; then {smi} 2>&1"
        " | sed 's/^/gpu /'; fi"
    )
    return "; ".join(parts)


def parse(text: str) -> tuple[Facts, bool]:
    """Facts from the output of `script`, and whether another version of ringrift is installed.

    `ValueError` for unexpected output.
    """
    values: dict[str, str] = {}
    gpus: list[Gpu] | None = []
    gpus_error = None
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name, value.strip())
        if name == "gpu" and gpus is not None:
            try:
                gpus.append(parse_gpu(value))
            except ValueError:
                gpus, gpus_error = None, f"nvidia-smi printed {value[:200]!r}"
    number = {name: [float(word) for word in values[name].split()] for name in NUMBERS}
    facts = Facts(
        hostname=values["hostname"],
        time=number["time"][0],
        uptime_s=number["uptime"][0],
        cores=int(number["cores"][0]),
        load=number["load"],
        ram_total=1024 * int(number["ram_total"][0]),
        ram_available=1024 * int(number["ram_available"][0]),
        disk_total=1024 * int(number["disk"][0]),
        disk_free=1024 * int(number["disk"][1]),
        gpus=gpus,
        gpus_error=gpus_error,
        python=values["python"] or None,
    )
    return msgspec.convert(msgspec.to_builtins(facts), Facts), bool(values["environment"])


NUMBERS = ("time", "uptime", "cores", "load", "ram_total", "ram_available", "disk")


def parse_gpu(line: str) -> Gpu:
    """Parses a line of nvidia-smi; `ValueError` if it is malformed. Unavailable values are None."""
    index, rest = line.split(",", 1)
    name, *values = (field.strip() for field in rest.rsplit(",", 4))
    if len(values) != 4:
        raise ValueError(line)
    use, used, total, heat = (None if v.startswith("[") else int(float(v)) for v in values)
    return Gpu(
        index=int(index),
        name=name,
        use_percent=use,
        memory_used_mb=used,
        memory_total_mb=total,
        temperature_c=heat,
    )
