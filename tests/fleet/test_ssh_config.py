"""~/.ssh/config means for us what it means for ssh: held against `ssh -G`, which says it."""

from __future__ import annotations

import getpass
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet.ssh_config import SshConfig, Target

TEXT = """\
Include {folder}/more*.conf

Host gpu
    HostName 203.0.113.17
    Port 40022
    User trainer
    IdentityFile {folder}/key
    IdentitiesOnly yes
    HostKeyAlias that-gpu

Host inner
    HostName 10.0.0.5
    ProxyJump gpu

Host far
    ProxyJump ops@middle:2200,inner2
Host inner2
    HostName = 10.0.0.6

Host by-command
    ProxyCommand nc -X 5 %h %p %r
Host no-command
    ProxyCommand none

Host *.tailnet !not.tailnet
    User tail
Match host 203.0.113.17
    ServerAliveInterval 7
Match user nobody-else
    ProxyJump foreign
Match !final host by-match
    HostName matched
Match final host matched
    User final
Match originalhost by-exec exec "test %n = by-exec"
    Port 99
Host *
    Port 2222
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshConfig:
    """That configuration, with a file that it includes."""
    path = tmp_path / "config"
    path.write_text(TEXT.format(folder=tmp_path))
    (tmp_path / "more-1.conf").write_text("Host included\n  HostName from-a-file\n  Port 7\n")
    monkeypatch.setenv("RINGRIFT_SSH_CONFIG", str(path))
    return SshConfig()


def told(config: SshConfig, name: str) -> dict[str, str]:
    """What ssh says that it would do."""
    command = ["ssh", "-F", str(config.path), "-G", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.parametrize(
    "name",
    [
        "gpu",
        "inner",
        "far",
        "inner2",
        "included",
        "a.tailnet",
        "not.tailnet",
        "plain.example.org",
        "203.0.113.17",
        "no-command",
        "by-match",
        "by-exec",
    ],
)
def test_as_ssh_understands_it(config: SshConfig, name: str) -> None:
    expected = told(config, name)
    found = config.target(name)
    assert found.host == expected["hostname"]
    assert found.port == int(expected["port"])
    assert found.user == expected["user"]
    own, system = (expected[f"{who}knownhostsfile"].split() for who in ("user", "global"))
    assert [str(path) for path in found.known_hosts] == [*own, *system]
    assert found.only_keys == (expected["identitiesonly"] == "yes")
    assert found.alias == expected.get("hostkeyalias")
    assert bool(found.jumps) == ("proxyjump" in expected)


def test_what_hosts_yaml_says_wins(config: SshConfig, tmp_path: Path) -> None:
    found = config.target("gpu", 22, "root", Path("/k"))
    assert replace(found, known_hosts=(), agent=None) == Target(
        "203.0.113.17", 22, "root", (Path("/k"),), False, None, "that-gpu"
    )
    assert config.target("gpu").keys == (tmp_path / "key",)
    assert config.target("by-command", 22, "root").command == "nc -X 5 by-command 22 root"


def test_jumps_have_entries_of_their_own(config: SshConfig) -> None:
    gpu = config.target("gpu")
    assert config.target("inner").jumps == (gpu,)
    middle, inner2 = config.target("far", user="root").jumps
    assert (middle.host, middle.port, middle.user) == ("middle", 2200, "ops")
    assert (inner2.host, inner2.port, inner2.user) == ("10.0.0.6", 2222, getpass.getuser())


def test_jumps_over_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text("Host a\nProxyJump b\nHost b\nProxyJump c:1\nHost c\nProxyCommand nc %h %p\n")
    monkeypatch.setenv("RINGRIFT_SSH_CONFIG", str(path))
    target = SshConfig().target("a")
    assert [(hop.host, hop.port) for hop in target.jumps] == [("c", 1), ("b", 22)]
    assert target.command == "nc c 1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Host a\nProxyJump a\n", "cannot be read for a: jumphost loop via a."),
        ("Host a\nProxyJump b\nHost b\nProxyJump a\n", "ProxyJump leads in a circle."),
        ("Host a\nProxyJump b:c\n", 'line 2: Invalid ProxyJump "b:c"; '),
        ("Host a\nPort 99999\n", "cannot be read for a: "),
        ("Include config\n", "Too many recursive configuration includes"),
        ("nonsense\n", 'no argument after keyword "nonsense"'),
        ("Host 'a\n", "invalid quotes"),
        ("Match nonsense x\nUser foreign\n", "Unsupported Match attribute nonsense"),
        ("Host a\nProxyCommand nc %Z\n", "%Z in 'nc %Z' is unknown."),
        ("Host a\nIdentityFile ${NO_SUCH}/key\n", "${NO_SUCH} in '${NO_SUCH}/key' is unknown."),
    ],
)
def test_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    path = tmp_path / "config"
    path.write_text(text.replace("Include config", f"Include {path}"))
    monkeypatch.setenv("RINGRIFT_SSH_CONFIG", str(path))
    with pytest.raises(UsageError) as caught:
        SshConfig().target("a")
    assert caught.value.message.startswith(str(path))
    assert expected in caught.value.message


def test_without_ssh_a_configuration_is_refused(
    config: SshConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(UsageError, match="is read by `ssh -G`, and there is no ssh"):
        SshConfig()
    monkeypatch.setenv("RINGRIFT_SSH_CONFIG", f"{config.path}-none")
    assert SshConfig().target("gpu").host == "gpu"


def test_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGRIFT_SSH_CONFIG", str(tmp_path / "none"))
    found = SshConfig().target("box")
    assert (found.host, found.port, found.user) == ("box", 22, getpass.getuser())
    assert Path("~/.ssh/id_ed25519").expanduser() in found.keys
