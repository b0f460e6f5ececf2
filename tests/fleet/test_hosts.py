"""hosts.yaml: what is read from it, and what is said of every mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet.hosts import EXAMPLE, Address, Budget, Fleet, Host, load


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A hosts.yaml of two hosts."""
    path = tmp_path / "hosts.yaml"
    path.write_text(uncommented(EXAMPLE))
    return path


def uncommented(example: str) -> str:
    """The example with its hosts."""
    head, hosts = example.split("\nhosts:\n")
    return f"{head}\nhosts:\n" + re.sub("^#", "", hosts, flags=re.MULTILINE)


def fails(path: Path, text: str) -> str:
    """What is said of a file."""
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(path)
    return caught.value.message.removeprefix(f"{path}")


def test_the_example_contacts_nobody(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(EXAMPLE)
    fleet = load(path)
    assert fleet == Fleet(path=path, stamp=fleet.stamp)
    with pytest.raises(UsageError, match="has no enabled host"):
        fleet.choose()


def test_every_key_of_the_example_is_read(written: Path) -> None:
    desk, rented = load(written).hosts
    assert desk == Host(
        name="desk", addresses=("localhost",), roles=("selfplay", "eval"), memory=32.0
    )
    assert rented == Host(
        name="rented-4090",
        addresses=("gpu-box.tailnet.ts.net", "100.64.1.7", "203.0.113.17:40022"),
        port=22,
        user="root",
        key=Path("~/.ssh/id_ed25519").expanduser(),
        work="/workspace/ringrift",
        python="/usr/bin/python3.11",
        gpus=1,
        gpu_memory=24.0,
        memory=64.0,
        boards=("hex8", "square8"),
        board_memory={"square19": 16.0},
        price=0.42,
        provider="vast",
        labels=("rented", "fast"),
    )
    assert rented.places == [
        Address("gpu-box.tailnet.ts.net", 22),
        Address("100.64.1.7", 22),
        Address("203.0.113.17", 40022),
    ]
    assert desk.places == [Address("localhost")]


def test_what_holds_for_all_hosts_holds_unless_a_host_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text("""\
work: /data
python: ~/python/bin/python3
deadline: 5
lease: 30
known_hosts: ~/known
budget: {per_day: 10, total: 12.5}
hosts:
  - {name: a, addresses: one}
  - {name: b, addresses: [two], work: ~/mine, deadline: .5, lease: 60, python: python3.12}
""")
    fleet = load(path)
    a, b = fleet.hosts
    assert (a.work, a.python, a.deadline, a.lease) == ("/data", "~/python/bin/python3", 5.0, 30.0)
    assert (b.work, b.python, b.deadline, b.lease) == ("~/mine", "python3.12", 0.5, 60.0)
    assert a.known_hosts == Path("~/known").expanduser()
    assert fleet.budget == Budget(10.0, 12.5)
    assert a.addresses == ("one",)
    assert a.roles == ("selfplay", "train", "eval")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("gpu-box", "gpu-box", None),
        ("gpu_box.example.org:2222", "gpu_box.example.org", 2222),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]:40022", "2001:db8::1", 40022),
        ("fe80::1%eth0", "fe80::1%eth0", None),
    ],
)
def test_addresses(tmp_path: Path, text: str, host: str, port: int | None) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(f'hosts: [{{name: a, addresses: ["{text}"]}}]')
    (address,) = load(path).hosts[0].places
    assert address == Address(host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "address",
    [
        "root@box",
        "-oProxyCommand=reboot",
        "box:",
        "box:0",
        "box:65536",
        "box:ssh",
        "a b",
        "a;reboot",
        "$(reboot)",
        "[::1",
        "[box]:22",
        "2001:zz::1",
        "",
    ],
)
def test_what_is_no_address(tmp_path: Path, address: str) -> None:
    said = fails(tmp_path / "h", f"hosts:\n  - name: a\n    addresses: ['{address}']\n")
    assert said.startswith(f", line 3: hosts[0].addresses[0] is {address!r}, expected host")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "price: 0.42",
            "price: cheap",
            "line 41: hosts[1].price is 'cheap', expected a number.",
        ),
        ("price: 0.42", "price: -1", "hosts[1].price is '-1', expected a number >= 0.0."),
        ("price: 0.42", "price: .inf", "hosts[1].price is '.inf', expected a number."),
        ("price: 0.42", "prise: 1", "hosts[1] has an unknown key 'prise'; did you mean 'price'?"),
        ("price: 0.42", "user: x", "line 41: hosts[1].user is there twice."),
        ("lease: 90", "leese: 90", "line 9: the file has an unknown key 'leese'; did you mean"),
        ("lease: 90", "lease: 0", "lease is '0', expected a number > 0.0."),
        ("lease: 90", "lease:", "lease is empty, expected a number."),
        ("rented-4090", "desk", "line 25: hosts[1].name is 'desk' again: no two may be."),
        ("name: desk", "name: Desk", "hosts[0].name is 'Desk', expected 1 to 32 of a-z, 0-9"),
        ("name: desk", "name: ../desk", "hosts[0].name is '../desk', expected 1 to 32 of"),
        ("name: desk", "labels: [a]", "hosts[0] has no 'name', which every host needs."),
        (
            "[localhost]",
            "[]",
            "hosts[0].addresses is an empty list, expected a list of length >= 1.",
        ),
        ("[localhost]", "{a: b}", "hosts[0].addresses is a mapping, expected a list."),
        (
            "[selfplay, eval]",
            "[]",
            "hosts[0].roles is an empty list, expected a list of length >= 1.",
        ),
        ("[selfplay, eval]", "[play]", "hosts[0].roles[0] is 'play', expected one of selfplay,"),
        ("[hex8, square8]", "[chess]", "hosts[1].boards[0] is 'chess', expected one of square8"),
        ("{square19:", "{square20:", "hosts[1].board_memory is a mapping, expected one of square8"),
        ("port: 22", "port: 65536", "hosts[1].port is '65536', expected a whole number <= 65535."),
        ("gpus: 1", "gpus: 1.5", "hosts[1].gpus is '1.5', expected a whole number."),
        ("enabled: true", "enabled: maybe", "hosts[1].enabled is 'maybe', expected true or false."),
        ("user: root", "user: -oroot", "hosts[1].user is '-oroot', expected a user name"),
        ("user: root", "user: joe smith", "expected a user name: without spaces, quotes"),
        ("user: root", "user: $(id)", "hosts[1].user is '$(id)', expected a user name"),
        ("user: root", "user: 'CORP\\'", "expected a user name"),
        ("work: /w", "work: w/w", "hosts[1].work is 'w/workspace/ringrift', expected a folder"),
        ("work: /w", "work: /../w", "hosts[1].work is '/../workspace/ringrift', expected a folder"),
        (
            "/usr/bin/python3.11",
            "python3 -O",
            "hosts[1].python is 'python3 -O', expected a command",
        ),
        ("per_day: 0", "per_week: 0", "budget has an unknown key 'per_week'; did you mean"),
        ("hosts:\n", "hosts: 3\nhosts:\n", "hosts is there twice."),
    ],
)
def test_mistakes_are_named_with_their_line(
    written: Path, old: str, new: str, expected: str
) -> None:
    text = uncommented(EXAMPLE)
    assert text.count(old) >= 1
    said = fails(written, text.replace(old, new, 1))
    assert re.match(r", line \d+: ", said)
    assert expected in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", ", line 1: the file is a list, expected keys, as `name: value`."),
        ("hosts: {a: b}", ", line 1: hosts is a mapping, expected a list."),
        ("hosts: [3]", ", line 1: hosts[0] is '3', expected keys, as `name: value`."),
        ("hosts: [", " is not valid YAML: while parsing"),
        ("hosts: \0", " is not valid YAML: unacceptable character"),
    ],
)
def test_what_is_no_list_of_hosts(tmp_path: Path, text: str, expected: str) -> None:
    assert fails(tmp_path / "h", text).startswith(expected)


def test_an_empty_file_is_a_fleet_without_hosts(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text("# nothing yet\n")
    assert load(path).hosts == ()


def test_which_file_is_read(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGRIFT_HOSTS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert [host.name for host in load().hosts] == ["desk", "rented-4090"]
    other = tmp_path / "other.yaml"
    other.write_text("hosts: [{name: x, addresses: [x]}]")
    monkeypatch.setenv("RINGRIFT_HOSTS", str(other))
    assert [host.name for host in load().hosts] == ["x"]
    assert len(load(written).hosts) == 2


def test_a_missing_file_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RINGRIFT_HOSTS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"Cannot read hosts\.yaml: No such file") as caught:
        load()
    assert caught.value.hint == "ringrift fleet init"


# ---- choosing ------------------------------------------------------------------------------------


@pytest.fixture
def fleet() -> Fleet:
    """Four hosts, one of them not enabled."""
    place = ("x",)
    return Fleet(
        (
            Host(name="a", addresses=place, labels=("fast", "rented")),
            Host(name="b", addresses=place, labels=("slow",)),
            Host(name="c", addresses=place, enabled=False, labels=("fast",)),
            Host(name="d", addresses=place),
        )
    )


@pytest.mark.parametrize(
    ("names", "labels", "every", "expected"),
    [
        ([], [], False, "abd"),
        ([], [], True, "abd"),
        (["d", "a", "d"], [], False, "ad"),
        ([], ["fast"], False, "a"),
        (["d"], ["slow", "rented"], False, "abd"),
        (["d,a", " b"], [], False, "abd"),
        (["d"], ["slow, rented"], False, "abd"),
    ],
)
def test_choosing_hosts(
    fleet: Fleet, names: list[str], labels: list[str], every: bool, expected: str
) -> None:
    assert "".join(h.name for h in fleet.choose(names, labels, every=every)) == expected


@pytest.mark.parametrize(
    ("names", "labels", "every", "expected"),
    [
        (["e"], [], False, r"hosts.yaml has no host 'e'; there are a, b, c, d\."),
        (["c"], [], False, r"Host c is not enabled in hosts.yaml\."),
        ([], ["fats"], False, r"No host of hosts.yaml has the label 'fats'; did you mean 'fast'\?"),
        (["a"], [], True, "choose one of the two"),
        (["a,e"], [], False, "has no host 'e'"),
        (["a,"], [], False, "has no host ''"),
    ],
)
def test_hosts_that_cannot_be_chosen(
    fleet: Fleet, names: list[str], labels: list[str], every: bool, expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        fleet.choose(names, labels, every=every)


def test_one_host_is_asked_for(fleet: Fleet) -> None:
    assert fleet.one("d").name == "d"
    with pytest.raises(UsageError, match="a,d are 2 hosts: expected one"):
        fleet.one("a,d")


@pytest.mark.parametrize(
    "user", ["root", "CORP\\joe", "joe@corp.example", "_svc", "j.doe-2", "café", "x" * 32]
)
def test_user_names_of_the_world(written: Path, user: str) -> None:
    written.write_text(uncommented(EXAMPLE).replace("user: root", f"user: {user}"))
    assert load(written).hosts[1].user == user
