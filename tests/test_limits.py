"""What a process may use of its machine, as control groups of both versions limit it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringrift_cli import limits
from ringrift_cli.game.playout import available_threads
from ringrift_cli.runtime.machine import free_bytes
from ringrift_cli.selfplay.generate import devices_named

GB = 1 << 30
MEMINFO = f"MemTotal: {64 << 20} kB\nMemFree: 1 kB\nMemAvailable: {48 << 20} kB\n"
V1 = "7:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of 8 cores and 64 GB, whose control groups are a folder."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    monkeypatch.setattr(limits, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))
    limits.quota.cache_clear()
    yield tmp_path
    limits.quota.cache_clear()


def lay(machine: Path, own: str, **files: str) -> None:
    """Writes what the kernel would show; `__` in a name stands for a slash."""
    (machine / "own").write_text(own)
    for name, text in files.items():
        path = machine / "cgroup" / name.replace("__", "/").replace("_OF_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_a_machine_without_groups(machine: Path) -> None:
    assert limits.cores() == 8
    assert limits.memory() == (64 * GB, 48 * GB)


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
    assert limits.cores() == available_threads() == expected
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
    assert limits.memory() == (4 * GB, GB)
    assert free_bytes("cpu") == GB
    first = next(iter(files)).replace("max", "stat").replace("limit_in_bytes", "stat")
    lay(machine, own, **{first: f"anon 5\ninactive_file {2 * GB}"})
    assert limits.memory() == (4 * GB, 3 * GB)


def test_no_limit_is_none(machine: Path) -> None:
    lay(machine, V1, memory__memory_OF_limit_in_bytes="9223372036854771712")
    assert limits.memory() == (64 * GB, 48 * GB)
    lay(machine, "0::/\n", memory_OF_max="max")
    assert limits.memory() == (64 * GB, 48 * GB)
