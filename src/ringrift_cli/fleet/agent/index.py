"""Index of the jobs of a host: what can be said of many thousand ended ones without reading them.

An ended job does not change, so a short row of each is remembered for as long as its folder is what
it was. The index may be lost or damaged at any time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent import slots
from ringrift_cli.fleet.agent.context import Context
from ringrift_cli.fleet.agent.layout import COUNTS, EXIT, JOB, JOBS, REMOVED
from ringrift_cli.fleet.messages import JobState
from ringrift_cli.store.files import write_whole

BAD = ("failed", "lost")


class Brief(msgspec.Struct, array_like=True):
    """What is remembered of an ended job."""

    mark: list[int]  # inode and time of change of its folder
    state: str
    loop: str | None
    dismissed: bool
    games: int
    shards: int


class Removed(msgspec.Struct):
    """What is remembered of all jobs that were removed."""

    games: int = 0
    ended: float | None = None  # when the last of them was alive, unix seconds
    counted: dict[str, int] = {}  # jobs counted last, which may still be there: time of change, ns


def removed(context: Context) -> Removed:
    """The note of removed jobs, with those still there in `counted`."""
    note = slots.read(context.inner(REMOVED), Removed) or Removed()
    note.counted = {n: at for n, at in note.counted.items() if _changed(context, n) == at}
    return note


def note_removal(context: Context, jobs: Sequence[JobState]) -> None:
    """Counts ended jobs as removed, before they are; each once, whatever ends this process.

    `OutputError` if that cannot be written.
    """
    note = removed(context)
    ages = [job.over_s for job in jobs if job.over_s is not None]
    note.games += sum(job.games for job in jobs if job.id not in note.counted)
    if ages:
        note.ended = max(note.ended or 0.0, time.time() - min(ages))
    note.counted |= {job.id: _changed(context, job.id) for job in jobs}
    write_whole(Path(context.inner(REMOVED)), msgspec.json.encode(note))


def _changed(context: Context, name: str) -> int:
    """When the folder of a job changed, in ns; 0 if it is not there."""
    try:
        return os.stat(os.path.join(context.path(JOBS), name)).st_mtime_ns
    except FileNotFoundError:
        return 0


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
        self.removed = removed(context)
        self.unread = 0
        changed = False
        for over, mark, name in _scan(context, kept):
            brief = kept.get(name)
            if over and brief is not None and brief.mark == mark:
                self.over[name] = brief
                continue
            if over and until is not None and time.monotonic() > until:
                self.unread += 1
                continue
            context.alive()
            found = jobs.read_state(context, name)
            if found is None:
                continue
            if not over:
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
        """Games of all jobs, removed ones included."""
        games = {job.id: job.games for job in self.open}
        games |= {name: brief.games for name, brief in self.over.items()}
        return self.removed.games + sum(
            count for name, count in games.items() if name not in self.removed.counted
        )

    def chosen(self, states: Sequence[str], loop: str | None) -> list[str]:
        """Names of jobs in one of the states, by default in any, that are open or of the loop."""
        found = [job.id for job in self.open if not states or job.state in states]
        for name, brief in self.over.items():
            if (not states or brief.state in states) and (loop is None or brief.loop == loop):
                found.append(name)
        return found

    def notable(self, most: int) -> list[str]:
        """Names of the ended jobs up to a limit: failures first, then the newest."""
        bad = [n for n, brief in self.over.items() if brief.state in BAD and not brief.dismissed]
        return [*dict.fromkeys([*bad, *self.over])][:most]


def _scan(context: Context, kept: Mapping[str, Brief]) -> list[tuple[bool, list[int], str]]:
    """Whether they have an end, marks and names of all jobs: those without, then the newest, first.

    Of a job that is known to have ended only the folder is looked at.
    """
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(context.path(JOBS)) as entries:
        for entry in entries:
            name, path = entry.name, entry.path
            if name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            status = entry.stat()
            mark = [status.st_ino, status.st_mtime_ns]
            brief = kept.get(name)
            if brief is not None and brief.mark == mark:
                found.append((True, mark, name))
            elif messages.JOB_NAME.fullmatch(name) and os.path.exists(os.path.join(path, JOB)):
                found.append((os.path.exists(os.path.join(path, EXIT)), mark, name))
    return sorted(found, key=lambda row: (row[0], -row[1][1], row[2]))
