"""What a deploy installs on a host, once at a time, and what it proves there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import FleetError, RemoteError, UsageError
from ringrift_cli.fleet import package
from ringrift_cli.fleet.agent import install
from ringrift_cli.fleet.deploy import Found, lock, planned, requirements
from ringrift_cli.fleet.hosts import Host
from ringrift_cli.fleet.ssh import open_link
from ringrift_cli.system import began
from tests.conftest import Ringrift
from tests.fleet.jobbing import gone
from tests.fleet.servers import Farm
from tests.fleet.stations import Station, program

SOON = 60.0
ROOMY = 100 * 10**9
# A Python of an environment: pip is a program that logs, and sleeps while there is a file `slow`.
STUB = """#!/bin/sh
case "$*" in
*"-m pip"*) echo "$@" >>{folder}/pip.log
    [ -e {folder}/slow ] && {{ echo $$ >{folder}/pid; exec sleep 1000; }}; exit 0;;
*gpu_check.py*) [ -e {folder}/sees ] && exit 0; echo "torch 2.8 sees none" >&2; exit 1;;
*) exec {python} "$@";;
esac
"""


def host(**values: Any) -> Host:
    return Host(name="a", addresses=("127.0.0.1:22",), **values)


def found(**values: Any) -> Found:
    known: dict[str, Any] = {
        "broken": False, "installed": "", "active": [], "free": ROOMY, "driver": None,
        "torch": ["13.0"],
    }  # fmt: skip
    return Found(**{**known, **values})


# ---- what is installed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "torch", "build", "extra"),
    [
        ("13.1", ["13.0"], None, "cu13"),
        ("12.4", ["12.6"], None, "cu12"),  # minor versions are compatible
        ("12.4", ["13.0"], "cu126", "cu12"),
        ("12.6", ["13.0"], "cu126", "cu12"),
        ("14.1", None, "cu130", "cu13"),
        ("12.9", None, "cu128", "cu12"),
        ("13.1", [None], "cu130", "cu13"),  # for the CPU
    ],
)
def test_a_gpu_host_gets_kernels_and_a_torch_that_fit_its_driver(
    driver: str, torch: list[str | None] | None, build: str | None, extra: str
) -> None:
    plan = planned(host(gpus=1), found(driver=driver, torch=torch))
    assert any(f"numba-cuda[{extra}]" in one for one in plan.requirements)
    assert (plan.torch is None) == (build is None)
    assert build is None or plan.torch is not None
    if plan.torch is not None:
        assert plan.torch[-1].endswith(f"/{build}")
    again = planned(host(gpus=1), found(driver=driver, torch=["12.0"], installed=plan.lock))
    assert (again.size, again.torch) == (None, None)


def test_a_host_without_a_gpu_gets_none_of_that() -> None:
    plan = planned(host(), found())
    assert (plan.torch, plan.requirements) == (None, requirements())
    before = planned(host(), found(installed=plan.lock))
    assert before.size is None
    with_gpu = planned(host(gpus=1), found(driver="13.0", installed=plan.lock))
    assert with_gpu.size is not None  # what was installed lacks the kernels


@pytest.mark.parametrize(
    ("gpus", "values", "message"),
    [
        (1, {}, "nvidia-smi there names no CUDA version"),
        (1, {"driver": "11.8"}, "its driver is for CUDA 11.8, the kernels need 12.0 or later"),
        (1, {"driver": "12.8", "free": 9 * 10**9}, "9.0 GB are free in ~/ringrift, and the"),
        (0, {"torch": None, "free": 9 * 10**9}, "installation needs 14"),
        (0, {"free": 10**9}, "1.0 GB are free in ~/ringrift, and the installation needs 2"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_fetched(
    gpus: int, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(RemoteError, match=message):
        planned(host(gpus=gpus), found(**values))


class Metadata:
    """Distributions as other build tools than ours describe them."""

    def __init__(self, name: str, version: str) -> None:
        self.metadata, self.version = {"Name": name}, version


@pytest.mark.parametrize(
    "line", ["RingRift[gpu]>=1", "ringrift", "ringrift @ https://x/y.whl", " ringrift ; python > 3"]
)
def test_an_index_is_never_asked_for_our_name(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extras = ['ringrift[onnx]; extra=="dev"', "Ringrift[gpu] ; extra == 'all'", "numpy>=2"]
    monkeypatch.setattr(metadata, "requires", lambda _name: extras)
    assert requirements() == ["numpy>=2"]
    every = [Metadata("RingRift", "1"), Metadata("numpy", "2.1+local"), Metadata("torch", "2")]
    monkeypatch.setattr(metadata, "distributions", lambda: every)
    assert lock() == "numpy==2.1\n"
    assert "ringrift" not in planned(host(gpus=1), found(driver="13.0")).lock
    monkeypatch.setattr(metadata, "requires", lambda _name: ["numpy", line])
    with pytest.raises(UsageError, match="expected other packages"):
        requirements()


def test_without_metadata_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_name: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", fails)
    with pytest.raises(UsageError, match="runs here without being installed"):
        requirements()


# ---- on the host --------------------------------------------------------------------------------


class Work:
    """A work folder with code, on which the script runs as a host would run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = folder / ".ringrift" / "code-0"
        (self.code / "ringrift_cli" / "game").mkdir(parents=True)
        version = "def rules_hash(): return 'r'\ndef codec_hash(): return 'c'\n"
        (self.code / "ringrift_cli" / "game" / "version.py").write_text(version)
        (self.code / "torch.py").write_text("")
        for name in ("ringrift_cli", "ringrift_cli/game"):
            (self.code / name / "__init__.py").touch()

    def stub(self) -> None:
        """An environment whose pip is none."""
        name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        (self.folder / "venv" / "lib" / name).mkdir(parents=True)
        (self.folder / "venv" / "bin").mkdir()
        text = STUB.format(folder=self.folder, python=sys.executable)
        program(self.folder / "venv" / "bin" / "python", text)

    def start(self, operation: str, **request: Any) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-I", install.__file__, operation, ".ringrift/code-0"]
        process = subprocess.Popen(
            words,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        known = {"gpus": 0, "folders": [], "lock": "# x\n", "requirements": ["pip"]}
        known |= {"torch": None, "packages": True}
        assert process.stdin is not None
        process.stdin.write(json.dumps({**known, **request}).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, operation: str, **request: Any) -> tuple[Any, str]:
        """Reply and error."""
        out, err = self.start(operation, **request).communicate(timeout=120)
        return (json.loads(out) if out else None), err.decode()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def away(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/python3.11")


def unrunnable(path: Path) -> None:
    path.unlink()
    program(path, "#!/nowhere/python3.11\n")


def without_library(path: Path) -> None:
    path.unlink()
    program(path, "#!/bin/sh\necho 'error while loading shared libraries' >&2; exit 127\n")


def of_another_version(path: Path) -> None:
    path.unlink()
    program(path, "#!/bin/sh\necho python3.99\n")


def test_an_environment_that_works_stays(work: Work) -> None:
    work.stub()
    assert work.run("look")[0]["broken"] is False
    assert json.loads(work.run("install")[0]["printed"]) == {"rules": "r", "codec": "c"}
    assert (work.folder / "venv" / "ringrift-lock.txt").read_text() == "# x\n"
    asked = len((work.folder / "pip.log").read_text().splitlines())
    assert work.run("install")[1] == ""
    assert len((work.folder / "pip.log").read_text().splitlines()) == asked  # nothing to do


@pytest.mark.parametrize("spoil", [away, unrunnable, without_library, of_another_version])
def test_an_environment_whose_python_is_gone_is_seen(
    work: Work, spoil: Callable[[Path], None]
) -> None:
    work.stub()
    spoil(work.folder / "venv" / "bin" / "python")
    assert work.run("look")[0]["broken"] is True
    shutil.rmtree(work.folder / "venv")
    assert work.run("look")[0]["broken"] is True


def test_an_environment_whose_python_is_gone_is_made_anew(work: Work) -> None:
    work.stub()
    (work.folder / "venv" / "ringrift-lock.txt").write_text("# x\n")  # as if nothing had changed
    away(work.folder / "venv" / "bin" / "python")
    reply, error = work.run("install")
    assert error == ""
    assert json.loads(reply["printed"]) == {"rules": "r", "codec": "c"}
    assert (
        not (work.folder / "venv" / "bin" / "python").is_symlink()
        or (work.folder / "venv" / "bin" / "python").exists()
    )


def test_packages_that_are_gone_are_installed_again(work: Work) -> None:
    work.stub()
    assert work.run("install")[1] == ""
    asked = len((work.folder / "pip.log").read_text().splitlines())
    (work.code / "torch.py").write_text(  # as with an image that has lost a package
        "import os\nif not os.path.exists('back'): raise ModuleNotFoundError('numpy')\n"
    )
    assert work.run("install", packages=False) == ({"printed": None}, "")  # not announced
    assert len((work.folder / "pip.log").read_text().splitlines()) == asked
    reply, error = work.run("install")
    assert (reply, "numpy" in error) == (None, True)
    assert len((work.folder / "pip.log").read_text().splitlines()) == asked + 1
    (work.folder / "back").touch()
    assert work.run("install")[1] == ""


def beating(work: Work, age: float) -> None:
    """A job of another host, whose heartbeat is so old."""
    folder = work.folder / "jobs" / "one"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"job": {"lease_s": 60}}))
    (folder / "heartbeat").write_text(json.dumps({"child": 1 << 22, "child_began": 5}))
    os.utime(folder / "heartbeat", (time.time() - age,) * 2)


def test_packages_stay_under_jobs_of_whatever_host(work: Work) -> None:
    work.stub()
    beating(work, 5)
    assert work.run("look")[0]["active"] == ["one"]
    assert work.run("install")[1].strip() == "one would lose the packages under it"
    old = work.folder / ".ringrift" / "code-1"
    old.mkdir()
    (work.folder / "venv" / "ringrift-lock.txt").write_text("# x\n")
    assert work.run("install")[1] == ""
    assert old.exists()
    beating(work, 70)
    assert work.run("install")[1] == ""
    assert not old.exists()
    assert work.code.exists()


def pip_of(work: Work) -> int:
    """The process of a slow pip."""
    end = time.monotonic() + SOON
    path = work.folder / "pid"
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(path.read_text())


def test_one_deploy_at_a_time_and_nothing_of_a_killed_one(work: Work) -> None:
    work.stub()
    (work.folder / "slow").touch()
    first = work.start("install")
    pip = pip_of(work)
    reply, error = work.run("install")
    assert reply is None
    assert f"another deploy is running there (process {first.pid} of" in error
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert began(pid=pip) is not None  # what it started goes on
    (work.folder / "slow").unlink()
    assert work.run("install")[1] == ""
    gone(pip)


def test_pip_ends_with_the_connection(work: Work) -> None:
    work.stub()
    (work.folder / "slow").touch()
    process = work.start("install")
    pip = pip_of(work)
    assert process.stdout is not None
    process.stdout.close()  # as sshd does
    gone(pip)
    process.stdout = None
    assert b"the connection ended" in process.communicate(timeout=SOON)[1]


# ---- with SSH -----------------------------------------------------------------------------------


def test_pip_ends_when_ssh_is_cut(farm: Farm, work: Work) -> None:
    work.stub()
    (work.folder / "slow").touch()
    host = farm.host(farm.server("desk"))
    request = {"gpus": 0, "folders": [], "lock": "# x\n", "requirements": ["pip"], "torch": None}
    request["packages"] = True
    script = f"{sys.executable} -I {install.__file__} install .ringrift/code-0"
    client = open_link(host, None, deadline_s=SOON, agent=False)

    def deploy() -> None:
        with pytest.raises(FleetError):
            client.run(f"cd {work.folder} && {script}", json.dumps(request).encode(), 300)

    thread = threading.Thread(target=deploy)
    thread.start()
    pip = pip_of(work)
    client.close()
    gone(pip)
    thread.join()


def test_a_gpu_host_is_ready_when_a_kernel_has_run(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("desk")
    shutil.rmtree(server.work / "venv")
    (server.work / ".ringrift" / "proved").unlink()
    held = Work(server.folder / "stub")
    held.stub()
    (server.work / "venv").symlink_to(held.folder / "venv")
    smi = program(server.folder / "nvidia-smi", "#!/bin/sh\necho '| CUDA Version: 12.4 |'\n")
    python = f'#!/bin/sh\nPATH={smi.parent}:$PATH exec {sys.executable} "$@"\n'
    own = str(program(server.folder / "python", python))
    here.know(server.entry(gpus=1, python=own))
    run = ringrift("fleet", "deploy")
    assert run.code == 1
    assert "desk: installing torch, packages: up to 6 GB to download" in run.err
    assert "desk: its GPUs cannot be used: torch 2.8 sees none" in run.err
    first, second = (held.folder / "pip.log").read_text().splitlines()
    assert first.endswith("torch>=2.6 --index-url https://download.pytorch.org/whl/cu126")
    assert "numba-cuda[cu12]>=0.30" in second
    assert not (server.work / ".ringrift" / "proved").exists()
    (held.folder / "sees").touch()
    run = ringrift("fleet", "deploy")
    assert (server.work / ".ringrift" / "proved").read_text() == "1"
    assert (run.code, run.err.count("error")) == (0, 0), run.err
    assert f"code {package.code_hash()[:16]}" in run.out
