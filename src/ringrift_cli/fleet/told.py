"""What a host says of itself and its jobs, before anything is made of it.

The remote half is ours and says what it should; the machine that runs it need not be. Whatever is
missing or cannot be is refused here, so that one host that lies is one host in trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ringrift_cli.errors import BadOutput
from ringrift_cli.fleet.remote.jobs import NAME

STATES = ("starting", "running", "done", "failed", "stopped", "lost")
MOST = 2**53  # of any number: a float holds what is below, and none is infinite
MOST_SHOWN = 60  # characters of what cannot be

Check = Callable[[Any], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST


def _whole(value: Any) -> bool:
    return isinstance(value, int) and _number(value)


def _count(value: Any) -> bool:
    return _whole(value) and bool(value >= 0)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _object(checks: Mapping[str, Check]) -> Check:
    return lambda value: isinstance(value, dict) and _wrong(value, checks) is None


def _meta(value: Any) -> bool:
    return isinstance(value, dict) and _list(_count)(value.get("gpus", []))


JOB: dict[str, Check] = {
    "id": lambda value: _text(value) and bool(NAME.fullmatch(value)),
    "state": lambda value: value in STATES,
    "code": _maybe(_whole),
    "signal": _maybe(_whole),
    "started": _maybe(_number),
    "ended": _maybe(_number),
    "seconds": _number,
    "heartbeat_age_s": _maybe(_number),
    "games": _count,
    "shards": _count,
    "bytes_log": _count,
    "meta": _meta,
    "argv": _list(_text),
    "error": _maybe(_text),
}
GPU: dict[str, Check] = {
    "index": _count,
    "name": _text,
    "use_percent": _maybe(_number),
    "memory_used_mb": _maybe(_number),
    "memory_total_mb": _maybe(_number),
    "temperature_c": _maybe(_number),
}
FACTS: dict[str, Check] = {
    "hostname": _text,
    "time": _number,
    "uptime_s": _number,
    "cores": _count,
    "load": lambda value: _list(_number)(value) and len(value) == 3,
    "ram_total": _number,
    "ram_available": _number,
    "disk_total": _number,
    "disk_free": _number,
    "gpus": _maybe(_list(_object(GPU))),
    "gpus_error": _maybe(_text),
    "deployed": _maybe(lambda value: isinstance(value, dict)),  # a file that anybody may damage
    "installed": _maybe(_object({"version": _text, "record_sha256": _text})),
    "models": lambda value: (
        isinstance(value, dict) and all(map(_object({"champion": _text}), value.values()))
    ),
    "jobs": _list(_object(JOB)),
    "jobs_error": _maybe(_text),
    "idle_s": _maybe(_number),
}


def _wrong(told: Mapping[str, Any], checks: Mapping[str, Check]) -> str | None:
    """The first key that is missing or not what it can be."""
    return next((key for key, is_right in checks.items() if not is_right(told.get(key))), None)


def facts(host: str, told: dict[str, Any]) -> dict[str, Any]:
    """The reply to `facts`; `BadOutput` if it is none."""
    return _held(host, "itself", told, FACTS)


def job(host: str, told: Any) -> dict[str, Any]:
    """The state of a job; `BadOutput` if it is none."""
    return _held(host, "a job", told if isinstance(told, dict) else {}, JOB)


def jobs(host: str, told: Any) -> list[dict[str, Any]]:
    """The states of jobs; `BadOutput` if they are none."""
    return [job(host, one) for one in (told if isinstance(told, list) else [None])]


def _held(
    host: str, what: str, told: dict[str, Any], checks: Mapping[str, Check]
) -> dict[str, Any]:
    key = _wrong(told, checks)
    if key is not None:
        shown = ascii(told[key])[:MOST_SHOWN] if key in told else "missing"
        raise BadOutput(f"{host}: what it says of {what} cannot be: {key} is {shown}.")
    return told
