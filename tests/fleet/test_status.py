"""What of the state of a host is trouble, and what a fleet's document says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import pytest

from ringrift_cli.errors import BadOutput, HostUnreachable
from ringrift_cli.fleet import cost, told
from ringrift_cli.fleet import status as stage
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import Address, Fleet, Host
from ringrift_cli.fleet.link import Link
from ringrift_cli.fleet.status import Ours, Seen, judge, look, ready

OURS = Ours("1.0", "rules", "codec", {"hex8-2p": "abcd" * 4})
RECORD = "f" * 64
GB = 10**9


def host(name: str = "a", **values: Any) -> Host:
    return Host(name, (Address("127.0.0.1", 22),), **values)


def job(state: str, **values: Any) -> dict[str, Any]:
    return {
        "id": f"job-{state}", "state": state, "code": None, "started": 1.0, "seconds": 1800.0,
        "games": 500, "shards": 5, "heartbeat_age_s": 1.0, "meta": {}, "error": None,
        "argv": ["ringrift", "selfplay"], "signal": None, "ended": None, "bytes_log": 9, **values,
    }  # fmt: skip


def facts(**values: Any) -> dict[str, Any]:
    """What a healthy host without a GPU says."""
    return {
        "hostname": "box", "time": time.time(), "boot_id": "b", "uptime_s": 99.0, "cores": 4,
        "load": [0.5, 0.4, 0.3], "ram_total": 16 * GB, "ram_available": 9 * GB,
        "disk_total": 100 * GB, "disk_free": 50 * GB, "gpus": [], "gpus_error": None,
        "deployed": {"version": "1.0", "rules": "rules", "codec": "codec", "record_sha256": RECORD},
        "installed": {"version": "1.0", "record_sha256": RECORD},
        "models": {"hex8-2p": {"champion": "abcd" * 4, "sha256": "0" * 64}},
        "jobs": [], "jobs_error": None, "idle_s": None, **values,
    }  # fmt: skip


GPU = {
    "index": 0, "name": "NVIDIA H200", "use_percent": 97, "memory_used_mb": 30720,
    "memory_total_mb": 143360, "temperature_c": 61,
}  # fmt: skip


def judged(one: Host, ledger: cost.Ledger | None = None, **values: Any) -> Seen:
    seen = Seen(one, "127.0.0.1", 0.01, facts(**values))
    judge(seen, OURS, time.time(), ledger or {})
    return seen


def test_a_healthy_host_is_in_no_trouble() -> None:
    seen = judged(host(price=0.5), jobs=[job("running"), job("done"), job("stopped")])
    assert (seen.trouble, seen.notes) == ([], [])
    assert seen.games_per_hour == 1000.0
    assert ready(seen, OURS) is None


@pytest.mark.parametrize(
    ("one", "values", "trouble"),
    [
        (host(), {"deployed": None}, "ringrift is not deployed there: ringrift fleet deploy a"),
        (host(), {"installed": None}, "ringrift is not deployed there: ringrift fleet deploy a"),
        (
            host(),
            {"installed": {"version": "1.0", "record_sha256": "0"}},
            "its ringrift is not the one that was deployed: ringrift fleet deploy a",
        ),
        (host(), {"disk_free": GB}, "1.0 GB of its disk are free"),
        (host(gpus=2), {"gpus": [GPU]}, "it has 1 of 2 GPUs"),
        (
            host(gpus=1),
            {"gpus": None, "gpus_error": "nvidia-smi hangs"},
            "its GPUs cannot be asked: nvidia-smi hangs",
        ),
        (host(gpus=1), {"gpus": [{**GPU, "temperature_c": 93}]}, "GPU 0 is at 93 °C"),
        (host(), {"jobs": [job("failed", code=1)]}, "job job-failed failed (exit 1)"),
        (host(), {"jobs": [job("lost")]}, "job job-lost lost"),
        (host(price=0.4), {"idle_s": 5400.0}, "idle for 1.5 h at $0.4 an hour"),
    ],
)
def test_trouble_is_named(one: Host, values: dict[str, Any], trouble: str) -> None:
    assert judged(one, **values).trouble == [trouble]


def test_another_ringrift_is_trouble_and_gets_no_work() -> None:
    old = {"version": "0.9", "rules": "rules", "codec": "codec", "record_sha256": RECORD}
    seen = judged(host(), deployed=old, installed={"version": "0.9", "record_sha256": RECORD})
    assert seen.trouble == ["it has ringrift 0.9, not 1.0: ringrift fleet deploy a"]
    assert ready(seen, OURS) == seen.trouble[0]
    other = {"version": "1.0", "rules": "older", "codec": "codec", "record_sha256": RECORD}
    assert "other rules" in judged(host(), deployed=other).trouble[0]


def test_a_priced_host_that_never_worked_idles_since_it_was_first_seen() -> None:
    ledger: cost.Ledger = {"a": cost.Account(time.time() - 7200, None, 1.0)}
    assert judged(host(price=1.0), ledger).trouble == ["idle for 2.0 h at $1 an hour"]
    assert judged(host(price=0.0), ledger).trouble == []
    assert judged(host(price=1.0), ledger, jobs=[job("running")]).trouble == []


def test_what_is_worth_knowing_is_no_trouble() -> None:
    seen = judged(
        host(),
        time=time.time() - 86400,
        models={"hex8-2p": {"champion": "1234" * 4, "sha256": "0"}},
    )
    assert seen.trouble == []
    assert seen.notes[0].startswith("its clock is -86,400 s off")
    assert seen.notes[1] == "its hex8-2p champion is 12341234, not the newest"


def test_what_an_honest_host_says_is_taken() -> None:
    said = facts(gpus=[GPU], jobs=[job("running", meta={"gpus": [0]}), job("lost", error="gone")])
    assert told.facts("a", said) is said


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"disk_free": "much"}, "disk_free is 'much'"),
        ({"time": float("nan")}, "time is nan"),
        ({"load": [1.0, 2.0]}, "load is [1.0, 2.0]"),
        ({"cores": True}, "cores is True"),
        ({"gpus": [{**GPU, "index": -1}]}, "gpus is "),
        ({"installed": {"version": "1.0"}}, "installed is "),
        ({"deployed": []}, "deployed is []"),
        ({"models": {"hex8-2p": None}}, "models is "),
        ({"jobs": [job("asleep")]}, "jobs is "),
        ({"jobs": [job("running", id="../../x")]}, "jobs is "),
        ({"jobs": [job("running", games=-1)]}, "jobs is "),
        ({"jobs": [job("running", meta={"gpus": ["0"]})]}, "jobs is "),
        ({"jobs": [job("running", argv=None)]}, "jobs is "),
        ({"hostname": "\x1b[2J" * 9, "idle_s": "\x1b" * 99}, "idle_s is '\\x1b"),
    ],
)
def test_what_a_host_cannot_be_is_refused(wrong: dict[str, Any], shown: str) -> None:
    with pytest.raises(BadOutput) as caught:
        told.facts("a", facts(**wrong))
    assert caught.value.message.startswith(f"a: what it says of itself cannot be: {shown}")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 150


def test_what_is_left_out_is_refused() -> None:
    complete = facts()
    for key in told.FACTS:
        optional = key in ("gpus", "gpus_error", "deployed", "installed", "jobs_error", "idle_s")
        said = {name: value for name, value in complete.items() if name != key}
        if optional:
            continue
        with pytest.raises(BadOutput, match=f"{key} is missing"):
            told.facts("a", said)


class _Link:
    """A host that says what the test wants."""

    address, latency_s = "127.0.0.1:22", 0.01

    def __init__(self, answer: Callable[[], dict[str, Any]]) -> None:
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def limit(self, seconds: float | None) -> None:
        assert seconds

    def ask(self, op: str, **_: Any) -> dict[str, Any]:
        assert op == "facts"
        return self.answer()


def test_all_hosts_are_looked_at_at_once_and_remembered(tmp_path: Path) -> None:
    hosts = [host("a"), host("b", price=0.5), host("c", price=0.2), host("d")]
    fleet = Fleet(tuple(hosts))
    Health(tmp_path).bad_output("d", "a shard was damaged")
    for _ in range(2):
        Health(tmp_path).bad_output("d", "a shard was damaged")

    def hang() -> dict[str, Any]:
        time.sleep(3)
        return facts()

    def opener(one: Host, _deadline: float) -> Link:
        if one.name == "b":
            raise HostUnreachable("b: 127.0.0.1 refused.")
        assert one.name != "d"  # it is set aside
        return cast(Link, _Link(hang if one.name == "c" else facts))

    start = time.monotonic()
    seen = look(fleet, hosts, opener, tmp_path, lambda: OURS, deadline=0.5)
    assert time.monotonic() - start < 2
    assert [one.host.name for one in seen] == ["a", "b", "c", "d"]
    assert [bool(one.facts) for one in seen] == [True, False, False, False]
    assert seen[1].trouble == ["b: 127.0.0.1 refused."]
    assert seen[2].trouble[0].startswith("c did not answer within 0.5 s")
    assert "a shard was damaged" in seen[3].trouble[0]
    assert set(cost.read(tmp_path)) == {"a"}  # the others never answered
    found = stage.document(fleet, seen, cost.read(tmp_path), {}, time.time())
    assert found["totals"]["reached"] == 1
    assert found["totals"]["in_trouble"] == 3
    assert json.loads(json.dumps(found)) == found


def test_a_job_that_failed_is_trouble_until_it_is_begun_again_or_a_day_old() -> None:
    now = time.time()
    failed = job("failed", ended=now - 3600)
    assert judged(host(), jobs=[failed]).trouble == ["job job-failed failed"]
    assert judged(host(), jobs=[{**failed, "ended": now - 90_000}]).trouble == []
    again = job("running", id="job-failed.2", meta={"retries": "job-failed"})
    assert judged(host(), jobs=[failed, again]).trouble == []


def test_numbers_that_no_float_holds_are_the_trouble_of_one_host(tmp_path: Path) -> None:
    hosts = [host("a"), host("b")]

    def opener(one: Host, _deadline: float) -> Link:
        huge = {"uptime_s": 10**400}
        return cast(Link, _Link(lambda: facts(**(huge if one.name == "b" else {}))))

    seen = look(Fleet(tuple(hosts)), hosts, opener, tmp_path, lambda: OURS, deadline=2.0)
    assert [bool(one.facts) for one in seen] == [True, False]
    assert "uptime_s" in seen[1].trouble[0]
