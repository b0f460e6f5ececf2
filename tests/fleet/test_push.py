"""Pushing, comparing and models: nothing counts before the host has hashed what it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import HostUnreachable, RecordError
from ringrift_cli.fleet import exchange, synced
from ringrift_cli.fleet.audit import Here, Verified, standing, verify
from ringrift_cli.fleet.client import Client
from ringrift_cli.fleet.exchange import Exchange
from ringrift_cli.fleet.health import Health
from ringrift_cli.fleet.pull import Pulled, pull, pull_models
from ringrift_cli.fleet.push import Bundle, Pushed, Sent, push
from ringrift_cli.fleet.transfer import TransferMeter
from ringrift_cli.fleet.wire import Wire
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import ShardEntry, add_to_manifest, read_manifest
from tests.fleet.goods import ENDINGS, Liar, Message, contents, destination, entry_of, offer
from tests.fleet.servers import local_link

ONE, TWO = "0123456789abcdef", "fedcba9876543210"


class Ground:
    """This machine with two models, and one host."""

    def __init__(self, folder: Path) -> None:
        self.work, self.runs, self.models = folder / "far", folder / "runs", folder / "models"
        self.state = self.runs / "fleet"
        self.pool = self.models / "hex8-2p"
        self.pool.mkdir(parents=True)
        for identity in (ONE, TWO):
            (self.pool / f"{identity}.json").write_text(f'{{"identity": "{identity}"}}')
            (self.pool / f"{identity}.safetensors").write_bytes(contents(1, 5000)[0])
        (self.pool / "champion.json").write_text("[1]")
        self.to = destination(self.runs)

    def link(self) -> Client:
        return local_link(self.work, host="far")

    def bundle(self, conflict: Callable[[bytes, bytes], str | None] | None = None) -> Bundle:
        names = [
            f"{identity}.{kind}" for identity in (ONE, TWO) for kind in ("safetensors", "json")
        ]
        files = tuple(Sent(self.pool / name, f"models/hex8-2p/{name}") for name in names)
        pointer = Sent(self.pool / "champion.json", "models/hex8-2p/champion.json")
        return Bundle(files, pointer, conflict or (lambda theirs, ours: None))

    def push(self, **options: Any) -> Pushed:
        return push(self.exchange(), endings=ENDINGS, **options)

    def exchange(self, opener: Callable[[], Client] | None = None, **options: Any) -> Exchange:
        return Exchange("far", opener or self.link, self.state, **options)

    def verify(self) -> Verified:
        sent = [*self.bundle().files]
        return verify(self.exchange(), self.to, Here(self.to), sent)


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.setattr(exchange, "BACKOFF_S", (0.01, 0.01))
    return Ground(tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_models_go_over_and_are_confirmed_by_what_the_host_reads(ground: Ground) -> None:
    pushed = ground.push(bundles=[ground.bundle()])
    assert (pushed.error, pushed.files, pushed.bytes) == (None, 5, 2 * 5000 + 2 * 32 + 3)
    there = ground.work / "models" / "hex8-2p"
    assert tree(there) == tree(ground.pool)
    assert pushed.confirmed == {
        f"models/hex8-2p/{name}": sha256(data) for name, data in tree(there).items()
    }
    assert synced.read(ground.state)["far"]["push"]["confirmed"] == pushed.confirmed
    again = ground.push(bundles=[ground.bundle()])
    assert (again.error, again.files, again.bytes, len(again.confirmed)) == (None, 0, 0, 5)


def test_what_is_damaged_there_is_replaced_even_if_its_size_and_time_are_right(
    ground: Ground,
) -> None:
    ground.push(bundles=[ground.bundle()])
    victim = ground.work / "models" / "hex8-2p" / f"{ONE}.safetensors"
    victim.write_bytes(b"x" * 5000)
    pushed = ground.push(bundles=[ground.bundle()])
    assert (pushed.files, pushed.bytes) == (1, 5000)
    assert victim.read_bytes() == (ground.pool / victim.name).read_bytes()


def test_the_pointer_goes_last(ground: Ground) -> None:
    order: list[str] = []

    def put(message: Message, wire: Wire) -> None:
        order.append(message["path"])
        wire.send({"have": 0})
        while wire.receive() != b"":
            pass
        wire.send({"end": "ok", "sha256": message["sha256"]})

    def hashes(message: Message, wire: Wire) -> None:
        found = {
            path: sha256((ground.models.parent / path).read_bytes()) for path in message["paths"]
        }
        wire.send({"end": "ok", "sha256": found})

    with Liar(put=put, hash=hashes).link("far") as client:
        exchange = ground.exchange(lambda: client)
        assert push(exchange, bundles=[ground.bundle()]).files == 5
    assert order[-1] == "models/hex8-2p/champion.json"


@pytest.mark.parametrize("confirms", [True, False])
def test_a_host_that_holds_something_else_fails_the_push(ground: Ground, confirms: bool) -> None:
    def put(message: Message, wire: Wire) -> None:
        wire.send({"have": 0})
        while wire.receive() != b"":
            pass
        wire.send({"end": "ok", "sha256": message["sha256"] if confirms else "0" * 64})

    def hashes(message: Message, wire: Wire) -> None:
        wire.send({"end": "ok", "sha256": dict.fromkeys(message["paths"], "0" * 64)})

    liar = Liar(put=put, hash=hashes)
    pushed = push(ground.exchange(lambda: liar.link("far")), bundles=[ground.bundle()])
    assert "hashes to" in (pushed.error or "")
    assert "push" not in synced.read(ground.state).get("far", {})


def test_a_pointer_of_another_history_is_left_alone(ground: Ground) -> None:
    there = ground.work / "models" / "hex8-2p" / "champion.json"
    there.parent.mkdir(parents=True)
    there.write_text("[2]")
    told: list[tuple[bytes, bytes]] = []

    def conflict(theirs: bytes, ours: bytes) -> str | None:
        told.append((theirs, ours))
        return "it has another champion."

    pushed = ground.push(bundles=[ground.bundle(conflict)])
    assert (pushed.error, told) == ("far: it has another champion.", [(b"[2]", b"[1]")])
    assert there.read_text() == "[2]"
    assert ground.push(bundles=[ground.bundle()]).error is None
    assert there.read_text() == "[1]"


def test_games_go_over_once_and_into_the_manifest_there(ground: Ground) -> None:
    here, there = ground.runs / "hex8-2p" / "selfplay", "runs/hex8-2p/selfplay"
    files = contents(6)
    entries = offer(here, files)
    offer(ground.work / "jobs" / "a" / "out", files[:2])
    pushed = ground.push(games=[(here, there)])
    assert (pushed.error, pushed.files, pushed.bytes) == (None, 6, 6000)
    assert [one.to_json() for one in read_manifest(ground.work / there)] == entries
    assert ground.push(games=[(here, there)]).files == 0
    assert ground.verify().differences == [
        f"{sent.path} is not there" for sent in ground.bundle().files
    ]


def test_games_that_are_damaged_here_do_not_go(ground: Ground) -> None:
    here = ground.runs / "hex8-2p" / "selfplay"
    entry = offer(here, contents(1))[0]
    (here / entry["file"]).write_bytes(b"x")
    assert "is damaged" in (ground.push(games=[(here, "runs/hex8-2p/selfplay")]).error or "")
    assert not (ground.work / "runs").exists()


def test_a_push_goes_on_where_the_link_broke(ground: Ground) -> None:
    big = ground.pool / f"{ONE}.safetensors"
    big.write_bytes(contents(1, 4 << 20)[0])
    tries: list[int] = []

    def opener() -> Client:
        tries.append(1)
        client = ground.link()
        if len(tries) == 1:
            real = client.send_bytes
            count: list[int] = []

            def send_bytes(data: bytes | bytearray | memoryview) -> None:
                count.append(1)
                if len(count) == 4:
                    client.close()
                    raise HostUnreachable("cut")
                real(data)

            client.send_bytes = send_bytes  # type: ignore[method-assign]
        return client

    meter = TransferMeter()
    pushed = push(ground.exchange(opener, meter=meter), bundles=[ground.bundle()])
    assert (pushed.error, len(tries), len(pushed.confirmed)) == (None, 2, 5)
    assert meter.done < 6 << 20


# ---- verify and status ---------------------------------------------------------------------------


def in_step(ground: Ground) -> list[dict[str, Any]]:
    entries = offer(ground.work / "runs" / "x", contents(4))
    pull(ground.exchange(), ground.to)
    ground.push(bundles=[ground.bundle()])
    assert ground.verify().right
    return entries


def test_verify_reads_both_ends_and_names_every_difference(ground: Ground) -> None:
    entries = in_step(ground)
    found = ground.verify()
    assert (found.files, found.bytes) == (8, 4000 + 2 * 5032)
    there, here = ground.work / "runs" / "x", ground.runs / "hex8-2p" / "selfplay"
    for place, entry in ((there, entries[0]), (here, entries[1])):
        path = place / entry["file"]
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    (here / entries[2]["file"]).unlink()
    offer(there, contents(1, seed=5))
    (ground.work / "models" / "hex8-2p" / f"{TWO}.json").write_text("{}")
    text = "\n".join(ground.verify().differences)
    assert f"runs/x/{entries[0]['file']} is damaged there" in text
    assert f"runs/x/{entries[1]['file']} is damaged here" in text
    assert f"runs/x/{entries[2]['file']} is missing here" in text
    assert "is not here" in text
    assert f"models/hex8-2p/{TWO}.json is another file there" in text
    assert len(text.splitlines()) == 5


def test_verify_does_not_ask_for_what_was_deleted_or_is_in_quarantine(ground: Ground) -> None:
    from ringrift_cli.store.manifest import remove_from_manifest

    entries = in_step(ground)
    here = ground.runs / "hex8-2p" / "selfplay"
    remove_from_manifest(here, [entries[0]["sha256"]])
    ground.to = destination(ground.runs, lambda path: "bad")
    offer(ground.work / "runs" / "x", contents(1, seed=8))
    assert len(pull(ground.exchange(), ground.to).quarantined) == 1
    found = ground.verify()
    assert (found.differences, found.kept_out) == ([], 1)


def test_status_tells_how_far_apart_both_are(ground: Ground) -> None:
    in_step(ground)
    offer(ground.work / "runs" / "x", contents(2, seed=3))
    (ground.pool / f"{TWO}.json").write_text("{}")
    sent = ground.bundle().files
    found = standing(ground.exchange(), ground.to, sent)
    assert (found.listed, found.missing_here, found.missing_here_bytes) == (6, 2, 2000)
    assert found.models_behind == [f"models/hex8-2p/{TWO}.json"]
    assert found.synced is not None
    assert {*found.synced} == {"pull", "push", "verify"}


# ---- models from hosts ---------------------------------------------------------------------------


def models_of(ground: Ground, refuse: bool = False) -> tuple[Pulled, dict[str, str | None]]:
    taken: dict[str, str | None] = {}

    def adopt(path: Path, pool: str | None) -> None:
        if refuse:
            raise RecordError("its weights are not finite")
        assert path.with_suffix(".safetensors").read_bytes()
        taken[path.stem] = pool

    have = lambda pool, identity: identity == TWO  # noqa: E731
    return pull_models(ground.exchange(), have, adopt), taken


def checkpoints(ground: Ground) -> None:
    for folder, identity in (
        (ground.work / "models" / "hex8-2p", ONE),
        (ground.work / "models" / "hex8-2p", TWO),
        (ground.work / "jobs" / "t" / "out" / "cycle", "a" * 16),
        (ground.work / "jobs" / "t" / "out", "state"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{identity}.safetensors").write_bytes(identity.encode() * 1000)
        (folder / f"{identity}.json").write_text("{}")
    (ground.work / "jobs" / "t" / "out" / f"{'b' * 16}.safetensors").write_bytes(b"in the making")


def test_checkpoints_come_from_registries_and_jobs(ground: Ground) -> None:
    checkpoints(ground)
    pulled, taken = models_of(ground)
    assert (pulled.error, pulled.files) == (None, 2)
    assert taken == {ONE: "hex8-2p", "a" * 16: None}
    assert not list((ground.state / "incoming" / "far" / "models").iterdir())


def test_a_checkpoint_that_does_not_load_is_put_away_with_both_files(ground: Ground) -> None:
    checkpoints(ground)
    pulled, _ = models_of(ground, refuse=True)
    assert (pulled.files, len(pulled.quarantined)) == (0, 4)
    folder = ground.state / "quarantine" / "far"
    assert (folder / f"{ONE}.safetensors").exists()
    assert models_of(ground, refuse=True)[0].quarantined == []
    assert Health(ground.state).set_aside("far") is None  # two strikes


def test_entries_are_added_in_one_step_and_once(tmp_path: Path) -> None:
    entries = [ShardEntry.from_json(entry_of(b"%d" % number)) for number in range(5)]
    add_to_manifest(tmp_path, entries[0])
    add_to_manifest(tmp_path, *entries, entries[3])
    add_to_manifest(tmp_path)
    assert read_manifest(tmp_path) == entries
