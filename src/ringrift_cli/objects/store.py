"""Object stores: S3, GCS and Azure through obstore, and a folder, with the same four operations.

An object is written whole or not at all. What is never changed is created once (`create`); what
changes is replaced only if nobody else has replaced it meanwhile (`swap`).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlparse
from urllib.request import url2pathname

from ringrift_cli.errors import OutputError, UsageError
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.locks import locked

SCHEMES = ("s3", "gs", "az", "azure", "abfs", "abfss", "file", "memory")
LOCK = ".lock"  # of a folder, which has no compare-and-swap
CLIENT = {"timeout": "120s", "connect_timeout": "10s"}
RETRY = {"max_retries": 3}


class Listed(NamedTuple):
    """An object: name, size in bytes, time of the last change by the clock of the store."""

    name: str
    size: int
    modified: float  # unix seconds


class Versioned(NamedTuple):
    """Content of an object, and its version for `swap`."""

    data: bytes
    version: str


class ObjectStore(Protocol):
    """Objects by name, as `hex8-2p/champion.json`. Every method: `OutputError` if it fails."""

    def create(self, name: str, data: bytes) -> bool:
        """Writes an object unless it exists; returns whether it was written."""

    def get(self, name: str) -> Versioned | None:
        """The content of an object; None if there is none."""

    def list(self, prefix: str) -> Iterator[Listed]:
        """The objects whose names begin with `prefix`, which ends at a slash."""

    def swap(self, name: str, data: bytes, version: str | None) -> bool:
        """Replaces an object if it has this version, None: if there is none; returns whether."""


def opened(url: str) -> ObjectStore:
    """The store of a URL, as s3://bucket/path or file:///folder.

    Credentials and endpoints are those of the environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT and so
    on. `UsageError` for another URL, or without obstore.
    """
    if urlparse(url).scheme not in SCHEMES:
        raise UsageError(
            f"{url!r} is no object store: expected s3://BUCKET/PATH, gs://…, az://… or file:///…."
        )
    if importlib.util.find_spec("obstore") is None:
        raise UsageError(
            "An object store needs obstore, which is not installed.",
            hint="pip install 'ringrift[store]'",
        )
    return RemoteObjects(url)


class RemoteObjects:
    """Implements `ObjectStore` with obstore."""

    def __init__(self, url: str) -> None:
        from obstore.store import from_url

        parsed = urlparse(url)
        more: dict[str, Any] = {}
        self._url, self._folder = url, None
        if parsed.scheme == "file":
            self._folder = Path(url2pathname(parsed.path))
            more = {"mkdir": True}
        elif parsed.scheme != "memory":
            endpoints = [os.environ.get(name, "") for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL")]
            plain = any(one.startswith("http://") for one in endpoints)  # asked for there
            more = {"client_options": {**CLIENT, "allow_http": plain}, "retry_config": RETRY}
        with self._failures("open"):
            make: Any = from_url  # each scheme takes other arguments
            self._store: Any = make(url, **more)

    def create(self, name: str, data: bytes) -> bool:
        """See `ObjectStore`."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._failures(name):
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def get(self, name: str) -> Versioned | None:
        """See `ObjectStore`."""
        import obstore
        from obstore.exceptions import NotFoundError

        with self._failures(name):
            try:
                found = obstore.get(self._store, name)
                data = bytes(found.bytes())
            except (NotFoundError, FileNotFoundError):
                return None
        tag = found.meta.get("e_tag")
        return Versioned(data, sha256(data) if self._folder is not None else str(tag))

    def list(self, prefix: str) -> Iterator[Listed]:
        """See `ObjectStore`."""
        import obstore

        with self._failures(prefix):
            for page in obstore.list(self._store, prefix.rstrip("/")):
                for one in page:
                    if not one["path"].endswith(LOCK):
                        yield Listed(one["path"], one["size"], one["last_modified"].timestamp())

    def swap(self, name: str, data: bytes, version: str | None) -> bool:
        """See `ObjectStore`."""
        if version is None:
            return self.create(name, data)
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

        lock = nullcontext() if self._folder is None else locked(self._folder / LOCK)
        mode: Any = "overwrite" if self._folder is not None else {"e_tag": version}
        with self._failures(name), lock:
            if self._folder is not None:
                known = self.get(name)
                if known is None or known.version != version:
                    return False
            try:
                obstore.put(self._store, name, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, NotFoundError, PreconditionError):
                return False
        return True

    @contextmanager
    def _failures(self, name: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise OutputError(
                f"{self._url}: {name}: {first[:300]}",
                hint="the URL, and credentials in the environment, as AWS_ACCESS_KEY_ID",
            ) from error


def replace(objects: ObjectStore, name: str, data: bytes) -> None:
    """Replaces an object that has one writer; nothing if it has that content."""
    while True:
        known = objects.get(name)
        if known is not None and known.data == data:
            return
        if objects.swap(name, data, None if known is None else known.version):
            return
