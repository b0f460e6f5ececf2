"""Installs what ringrift needs on a host. The host's own Python runs this file, without packages.

`python -I install.py look|install CODE` in the work folder: a request as JSON on standard input, a
reply as JSON on standard output. One installation runs at a time; it ends when the connection does,
with all that it started.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, NoReturn, Self

INNER, VENV, JOBS = ".ringrift", "venv", "jobs"
LOCK = f"{VENV}/ringrift-lock.txt"  # what is installed
DEPLOYING, CACHE, CLOCK = f"{INNER}/deploy.lock", f"{INNER}/pip", f"{INNER}/clock"
PROVED, IDENTITY = f"{INNER}/proved", f"{INNER}/identity"
PYTHON = f"{VENV}/bin/python"
POLL_MS = 200
PATIENCE = 50  # times POLL_MS for what a killed deploy left to end
TORCH = (  # importing torch takes seconds
    "import importlib.util, json, os, runpy; spec = importlib.util.find_spec('torch');"
    "path = spec and os.path.join(os.path.dirname(spec.origin), 'version.py');"
    "print(json.dumps([runpy.run_path(path).get('cuda')] if path else None))"
)
REASONS = (  # the first that matches a line
    r".*(?:No space left on device|Disk quota exceeded).*",
    r"connection broken by '(.*)': /",
    r"^(?:\w+: )?(?:fatal )?error: (?!subprocess-exited).*",
    r"^\w+(?:Error|Exception): .*",
    r"^ERROR: (?!Ignored|Exception).*",
)
REPORT = (
    "import json, sys; sys.path.insert(0, sys.argv[1]);"
    "from ringrift_cli.game.version import codec_hash, rules_hash; import torch;"
    "print(json.dumps({'rules': rules_hash(), 'codec': codec_hash()}))"
)


def main() -> None:
    """The program."""
    operation, code = sys.argv[1:]
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3)))
    request = json.load(sys.stdin)
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *request["folders"]])
    reply = look(request) if operation == "look" else install(code, request)
    sys.stdout.write(json.dumps(reply))


def fail(sentence: str) -> NoReturn:
    """Ends with an error, which the other end reads off the last line."""
    sys.exit(" ".join(sentence.split()))


# ---- looking ------------------------------------------------------------------------------------


def look(request: dict[str, Any]) -> dict[str, Any]:
    """What is there: environment, active jobs, free bytes, and for a GPU host driver and torch."""
    broken, found, driver = gone(), None, None
    if request["gpus"]:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            said = subprocess.run(["nvidia-smi"], capture_output=True, timeout=30, check=False)
            version = re.search(rb"CUDA (?:UMD )?Version: *(\d+\.\d+)", said.stdout)
            driver = version[1].decode() if version else None
    with contextlib.suppress(OSError, ValueError):
        python = sys.executable if broken else PYTHON
        told = subprocess.run([python, "-I", "-c", TORCH], capture_output=True, check=False)
        found = json.loads(told.stdout)
    return {
        "broken": broken,
        "installed": held(LOCK),
        "active": active(),
        "free": shutil.disk_usage(".").free,
        "driver": driver,
        "torch": found,  # None: not there; otherwise a list of its CUDA version, None for the CPU
    }


def gone() -> bool:
    """Whether there is no usable environment: its Python is away, or has another version."""
    show = "import sys; print('python%d.%d' % sys.version_info[:2])"
    try:
        said = subprocess.run([PYTHON, "-I", "-c", show], capture_output=True, check=False)
    except OSError:
        return True
    if said.returncode in (126, 127):  # its interpreter or its libraries are not there
        return True
    name = said.stdout.decode(errors="replace").strip()
    return name.startswith("python") and not os.path.isdir(f"{VENV}/lib/{name}")


def held(path: str) -> str:
    """The text of a file; empty if there is none."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read()
    return ""


def active() -> list[str]:
    """Jobs that run here or on another host with the same folder; no agent need start for that."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(JOBS)):
            folder = os.path.join(JOBS, name)
            if os.path.exists(f"{folder}/job.json") and not os.path.exists(f"{folder}/exit.json"):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    found += [name] if _runs(folder) else []
    return found


def _runs(folder: str) -> bool:
    """Whether a job without an end has a fresh heartbeat by the disk's clock, or its process."""
    with open(CLOCK, "wb"):
        os.utime(CLOCK)
    with open(f"{folder}/job.json", "rb") as file:
        lease = json.load(file)["job"]["lease_s"]
    if os.stat(CLOCK).st_mtime - os.stat(f"{folder}/heartbeat").st_mtime <= lease:
        return True
    with open(f"{folder}/heartbeat", "rb") as file:
        beat = json.load(file)
    return beat["child_began"] is not None and began(beat["child"]) == beat["child_began"]


def began(pid: int) -> int | None:
    """As in ringrift_cli.system, which is in the code that is being installed."""
    from ringrift_cli import system

    return system.began(pid)


# ---- installing ---------------------------------------------------------------------------------


def install(code: str, request: dict[str, Any]) -> dict[str, Any]:
    """Makes the environment what the request wants, and proves it; returns the hashes reported.

    Where packages are missing and the request does not allow to install any, nothing is reported.
    """
    with Turn() as turn:
        running = active()
        own = [PYTHON, "-I", "-c", REPORT, code]
        right = not gone() and held(LOCK) == request["lock"] and request["torch"] is None
        if not right or subprocess.run(own, capture_output=True, check=False).returncode:
            if not request["packages"]:
                return {"printed": None}
            if running:
                fail(f"{', '.join(running)} would lose the packages under it")
            _packages(turn, request)
        printed = turn.run(own, "it does not start")
        if request["gpus"]:
            check = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gpu_check.py")
            turn.run([PYTHON, "-I", check], "its GPUs cannot be used")
        if not held(IDENTITY):
            with open(IDENTITY, "w", encoding="utf-8") as file:
                json.dump(os.urandom(8).hex(), file)
        with open(PROVED, "w", encoding="utf-8") as file:
            file.write(str(request["gpus"]))
        for name in os.listdir(INNER) if not running else ():
            path = f"{INNER}/{name}"
            if name.startswith("code-") and path != code:
                shutil.rmtree(path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.unlink(path)  # a link
    return {"printed": printed}


def _packages(turn: Turn, request: dict[str, Any]) -> None:
    if gone():
        shutil.rmtree(VENV, ignore_errors=True)
        words = [sys.executable, "-I", "-m", "venv", "--system-site-packages", VENV]
        turn.run(words, "no virtual environment could be made")
    new = f"{LOCK}.new"
    with open(new, "w", encoding="utf-8") as file:
        file.write(request["lock"])
    os.makedirs(CACHE, exist_ok=True)
    pip = ["env", f"TMPDIR={os.path.abspath(CACHE)}"]  # /tmp may be small
    pip += [PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    pip += ["--cache-dir", os.path.abspath(CACHE)]
    failed = "pip could not install what it needs"
    if request["torch"] is not None:
        turn.run([*pip, "--ignore-installed", *request["torch"]], failed)
    turn.run([*pip, "-c", new, *request["requirements"]], failed)
    os.replace(new, LOCK)
    shutil.rmtree(CACHE, ignore_errors=True)


class Turn:
    """The right to install, held by a lock on a file; what is started inherits it."""

    def __enter__(self) -> Self:
        self._file = os.open(DEPLOYING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(PATIENCE):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._end_left()
                select.select([], [], [], POLL_MS / 1000)
            else:
                self._note(None)
                return self
        fail("another deploy is running there")

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _note(self, group: int | None) -> None:
        note = {"host": os.uname().nodename, "pid": os.getpid(), "tick": began(os.getpid())}
        data = json.dumps({**note, "group": group}).encode()
        os.pwrite(self._file, data.ljust(512), 0)

    def _end_left(self) -> None:
        """Kills what a deploy that was itself killed has left; fails if that one is alive."""
        try:
            note = json.loads(os.pread(self._file, 512, 0))
        except ValueError:  # it is just being written
            return
        if note["host"] != os.uname().nodename or began(note["pid"]) == note["tick"]:
            fail(f"another deploy is running there (process {note['pid']} of {note['host']})")
        if note["group"] is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(note["group"], signal.SIGKILL)

    def run(self, words: list[str], failed: str) -> str:
        """The output of a program; it is killed, and this ends, when the other end has gone."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=[self._file],
                    start_new_session=True,
                )
            except OSError as error:
                fail(f"{failed}: {error}")
            self._note(process.pid)
            other_end = select.poll()
            other_end.register(1, 0)  # that it is closed is told without being asked for
            while process.poll() is None:
                if other_end.poll(POLL_MS):
                    os.killpg(process.pid, signal.SIGKILL)
                    fail("the connection ended")
            self._note(None)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        if process.returncode:
            fail(f"{failed}: {reason(texts[1] or texts[0])}")
        return texts[0]


def reason(text: str) -> str:
    """The line that says why a program failed: pip ends with what follows from that."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern in REASONS:
        for line in lines:
            if found := re.search(pattern, line):
                return (found[found.lastindex or 0])[:500]
    return (lines[-1:] or ["it printed nothing"])[0][:500]


if __name__ == "__main__":
    main()
