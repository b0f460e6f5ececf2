"""Index of the jobs of a host: what can be said of many thousand ended ones without reading them.

An ended job does not change, so a short row of each is remembered for as long as its files are what
they were. The index may be lost or damaged at any time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

import msgspec

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent import slots
from ringrift_cli.fleet.agent.context import Context
from ringrift_cli.fleet.agent.layout import COUNTS, EXIT, JOB, JOBS
from ringrift_cli.fleet.messages import JobState

BAD = ("failed", "lost")


class Brief(msgspec.Struct, array_like=True):
    """What is remembered of an ended job."""

    mark: list[int]  # of its folder and files
    state: str
    loop: str | None
    dismissed: bool
    games: int
    shards: int


class Index:
    """All jobs: the states of those without an end, and briefs of the ended ones, newest first.

    If the monotonic time `until` comes first, some ended jobs are missing (`unread`).
    """

    def __init__(self, context: Context, until: float | None = None) -> None:
        from ringrift_cli.fleet.agent import jobs

        place = context.inner(COUNTS)
        kept: dict[str, Brief] = {}
        with contextlib.suppress(msgspec.ValidationError):
            kept = slots.read(place, dict[str, Brief]) or {}
        self.open: list[JobState] = []
        self.over: dict[str, Brief] = {}
        self.unread = 0
        changed = False
        for name, mark in _scan(context):
            brief = kept.get(name)
            if mark is not None and brief is not None and brief.mark == mark:
                self.over[name] = brief
                continue
            if until is not None and time.monotonic() > until:
                self.unread += 1
                continue
            context.alive()
            found = jobs.read_state(context, name)
            if found is None:
                continue
            if mark is None:
                self.open.append(found)
                continue
            loop, dismissed = found.meta.loop, found.dismissed
            brief = Brief(mark, found.state, loop, dismissed, found.games, found.shards)
            self.over[name], changed = brief, True
        if changed or len(kept) > len(self.over) + self.unread:
            slots.write_cache(place, {**kept, **self.over} if self.unread else self.over)

    def __len__(self) -> int:
        return len(self.open) + len(self.over) + self.unread

    @property
    def games(self) -> int:
        """Games of all jobs."""
        return sum(job.games for job in self.open) + sum(one.games for one in self.over.values())

    def chosen(self, states: Sequence[str], loop: str | None) -> list[str]:
        """Names of jobs in one of the states, by default in any, that are open or of the loop."""
        found = [job.id for job in self.open if not states or job.state in states]
        for name, brief in self.over.items():
            if (not states or brief.state in states) and (loop is None or brief.loop == loop):
                found.append(name)
        return found

    def notable(self, most: int) -> list[str]:
        """Names of at most so many jobs: open ones first, then failures, then the newest."""
        bad = [n for n, brief in self.over.items() if brief.state in BAD and not brief.dismissed]
        return [*dict.fromkeys([*(job.id for job in self.open), *bad, *self.over])][:most]


def _scan(context: Context) -> list[tuple[str, list[int] | None]]:
    """All jobs with the marks of ended ones: those without an end, then the newest, first."""
    found: list[tuple[bool, int, str, list[int] | None]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(context.path(JOBS)) as entries:
        for entry in entries:
            if not (
                messages.JOB_NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ):
                continue
            try:
                job, folder = os.stat(os.path.join(entry.path, JOB)), entry.stat()
            except OSError:  # being made, or being removed
                continue
            mark = None
            with contextlib.suppress(OSError):
                end = os.stat(os.path.join(entry.path, EXIT))
                mark = [folder.st_ino, folder.st_mtime_ns]
                mark += [at for one in (job, end) for at in (one.st_mtime_ns, one.st_size)]
            found.append((mark is not None, -folder.st_mtime_ns, entry.name, mark))
    return [(name, mark) for _over, _age, name, mark in sorted(found, key=lambda row: row[:3])]
