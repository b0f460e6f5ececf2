"""Many jobs on a host: how they are listed, what may be removed, what is not reported for ever."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.fleet import clean, jobs
from ringrift_cli.fleet.messages import Job, JobMeta
from ringrift_cli.fleet.plan import Placed
from tests.conftest import Ringrift
from tests.fleet import goods
from tests.fleet.campaigning import jobs_of
from tests.fleet.jobbing import State, end_all, ended, job, start, state
from tests.fleet.remotes import Remote, remote
from tests.fleet.servers import Farm, Server, local_link
from tests.fleet.stations import Station, install

STATES = ["done", "stopped", "failed", "lost"]


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Remote]:
    with remote(tmp_path) as found:
        yield found
        end_all(found)


def over(half: Remote, name: str, argv: list[str] | None = None, **more: Any) -> State:
    start(half, job(name, argv or ["true"], **more))
    return ended(half, name)


def removed(half: Remote, **more: Any) -> tuple[list[str], dict[str, str]]:
    reply = half.ask("clean", **{"keep": [], "states": STATES, **more})
    assert reply["end"] == "ok", reply
    return sorted(reply["jobs"]), reply["kept"]


def names(half: Remote) -> list[str]:
    return sorted(one["id"] for one in half.ask("jobs")["jobs"])


# ---- the agent ----------------------------------------------------------------------------------


def test_ended_jobs_are_removed_and_no_others(half: Remote, tmp_path: Path) -> None:
    start(half, job("runs"))
    for name in ("a", "b", "kept"):
        over(half, name)
    over(half, "bad", ["false"])
    over(half, "train", ["ringrift", "train"], out="jobs/train/out")
    (tmp_path / "jobs" / "train" / "out").mkdir()
    over(half, "damaged")
    (tmp_path / "jobs" / "damaged" / "out").mkdir()
    (tmp_path / "jobs" / "damaged" / "out" / "manifest.jsonl").write_text("{\n")
    assert removed(half, dry_run=True, keep=["kept"])[0] == ["a", "b", "bad"]
    assert removed(half, states=["failed"])[0] == ["bad"]
    assert removed(half, older_s=3600.0) == ([], {})
    assert removed(half, only=["b", "runs"]) == (["b"], {})
    gone, kept = removed(half, keep=["kept"])
    assert gone == ["a"]
    assert kept == {
        "kept": "its games are not all there",
        "train": "its results are only there: train",
        "damaged": "its list of games is damaged",
    }
    assert names(half) == ["damaged", "kept", "runs", "train"]
    assert removed(half, results=True, keep=["kept"])[0] == ["train"]
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == [
        "damaged",
        "kept",
        "runs",
    ]
    assert over(half, "a")["state"] == "done"  # the name is free again


def test_games_and_idle_time_outlive_the_jobs(half: Remote, tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c")):
        over(half, name)
        goods.offer(tmp_path / "jobs" / name / "out", goods.contents(2, seed=number), games=7)
    before = half.ask("facts")
    assert before["games"] == 42
    removed(half, only=["a"], dry_run=True)
    assert half.ask("facts")["games"] == 42
    note = tmp_path / ".ringrift" / "removed.json"
    removed(half, only=["a"])
    gone = json.loads(note.read_text())
    assert (gone["games"], half.ask("facts")["games"]) == (14, 42)
    gone["games"], gone["counted"]["b"] = 28, (tmp_path / "jobs" / "b").stat().st_mtime_ns
    note.write_text(json.dumps(gone))  # as left by a kill between the note and the removal
    assert half.ask("facts")["games"] == 42
    removed(half)
    after = half.ask("facts")
    assert (names(half), after["games"], after["jobs"]) == ([], 42, [])
    assert before["idle_s"] <= after["idle_s"] < before["idle_s"] + 60
    over(half, "a")  # another of that name
    goods.offer(tmp_path / "jobs" / "a" / "out", goods.contents(1, seed=9), games=7)
    assert half.ask("facts")["games"] == 49


def test_old_code_goes_when_no_job_runs(half: Remote, tmp_path: Path) -> None:
    old = tmp_path / ".ringrift" / "code-0"
    old.mkdir()
    (old / "file").write_text("x" * 1000)
    start(half, job("runs"))
    assert half.ask("clean", keep=[], states=STATES, code=True)["code"] == []
    end_all(half)
    ended(half, "runs")
    reply = half.ask("clean", keep=[], states=[], code=True, dry_run=True)
    assert (reply["code"], reply["bytes"], old.exists()) == (["code-0"], 1000, True)
    half.ask("clean", keep=[], states=[], code=True)
    assert not old.exists()
    assert names(half) == ["runs"]  # its own code is still there


def test_what_is_remembered_is_true(half: Remote, tmp_path: Path) -> None:
    over(half, "one", meta={"loop": "l"})
    over(half, "two", ["false"])
    start(half, job("runs"))
    for _ in range(2):  # read, then remembered
        facts = half.ask("facts", deadline_s=60)
        assert [one["id"] for one in facts["jobs"]][:2] == ["runs", "two"]  # what matters, first
        assert facts["jobs_total"] == 3
        assert [one["id"] for one in half.ask("jobs", loop="l")["jobs"]] == ["runs", "one"]
        assert [one["id"] for one in half.ask("jobs", states=["failed"])["jobs"]] == ["two"]
    (tmp_path / ".ringrift" / "counts.json").write_text('{"one": 7}')
    assert len(names(half)) == 3
    shutil.rmtree(tmp_path / "jobs" / "one")
    start(half, job("one"))  # another of that name
    assert {one["id"] for one in half.ask("jobs", states=["running"])["jobs"]} == {"one", "runs"}


def test_a_dismissed_job_is_known_as_such(half: Remote) -> None:
    over(half, "bad", ["false"])
    start(half, job("runs"))
    assert half.ask("dismiss", ids=["bad", "runs"])["kind"] == "active"
    assert state(half, "bad")["dismissed"] is False
    assert half.ask("dismiss", ids=["none"])["kind"] == "unknown"
    assert half.ask("dismiss", ids=["bad"])["jobs"][0]["dismissed"]
    assert [one["dismissed"] for one in half.ask("facts")["jobs"]] == [False, True]


# ---- automatic ----------------------------------------------------------------------------------


def test_after_a_pull_own_old_jobs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, here = tmp_path / "work", tmp_path / "state"
    with local_link(work, host="desk") as client:
        for name, loop, argv in (
            ("mine", "l", ["true"]), ("other", "m", ["true"]), ("bad", "l", ["false"]),
        ):  # fmt: skip
            meta = JobMeta(loop=loop)
            placed = Placed("desk", (), Job(id=name, argv=argv, meta=meta))
            jobs.start(client, here, placed)
            jobs.wait(client, name, 20)
        jobs.start(client, tmp_path / "elsewhere", Placed("desk", (), Job(id="x", argv=["true"])))
        jobs.wait(client, "x", 20)
        clean.tidy(client, here)
        assert len(jobs.states(client)) == 4  # they ended just now
        monkeypatch.setattr(clean, "KEPT_HOURS", 0.0)
        clean.tidy(client, here, "l")
        assert sorted(one.id for one in jobs.states(client)) == ["bad", "other", "x"]
        clean.tidy(client, here)
        assert sorted(one.id for one in jobs.states(client)) == ["bad", "x"]
    assert [*jobs.remembered(here)] == ["bad"]


# ---- with SSH -----------------------------------------------------------------------------------


def play(ringrift: Ringrift, name: str, *words: str) -> None:
    assert ringrift("fleet", "run", "--name", name, "--", "selfplay", *words).code == 0


def settled(server: Server) -> None:
    with local_link(server.work) as client:
        for name in jobs_of(server):
            jobs.wait(client, name, 20)


def test_a_failed_job_is_dismissed_or_removed(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("desk")
    install(server)
    here.know(server)
    play(ringrift, "n", "--exit", "3")
    settled(server)
    assert ringrift("fleet", "status").code == 1
    run = ringrift("fleet", "dismiss", "n-desk")
    assert (run.code, run.out) == (0, "n-desk: dismissed\n")
    assert ringrift("fleet", "status").code == 0
    assert ringrift("fleet", "jobs").code == 0
    play(ringrift, "m", "--exit", "3")
    settled(server)
    assert ringrift("fleet", "status").code == 1
    run = ringrift("fleet", "clean")
    assert run.code != 0  # nobody was there to be asked
    assert "--yes" in run.err
    run = ringrift("fleet", "clean", "desk", "--dry-run", "--json")
    assert sorted(json.loads(run.out)["hosts"][0]["jobs"]) == ["m-desk", "n-desk"]
    assert len(jobs_of(server)) == 2
    assert ringrift("fleet", "clean", "desk", "--yes").code == 0
    assert jobs_of(server) == {}
    assert ringrift("fleet", "status").code == 0
    run = ringrift("fleet", "jobs", "--ended")
    assert (run.code, run.out) == (0, "no jobs\n")


def test_a_job_whose_games_are_not_here_stays(
    farm: Farm, here: Station, ringrift: Ringrift
) -> None:
    server = farm.server("desk")
    install(server)
    here.know(server)
    play(ringrift, "n")
    settled(server)
    goods.offer(server.work / "jobs" / "n-desk" / "out", goods.contents(1))
    run = ringrift("fleet", "clean", "--yes", "--json")
    (row,) = json.loads(run.out)["hosts"]
    assert (row["jobs"], row["kept"]) == ([], {"n-desk": "its games are not all there"})


def test_jobs_are_listed_by_page_and_state(
    farm: Farm, here: Station, ringrift: Ringrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringrift_cli.loop.fleet_operations.PAGE", 2)
    server = farm.server("desk")
    install(server)
    here.know(server)
    for name in ("a", "b", "c"):
        play(ringrift, name, "--exit", "3" if name == "b" else "0")
        settled(server)
    run = ringrift("fleet", "jobs", "--ended", "--json")
    found = json.loads(run.out)
    assert ([row["id"] for row in found["jobs"]], found["pages"]) == (["c-desk", "b-desk"], 2)
    run = ringrift("fleet", "jobs", "--ended", "--page", 2)
    assert run.out.splitlines()[1].split()[0] == "a-desk"
    assert len(run.out.splitlines()) == 2
    run = ringrift("fleet", "jobs", "--state", "failed", "--json")
    assert [row["id"] for row in json.loads(run.out)["jobs"]] == ["b-desk"]
    assert ringrift("fleet", "jobs", "--state", "x").code == 2
