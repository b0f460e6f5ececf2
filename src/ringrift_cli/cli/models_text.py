"""What `ringrift models` prints: documents for programs, tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ringrift_cli.cli.output import counted

if TYPE_CHECKING:
    from ringrift_cli.nn.registry import Entry, Event

INDENT = "  "


def _match(evidence: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The match of a check of the evidence."""
    found = [check["match"] for check in evidence["checks"] if check["name"] == name]
    return found[0] if found else None


def _bounded(match: dict[str, Any]) -> str:
    """`+81 (+34 to +131)`."""
    low, high = match["elo_95"]
    middle = _elo(match["elo"], "+" if match["score"] > 0 else "-")
    return f"{middle} ({_elo(low, '-')} to {_elo(high, '+')})"


def _elo(number: float | None, sign: str) -> str:
    return f"{sign}∞" if number is None else f"{number:+.0f}"


# ---- list ---------------------------------------------------------------------------------------


def list_document(pool: str, entries: Sequence[Entry], history: Sequence[Event]) -> dict[str, Any]:
    champion = history[-1].identity if history else None
    return {
        "pool": pool,
        "champion": champion,
        "models": [
            {
                "identity": entry.identity,
                "champion": entry.identity == champion,
                "path": str(entry.path),
                "time": entry.document["time"],
                "architecture": entry.document["architecture"],
                "steps": entry.about.get("total_steps", entry.about.get("steps")),
                **_promoted(entry, history),
            }
            for entry in entries
        ],
    }


def _promoted(entry: Entry, history: Sequence[Event]) -> dict[str, Any]:
    """When a model was last promoted, and what it did against the heuristic then."""
    own = [e for e in history if e.identity == entry.identity and e.evidence is not None]
    if not own or own[-1].evidence is None:
        return {"promoted": None, "heuristic": None}
    match = _match(own[-1].evidence, "heuristic")
    kept = ("games", "score", "score_95", "elo", "elo_95")
    measured = {key: match[key] for key in kept} if match is not None else None
    return {"promoted": own[-1].time, "heuristic": measured}


def list_text(document: dict[str, Any]) -> str:
    pool, models = document["pool"], document["models"]
    if not models:
        return f"{pool}: no models"
    champion = document["champion"] or "nobody yet"
    lines = [
        f"{pool}: {counted(len(models), 'model')}, champion {champion}",
        f"  {'identity':<16}  {'size':>7}  {'steps':>9}  {'made':<16}  {'promoted':<16}  Elo, 95 %",
    ]
    for model in models:
        size = f"{model['architecture']['blocks']}x{model['architecture']['channels']}"
        steps = "-" if model["steps"] is None else f"{model['steps']:,}"
        elo = "-" if model["heuristic"] is None else _bounded(model["heuristic"])
        lines.append(
            f"{'*' if model['champion'] else ' '} {model['identity']}  {size:>7}  {steps:>9}"
            f"  {_time(model['time'])}  {_time(model['promoted']):<16}  {elo}"
        )
    return "\n".join(lines)


def _time(text: str | None) -> str:
    """Date, hours and minutes."""
    return "-" if text is None else text[:16].replace("T", " ")


# ---- show ---------------------------------------------------------------------------------------


def show_document(entry: Entry, history: Sequence[Event]) -> dict[str, Any]:
    return {
        **entry.document,
        "path": str(entry.path),
        "pool": entry.pool,
        "champion": bool(history) and history[-1].identity == entry.identity,
        "history": [e.document() for e in history if entry.identity in (e.identity, e.parent)],
    }


def show_text(document: dict[str, Any]) -> str:
    identity = document["identity"]
    head = f"{identity}, {'champion of ' * document['champion']}{document['pool']}"
    skipped = {"about", "history", "identity", "pool", "champion", "format", "version"}
    lines = [head]
    lines += _lines({k: v for k, v in document.items() if k not in skipped})
    lines += ["about:", *_lines(document["about"], INDENT)]
    for event in document["history"]:
        lines += ["", _event_line(identity, event)]
        if event["identity"] == identity and "evidence" in event:
            lines.append(evidence_text(event["evidence"]))
    return "\n".join(lines)


def _event_line(identity: str, event: dict[str, Any]) -> str:
    when = _time(event["time"])
    if event["identity"] == identity:
        place = f"in place of {event['parent']}" if event["parent"] else "the first of its pool"
        text = f"{when}: champion, {place}"
    else:
        text = f"{when}: {event['identity']} took its place"
    return text + (f": {event['reason']}" if "reason" in event else "")


def _lines(document: dict[str, Any], indent: str = "") -> list[str]:
    """A line for each entry, what is nested further in; a long list by its length."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", *_lines(value, indent + INDENT)]
        elif isinstance(value, list) and len(value) > 4:
            lines.append(f"{indent}{key}: {len(value)} of them (--json)")
        else:
            lines.append(f"{indent}{key}: {value}")
    return lines


# ---- evidence -----------------------------------------------------------------------------------


def evidence_text(evidence: dict[str, Any]) -> str:
    champion = evidence["champion"]
    lines = [
        f"{evidence['candidate']['model']} in {evidence['pool']}, "
        + (f"against champion {champion['model']}" if champion else "the first of its pool")
        + f": {evidence['verdict']} after {evidence['games']:,} games"
    ]
    lines += [
        f"{INDENT}{'passed' if check['passed'] else 'failed'}  {check['reason']}"
        for check in evidence["checks"]
    ]
    lines += [f"{INDENT}{reason}" for reason in evidence["reasons"][len(evidence["checks"]) :]]
    return "\n".join(lines)
