"""Journals and locks: what a crash leaves, what a damaged line is called, who waits for whom."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ringrift_cli.errors import RecordError, RingriftError
from ringrift_cli.store.journal import JournalFile
from ringrift_cli.store.locks import is_locked, locked


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the journals here."""

    number: int


def test_a_line_that_was_cut_off_is_ignored_and_then_removed(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal.jsonl", Note)
    assert journal.read() == journal.recover() == []
    journal.append(Note(1))
    with journal.path.open("ab") as file:
        file.write(b'{"number"')
    assert journal.read() == [Note(1)]
    assert journal.path.read_bytes().endswith(b'"number"')
    assert journal.recover() == [Note(1)]
    journal.append(Note(2))
    assert journal.read() == [Note(1), Note(2)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"number": "2"}', r"line 2: Expected `int`, got `str` - at `\$\.number`"),
        (b'{"number": 2, "more": 0}', "line 2: .*unknown field `more`"),
        (b"\xff", "line 2: "),
        (b"", "line 2: "),
    ],
)
def test_a_damaged_line_is_named_with_its_field(tmp_path: Path, line: bytes, said: str) -> None:
    journal = JournalFile(tmp_path / "journal.jsonl", Note, "restore it")
    journal.path.write_bytes(b'{"number": 1}\n' + line + b"\n")
    with pytest.raises(RecordError, match=rf"journal\.jsonl, {said}") as caught:
        journal.read()
    assert caught.value.hint == "restore it"


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
        with (
            pytest.raises(RingriftError, match="busy"),
            locked(path, busy=lambda: RingriftError("busy")),
        ):
            pass
    assert not is_locked(path)
