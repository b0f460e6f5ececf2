"""Pulling: everything once, nothing that is wrong, and on from wherever it was stopped."""

from __future__ import annotations

import datetime as dt
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import FleetError, HostUnreachable, OutputError, RulesMismatch
from ringrift_cli.fleet import exchange, package, synced
from ringrift_cli.fleet import pull as stage
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import Exchange, alone
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.pull import Pulled, missing_shards, pull, pull_over
from ringrift_cli.fleet.quarantine import forget, kept_out, of_host
from ringrift_cli.fleet.transfer import TransferMeter
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import MANIFEST, ShardEntry, read_manifest, remove_from_manifest
from tests.fleet.goods import TIME, contents, destination, entry_of, offer
from tests.fleet.servers import ProcessTransport, furnish, local_link


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BACKOFF_S", (0.01, 0.01))


class Ground:
    """This machine and one host."""

    def __init__(self, folder: Path) -> None:
        self.work, self.runs = folder / "far", folder / "runs"
        self.state = self.runs / "fleet"
        self.here = self.runs / "hex8-2p" / "selfplay"
        self.to = destination(self.runs)

    def link(self) -> Client:
        return local_link(self.work, host="far")

    def pull(
        self,
        opener: Callable[[], Client] | None = None,
        streams: int = 1,
        host: str = "far",
        **options: Any,
    ) -> Pulled:
        exchange = Exchange(host, opener or self.link, self.state, **options)
        return pull(exchange, self.to, streams=streams)

    def held(self) -> dict[str, bytes]:
        """What counts as here: files by name, each listed once, with its hash."""
        entries = read_manifest(self.here)
        names = [entry.file for entry in entries]
        assert len(names) == len(set(names))
        found = {name: (self.here / name).read_bytes() for name in names}
        assert all(sha256(found[entry.file]) == entry.sha256 for entry in entries)
        lying = {path.name for path in self.here.iterdir() if not path.name.startswith(".")}
        assert lying == {*names, MANIFEST}
        return found

    def events(self) -> list[str]:
        lines = (self.state / "events.jsonl").read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]

    def bad(self) -> list[tuple[str, str, bool]]:
        return [(bad.name, bad.reason, bad.kept_out) for bad in of_host(self.state, "far")]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_a_pull_brings_all_of_all_folders_once(ground: Ground) -> None:
    files = contents(7)
    offer(ground.work / "jobs" / "a" / "out", files[:4])
    offer(ground.work / "runs" / "hex8-2p" / "selfplay", files[2:], made={"any": [1]})
    pulled = ground.pull()
    assert (pulled.error, pulled.listed, pulled.missing, pulled.files) == (None, 7, 7, 7)
    assert (pulled.bytes, pulled.games, pulled.right) == (7000, 35, True)
    assert sorted(ground.held().values()) == sorted(files)
    entry = read_manifest(ground.here)[-1]
    age = dt.datetime.now(dt.UTC) - (entry.received or entry.time)
    assert (entry.received_from, entry.to_json()["time"], entry.host) == ("far", TIME, "far")
    assert dt.timedelta(0) <= age < dt.timedelta(minutes=1)
    assert {entry.made.get("any", [0])[0] for entry in read_manifest(ground.here)} == {
        0,
        1,
    }
    row = synced.read(ground.state)["far"]
    assert row["pull"]["here"] == row["pull"]["listed"] == 7
    again = ground.pull()
    assert (again.error, again.listed, again.missing, again.files) == (None, 7, 0, 0)
    assert not [path for path in (ground.state / "incoming" / "far").iterdir() if path.is_file()][
        1:
    ]


def test_what_is_new_comes_and_what_was_deleted_here_does_not(ground: Ground) -> None:
    files = contents(4)
    entries = offer(ground.work / "runs" / "x", files[:3])
    ground.pull()
    remove_from_manifest(ground.here, [entries[0]["sha256"]])
    (ground.here / entries[0]["file"]).unlink()
    offer(ground.work / "runs" / "x", files[3:])
    assert (ground.pull().files, sorted(ground.held().values())) == (1, sorted(files[1:]))


def test_a_pull_goes_on_behind_what_has_come(ground: Ground) -> None:
    data = contents(1, 3_000_000)
    entry = offer(ground.work / "runs" / "x", data)[0]
    incoming = ground.state / "incoming" / "far"
    incoming.mkdir(parents=True)
    (incoming / f"{entry['sha256']}.part").write_bytes(data[0][:2_500_000])
    meter = TransferMeter()
    assert ground.pull(meter=meter).files == 1
    assert (meter.done, meter.total) == (500_000, 500_000)
    assert [*ground.held().values()] == data


def test_a_part_that_is_damaged_or_too_long_costs_a_second_try(ground: Ground) -> None:
    data = contents(2, 5000)
    entries = offer(ground.work / "runs" / "x", data)
    incoming = ground.state / "incoming" / "far"
    incoming.mkdir(parents=True)
    (incoming / f"{entries[0]['sha256']}.part").write_bytes(b"\0" * 3000)
    (incoming / f"{entries[1]['sha256']}.part").write_bytes(b"\0" * 6000)
    pulled = ground.pull()
    assert (pulled.files, pulled.right) == (2, True)
    assert sorted(ground.held().values()) == sorted(data)
    ((name, reason, out),) = ground.bad()
    assert (name, out) == (entries[0]["file"], False)
    assert "changed on the way" in reason
    assert "changed on the way" in ground.events()
    assert Health(ground.state).set_aside("far") is None


def test_what_is_damaged_there_is_put_away_with_the_reason(ground: Ground) -> None:
    files = contents(5)
    entries = offer(ground.work / "runs" / "x", files)
    broken = ground.work / "runs" / "x" / entries[2]["file"]
    broken.write_bytes(files[2][:-1] + bytes([files[2][-1] ^ 1]))
    short = ground.work / "runs" / "x" / entries[3]["file"]
    short.write_bytes(files[3][:500])
    pulled = ground.pull()
    assert (pulled.files, len(pulled.quarantined), pulled.right) == (3, 2, False)
    assert pulled.error is None
    folder = ground.state / "quarantine" / "far"
    (note,) = [bad for bad in of_host(ground.state, "far") if bad.name == broken.name]
    assert note.claimed == entries[2]["sha256"]
    assert note.found == sha256(broken.read_bytes()) == sha256((folder / broken.name).read_bytes())
    assert note.reason.startswith(f"it hashes to {note.found}")
    assert len(ground.held()) == 3
    assert ground.events().count("bad output") == 2
    assert ground.pull().quarantined == []  # and not fetched again
    broken.write_bytes(files[2])
    assert forget(ground.state, "far") == 2
    assert (ground.pull().files, len(of_host(ground.state, "far"))) == (1, 1)


def test_what_fails_its_check_is_put_away_and_at_last_the_host_is_set_aside(ground: Ground) -> None:
    files = contents(6)
    entries = offer(ground.work / "runs" / "x", files)
    bad = {entry["file"] for entry in entries[:3]}
    ground.to = destination(ground.runs, lambda path: "not legal" if path.name in bad else None)
    pulled = ground.pull()
    assert pulled.error is not None
    assert "set aside" in pulled.error
    assert "not legal" in pulled.error
    assert {bad.name for bad in pulled.quarantined} == bad
    assert (ground.pull().error or "").startswith("far is set aside: 3 times bad output")
    Health(ground.state).forgive("far")
    assert ground.pull().files + pulled.files == 3
    assert {*ground.held()} == {entry["file"] for entry in entries[3:]}


def test_entries_that_belong_nowhere_are_put_away(ground: Ground) -> None:
    good, other, undated = contents(3)
    offer(ground.work / "runs" / "x", [good])
    offer(ground.work / "runs" / "x", [other], board="../../etc")
    offer(ground.work / "runs" / "x", [undated], time="yesterday")
    pulled = ground.pull()
    assert pulled.files == 1
    reasons = sorted(bad.reason for bad in pulled.quarantined)
    assert "$.time" in reasons[0]
    assert "../../etc" in reasons[1]


def test_files_of_other_kinds_and_damaged_lines_hide_nothing(ground: Ground) -> None:
    offer(ground.work / "runs" / "x", contents(1, seed=1), ending=".txt")
    offer(ground.work / "runs" / "x", contents(2))
    with (ground.work / "runs" / "x" / MANIFEST).open("a") as manifest:
        manifest.write('{"sha256": "../x", "file": "../../../x"}\nno JSON\n')
    pulled = ground.pull()
    assert (pulled.files, pulled.listed, len(pulled.notes), pulled.right) == (2, 2, 2, False)


class Breaking(ProcessTransport):
    """A way that breaks after so many bytes from the host."""

    def __init__(self, command: str, left: int) -> None:
        super().__init__(command)
        self.left = left

    def read(self, most: int, within: float) -> bytes:
        if self.left <= 0:
            raise ConnectionResetError("cut")
        data = super().read(min(most, self.left), within)
        self.left -= len(data)
        return data


class Flipping(ProcessTransport):
    """A way on which one byte changes, once, within a file."""

    flips = 1

    def read(self, most: int, within: float) -> bytes:
        data = super().read(most, within)
        if len(data) > 30_000 and Flipping.flips:
            Flipping.flips -= 1
            middle = len(data) // 2
            return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data


def opened(way: type[ProcessTransport], work: Path, *arguments: Any) -> Client:
    furnish(work)
    client = Client(way(package.command(sys.executable, str(work)), *arguments), host="far")
    client.open()
    return client


def test_a_link_that_breaks_again_and_again_loses_nothing(ground: Ground) -> None:
    files = contents(12, 400_000)
    offer(ground.work / "runs" / "x", files)
    ground.link().close()  # the agent is there now
    tries = []

    def opener() -> Client:
        tries.append(1)
        return opened(Breaking, ground.work, 1_000_000)

    meter = TransferMeter()
    pulled = ground.pull(opener, meter=meter)
    assert (pulled.error, pulled.files) == (None, 12)
    assert len(tries) > 4
    assert sorted(ground.held().values()) == sorted(files)
    assert meter.done == meter.total == 12 * 400_000  # no byte twice


def test_a_link_that_never_works_ends_after_three_tries(ground: Ground) -> None:
    tries = []

    def opener() -> Client:
        tries.append(1)
        raise HostUnreachable("far: nobody there.")

    pulled = ground.pull(opener)
    assert (pulled.error, len(tries)) == ("far: nobody there.", 3)
    assert not pulled.right


def test_a_byte_that_changes_on_the_way_is_noticed_and_the_file_comes_again(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flipping, "flips", 1)
    files = contents(1, 200_000)
    offer(ground.work / "runs" / "x", files)
    ground.link().close()
    pulled = ground.pull(lambda: opened(Flipping, ground.work))
    assert (pulled.files, len(pulled.quarantined), pulled.right) == (1, 1, True)
    assert [*ground.held().values()] == files
    assert not kept_out(ground.state, "far")


@pytest.mark.parametrize("when", ["move_in", "sync_folder", "add_to_manifest"])
def test_killed_while_files_are_entered_it_enters_them_the_next_time(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    files = contents(5)
    offer(ground.work / "runs" / "x", files)
    calls = []
    act = getattr(stage, when)

    def killed(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == (3 if when == "move_in" else 1):
            raise KeyboardInterrupt
        act(*arguments)

    monkeypatch.setattr(stage, when, killed)
    with pytest.raises(KeyboardInterrupt):
        ground.pull()
    monkeypatch.undo()
    ground.to = destination(ground.runs)  # another process
    pulled = ground.pull()
    assert (pulled.error, pulled.right) == (None, True)
    assert sorted(ground.held().values()) == sorted(files)


def test_a_disk_that_is_full_is_told_and_nothing_is_lost(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = contents(3)
    offer(ground.work / "runs" / "x", files)
    monkeypatch.setattr(stage, "SPARE", 1 << 60)
    assert "free at" in (ground.pull().error or "")
    monkeypatch.undo()

    def full(path: Path, target: Path) -> None:
        raise OutputError(f"Cannot write {target}: No space left on device.")

    monkeypatch.setattr(stage, "move_in", full)
    assert "No space left" in (ground.pull().error or "")
    monkeypatch.undo()
    assert ground.pull().files == 3
    assert sorted(ground.held().values()) == sorted(files)
    assert ground.bad() == []


def test_two_hosts_with_the_same_files_count_once(tmp_path: Path) -> None:
    grounds = [Ground(tmp_path) for _ in range(3)]
    files = contents(40)
    for number, ground in enumerate(grounds):
        ground.work = tmp_path / f"far-{number}"
        offer(ground.work / "jobs" / "a" / "out", files[number : 38 + number])
    to = grounds[0].to
    results: list[Pulled] = []

    def bring(number: int) -> None:
        ground = grounds[number]
        opener = lambda: local_link(ground.work, host=f"far-{number}")  # noqa: E731
        results.append(pull(Exchange(f"far-{number}", opener, ground.state), to))

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [pulled.error for pulled in results] == [None] * 3
    assert sum(pulled.files for pulled in results) == 40
    assert sorted(grounds[0].held().values()) == sorted(files)


def test_streams_share_the_files(ground: Ground) -> None:
    files = contents(30, 100_000)
    offer(ground.work / "runs" / "x", files)
    links = []

    def opener() -> Client:
        links.append(1)
        if len(links) == 3:
            raise HostUnreachable("far: only so many.")
        return ground.link()

    pulled = ground.pull(opener, 4)
    assert (pulled.error, pulled.files, len(links)) == (None, 30, 4)
    assert sorted(ground.held().values()) == sorted(files)


def test_a_limit_holds_over_all_streams(ground: Ground) -> None:
    offer(ground.work / "runs" / "x", contents(30, 20_000))
    start = time.monotonic()
    assert ground.pull(meter=TransferMeter(1_000_000), streams=3).files == 30
    assert 0.4 < time.monotonic() - start < 3.0


def test_asked_to_stop_it_stops_and_keeps_what_has_come(ground: Ground) -> None:
    files = contents(3, 3 << 20)
    offer(ground.work / "runs" / "x", files)
    meter = TransferMeter()
    pulled = ground.pull(meter=meter, should_stop=lambda: meter.done > 4 << 20)
    assert (pulled.stopped, pulled.error, pulled.files) == (True, None, 1)
    assert ground.pull(meter=meter).files == 2
    assert meter.done == 9 << 20
    assert sorted(ground.held().values()) == sorted(files)


def test_nobody_pulls_from_a_host_while_another_does(ground: Ground) -> None:
    offer(ground.work / "runs" / "x", contents(1))
    with alone(ground.state / "incoming" / "far", "far"):
        assert "right now" in (ground.pull().error or "")
    assert ground.pull().files == 1


def test_over_a_link_that_is_open_errors_come_through(ground: Ground) -> None:
    offer(ground.work / "runs" / "x", contents(2))
    with ground.link() as client:
        assert pull_over(client, ground.state, ground.to).files == 2
        assert pull_over(client, ground.state, ground.to).files == 0
        with (
            alone(ground.state / "incoming" / "far", "far"),
            pytest.raises(FleetError, match="right now"),
        ):
            pull_over(client, ground.state, ground.to)


def test_a_plan_changes_nothing(ground: Ground) -> None:
    offer(ground.work / "runs" / "x", contents(3))
    with ground.link() as client:
        found = missing_shards(client, ground.state, ground.to)
    assert (found.listed, found.bytes, len(found.lines)) == (3, 3000, 3)
    assert not ground.runs.exists()


def test_a_file_that_is_gone_by_then_is_named(ground: Ground) -> None:
    entries = offer(ground.work / "runs" / "x", contents(2))
    gone = ground.work / "runs" / "x" / entries[0]["file"]
    real = ground.to.place

    def place(entry: Any) -> Path:
        gone.unlink(missing_ok=True)
        return real(entry)

    ground.to.place = place
    pulled = ground.pull()
    assert (pulled.files, pulled.error) == (1, None)
    assert gone.name in pulled.notes[0]
    assert entry_of(b"")["file"] not in ground.held()


def test_games_of_other_rules_are_kept_out_and_blame_nobody(ground: Ground) -> None:
    offer(ground.work / "runs" / "x", contents(5))

    def check(_path: Path, _entry: ShardEntry, _folder: Path) -> None:
        raise RulesMismatch("it was made under other rules.", hint="ringrift fleet deploy")

    ground.to.check = check
    pulled = ground.pull()
    assert (pulled.files, len(pulled.quarantined), pulled.right) == (0, 5, False)
    assert pulled.hint == "ringrift fleet deploy"
    assert ground.events() == ["other rules"] * 5
    assert Health(ground.state).set_aside("far") is None
