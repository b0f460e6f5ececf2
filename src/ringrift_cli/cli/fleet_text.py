"""What `ringrift fleet` prints for people."""

from __future__ import annotations

import datetime as dt
import io
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ringrift_cli.cli.output import counted

GB = 1e9
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
WIDEST = 1000  # nothing is cut off: a narrow terminal wraps lines
MOST_COMMAND = 70  # characters of a command line
MOST_POOLS = 2  # that are shown with their champion
MOST_DAYS = 7  # of which the costs are shown
RIGHT = {"ms", "gpu", "load", "ram", "disk", "games", "games/h", "$/h", "today", "$", "run", "beat"}


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool, marked: Sequence[bool]
) -> str:
    """A plain table; rows that are marked are red where there is colour."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        right = name in RIGHT
        drawn.add_column(name, justify="right" if right else "left", no_wrap=name != "state")
    for cells, bad in zip(rows, marked, strict=True):
        # As Text: a command line may have [words] that rich would take for markup.
        drawn.add_row(*(Text(plain(cell)) for cell in cells), style="red" if bad else None)
    file = io.StringIO()
    console = Console(file=file, width=WIDEST, force_terminal=colour, no_color=not colour)
    console.print(drawn)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def plain(text: str) -> str:
    """A text that a host may have chosen, without what a terminal would obey."""
    return "".join(c if c.isprintable() else UNPRINTABLE for c in text)


def status(found: Mapping[str, Any], *, colour: bool) -> str:
    """A line for each host, what is wrong below, totals last."""
    rows = [_host(row) for row in found["hosts"]]
    marked = [bool(row["trouble"]) for row in found["hosts"]]
    columns = (
        "host", "address", "ms", "gpu", "load", "ram", "disk", "ringrift", "model", "jobs", "games",
        "games/h", "synced", "$/h", "today", "$",
    )  # fmt: skip
    lines = [table(columns, rows, colour=colour, marked=marked)]
    for row in found["hosts"]:
        lines += [f"  {row['name']}: {plain(said)}" for said in row["trouble"]]
        lines += [f"  {row['name']}: note: {plain(said)}" for said in row["notes"]]
    totals = found["totals"]
    lines.append(
        f"{totals['reached']} of {counted(totals['hosts'], 'host')} reached,"
        f" {totals['in_trouble']} in trouble; {counted(totals['jobs'], 'job')} running,"
        f" {counted(totals['games'], 'game')}, {totals['games_per_hour']:,.0f} games/h;"
        f" ${totals['price']:.2f}/h, ${totals['spent_today']:.2f} today,"
        f" ${totals['spent']:.2f} in all"
    )
    if found["over_budget"]:
        lines.append(f"Over budget: {found['over_budget']}; no new work begins.")
    return "\n".join(lines)


def _host(row: Mapping[str, Any]) -> list[str]:
    price = f"{row['price']:.2f}" if row["price"] else "-"
    money = [price, f"{row['spent_today']:.2f}", f"{row['spent']:.2f}"]
    synced = ago(row["last_verified_sync"])
    if not row["reached"]:
        return [row["name"], "-", *[""] * 10, synced, *money]
    running = [job for job in row["jobs"] if job["state"] in ("starting", "running")]
    if not running and row["idle_s"] is not None:
        jobs = f"idle {span(row['idle_s'])}"
    else:
        jobs = str(len(running)) if running else "none"
    return [
        row["name"],
        row["address"] or "",
        f"{row['latency_ms']:.{0 if row['latency_ms'] >= 10 else 1}f}",
        gpus(row["gpus"] or []),
        f"{row['load'][0]:.1f}/{row['cores']}",
        f"{(row['ram_total'] - row['ram_available']) / GB:.0f}/{row['ram_total'] / GB:.0f}G",
        f"{row['disk_free'] / GB:.0f}G",
        row["version"] or "none",
        models(row["models"]),
        jobs,
        f"{sum(job['games'] for job in row['jobs']):,}",
        f"{row['games_per_hour']:,.0f}" if running else "-",
        synced,
        *money,
    ]


def gpus(found: Sequence[Mapping[str, Any]]) -> str:
    """`2x H200 97 % 31/139G 61°`: number, name, greatest use, memory and temperature."""
    if not found:
        return "-"
    name = str(found[0]["name"]).removeprefix("NVIDIA ").removeprefix("GeForce ")
    use = max((gpu["use_percent"] or 0) for gpu in found)
    used = sum((gpu["memory_used_mb"] or 0) for gpu in found) / 1024
    whole = sum((gpu["memory_total_mb"] or 0) for gpu in found) / 1024
    hot = max((gpu["temperature_c"] or 0) for gpu in found)
    several = f"{len(found)}x " if len(found) > 1 else ""
    return f"{several}{name} {use} % {used:.0f}/{whole:.0f}G {hot}°"


def models(champions: Mapping[str, Mapping[str, Any]]) -> str:
    """`hex8-2p 1a2b3c4d`: the champion of each pool, of at most two."""
    told = [f"{pool} {one['champion'][:8]}" for pool, one in sorted(champions.items())]
    return ", ".join([*told[:MOST_POOLS], *(["…"] if told[MOST_POOLS:] else [])]) or "-"


def span(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            digits = 1 if unit == "h" else 0
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} d"


def ago(time_text: str | None) -> str:
    """How long an ISO time is past."""
    if time_text is None:
        return "never"
    spent = time.time() - dt.datetime.fromisoformat(time_text).timestamp()
    return f"{span(max(spent, 0.0))} ago"


def jobs(rows: Sequence[Mapping[str, Any]], *, colour: bool) -> str:
    """A line for each job."""
    if not rows:
        return "no jobs"
    cells = [
        [
            row["id"],
            row["host"],
            row["state"] + (f" ({row['code']})" if row.get("code") else ""),
            ",".join(map(str, row["meta"].get("gpus", []))) or "-",
            "" if row["seconds"] is None else span(row["seconds"]),
            "" if row["heartbeat_age_s"] is None else span(row["heartbeat_age_s"]),
            f"{row['games']:,}",
            _cropped(shlex.join(row["argv"][1:])),
        ]
        for row in rows
    ]
    bad = [row["state"] in ("failed", "lost", "unknown") for row in rows]
    columns = ("job", "host", "state", "gpu", "run", "beat", "games", "command")
    lines = [table(columns, cells, colour=colour, marked=bad)]
    lines += [f"  {row['id']}: {plain(row['error'])}" for row in rows if row.get("error")]
    return "\n".join(lines)


def _cropped(text: str) -> str:
    return text if len(text) <= MOST_COMMAND else f"{text[: MOST_COMMAND - 1]}…"


def plan(placed: Sequence[Mapping[str, Any]], refused: Mapping[str, str]) -> str:
    """What a plan would start, and where it would not."""
    lines = [
        f"{row['host']}: {row['id']}"
        + (f" on GPU {', '.join(map(str, row['gpus']))}" if row["gpus"] else " on the processor")
        + (f": {row['outcome']}" if "outcome" in row else "")
        for row in placed
    ]
    lines += [f"{name}: nothing, {why}" for name, why in refused.items()]
    return "\n".join(lines) or "no hosts"


def costs(found: Mapping[str, Any]) -> str:
    """What every host has cost, and what all will."""
    rows = [
        [
            row["name"],
            f"{row['price']:.2f}",
            f"{row['today']:.2f}",
            f"{row['total']:.2f}",
            "-" if row["games"] is None else f"{row['games']:,}",
            "-" if row["per_1000_games"] is None else f"${row['per_1000_games']:.3f}",
        ]
        for row in found["hosts"]
    ]
    columns = ("host", "$/h", "today", "$", "games", "per 1,000 games")
    text = table(columns, rows, colour=False, marked=[False] * len(rows))
    days: dict[str, float] = {}
    for row in found["hosts"]:
        for day, dollars in row["days"].items():
            days[day] = days.get(day, 0.0) + dollars
    if days:
        shown = [f"{day} ${dollars:.2f}" for day, dollars in sorted(days.items())[-MOST_DAYS:]]
        text += f"\nby day: {', '.join(shown)}"
    return (
        f"{text}\n${found['today']:.2f} today, ${found['total']:.2f} in all;"
        f" at ${found['per_hour']:.2f}/h it will be ${found['projected_day']:.2f} a day,"
        f" ${found['projected_30_days']:.2f} in 30 days"
    )
