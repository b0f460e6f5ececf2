"""The remote half gets to a host and starts there, or it is said why not."""

from __future__ import annotations

import ast
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from ringrift_cli.errors import RemoteError, UsageError
from ringrift_cli.fleet import bundle
from ringrift_cli.fleet.remote import layout
from ringrift_cli.fleet.remote.wire import WireError
from ringrift_cli.store import manifest
from tests.fleet.remotes import Remote, remote, started

SHELLS = [
    path for name in ("sh", "bash", "dash", "zsh", "fish", "tcsh") if (path := shutil.which(name))
]
WORST = "a b'c\"d$HOME`id`\\!{x,y}*?[z]~#&;|<>()^%=é"


def test_the_zip_is_the_same_for_the_same_files() -> None:
    first, name = bundle.zipped(), bundle.sha()
    for cached in (bundle.zipped, bundle.sha):
        cached.cache_clear()
    assert (bundle.zipped(), bundle.sha()) == (first, name)
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert {"ringrift_cli/errors.py", "ringrift_cli/fleet/remote/main.py"} <= {*names}
    assert len(first) < 1 << 20


def test_all_of_it_parses_on_old_pythons() -> None:
    archive = zipfile.ZipFile(io.BytesIO(bundle.zipped()))
    for name in archive.namelist():
        version = (3, 6) if name.endswith("boot.py") else (3, 8)
        ast.parse(archive.read(name), name, feature_version=version)
    boot = archive.read("ringrift_cli/fleet/remote/boot.py")
    assert b"from __future__" not in boot  # Python 3.6 has no annotations there


def test_nothing_of_it_needs_more_than_the_standard_library() -> None:
    archive = zipfile.ZipFile(io.BytesIO(bundle.zipped()))
    for name in archive.namelist():
        for node in ast.walk(ast.parse(archive.read(name))):
            wanted = [node.module] if isinstance(node, ast.ImportFrom) else []
            wanted += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in wanted:
                root = str(module).split(".")[0]
                assert root in sys.stdlib_module_names or root == "ringrift_cli", (name, module)


def test_names_agree_with_the_root_modules() -> None:
    assert layout.MANIFEST == manifest.MANIFEST


def test_the_host_s_shells_are_here() -> None:
    assert len(SHELLS) >= 2


@pytest.mark.parametrize("shell", SHELLS)
def test_any_shell_understands_the_command(tmp_path: Path, shell: str) -> None:
    work = tmp_path / WORST
    with remote(work, shell=shell) as half:
        assert half.ask("jobs") == {"end": "ok", "jobs": []}
    assert (work / ".ringrift" / f"remote-{bundle.sha()}").is_dir()
    words = subprocess.run(
        [shell, "-c", f"printf %s: {bundle.quote(WORST)} {bundle.quote('')}"],
        capture_output=True,
        check=True,
    )
    assert words.stdout.decode() == f"{WORST}::"


def test_home_is_where_the_host_has_it(tmp_path: Path) -> None:
    (tmp_path / "my python").symlink_to(sys.executable)
    env = {"HOME": str(tmp_path), "PATH": os.defpath}
    with remote("~/ring rift", python="~/my python", env=env) as half:
        assert half.ask("jobs")["end"] == "ok"
    assert (tmp_path / "ring rift" / ".ringrift").is_dir()


@pytest.mark.parametrize("wrong", ["", "a\nb", "a\0b", "\x1b[1m"])
def test_control_characters_are_no_path(wrong: str) -> None:
    for words in ((wrong, "w"), ("python3", wrong)):
        with pytest.raises(UsageError, match="control characters"):
            bundle.command(*words)


def test_it_is_sent_once(tmp_path: Path) -> None:
    with started(tmp_path) as half:
        half.wire.expect_greeting()
        assert half.wire.receive() == {"need": bundle.sha()}
    with remote(tmp_path):
        pass
    with started(tmp_path) as half:
        half.wire.expect_greeting()
        assert half.wire.receive() == {"have": bundle.sha()}
    assert [p.name for p in (tmp_path / ".ringrift").iterdir()] == [f"remote-{bundle.sha()}"]


def test_many_at_once_get_it_to_an_empty_host(tmp_path: Path) -> None:
    waiting = [started(tmp_path) for _ in range(6)]
    for half in waiting:
        half.wire.expect_greeting()
        assert half.wire.receive() == {"need": bundle.sha()}  # nobody has it yet
    answers = []

    def install(half: Remote) -> None:
        half.wire.send_bytes(bundle.zipped())
        answers.append(half.wire.receive())

    threads = [threading.Thread(target=install, args=(half,)) for half in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"have": bundle.sha()}] * 6
    for half in waiting:
        assert half.ask("jobs")["end"] == "ok"
        half.close()
    assert [p.name for p in (tmp_path / ".ringrift").iterdir()] == [f"remote-{bundle.sha()}"]


def test_a_zip_that_was_damaged_on_the_way_is_not_unpacked(tmp_path: Path) -> None:
    with started(tmp_path) as half:
        half.wire.expect_greeting()
        half.wire.receive()
        half.wire.send_bytes(bundle.zipped()[:-1] + b"?")
        reply = half.wire.receive()
    assert isinstance(reply, dict)
    assert (reply["end"], reply["kind"]) == ("error", "wire")
    assert not list((tmp_path / ".ringrift").iterdir())


def test_a_connection_lost_while_it_is_sent_leaves_nothing(tmp_path: Path) -> None:
    with started(tmp_path) as half:
        half.wire.expect_greeting()
        half.wire.receive()
        half.write(b"B99999\nPK")
    assert not list((tmp_path / ".ringrift").iterdir())


def test_a_damaged_folder_is_replaced(tmp_path: Path) -> None:
    with remote(tmp_path):
        pass
    folder = tmp_path / ".ringrift" / f"remote-{bundle.sha()}"
    (folder / "ringrift_cli" / "errors.py").write_bytes(b"\0\0\0\0")
    shutil.rmtree(folder / "ringrift_cli" / "__pycache__")
    with pytest.raises(RemoteError, match="damaged") as caught, started(tmp_path) as half:
        bundle.hand_over(half.wire)
    assert caught.value.kind == "damaged"
    with remote(tmp_path) as half:
        assert half.ask("jobs")["end"] == "ok"


def test_an_old_python_is_told_so(tmp_path: Path) -> None:
    old = started(tmp_path, before="import sys;sys.version_info=(3,6,9);")
    with old as half, pytest.raises(RemoteError, match=r"is Python 3\.6: expected 3\.8") as caught:
        bundle.hand_over(half.wire)
    assert caught.value.kind == "python"
    assert not (tmp_path / ".ringrift").exists()


def test_noise_of_login_scripts_is_passed_over(tmp_path: Path) -> None:
    noisy = started(tmp_path, before='print("Last login: yesterday", flush=True);')
    with noisy as half:
        bundle.hand_over(half.wire)
        assert half.ask("jobs")["end"] == "ok"


def test_other_programs_are_not_taken_for_it() -> None:
    for command, quoted in (("echo hello; cat >/dev/null", "'hello'"), ("exit 1", "said nothing")):
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        with Remote(process) as half:
            assert process.stdin is not None
            process.stdin.close()
            with pytest.raises(WireError, match=quoted):
                bundle.hand_over(half.wire)


def test_a_work_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with started(tmp_path / "file" / "work") as half:
        pattern = re.escape(f"{tmp_path}/file/work cannot be used: Not a directory.")
        with pytest.raises(RemoteError, match=pattern) as caught:
            bundle.hand_over(half.wire)
    assert caught.value.kind == "work"


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    with remote(tmp_path) as half:
        for ask, quoted in (
            ({"op": "rm"}, "op is 'rm': expected one of facts, "),
            ({"op": ["x"]}, "op is ['x']"),
            ({"no": 1}, "op is None"),
            ({"op": "jobs", "all": True}, "jobs takes no 'all'"),
            ({"op": "jobs", "ids": "x"}, "ids is 'x': expected a list of texts"),
            ({"op": "send", "path": 7}, "path is 7: expected a text"),
            ({"op": "send", "path": "x", "offset": -1}, "offset is -1: expected a whole number"),
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
        assert half.wire.receive() is None


def test_a_mistake_of_ours_is_told(tmp_path: Path) -> None:
    with remote(tmp_path):
        pass
    folder = tmp_path / ".ringrift" / f"remote-{bundle.sha()}" / "ringrift_cli/fleet/remote"
    with (folder / "files.py").open("a") as file:
        file.write("\n\ndef send(half, ask):\n    return 1 / 0\n")
    with remote(tmp_path) as half:
        last = half.ask("send", path="x")
    assert last["kind"] == "bug"
    assert "ZeroDivisionError" in last["sentence"]
