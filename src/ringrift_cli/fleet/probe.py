"""Probe of a host without an agent: a shell command, and the parser of its output."""

from __future__ import annotations

import re
import shlex

import msgspec
from msgspec.structs import replace

from ringrift_cli.fleet.messages import Facts, Gpu
from ringrift_cli.fleet.wire import BARE
from ringrift_cli.system import share, whole_cores

SMI_FOLDERS = ("/usr/local/nvidia/bin", "/usr/lib/wsl/lib", "/usr/local/cuda/bin", "/opt/bin")
SMI_FIELDS = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw"
NO_VALUE = re.compile(r"\[?(N/A|Not Supported|Insufficient Permissions)\]?")
LISTED_GPU = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[\w-]+)\)")
LISTED_SLICE = re.compile(r"\s+MIG (\S+)\s.*\(UUID: (MIG-[\w/-]+)\)")
FOREIGN_SHARE, FOREIGN_MB = 0.1, 2048  # used GPU memory above both: somebody else computes on it
FOREIGN_PERCENT = 50  # or if it is busy for so much of the time
SETTLING_S = 5.0  # after a job, in which its GPUs may still look used
CPU, MEMORY = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"  # of a container
SMI_SECONDS = 1  # timeout of nvidia-smi
LEAST_PYTHON = (3, 11)
# on macOS, which has no /proc: seconds since the boot, and free memory
BOOTED = r"echo $(($(date +%s) - $(sysctl -n kern.boottime | sed 's/[^0-9]*\([0-9]*\).*/\1/')))"
FREE_KIB = (
    "vm_stat | awk '/page size of/ {size = $8} /^Pages (free|inactive|speculative)/ {pages += $NF}"
    ' END {printf "%d", pages * size / 1024}\''
)
PYTHON = "import sys, venv, ensurepip; print(*sys.version_info[:3], sep='.')"
SPECIAL = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


def shell(script: str) -> str:
    """Command line that runs a script of sh under any login shell, as fish or tcsh."""
    if "\n" in script:  # no shell agrees with another on quoted line ends
        text = script.replace("\\", "\\\\").replace("\n", "\\n")
        script = f'eval "$(printf %b {shlex.quote(text)})"'
    return f"exec sh -c {quote(script)}"


def quote(word: str) -> str:
    """Quotes a word of one line for any login shell: quotes differ, backslashes do not."""
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
        "uptime": f"cut -d' ' -f1 /proc/uptime || {BOOTED}",
        "cores": "nproc || sysctl -n hw.ncpu",
        "quota": f"cat {CPU}.max || cat {CPU}/cpu.cfs_quota_us {CPU}/cpu.cfs_period_us | xargs",
        "memory_limit": f"cat {MEMORY}.max || cat {MEMORY}/memory.limit_in_bytes",
        "load": "cut -d' ' -f1-3 /proc/loadavg || sysctl -n vm.loadavg | tr -d '{}'",
        "ram_total": "awk '/^MemTotal/ {print $2}' /proc/meminfo"
        " || echo $(($(sysctl -n hw.memsize) / 1024))",
        "ram_available": f"awk '/^MemAvailable/ {{print $2}}' /proc/meminfo || {FREE_KIB}",
        "disk": f"df -Pk {home(work)} . 2>/dev/null | awk 'NR == 2 {{print $2, $4}}'",
        "python": f"{home(python)} -c {shlex.quote(PYTHON)}",
        "environment": f"ls -d {home(work)}/.ringrift/code-* | head -n 1",
    }
    parts = [f"echo {BARE.decode().strip()}"]
    parts += [f'echo {name} "$({{ {command}; }} 2>/dev/null)"' for name, command in lines.items()]
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
    smi = []
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name, value.strip())
        if name == "gpu":
            smi.append(value)
    gpus, gpus_error = parse_gpus("\n".join(smi)) if smi else ([], None)
    number = {name: [float(word) for word in values[name].split()] for name in NUMBERS}
    quota = [
        float(word) for word in values.get("quota", "").split() if word.lstrip("-").isdecimal()
    ]
    ram, most = 1024 * int(number["ram_total"][0]), values.get("memory_limit", "")
    limit = int(most) if most.isdecimal() else ram
    facts = Facts(
        hostname=values["hostname"],
        time=number["time"][0],
        uptime_s=number["uptime"][0],
        cores=whole_cores(int(number["cores"][0]), share(quota)),
        load=number["load"],
        ram_total=min(ram, limit),
        ram_available=min(1024 * int(number["ram_available"][0]), limit),
        disk_total=1024 * int(number["disk"][0]),
        disk_free=1024 * int(number["disk"][1]),
        gpus=gpus,
        gpus_error=gpus_error,
        python=values["python"] or None,
    )
    return msgspec.convert(msgspec.to_builtins(facts), Facts), bool(values["environment"])


NUMBERS = ("time", "uptime", "cores", "load", "ram_total", "ram_available", "disk")


def parse_gpus(
    text: str, listed: str = "", details: str = ""
) -> tuple[list[Gpu] | None, str | None]:
    """GPUs from the outputs of `nvidia-smi --query-gpu` and `nvidia-smi -L`, and other lines.

    A GPU that is divided gives its MIG slices instead, with their memory from `details`, the output
    of `nvidia-smi -q -x`, and then indices count slices. None if nvidia-smi lists no GPU.
    """
    found, odd = [], []
    for line in text.splitlines():
        try:
            found.append(_parse_gpu(line))
        except ValueError:
            odd += [line.strip()[:200]] if line.strip() else []
    if not found:
        return None, f"nvidia-smi printed what cannot be read: {text.strip()[:200]!r}"
    uuids, slices = _listed(listed)
    memory = _slice_memory(details) if details else {}
    gpus: list[Gpu] = []
    for gpu in found:
        whole = uuids.get(gpu.index)
        for at, (name, uuid) in enumerate(slices.get(gpu.index, [("", whole)])):
            index = len(gpus) if slices else gpu.index
            part = replace(gpu, index=index, uuid=uuid)
            if name:  # the values are those of the whole GPU
                used, total = memory.get((whole, at), (None, None))
                part = replace(part, name=f"{gpu.name} MIG {name}", use_percent=None)
                part = replace(part, memory_used_mb=used, memory_total_mb=total)
            gpus.append(part)
    return gpus, f"nvidia-smi also printed {'; '.join(map(repr, odd))}" if odd else None


def _listed(text: str) -> tuple[dict[int, str], dict[int, list[tuple[str, str]]]]:
    """UUIDs of GPUs, and profile and UUID of the slices of divided ones, by index of the GPU."""
    uuids: dict[int, str] = {}
    slices: dict[int, list[tuple[str, str]]] = {}
    index = 0
    for line in text.splitlines():
        if gpu := LISTED_GPU.match(line):
            index = int(gpu[1])
            uuids[index] = gpu[2]
        elif part := LISTED_SLICE.match(line):
            slices.setdefault(index, []).append((part[1], part[2]))
    return uuids, slices


def has_slices(listed: str) -> bool:
    """Whether the output of `nvidia-smi -L` names MIG slices."""
    return any(map(LISTED_SLICE.match, listed.splitlines()))


def _slice_memory(details: str) -> dict[tuple[str | None, int], tuple[int, int]]:
    """Used and total memory in MB by UUID of the GPU and position of its slice; without errors."""
    from xml.etree import ElementTree as ET

    try:
        gpus = ET.fromstring(details).findall("gpu")
    except ET.ParseError:
        return {}
    found = {}
    for gpu in gpus:
        for at, part in enumerate(gpu.findall("mig_devices/mig_device")):
            texts = (part.findtext(f"fb_memory_usage/{name}", "") for name in ("used", "total"))
            numbers = [int(text.split()[0]) for text in texts if re.match(r"\d+ MiB$", text)]
            if len(numbers) == 2:
                found[gpu.findtext("uuid"), at] = (numbers[0], numbers[1])
    return found


def _parse_gpu(line: str) -> Gpu:
    """Parses a line of nvidia-smi; `ValueError` if it is none of a GPU."""
    index, rest = line.split(",", 1)
    name, *values = (field.strip() for field in rest.rsplit(",", 5))
    if len(values) != 5 or int(index) < 0:
        raise ValueError(line)
    numbers: list[int | None] = []
    fault = None
    for value in values:
        try:
            numbers.append(int(float(value)))
        except (ValueError, OverflowError):
            numbers.append(None)
            fault = fault or (None if NO_VALUE.fullmatch(value) else value[:80] or "no value")
    use, used, total, heat, power = numbers
    return Gpu(
        index=int(index),
        name=name,
        use_percent=use,
        memory_used_mb=used,
        memory_total_mb=total,
        temperature_c=heat,
        power_w=power,
        fault=fault,
    )


def unusable(gpu: Gpu, *, settling: bool = False) -> str | None:
    """Why a GPU on which no job of ours runs can take none; None if it can.

    `settling`: what uses it may be the job that has just ended.
    """
    if gpu.fault is not None:
        return f"GPU {gpu.index} reports {gpu.fault!r}"
    if settling:
        return None
    used, total = gpu.memory_used_mb or 0, gpu.memory_total_mb or 0
    if used > max(FOREIGN_SHARE * total, FOREIGN_MB):
        return f"GPU {gpu.index} is used by others: {used / 1024:.1f} of {total / 1024:.1f} GB"
    if (gpu.use_percent or 0) >= FOREIGN_PERCENT:
        return f"GPU {gpu.index} is used by others: {gpu.use_percent} % busy"
    return None
