"""Object stores: nothing is overwritten unseen, and failures name the store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ringrift_cli.errors import OutputError, UsageError
from ringrift_cli.objects.store import ObjectStore, opened, replace


@pytest.fixture(params=["memory", "file"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return opened("memory:///" if request.param == "memory" else f"file://{tmp_path}/a folder")


def test_an_object_is_created_once(objects: ObjectStore) -> None:
    assert objects.get("a/one") is None
    assert [objects.create("a/one", data) for data in (b"1", b"2")] == [True, False]
    found = objects.get("a/one")
    assert found is not None
    assert found.data == b"1"


def test_a_list_has_what_begins_with_a_prefix(objects: ObjectStore) -> None:
    for name in ("a/one", "a/b/two", "ab/three"):
        objects.create(name, name.encode())
    assert {(one.name, one.size) for one in objects.list("a/")} == {("a/one", 5), ("a/b/two", 7)}
    assert list(objects.list("c/")) == []


def test_a_swap_needs_the_version(objects: ObjectStore) -> None:
    assert not objects.swap("x", b"0", "unknown")
    assert [objects.swap("x", data, None) for data in (b"1", b"2")] == [True, False]
    first = objects.get("x")
    assert first is not None
    assert [objects.swap("x", data, first.version) for data in (b"2", b"3")] == [True, False]
    replace(objects, "x", b"4")
    second = objects.get("x")
    assert second is not None
    assert (second.data, second.version == first.version) == (b"4", False)


def two_writers(open_store: Callable[[], ObjectStore], each: int = 20) -> None:
    """Asserts that no increment of a counter by two writers is lost."""
    open_store().create("counter", b"0")

    def count() -> None:
        own, done = open_store(), 0
        while done < each:
            known = own.get("counter")
            assert known is not None
            done += own.swap("counter", b"%d" % (int(known.data) + 1), known.version)

    writers = [threading.Thread(target=count) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    found = open_store().get("counter")
    assert found is not None
    assert int(found.data) == 2 * each


def test_two_writers(objects: ObjectStore, tmp_path: Path) -> None:
    two_writers(lambda: objects)
    two_writers(lambda: opened(f"file://{tmp_path}/shared"))


@pytest.mark.parametrize("url", ["", "folder", "http://example.org", "s3"])
def test_refused_urls(url: str) -> None:
    with pytest.raises(UsageError, match="is no object store"):
        opened(url)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        opened(f"file://{tmp_path}/file").create("a/one", b"1")
