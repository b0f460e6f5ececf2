"""Host keys: known, unknown, changed, revoked, in all the ways in which known_hosts names them."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ringrift_cli.errors import HostKeyError, UsageError
from ringrift_cli.fleet.known_hosts import HostKey, KeyChanged, Keys, Name, files_of, fingerprint
from tests.fleet.servers import make_key

KIND = "ssh-ed25519"
HERE = Name("gpu-box", 40022)


@pytest.fixture
def key(tmp_path: Path) -> bytes:
    """A public key."""
    return base64.b64decode(make_key(tmp_path / "key").split()[1])


def line(names: str, key: bytes, marker: str = "") -> str:
    return f"{marker}{names} {KIND} {base64.b64encode(key).decode()} a comment\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "known_hosts"
    path.write_text(text)
    return path


def check(path: Path, key: bytes, name: Name = HERE, names: tuple[Name, ...] = ()) -> None:
    every = [replace(one, files=(path,)) for one in (name, *names)]
    Keys("box", every).check(HostKey(KIND, key), every[0], "box (gpu-box:40022)")


@pytest.mark.parametrize(
    "names",
    [
        "[gpu-box]:40022",
        "other,[gpu-box]:40022",
        "[GPU-Box]:40022",
        "[gpu-*]:40022",
        "[gpu-box]:4002?",
        "*",
        "gpu-box",  # as ssh, which takes it for all ports
    ],
)
def test_a_known_key(tmp_path: Path, key: bytes, names: str) -> None:
    check(written(tmp_path, "# a comment\n\n" + line(names, key)), key)


@pytest.mark.parametrize(
    "names",
    [
        "[gpu-box]:22",
        "[gpu-box]:40023",
        "gpu-box2",
        "!gpu-box,*-boxes",
        "|1|x|y",
        "|1|",
        "[g]pu-box",
    ],
)
def test_a_key_of_somebody_else(tmp_path: Path, key: bytes, names: str) -> None:
    with pytest.raises(HostKeyError, match="is not known"):
        check(written(tmp_path, line(names, key)), key)


def test_a_name_that_is_left_out(tmp_path: Path, key: bytes) -> None:
    path = written(tmp_path, line("*,!gpu-box,![gpu-box]:40022", key))
    with pytest.raises(HostKeyError, match="is not known"):
        check(path, key)
    check(path, key, Name("other", 22))


def test_names_that_ssh_keygen_has_hashed(tmp_path: Path, key: bytes) -> None:
    path = written(tmp_path, line("[gpu-box]:40022", key) + line("other", b"x" * 51))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    assert "gpu-box" not in path.read_text()
    check(path, key)
    with pytest.raises(HostKeyError, match="is not known"):
        check(path, key, Name("gpu-box", 40023))


def test_an_unknown_key_comes_with_the_command_that_shows_it(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(HostKeyError) as caught:
        check(tmp_path / "none", key)
    assert caught.value.message == (
        "The host key of box (gpu-box:40022) is not known: it shows ssh-ed25519"
        f" {fingerprint(key)}; nothing was sent to it."
    )
    assert caught.value.hint == "ringrift fleet trust box"


def test_the_fingerprint_is_that_of_ssh_keygen(tmp_path: Path, key: bytes) -> None:
    path = written(tmp_path, line("x", key))
    told = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True)
    assert fingerprint(key) in told.stdout


def test_a_changed_key_says_where_the_old_one_stands(tmp_path: Path, key: bytes) -> None:
    path = written(tmp_path, "\n" + line("[gpu-box]:40022", b"old" * 17))
    with pytest.raises(KeyChanged) as caught:
        check(path, key)
    assert "The host key of box (gpu-box:40022) has changed: it shows" in caught.value.message
    assert f"and {path}, line 2 has {fingerprint(b'old' * 17)}" in caught.value.message
    assert f"ssh-keygen -f {path} -R '[gpu-box]:40022'" in str(caught.value.hint)


def test_a_key_that_is_known_besides_another(tmp_path: Path, key: bytes) -> None:
    text = line("[gpu-box]:40022", b"old" * 17) + line("[gpu-box]:40022", key)
    check(written(tmp_path, text), key)


def test_a_revoked_key_is_never_good(tmp_path: Path, key: bytes) -> None:
    text = line("[gpu-box]:40022", key) + line("*", key, "@revoked ")
    with pytest.raises(KeyChanged, match="is revoked in"):
        check(written(tmp_path, text), key)


def test_an_authority_is_no_key_of_a_host(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(HostKeyError, match="is not known"):
        check(written(tmp_path, line("*", key, "@cert-authority ")), key)


def test_a_key_proves_that_another_address_is_the_same_machine(tmp_path: Path, key: bytes) -> None:
    names = (HERE, Name("100.64.1.7", 22))
    path = written(tmp_path, line("100.64.1.7", key))
    check(path, key, HERE, names)
    with pytest.raises(HostKeyError, match="is not known"):
        check(path, key, HERE)
    written(tmp_path, line("100.64.1.7", key) + line("[gpu-box]:40022", b"old" * 17))
    with pytest.raises(KeyChanged):
        check(path, key, HERE, names)


def test_an_alias_has_no_port(tmp_path: Path, key: bytes) -> None:
    check(written(tmp_path, line("gpu", key)), key, Name("203.0.113.1", 40022, "GPU"))


def test_known_kinds_are_asked_for_first(tmp_path: Path) -> None:
    path = written(tmp_path, "[gpu-box]:40022 ssh-rsa AAAA\n")
    kinds = ["ssh-ed25519", "rsa-sha2-512", "ecdsa-sha2-nistp256", "rsa-sha2-256"]
    here = replace(HERE, files=(path,))
    found = Keys("box").preferred(here, kinds)
    assert found == ("rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519", "ecdsa-sha2-nistp256")
    assert Keys("box").preferred(replace(here, host="other"), kinds) == tuple(kinds)


def test_which_files_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGRIFT_KNOWN_HOSTS", raising=False)
    usual = (Path("/a"), Path("/b"))
    assert files_of(None, usual) == usual
    assert files_of(Path("/x"), usual) == (Path("/x"),)
    monkeypatch.setenv("RINGRIFT_KNOWN_HOSTS", "/y")
    assert files_of(Path("/x"), usual) == (Path("/y"),)


def test_lines_that_are_none(tmp_path: Path, key: bytes) -> None:
    text = "x\nx y\n[gpu-box]:40022 ssh-ed25519 !!!\n@revoked\n\xff\n# [gpu-box]:40022 a b\n"
    check(written(tmp_path, text + line("[gpu-box]:40022", key)), key)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read .*: Is a directory"):
        check(tmp_path, b"")
