"""The package gets to a host and its agent starts there, or it is said why not."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet import package, probe
from ringrift_cli.store.hashes import sha256
from tests.fleet.remotes import remote, started
from tests.fleet.servers import furnish

SHELLS = [
    path for name in ("sh", "bash", "dash", "zsh", "fish", "tcsh") if (path := shutil.which(name))
]
WORST = "a b'c\"d$HOME`id`\\!{x,y}*?[z]~#&;|<>()^%=é"


def test_the_zip_is_the_same_for_the_same_files() -> None:
    first, name = package.zipped(), package.code_hash()
    package._code_hash.cache_clear()  # noqa: SLF001
    assert (package.zipped(), package.code_hash()) == (first, name)
    names = {*zipfile.ZipFile(io.BytesIO(first)).namelist()}
    assert {"ringrift_cli/fleet/agent/main.py", "ringrift_cli/players/ladder.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_the_host_s_shells_are_here() -> None:
    assert len(SHELLS) >= 2


@pytest.mark.parametrize("shell", SHELLS)
def test_any_shell_understands_the_command(tmp_path: Path, shell: str) -> None:
    work = tmp_path / WORST
    with started(work, shell=shell) as half:
        assert not half.wire.expect_greeting()
        facts, other = probe.parse(half.wire.rest().decode())
    assert (facts.hostname, facts.gpus, other) == (os.uname().nodename, [], False)
    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert not work.exists()
    with remote(work, shell=shell) as half:
        assert half.ask("jobs") == {"end": "ok", "jobs": [], "total": 0}
    words = subprocess.run(
        [shell, "-c", f"printf %s: {probe.quote(WORST)} {probe.quote('')}"],
        capture_output=True,
        check=True,
    )
    assert words.stdout.decode() == f"{WORST}::"


def test_home_is_where_the_host_has_it(tmp_path: Path) -> None:
    furnish(tmp_path / "ring rift")
    env = {"HOME": str(tmp_path), "PATH": os.defpath}
    with remote("~/ring rift", env=env) as half:
        assert half.ask("jobs")["end"] == "ok"


@pytest.mark.parametrize("wrong", ["", "a\nb", "a\0b", "\x1b[1m"])
def test_control_characters_are_no_path(wrong: str) -> None:
    for words in ((wrong, "w"), ("python3", wrong)):
        with pytest.raises(UsageError, match="control characters"):
            package.command(*words)


def unpack(folder: Path, data: bytes, digest: str) -> subprocess.CompletedProcess[bytes]:
    """What a host runs to take the package in."""
    command = [sys.executable, "-I", "-c", package.UNPACK, str(folder), digest]
    return subprocess.run(command, input=data, capture_output=True, check=False)


def test_the_package_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    data, folder = package.zipped(), tmp_path / "code"
    done = unpack(folder, data[:-1], sha256(data))
    assert done.returncode == 1
    assert b"damaged on the way" in done.stderr
    assert not list(tmp_path.iterdir())
    assert unpack(folder, data, sha256(data)).returncode == 0
    before = folder.stat().st_ino
    assert unpack(folder, data, sha256(data)).returncode == 0
    assert folder.stat().st_ino == before  # jobs may run there
    (folder / "ringrift_cli" / "errors.py").write_bytes(b"\0\0\0\0")
    assert unpack(folder, data, sha256(data)).returncode == 0
    assert (folder / "ringrift_cli" / "errors.py").read_bytes() != b"\0\0\0\0"
    assert [path.name for path in tmp_path.iterdir()] == ["code"]


def test_noise_of_login_scripts_is_passed_over(tmp_path: Path) -> None:
    with remote(tmp_path, before='print("Last login: yesterday", flush=True);') as half:
        assert half.ask("jobs")["end"] == "ok"


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    with remote(tmp_path) as half:
        for ask, quoted in (
            ({"op": "rm"}, "Invalid value 'rm' - at `$.op`"),
            ({"op": ["x"]}, "Expected `str`"),
            ({"no": 1}, "missing required field `op`"),
            ({"op": "jobs", "all": True}, "unknown field `all`"),
            ({"op": "jobs", "ids": "x"}, "Expected `array | null`, got `str` - at `$.ids`"),
            ({"op": "send", "path": 7}, "Expected `str`, got `int` - at `$.path`"),
            ({"op": "send", "path": "x", "offset": -1}, "at `$.offset`"),
        ):
            half.wire.send(ask)
            *_, last = half.rest()
            assert isinstance(last, dict)
            assert last["kind"] == "usage"
            assert quoted in last["sentence"]
        half.wire.send_bytes(b"what?")
        *_, last = half.rest()
        assert isinstance(last, dict)
        assert last["kind"] == "wire"
        assert half.receive() is None


def test_a_bug_of_the_agent_is_reported(tmp_path: Path) -> None:
    before = (
        "import sys; sys.path.insert(0, sys.argv[1]); from ringrift_cli.fleet.agent import files;"
        "files.send = lambda context, request: 1 / 0; "
    )
    with remote(tmp_path, before=before) as half:
        last = half.ask("send", path="x")
    assert last["kind"] == "bug"
    assert "ZeroDivisionError" in last["sentence"]
