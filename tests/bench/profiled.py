"""Profiles for tests."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ringrift_cli.runtime.profiles import ProfileEntry, versions

ENTRY = ProfileEntry(
    "selfplay",
    "hex8",
    2,
    "tiny",
    batch=24,
    threads=None,
    precision=None,
    throughput=1000.0,
    unit="evaluations/s",
    spread=0.1,
    memory=10**9,
    rounds=3,
    seconds=2.0,
    date="2026-11-21T10:00:00+00:00",
    **versions(),
)
TRAINING = replace(ENTRY, kind="train", batch=256, threads=1, precision="bfloat16")


def entry(**changed: Any) -> ProfileEntry:
    """`ENTRY` with other values."""
    return replace(ENTRY, **changed)
