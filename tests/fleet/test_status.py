"""What of the state of a host is trouble, and what a fleet's document says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import pytest
from msgspec.structs import replace

from ringrift_cli.errors import BadOutput, HostUnreachable
from ringrift_cli.fleet import cost
from ringrift_cli.fleet import status as stage
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.hosts import Fleet, Host
from ringrift_cli.fleet.messages import AskFacts, Champion, Facts, Gpu, JobMeta, JobState
from ringrift_cli.fleet.status import Seen, evaluate, look, ready
from tests.fleet.goods import Liar, says

CHAMPIONS = {"hex8-2p": "abcd" * 4}
GB = 10**9


def host(name: str = "a", **values: Any) -> Host:
    return Host(name=name, addresses=("127.0.0.1:22",), **values)


def job(state: Any, **values: Any) -> JobState:
    known: dict[str, Any] = {"id": f"job-{state}", "started": 1.0, "seconds": 1800.0, "games": 500}
    return JobState(**{**known, "state": state, "heartbeat_age_s": 1.0, **values})


def facts(**values: Any) -> Facts:
    """A healthy host without a GPU."""
    known: dict[str, Any] = {
        "hostname": "box", "time": time.time(), "uptime_s": 99.0, "cores": 4,
        "load": [0.5, 0.4, 0.3], "ram_total": 16 * GB, "ram_available": 9 * GB,
        "disk_total": 100 * GB, "disk_free": 50 * GB, "gpus": [], "version": "1.0",
        "gpus_proved": 2,
        "models": {"hex8-2p": Champion(champion="abcd" * 4, sha256="0" * 64)},
    }  # fmt: skip
    return Facts(**{**known, **values})


GPU = Gpu(
    index=0,
    name="NVIDIA H200",
    use_percent=97,
    memory_used_mb=30720,
    memory_total_mb=143360,
    temperature_c=61,
)


def judged(one: Host, ledger: cost.Ledger | None = None, **values: Any) -> Seen:
    seen = Seen(one, "127.0.0.1", 0.01, facts(**values))
    evaluate(seen, CHAMPIONS, time.time(), ledger or {})
    return seen


def test_a_healthy_host_is_in_no_trouble() -> None:
    seen = judged(host(price=0.5), jobs=[job("running"), job("done"), job("stopped")])
    assert (seen.trouble, seen.notes) == ([], [])
    assert seen.games_per_hour == 1000.0
    assert ready(seen) is None


@pytest.mark.parametrize(
    ("one", "values", "trouble"),
    [
        (host(), {"disk_free": GB}, "1.0 GB of its disk are free"),
        (host(gpus=2), {"gpus": [GPU]}, "it has 1 of 2 GPUs"),
        (
            host(gpus=1),
            {"gpus": None, "gpus_error": "nvidia-smi hangs"},
            "its GPUs cannot be asked: nvidia-smi hangs",
        ),
        (host(gpus=1), {"gpus": [replace(GPU, temperature_c=93)]}, "GPU 0 is at 93 °C"),
        (host(), {"jobs": [job("failed", code=1)]}, "job job-failed failed (exit 1)"),
        (host(), {"jobs": [job("lost")]}, "job job-lost lost"),
        (host(price=0.4), {"idle_s": 5400.0}, "idle for 1.5 h at $0.4 an hour"),
    ],
)
def test_trouble_is_named(one: Host, values: dict[str, Any], trouble: str) -> None:
    assert judged(one, **values).trouble == [trouble]


def test_gpus_that_no_deploy_proved_get_no_work() -> None:
    """As when hosts.yaml has gained some since."""
    seen = judged(host(gpus=2), gpus=[GPU, replace(GPU, index=1)], gpus_proved=1)
    assert seen.trouble == [
        "it was deployed for 1 GPU, and hosts.yaml has gpus: 2; try: ringrift fleet deploy a"
    ]
    assert ready(seen) == seen.trouble[0]


def test_a_host_without_our_ringrift_is_trouble_and_gets_no_work() -> None:
    seen = Seen(host(), "127.0.0.1", 0.01, facts(version=None), undeployed="a has no ringrift yet.")
    evaluate(seen, CHAMPIONS, time.time(), {})
    assert seen.trouble == ["a has no ringrift yet."]
    assert ready(seen) == seen.trouble[0]


def test_a_priced_host_that_never_worked_idles_since_it_was_first_seen() -> None:
    ledger: cost.Ledger = {"a": cost.Account(time.time() - 7200, None, 1.0)}
    assert judged(host(price=1.0), ledger).trouble == ["idle for 2.0 h at $1 an hour"]
    assert judged(host(price=0.0), ledger).trouble == []
    assert judged(host(price=1.0), ledger, jobs=[job("running")]).trouble == []


def test_what_is_worth_knowing_is_no_trouble() -> None:
    seen = judged(
        host(),
        time=time.time() - 86400,
        models={"hex8-2p": Champion(champion="1234" * 4, sha256="0" * 64)},
    )
    assert seen.trouble == []
    assert seen.notes[0].startswith("its clock is -86,400 s off")
    assert seen.notes[1] == "its hex8-2p champion is 12341234, not the newest"


HONEST = facts(gpus=[GPU], jobs=[job("running", meta=JobMeta(gpus=[0])), job("lost", error="x")])


def told(**values: Any) -> Client:
    """A host that reports this of itself."""
    return Liar(facts=says({"end": "ok", **HONEST.document(), **values})).link("a")


def test_what_an_honest_host_reports_is_taken() -> None:
    with told() as client:
        assert client.ask(AskFacts()) == HONEST


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ({"disk_free": "much"}, "$.disk_free"),
        ({"disk_free": -1}, "$.disk_free"),
        ({"time": 1e300}, "$.time"),
        ({"uptime_s": 10**400}, "$.uptime_s"),
        ({"load": [1.0, 2.0]}, "$.load"),
        ({"cores": True}, "$.cores"),
        ({"gpus": [{**GPU.document(), "index": -1}]}, "$.gpus[0].index"),
        ({"version": 1}, "$.version"),
        ({"models": {"hex8-2p": None}}, "$.models[...]"),
        ({"jobs": [{"id": "x", "state": "asleep"}]}, "$.jobs[0].state"),
        ({"jobs": [{"id": "../../x"}]}, "$.jobs[0].id"),
        ({"jobs": [{"id": "x", "games": -1}]}, "$.jobs[0].games"),
        ({"jobs": [{"id": "x", "meta": {"gpus": ["0"]}}]}, "$.jobs[0].meta.gpus[0]"),
        ({"jobs": [{"id": "x", "argv": None}]}, "$.jobs[0].argv"),
        ({"hostname": None}, "$.hostname"),
        ({"idle_s": "\x1b" * 99}, "$.idle_s"),
        ({"\x1b[2J": 1}, "unknown field"),
    ],
)
def test_what_a_host_cannot_be_is_refused(wrong: dict[str, Any], shown: str) -> None:
    with told(**wrong) as client, pytest.raises(BadOutput) as caught:
        client.ask(AskFacts())
    assert caught.value.message.startswith("a: its reply to 'facts' does not fit: ")
    assert shown in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250


class _Link:
    """A host that says what the test wants."""

    address, latency_s, needed_s = "127.0.0.1:22", 0.01, 0.0

    def __init__(self, answer: Callable[[], Facts]) -> None:
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def limit(self, seconds: float | None) -> None:
        assert seconds

    def ask(self, request: AskFacts) -> Facts:
        assert request.deadline_s > 0
        return self.answer()


def test_all_hosts_are_looked_at_at_once_and_remembered(tmp_path: Path) -> None:
    hosts = [host("a"), host("b", price=0.5), host("c", price=0.2), host("d")]
    fleet = Fleet(tuple(hosts))
    Health(tmp_path).bad_output("d", "a shard was damaged")
    for _ in range(2):
        Health(tmp_path).bad_output("d", "a shard was damaged")

    def hang() -> Facts:
        time.sleep(5)
        return facts()

    def opener(one: Host, _deadline: float) -> Client:
        if one.name == "b":
            raise HostUnreachable("b: 127.0.0.1 refused.")
        assert one.name != "d"  # it is set aside
        return cast(Client, _Link(hang if one.name == "c" else facts))

    start = time.monotonic()
    seen = look(fleet, hosts, opener, tmp_path, lambda: CHAMPIONS, deadline=0.5)
    assert time.monotonic() - start < 5
    assert [one.host.name for one in seen] == ["a", "b", "c", "d"]
    assert [bool(one.facts) for one in seen] == [True, False, False, False]
    assert seen[1].trouble == ["b: 127.0.0.1 refused."]
    assert seen[2].trouble[0].startswith("c did not answer within 2.0 s")
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
    assert judged(host(), jobs=[replace(failed, ended=now - 90_000)]).trouble == []
    again = job("running", id="job-failed.2", meta=JobMeta(retries="job-failed"))
    assert judged(host(), jobs=[failed, again]).trouble == []
