"""What a process may use of its machine, as control groups of both versions limit it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringrift_cli import system
from ringrift_cli.fleet import probe
from ringrift_cli.fleet.agent import claims
from ringrift_cli.fleet.agent.context import Refusal
from ringrift_cli.game.playout import available_threads
from ringrift_cli.runtime.machine import free_bytes
from ringrift_cli.selfplay.generate import devices_named
from tests.fleet.jobbing import ended, job, start
from tests.fleet.remotes import remote
from tests.fleet.servers import furnish

GB = 1 << 30
MEMINFO = f"MemTotal: {64 << 20} kB\nMemFree: 1 kB\nMemAvailable: {48 << 20} kB\n"
V1 = "7:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of 8 cores and 64 GB, whose control groups are a folder."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    monkeypatch.setattr(system, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(system, "PROC", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))
    system.quota.cache_clear()
    yield tmp_path
    system.quota.cache_clear()


def lay(machine: Path, own: str, **files: str) -> None:
    """Writes what the kernel would show; `__` in a name stands for a slash."""
    (machine / "proc/self/cgroup").write_text(own)
    for name, text in files.items():
        path = machine / "cgroup" / name.replace("__", "/").replace("_OF_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_a_machine_without_groups(machine: Path) -> None:
    assert system.cores() == 8
    assert system.memory() == (64 * GB, 48 * GB)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu_OF_max": "100000 100000"}, 1),
        ("0::/\n", {"cpu_OF_max": "max 100000"}, 8),
        ("0::/\n", {"cpu_OF_max": "150000 100000"}, 2),
        ("0::/\n", {"cpu_OF_max": "20000 100000"}, 1),
        ("0::/a/b\n", {"a__cpu_OF_max": "300000 100000", "a__b__cpu_OF_max": "max 1"}, 3),
        ("0::/../../x\n", {"cpu_OF_max": "200000 100000"}, 2),
        (V1, {"cpu,cpuacct__cpu_OF_cfs_quota_us": "-1"}, 8),
        (
            V1,
            {"cpu__cpu_OF_cfs_quota_us": "200000", "cpu__cpu_OF_cfs_period_us": "100000"},
            2,
        ),
        (
            V1,
            {
                "cpu,cpuacct__docker__a__cpu_OF_cfs_quota_us": "50000",
                "cpu,cpuacct__docker__a__cpu_OF_cfs_period_us": "50000",
            },
            1,
        ),
    ],
)
def test_aquota_is_as_many_cores_everywhere(
    machine: Path, own: str, files: dict[str, str], expected: int
) -> None:
    lay(machine, own, **files)
    assert system.cores() == available_threads() == expected
    assert devices_named("none") == ("cpu",) * expected


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/\n", {"memory_OF_max": f"{4 * GB}", "memory_OF_current": f"{3 * GB}"}),
        (
            "0::/a/b\n",
            {"a__memory_OF_max": f"{4 * GB}", "a__memory_OF_current": f"{3 * GB}",
             "a__b__memory_OF_max": "max"},
        ),
        (
            V1,
            {"memory__memory_OF_limit_in_bytes": f"{4 * GB}",
             "memory__memory_OF_usage_in_bytes": f"{3 * GB}"},
        ),
    ],
)  # fmt: skip
def test_a_memory_limit_is_the_memory(machine: Path, own: str, files: dict[str, str]) -> None:
    lay(machine, own, **files)
    assert system.memory() == (4 * GB, GB)
    assert free_bytes("cpu") == GB
    first = next(iter(files)).replace("max", "stat").replace("limit_in_bytes", "stat")
    lay(machine, own, **{first: f"anon 5\ninactive_file {2 * GB}"})
    assert system.memory() == (4 * GB, 3 * GB)


def test_no_limit_is_none(machine: Path) -> None:
    lay(machine, V1, memory__memory_OF_limit_in_bytes="9223372036854771712")
    assert system.memory() == (64 * GB, 48 * GB)
    lay(machine, "0::/\n", memory_OF_max="max")
    assert system.memory() == (64 * GB, 48 * GB)


# ---- a machine without /proc, affinities and what else only Linux has ----------------------------

MAC = Path(__file__).parent / "mac"
SYSCTL = """#!/bin/sh
case $2 in
  hw.memsize) echo 17179869184 ;;
  hw.ncpu) echo 8 ;;
  kern.bootsessionuuid) echo 0F3A2B1C-9E4D-4C5B-8A7F-1234567890AB ;;
  kern.boottime) echo "{ sec = $(($(date +%s) - 5000)), usec = 0 } Mon Nov 30 10:00:00 2026" ;;
  machdep.cpu.brand_string) echo Apple M2 Pro ;;
  vm.loadavg) echo "{ 1.50 1.25 1.00 }" ;;
  *) exit 1 ;;
esac
"""
VM_STAT = """#!/bin/sh
cat << END
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                                1000.
Pages active:                            210333.
Pages inactive:                            2000.
Pages speculative:                          500.
Pages throttled:                              0.
Pages purgeable:                           3214.
END
"""


@pytest.fixture
def mac(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds what macOS has."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sysctl", SYSCTL), ("vm_stat", VM_STAT)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    source = Path(system.__file__).parents[1]
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{MAC}:{source}:{source.parent}",
        "RINGRIFT_THREADS": "1",
    }


def there(mac: dict[str, str], code: str, *words: object) -> str:
    """What a Python on such a machine prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env=mac, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_macos_says_of_itself(mac: dict[str, str]) -> None:
    code = """
import json, os
from ringrift_cli import system
from ringrift_cli.fleet import probe
from ringrift_cli.fleet.agent import claims
from ringrift_cli.fleet.agent.context import Refusal
with system.pinned():
    cores = system.cores()
system.read_from_disk(os.open("/", os.O_RDONLY))
print(json.dumps([
    system.memory()[1], system.processor(), [*system.processor_flags()], system.boot_id(),
    system.peak_memory(), system.since_boot(), cores,
]))
"""
    available, name, flags, boot, peak, up, cores = json.loads(there(mac, code))
    assert cores == os.cpu_count()
    assert available in {3500 * page for page in (os.sysconf("SC_PAGE_SIZE"), 16384)}
    assert (name, flags, boot) == ("Apple M2 Pro", [], "0F3A2B1C-9E4D-4C5B-8A7F-1234567890AB")
    assert 1e6 < peak < 1e12
    assert up > 0


def test_a_process_is_known_by_its_start_on_macos(mac: dict[str, str]) -> None:
    code = """
import os, subprocess, time
from ringrift_cli.system import began, lives
child = subprocess.Popen(["sleep", "100"])
start = began(child.pid)
assert abs(start - time.time()) < 60 and began(child.pid) == start and lives(child.pid, start)
child.kill()
os.waitpid(child.pid, 0) if began(child.pid) is None else child.wait()
assert began(child.pid) is None and not lives(child.pid, start) and began(1 << 22) is None
"""
    there(mac, code)


def test_a_system_that_says_nothing_is_an_error(mac: dict[str, str]) -> None:
    code = "from ringrift_cli import system; from ringrift_cli.errors import RingriftError\n"
    code += "try: system.memory()\nexcept RingriftError as error: print(error.message)"
    told = there({**mac, "PATH": "/nowhere"}, code)
    assert "neither /proc nor vm_stat" in told


def test_a_probe_understands_macos(mac: dict[str, str]) -> None:
    """`nproc` and /proc are away; the rest of the script is that of any host."""
    script = probe.script(sys.executable, "/").replace("/proc/", "/none/").replace("nproc", "none")
    done = subprocess.run(["sh", "-c", script], env=mac, capture_output=True, text=True, check=True)
    facts, _ = probe.parse(done.stdout.partition("\n")[2])
    assert (facts.cores, facts.load, facts.ram_total) == (8, [1.5, 1.25, 1.0], 16 * GB)
    assert facts.ram_available == 3500 * 16384
    assert facts.uptime_s == pytest.approx(5000, abs=60)


def test_a_claim_is_a_locked_file_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "ABSTRACT", False)
    monkeypatch.setattr(claims, "FOLDER", str(tmp_path))
    held = claims.claim([], [])
    with pytest.raises(Refusal, match="The CPU is held by another job"):
        claims.claim([], [])
    inherited = subprocess.Popen(["sleep", "100"], pass_fds=held.descriptors)
    held.close()
    with pytest.raises(Refusal, match="held"):
        claims.claim([], [])
    inherited.kill()
    inherited.wait()
    claims.claim([], []).close()


def test_the_agent_and_a_job_live_on_macos(mac: dict[str, str], tmp_path: Path) -> None:
    """The supervisor finds it too: a Python that ignores -I runs all of them."""
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -I ] && shift\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    away = f"import sys; sys.executable = {str(python)!r}; "
    away += "sys.path.insert(0, sys.argv[1]); from ringrift_cli.fleet.agent import claims; "
    away += f"claims.ABSTRACT, claims.FOLDER = False, {str(tmp_path)!r}; "
    furnish(tmp_path / "work", python=str(python))
    with remote(tmp_path / "work", before=away, env=mac) as half:
        facts = half.ask("facts")
        assert (facts["ram_available"] % 3500, facts["cores"]) == (0, os.cpu_count())
        found = start(half, job("one", exclusive=True))
        assert found["state"] == "running"
        assert half.ask("start", job=job("two", exclusive=True))["kind"] == "taken"
        assert half.ask("stop", id="one", insist=True)["end"] == "ok"
        ended(half)
        start(half, job("two", ["sh", "-c", "sleep 1; exit 3"], exclusive=True))
        assert ended(half, "two")["code"] == 3


def test_the_learning_loop_runs_on_macos(mac: dict[str, str], tmp_path: Path) -> None:
    code = """
from pathlib import Path
import ringrift_cli
from ringrift_cli.cli.app import main
model = str(next((Path(ringrift_cli.__file__).parent / "shipped" / "hex8-2p").glob("*.json")))
for words in (
    ["env"],
    ["selfplay", "--model", model, "--games", "3", "--sims", "2", "--fast-sims", "1",
     "--out", "games", "--gpus", "none", "--concurrent", "4"],
    ["train", "--data", "games", "--out", "run", "--size", "tiny", "--set", "train.batch=8",
     "--steps", "2"],
    ["cycle", "--dry-run"],
    ["status"],
):
    code = main(words)
    assert code == 0, (words, code)
"""
    (tmp_path / "work").mkdir()
    there(mac, f"import os; os.chdir({str(tmp_path / 'work')!r})\n{code}")
    assert [*(tmp_path / "work" / "run").glob("*.safetensors")]
