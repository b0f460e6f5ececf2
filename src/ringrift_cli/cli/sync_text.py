"""What `ringrift sync` prints for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ringrift_cli.cli.output import counted
from ringrift_cli.fleet.synced import in_step
from ringrift_cli.text import size

MOST = 20  # lines of details of one host
Row = Mapping[str, Any]


def planned(rows: Sequence[Row]) -> str:
    """What a pull would bring."""
    return _lines((row, _planned(row)) for row in rows)


def _planned(row: Row) -> str:
    more = f"{counted(row['missing'], 'file')} to bring, {size(row['bytes'])}"
    return f"{more}; it has {row['listed']:,}"


def pulled(rows: Sequence[Row]) -> str:
    """What came, host by host."""
    return _lines((row, _pulled(row)) for row in rows)


def _pulled(row: Row) -> str:
    parts = []
    for kind in ("shards", "checkpoints"):
        told = row.get(kind)
        if told is None:
            continue
        part = f"{counted(told['files'], kind[:-1])} new"
        if kind == "shards":
            part += f" of {told['listed']:,}"
        parts.append(part + (f", {size(told['bytes'])}" if told["files"] else ""))
    return "; ".join(parts) or "nothing was asked"


def pushed(rows: Sequence[Row]) -> str:
    """What went, host by host."""
    return _lines((row, _pushed(row)) for row in rows)


def _pushed(row: Row) -> str:
    confirmed = counted(len(row["confirmed"]), "file")
    sent = f"{counted(row['files'], 'file')} sent, {size(row['bytes'])}"
    return f"{sent}; {confirmed} confirmed by hash"


def verified(rows: Sequence[Row]) -> str:
    """What was compared, host by host."""
    return _lines((row, _verified(row)) for row in rows)


def _verified(row: Row) -> str:
    read = f"{counted(row['files'], 'file')} read at both ends, {size(row['bytes'])}"
    return f"{read}: {counted(len(row['differences']), 'difference')}"


def standing(rows: Sequence[Row]) -> str:
    """How far apart, host by host."""
    return _lines((row, _standing(row)) for row in rows)


def _standing(row: Row) -> str:
    synced = row["synced"]
    text = f"{counted(row['listed'], 'file')} there, {size(row['listed_bytes'])}; "
    text += (
        f"{row['missing_here']:,} not here, {size(row['missing_here_bytes'])}"
        if row["missing_here"]
        else "all here"
    )
    if row["models_behind"]:
        text += f"; {counted(len(row['models_behind']), 'model file')} behind there"
    if row["kept_out"]:
        text += f"; {row['kept_out']:,} in quarantine"
    time = in_step(synced or {})
    return text + f"; in step {time[:16].replace('T', ' ') if time else 'never'}"


def _lines(told: Iterable[tuple[Row, str]]) -> str:
    rows = list(told)
    width = max((len(row["host"]) for row, _ in rows), default=0)
    lines = []
    for row, text in rows:
        details = list(_details(row))
        said = row.get("error") or text
        if row.get("stopped"):
            said = f"stopped; {text}"
        lines.append(f"{row['host']:<{width}}  {said}")
        lines += [f"  {detail}" for detail in details[:MOST]]
        if len(details) > MOST:
            lines.append(f"  and {len(details) - MOST:,} more (--json)")
    return "\n".join(lines)


def _details(row: Row) -> Iterable[str]:
    """What else there is to say of a host."""
    for part in (row, row.get("shards") or {}, row.get("checkpoints") or {}):
        for bad in part.get("quarantined", ()):
            kept = "put away" if bad["kept_out"] else "fetched again"
            yield f"{kept}: {bad['name']}: {bad['reason']}"
        yield from part.get("differences", ())
        yield from part.get("notes", ())
