"""The journal of a run: whole lines, one writer, and what is read from it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ringrift_cli.errors import OutputError, RecordError, RingriftError
from ringrift_cli.loop import journal as cycle_journal
from ringrift_cli.loop.journal import BEGUN, CYCLE, CYCLES, DONE, JOURNAL, LOCK, opened


def fill(folder: Path) -> None:
    with opened(folder) as journal:
        journal.add(1, CYCLE, BEGUN, plan={"model": "a"})
        journal.add(1, "selfplay", BEGUN)
        journal.add(1, "selfplay", "stopped", seconds=1.5)
        journal.add(1, "selfplay", DONE, seconds=2.25, outcome={"games": 8})
        journal.add(1, CYCLE, DONE, outcome={"cycle": 1})
        journal.add(2, CYCLE, BEGUN, plan={"model": "b"})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    fill(tmp_path)
    with opened(tmp_path) as same:
        pass
    for journal in (cycle_journal.read(tmp_path), same):
        assert journal.current == 2
        assert journal.finished == [{"cycle": 1}]
        assert journal.outcome(1, "selfplay") == {"games": 8}
        assert journal.outcome(2, "selfplay") is None
        assert journal.seconds(1, "selfplay") == 3.75
        found = journal.find(2, CYCLE, BEGUN)
        assert found is not None
        assert found["plan"] == {"model": "b"}
    assert cycle_journal.read(tmp_path / "nothing").current == 1


def test_a_torn_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in range(len(whole) - len(last), len(whole)):
        path.write_bytes(whole[:cut])
        before = len(cycle_journal.read(tmp_path).lines)
        assert before == 5
        with opened(tmp_path) as journal:
            journal.add(2, CYCLE, BEGUN, plan={"model": "c"})
        lines = cycle_journal.read(tmp_path).lines
        assert (len(lines), lines[-1]["plan"]) == (6, {"model": "c"})


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    endless = resource.RLIM_INFINITY
    with opened(tmp_path) as journal:
        for room in (0, 1, 20):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, endless))
            try:
                with pytest.raises(OutputError, match=r"Cannot write to .*journal\.jsonl"):
                    journal.add(2, "selfplay", BEGUN)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (endless, endless))
            assert path.read_bytes() == whole
            assert len(journal.lines) == 6
        journal.add(2, "selfplay", BEGUN)
    assert len(cycle_journal.read(tmp_path).lines) == 7


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"[]\n",
        b'{"time": "t", "cycle": "1", "step": "s", "event": "e"}\n',
        b'{"time": "t", "cycle": 1, "step": "s"}\n',
        b'{"time": "t", "cycle": 1, "step": "s", "event": "done"}\n',
        b'{"time": "t", "cycle": 1, "step": "s", "event": "done", "outcome": 3}\n',
    ],
)
def test_a_damaged_line_is_refused(tmp_path: Path, line: bytes) -> None:
    fill(tmp_path)
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(RecordError, match=r"journal\.jsonl, line 7"):
        cycle_journal.read(tmp_path)
    with pytest.raises(RecordError, match="line 7"), opened(tmp_path):
        pass


def test_cycles_are_made_from_the_journal(tmp_path: Path) -> None:
    fill(tmp_path)
    for left in (b"", b'{"cycle": 1}\n{"cyc', b'{"cycle": 1}\n'):
        (tmp_path / CYCLES).write_bytes(left)
        with opened(tmp_path):
            pass
        assert (tmp_path / CYCLES).read_bytes() == b'{"cycle": 1}\n'


def test_a_second_one_is_told_who_works(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ringrift_cli.loop.journal import *\n"
        f"with opened(Path({str(tmp_path)!r})): print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    assert cycle_journal.at_work(tmp_path) is None
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        said = f"Process {other.pid} on "
        with (
            pytest.raises(RingriftError, match=rf"^{said}.*, since 20.* works on"),
            opened(tmp_path),
        ):
            pass
        working = cycle_journal.at_work(tmp_path)
        assert working is not None
        assert working.startswith(said)
        other.kill()  # its lock ends with it
    assert cycle_journal.at_work(tmp_path) is None
    with opened(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert (tmp_path / LOCK).read_text() == ""


def test_looking_does_not_keep_a_writer_out(tmp_path: Path) -> None:
    fill(tmp_path)
    with opened(tmp_path):
        assert cycle_journal.at_work(tmp_path) is not None
        assert cycle_journal.read(tmp_path).current == 2
