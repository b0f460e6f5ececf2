"""A host that may say anything: nothing of it leaves its folder, and no lie of it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringrift_cli.errors import BadOutput
from ringrift_cli.fleet import exchange, listing, quarantine
from ringrift_cli.fleet.exchange import Exchange
from ringrift_cli.fleet.health import HEALTH, Health
from ringrift_cli.fleet.pull import Pulled, pull, pull_models
from ringrift_cli.fleet.quarantine import Bad, of_host, put_away
from ringrift_cli.fleet.wire import Wire
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import read_manifest
from tests.fleet.goods import (
    TIME,
    Answer,
    Liar,
    Message,
    contents,
    destination,
    entry_of,
    lists,
    says,
    sends,
)

DATA = contents(1)[0]
ENTRY = entry_of(DATA)
SHA, FILE = ENTRY["sha256"], ENTRY["file"]


class Ground:
    """A folder tree around ours, in which nothing may appear but in runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "a" / "b" / "runs"
        self.runs.mkdir(parents=True)
        (folder / "secret").write_text("x")
        self.state = self.runs / "fleet"

    def pull(self, liar: Liar) -> Pulled:
        return pull(Exchange("liar", liar.link, self.state), destination(self.runs))

    def nothing_outside(self) -> None:
        found = {path for path in self.folder.rglob("*") if self.runs not in path.parents}
        assert found == {
            self.folder / "a",
            self.folder / "a" / "b",
            self.runs,
            self.folder / "secret",
        }
        inside = [path for path in self.runs.rglob("*") if self.state not in path.parents]
        allowed = {"fleet", "hex8-2p", "selfplay", "manifest.jsonl", ".manifest.jsonl.lock", FILE}
        assert {path.name for path in inside} <= allowed
        assert not any(path.is_symlink() for path in self.runs.rglob("*"))


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.setattr(exchange, "BACKOFF_S", (0.01, 0.01))
    return Ground(tmp_path)


NAMES = [
    "../../../../secret",
    f"../{FILE}",
    f"/tmp/{FILE}",
    f"a/{FILE}",
    ".hidden.shard",
    "..",
    "",
    "\0.shard",
    f"{SHA[:16]}\n.shard",
    f"{SHA[:16]}\u202e.shard",
    f"{SHA[:15]}0.shard",
    f"{SHA}.shard",
    "manifest.jsonl.shard",
    "x" * 300 + ".shard",
    "-rf.shard",
    7,
    None,
    ["a"],
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere_is_refused(ground: Ground, name: Any) -> None:
    listed = says({"folder": "runs/x", "shards": [[name, 1000, SHA]]})
    liar = Liar(shards=listed, lines=says({"entry": {**ENTRY, "file": name}}), send=sends(DATA))
    pulled = ground.pull(liar)
    assert pulled.files == 0
    assert [message["op"] for message in liar.asked] == ["shards"]
    assert len(pulled.quarantined) == (0 if name == "x" else 1)
    assert all(character.isprintable() for character in pulled.quarantined[0].reason)
    ground.nothing_outside()
    assert ground.pull(liar).quarantined == []  # one strike, not one for each look


@pytest.mark.parametrize(
    "row",
    [
        [FILE, -1, SHA],
        [FILE, 0, SHA],
        [FILE, 1 << 50, SHA],
        [FILE, True, SHA],
        [FILE, 1e3, SHA],
        [FILE, 1000, SHA.upper()],
        [FILE, 1000, SHA[:-1]],
        [FILE, 1000, "../" + SHA[3:]],
        [FILE, 1000, None],
        [FILE, 1000],
        FILE,
        {"file": FILE},
    ],
)
def test_a_line_that_cannot_be_is_refused(ground: Ground, row: Any) -> None:
    liar = Liar(shards=says({"folder": "runs/x", "shards": [row]}))
    assert len(ground.pull(liar).quarantined) == 1
    assert [message["op"] for message in liar.asked] == ["shards"]
    ground.nothing_outside()


@pytest.mark.parametrize(
    "folder", ["../x", "/etc", "runs/../../etc", "runs//x", "models", "", "runs/\x1b[2J"]
)
def test_a_folder_that_leads_elsewhere_is_refused(ground: Ground, folder: Any) -> None:
    liar = Liar(shards=says({"folder": folder, "shards": [[FILE, 1000, SHA]]}))
    (bad,) = ground.pull(liar).quarantined
    assert "folder of games" in bad.reason
    ground.nothing_outside()


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../../../secret"},
        {"file": None},
        {"time": "now"},
        {"time": None},
        {"time": "2026-01-31T12:00:00"},
        {"time": 5},
        {"host": ["x"]},
        {"from": {}},
        {"board": "../../.."},
        {"note": "x" * 100_000},
    ],
)
def test_an_entry_that_cannot_be_is_refused(ground: Ground, change: dict[str, Any]) -> None:
    liar = Liar(shards=lists(ENTRY), lines=says({"entry": {**ENTRY, **change}}), send=sends(DATA))
    pulled = ground.pull(liar)
    assert (pulled.files, len(pulled.quarantined)) == (0, 1)
    assert "send" not in [message["op"] for message in liar.asked]
    ground.nothing_outside()


def test_what_it_says_of_our_own_fields_does_not_count(ground: Ground) -> None:
    entry = {**ENTRY, "from": "another", "received": "2000-01-01T00:00:00Z"}
    liar = Liar(shards=lists(ENTRY), lines=says({"entry": entry}), send=sends(DATA))
    assert ground.pull(liar).files == 1
    (held,) = read_manifest(ground.runs / "hex8-2p" / "selfplay")
    assert (held.received_from, held.to_json()["time"]) == ("liar", TIME)
    assert held.received is not None
    assert held.received > held.time
    ground.nothing_outside()


def test_an_entry_that_nobody_asked_for_ends_it(ground: Ground) -> None:
    other = entry_of(b"other")
    pulled = ground.pull(Liar(shards=lists(ENTRY), lines=says({"entry": other})))
    assert "nobody asked for" in (pulled.error or "")
    pulled = ground.pull(Liar(shards=lists(ENTRY)))
    assert "has no entry" in pulled.quarantined[0].reason


def endless(message: Message, wire: Wire) -> None:
    wire.send({"size": 1000})
    while True:
        wire.send_bytes(bytes(1 << 20))


@pytest.mark.parametrize(
    ("send", "says_why"),
    [
        (endless, "sends more"),
        (sends(DATA, 1 << 40), "was listed with 1000 bytes"),
        (sends(DATA * 2), "was listed with 1000 bytes"),
        (says({"size": "1000"}), "does not fit"),
        (lambda message, wire: wire.send_bytes(DATA), "sent with no size"),
        (lambda message, wire: wire.send({"end": "ok"}), "does not fit"),
    ],
)
def test_a_host_that_sends_more_than_it_said_is_cut_off(
    ground: Ground, send: Answer, says_why: str
) -> None:
    pulled = ground.pull(Liar(shards=lists(ENTRY), lines=says({"entry": ENTRY}), send=send))
    assert says_why in (pulled.error or "")
    assert pulled.files == 0
    size = sum(p.stat().st_size for p in ground.runs.rglob("*") if p.is_file())
    assert size < 100_000
    assert HEALTH.read(ground.state)["liar"].strikes == 1
    ground.nothing_outside()


def test_a_host_that_ends_too_early_is_asked_again_and_given_up(ground: Ground) -> None:
    def short(message: Message, wire: Wire) -> None:
        wire.send({"size": 1000})
        wire.send({"end": "ok", "sent": 1000})

    liar = Liar(shards=lists(ENTRY), lines=says({"entry": ENTRY}), send=short)
    (bad,) = ground.pull(liar).quarantined
    assert "0 of 1000 bytes came, 3 times" in bad.reason
    assert [message["op"] for message in liar.asked].count("send") == 3


@pytest.mark.parametrize("said", [SHA, "0" * 64, None])
def test_other_bytes_than_it_claims_are_never_taken(ground: Ground, said: str | None) -> None:
    def hashes(message: Message, wire: Wire) -> None:
        wire.send({"end": "ok", "sha256": dict.fromkeys(message["paths"], said)})

    wrong = contents(1, seed=9)[0]
    liar = Liar(shards=lists(ENTRY), lines=says({"entry": ENTRY}), send=sends(wrong), hash=hashes)
    pulled = ground.pull(liar)
    kept = [bad for bad in pulled.quarantined if bad.kept_out]
    assert (pulled.files, len(kept), kept[0].found) == (0, 1, sha256(wrong))
    assert len(pulled.quarantined) == (3 if said == SHA else 1)
    assert ground.pull(liar).quarantined == []
    assert not (ground.runs / "hex8-2p").exists()
    ground.nothing_outside()


def test_a_list_without_end_or_full_of_lies_is_not_read_to_its_end(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flood(message: Message, wire: Wire) -> None:
        while True:
            wire.send({"folder": "runs/x", "shards": [[FILE, 1000, SHA]] * 2000})

    monkeypatch.setattr(listing, "MOST_FILES", 10_000)
    assert "more than 10,000" in (ground.pull(Liar(shards=flood)).error or "")
    many = says({"folder": "runs/x", "shards": [[f"../{n}", 1, SHA] for n in range(60)]})
    assert "that cannot be" in (ground.pull(Liar(shards=many)).error or "")
    assert len(of_host(ground.state, "liar")) < 60


@pytest.mark.parametrize(
    "frame", [{"folder": "runs/x"}, {"shards": 5}, {"folder": "runs/x", "shards": "no"}]
)
def test_a_list_that_is_none_ends_it(ground: Ground, frame: Message) -> None:
    assert "does not fit" in (ground.pull(Liar(shards=says(frame))).error or "")


def test_what_it_calls_damaged_cannot_speak_to_a_terminal(ground: Ground) -> None:
    told = {"folder": "\x1b[2J", "line": 7, "why": "\r\n" * 500}

    def shards(message: Message, wire: Wire) -> None:
        wire.send({"end": "ok", "damaged": [told]})

    (note,) = ground.pull(Liar(shards=shards)).notes
    assert note.isprintable()
    assert len(note) < 400


# ---- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "models/../../secret",
        "models/hex8-2p/../../../0123456789abcdef",
        "models/hex8-2p/sub/0123456789abcdef",
        "models/../models/hex8-2p/0123456789abcdef",
        "models/nope/0123456789abcdef",
        "models/hex8-2p/0123456789ABCDEF",
        "/models/hex8-2p/0123456789abcdef",
        "models/hex8-2p/.123456789abcdef",
    ],
)
def test_a_model_of_another_name_is_not_fetched(ground: Ground, path: str) -> None:
    rows = [[f"{path}.{kind}", 1000, SHA] for kind in ("json", "safetensors")]
    liar = Liar(files=says({"files": rows}), send=sends(DATA))
    pulled = pull_models(
        Exchange("liar", liar.link, ground.state), lambda *_: False, lambda *_: None
    )
    assert (pulled.files, pulled.error) == (0, None)
    assert "send" not in [message["op"] for message in liar.asked]
    ground.nothing_outside()


# ---- quarantine ----------------------------------------------------------------------------------


def test_quarantine_keeps_every_copy_under_a_safe_name(tmp_path: Path) -> None:
    for number in range(3):
        file = tmp_path / "bad"
        file.write_bytes(bytes([number]))
        put_away(tmp_path, Bad("host", "x.json", f"why {number}\x1b[0m", SHA, "0" * 64), file)
    put_away(tmp_path, Bad("host", "../../up", "a name", "1" * 64), None)
    folder = tmp_path / quarantine.FOLDER / "host"
    assert [(folder / name).read_bytes() for name in ("x.json", "x.json.2", "x.json.3")] == [
        b"\0",
        b"\1",
        b"\2",
    ]
    found = list(of_host(tmp_path, "host"))
    assert sorted(bad.reason for bad in found) == [
        "a name",
        *(f"why {n}\N{REPLACEMENT CHARACTER}[0m" for n in range(3)),
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["quarantine"]


def test_three_lies_set_a_host_aside(ground: Ground) -> None:
    for _ in range(3):
        assert Health(ground.state).set_aside("liar") is None
        ground.pull(Liar(shards=says({"shards": 5})))
    assert "set aside" in (ground.pull(Liar()).error or "")
    assert Health(ground.state).set_aside("liar") is not None
    with Liar(hash=says({"sha256": 1})).link() as client, pytest.raises(BadOutput):
        listing.hashes_there(client, ["x"])
