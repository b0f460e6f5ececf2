"""Removal of what a host no longer needs: ended jobs, code of other versions."""

from __future__ import annotations

import os
import shutil
import tempfile

from ringrift_cli.errors import RingriftError
from ringrift_cli.fleet import messages
from ringrift_cli.fleet.agent import jobs
from ringrift_cli.fleet.agent.context import Context, Refusal
from ringrift_cli.fleet.agent.index import Index, note_removal
from ringrift_cli.fleet.agent.layout import CODE, DISMISSED, INNER, JOBS
from ringrift_cli.fleet.agent.shards import read_entries
from ringrift_cli.fleet.agent.supervise import code_folder
from ringrift_cli.fleet.messages import JobState
from ringrift_cli.store.manifest import MANIFEST

RESULTS = ("train", "eval", "cmaes")  # commands whose output is more than games
AT_ONCE = 50  # jobs that are removed after one note
MOST_KEPT = 1000  # jobs that are named with the reason why they stay


def clean(context: Context, request: messages.Clean) -> messages.Cleaned:
    """Removes ended jobs, but those of `keep`; with `code` also other versions if no job is active.

    A job with results stays unless these are asked for, and one that other hosts run.
    """
    index, keep = Index(context), {*request.keep}
    found = messages.Cleaned()
    active = any(job.active for job in index.open)
    if request.code and not active:
        own, parent = os.path.basename(code_folder()), os.path.join(context.work, INNER)
        for name in sorted(os.listdir(parent)):
            if name.startswith(os.path.basename(CODE)) and name != own:
                path = os.path.join(parent, name)
                found.bytes += _size(path)
                found.code.append(name)
                if not request.dry_run:
                    _remove(path)
    names = [job.id for job in index.open if not job.active] + [*index.over]
    for first in range(0, len(names), AT_ONCE):
        chosen = []
        for name in names[first : first + AT_ONCE]:
            context.alive()
            state = jobs.read_state(context, name)
            if state is None or not _is_meant(state, request):
                continue
            why = "its games are not all there" if name in keep else _stays(context, state, request)
            if why is None:
                chosen.append(state)
            elif len(found.kept) < MOST_KEPT:
                found.kept[name] = why
        folders = [os.path.join(context.path(JOBS), state.id) for state in chosen]
        found.bytes += sum(map(_size, folders))
        found.jobs += [state.id for state in chosen]
        if chosen and not request.dry_run:
            note_removal(context, chosen)
            for folder in folders:
                _remove(folder)
    return found


def _is_meant(state: JobState, request: messages.Clean) -> bool:
    right = state.state in request.states and not state.active
    right = right and (request.only is None or state.id in request.only)
    return right and (state.over_s is None or state.over_s >= request.older_s)


def _stays(context: Context, state: JobState, request: messages.Clean) -> str | None:
    """Why a job is not removed; None if it is."""
    command = state.argv[1] if state.argv[:1] == ["ringrift"] and state.argv[1:] else ""
    out = os.path.join(context.path(JOBS), state.id, "out")
    if command in RESULTS and not request.results and os.path.isdir(out):
        return f"its results are only there: {command}"
    manifest = os.path.join(out, MANIFEST)
    if os.path.lexists(manifest):
        try:
            if any(isinstance(entry, str) for _, _, entry in read_entries(manifest, MANIFEST)):
                return "its list of games is damaged"
        except (Refusal, RingriftError, OSError):
            return "its list of games cannot be read"
    return None


def _size(folder: str) -> int:
    """Bytes of the files below a folder; 0 for a link."""
    size = 0
    for place, _folders, names in os.walk(folder):
        size += sum(os.lstat(os.path.join(place, name)).st_size for name in names)
    return 0 if os.path.islink(folder) else size


def _remove(path: str) -> None:
    """Removes a folder, which is whole or has no name, or a link to one."""
    if os.path.islink(path):
        os.unlink(path)
        return
    gone = tempfile.mkdtemp(prefix=".gone-", dir=os.path.dirname(path))
    os.rename(path, os.path.join(gone, "it"))
    shutil.rmtree(gone)


def dismiss(context: Context, request: messages.Dismiss) -> messages.JobStates:
    """Marks ended jobs as seen; their states. `Refusal` for one that is unknown or active."""
    for name in request.ids:
        if jobs.state(context, name).active:
            raise Refusal("active", f"{name} has not ended.")
    for name in request.ids:
        with open(os.path.join(context.path(JOBS), name, DISMISSED), "wb"):
            pass
    return messages.JobStates(jobs=jobs.states(context, request.ids), total=len(request.ids))
