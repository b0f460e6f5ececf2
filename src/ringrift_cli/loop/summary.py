"""One line about a finished cycle."""

from __future__ import annotations

from typing import Any

from ringrift_cli.text import counted, elo_interval


def line_of(record: dict[str, Any]) -> str:
    """One-line summary of a cycle."""
    played, trained, gate = record["selfplay"], record["train"], record["gate"]
    rate, more = played["games_per_hour"], played["games"] - played.get("asked", played["games"])
    notes = [f"{rate:,.0f}/h"] if rate else []
    notes += [f"{more:,} more than asked"] if more > 0 else []
    parts = [
        f"cycle {record['cycle']}",
        counted(played["games"], "game") + (f" ({', '.join(notes)})" if notes else ""),
        loss_text(trained),
        verdict_text(gate),
        rating_text(gate.get("rating")),
        f"champion {record['champion'] or 'none'}",
        hosts_text(record),
        f"{sum(record['seconds'].values()) / 60:.1f} min",
    ]
    return "; ".join(part for part in parts if part)


def hosts_text(record: dict[str, Any]) -> str:
    """Games and data age by host, and the errors of hosts without games or without the champion.

    `desk 900 games (0.1 h old), rented-2 nothing: no route; rented-3 is behind: disk full`
    """
    played = record["selfplay"]
    hosts, absent, brought = (
        played.get("hosts", {}),
        played.get("absent", {}),
        record.get("brought"),
    )
    if not absent and not brought and all(row["here"] for row in hosts.values()):
        return ""  # all games were played here
    parts = [
        f"{name} {counted(row['games'], 'game')} ({row['newest_hours']:.1f} h old)"
        for name, row in sorted(hosts.items())
    ]
    for name, why in sorted(absent.items()):
        parts.append(f"{name} {'then' if name in hosts else 'nothing'}: {why}")
    for name, why in sorted((brought or {}).items()):
        if why != "confirmed":
            parts.append(f"{name} is behind: {why}")
    return ", ".join(parts)


def loss_text(trained: dict[str, Any]) -> str:
    """Losses on validation games."""
    measured = trained["validation_last"]
    return f"loss policy {measured['policy']:.3f} value {measured['value']:.3f}" if measured else ""


def verdict_text(gate: dict[str, Any]) -> str:
    """Verdict and deciding check: `rejected after 160 games, 47.5 % of 120 against …`."""
    text = f"{gate['verdict']} after {counted(gate['games'], 'game')}"
    failed = [check for check in gate["checks"] if not check["passed"]]
    for check in failed or [check for check in gate["checks"] if check["name"] == "champion"]:
        names = {"champion": "the champion", "earlier": "an earlier champion"}
        elo = elo_interval(check["elo"], check["low"], check["high"], check["score"])
        text += f", {check['score']:.1%} of {check['games']} against"
        text += f" {names.get(check['name'], check['opponent'])}, Elo {elo}"
    return text


def rating_text(rating: dict[str, Any] | None) -> str:
    """`fit Elo +45 (+12 to +80)`: over the default heuristic, by the fit of all games of the gates
    so far; may be infinite.
    """
    if rating is None:
        return ""
    above = float(rating["high"] is None)
    return f"fit Elo {elo_interval(rating['elo'], rating['low'], rating['high'], above)}"
