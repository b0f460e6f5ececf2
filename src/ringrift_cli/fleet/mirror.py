"""A folder of a host and one here made the same: what is missing comes, and is hashed on arrival.

For a run that is worked on at one end at a time, as a training run is. The file that says what the
others mean goes last, so that a folder whose transfer was cut off looks like the older one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ringrift_cli.errors import BadOutput
from ringrift_cli.fleet import listing
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.transfer import (
    Meter,
    Stopped,
    Waiting,
    Wanted,
    fetch,
    hash_of,
    move_in,
    put,
    sync_folder,
)

MOST_TRIES = 3  # of a file that does not come as it was


def send_folder(link: Link, folder: Path, there: str, last: str, meter: Meter) -> int:
    """Brings the files of a folder to a host; how many. The host hashes each that it holds."""
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    paths.sort(key=lambda path: path == folder / last)
    sent = 0
    for path in paths:
        name = f"{there}/{path.relative_to(folder).as_posix()}"
        sent += bool(put(link, path, name, hash_of(path), meter, replace=True))
    return sent


def bring_folder(
    link: Link,
    there: str,
    folder: Path,
    last: str,
    meter: Meter,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Brings the files of a host's folder here; how many were new.

    `BadOutput` if one of them does not hash to what the host says, however often it comes;
    `Stopped` if it was asked to stop.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted, targets = [], {}
    for path, size, digest in listing.files(link, there, hashed=True):
        target = folder / PurePosixPath(path).relative_to(there)
        if not (target.is_file() and hash_of(target) == digest):
            wanted.append(Wanted(path, size, digest))
            targets[path] = target
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=folder) as held:
        _fetch_all(link, wanted, Path(held), meter, should_stop)
        for one in sorted(wanted, key=lambda one: targets[one.path] == folder / last):
            part = one.part(Path(held))
            copy = part.with_suffix(".copy")  # two names may have the same content
            copy.write_bytes(part.read_bytes())
            move_in(copy, targets[one.path])
            sync_folder(targets[one.path].parent)
    return len(wanted)


def _fetch_all(
    link: Link,
    wanted: list[Wanted],
    held: Path,
    meter: Meter,
    should_stop: Callable[[], bool],
) -> None:
    """Fetches files, each until it hashes to what the host says of it."""
    left = list({one.sha256: one for one in wanted}.values())
    meter.remain(sum(one.size for one in left))
    for _ in range(MOST_TRIES):
        wrong = {}
        for got in fetch(link, Waiting(left), held, meter, should_stop):
            if got.wrong is not None or hash_of(got.part) != got.wanted.sha256:
                wrong[got.wanted] = got.wrong or "it hashes to something else"
                got.part.unlink(missing_ok=True)
        if should_stop():
            raise Stopped
        if not wrong:
            return
        left = list(wrong)
    one, why = next(iter(wrong.items()))
    raise BadOutput(f"{link.host}: {one.path} did not come as it was said to be: {why}.")
