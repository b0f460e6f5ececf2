"""Profiles: the settings that were found fastest on a device, which self-play and training use.

    <folder>/intel-r-xeon-r-processor-2-cores.json
        {"format": 1, "device": "Intel(R) Xeon(R) Processor, 2 cores", "entries": [Entry, …]}

The folder is $RINGRIFT_PROFILES, else $XDG_CONFIG_HOME/ringrift/machines, else
~/.config/ringrift/machines. `ringrift bench … --discover` writes an entry for each kind of work,
board, number of players and size of network. One that another version of ringrift or of the rules
measured, or another device, is not used, and whoever asks is told why.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ringrift_cli.errors import RecordError
from ringrift_cli.game.version import rules_hash
from ringrift_cli.store.files import write_whole
from ringrift_cli.version import __version__

FORMAT = 1
FOLDER_VARIABLE = "RINGRIFT_PROFILES"
KINDS = ("engine", "search", "selfplay", "train")
NO_NETWORK = "none"
PRECISIONS = ("float32", "bfloat16", "float16", None)
LEAST = {"players": 2, "batch": 1, "threads": 1, "rounds": 1}  # of the whole numbers


@dataclass(frozen=True)
class Key:
    """What a setting is for."""

    kind: str  # one of KINDS
    board: str
    players: int
    network: str  # size; blocks x channels of one that has no name; or NO_NETWORK

    def __str__(self) -> str:
        network = "" if self.network == NO_NETWORK else f", network {self.network}"
        return f"{self.kind} on {self.board} with {self.players} players{network}"


@dataclass(frozen=True)
class Entry:
    """A setting, what was measured with it, and what measured it."""

    kind: str
    board: str
    players: int
    network: str
    batch: int  # games at once in a process; positions of a step of training
    threads: int | None  # of torch, in training
    precision: str | None  # of training
    throughput: float  # median of the rounds, in `unit`
    unit: str
    spread: float  # (greatest - least) / median of the rounds
    memory: int  # bytes at most
    rounds: int
    seconds: float  # of a round
    date: str  # ISO 8601
    ringrift: str
    rules: str  # hash
    torch: str
    numba: str

    @property
    def key(self) -> Key:
        return Key(self.kind, self.board, self.players, self.network)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """What a profile says of a key: an entry to use, or in `text` why there is none."""

    entry: Entry | None
    text: str
    refused: bool = False  # there is one, but not for this device or version


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen for somebody, in words."""

    text: str
    refused: bool = False  # a profile is there that could not be used


Say = Callable[[Choice], None]


def silent(_choice: Choice) -> None:
    """A `Say` for those who do not want to know."""


def versions() -> dict[str, str]:
    """What an entry says of the programs that measured it."""
    return {
        "ringrift": __version__,
        "rules": rules_hash(),
        "torch": version("torch"),
        "numba": version("numba"),
    }


def now() -> str:
    """The date of an entry."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def network_named(architecture: Mapping[str, Any]) -> str:
    """The size of a network by its architecture, as a checkpoint has it."""
    from ringrift_cli.nn.network import SIZES

    shape = (architecture["blocks"], architecture["channels"])
    return next((name for name, known in SIZES.items() if known == shape), "{}x{}".format(*shape))


def folder() -> Path:
    """Where profiles are kept."""
    asked = os.environ.get(FOLDER_VARIABLE)
    if asked:
        return Path(asked)
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "ringrift" / "machines"


def path_of(device: str) -> Path:
    """The file of a device, by its name (machine.py)."""
    return folder() / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


def find(device: str, key: Key) -> Found:
    """The entry of a device for a key; `RecordError` if the device's file is damaged."""
    path = path_of(device)
    if not path.exists():
        return Found(None, f"no profile of {device}")
    whose, entries = read(path)
    if whose != device:
        return Found(None, f"{path} is the profile of {whose}, not of {device}", refused=True)
    entry = next((entry for entry in entries if entry.key == key), None)
    if entry is None:
        return Found(None, f"{path} says nothing of {key}")
    if entry.ringrift != __version__:
        said, own = f"ringrift {entry.ringrift}", __version__
    elif entry.rules != rules_hash():
        said, own = f"rules {entry.rules}", rules_hash()
    else:
        return Found(entry, f"profile of {device} from {entry.date[:10]}")
    text = f"what {path} says of {key} was measured with {said}, not {own}"
    return Found(None, text, refused=True)


def save(device: str, entry: Entry) -> Path:
    """Puts an entry in the place of what the device's profile said of its key; the file.

    Errors as `known`.
    """
    kept = [one for one in known(device) if one.key != entry.key]
    document = {
        "format": FORMAT,
        "device": device,
        "entries": [one.document() for one in (*kept, entry)],
    }
    path = path_of(device)
    write_whole(path, (json.dumps(document, indent=1) + "\n").encode())
    return path


def known(device: str) -> list[Entry]:
    """All entries of a device; `RecordError` if its file is damaged, or another device's."""
    path = path_of(device)
    if not path.exists():
        return []
    whose, entries = read(path)
    if whose != device:
        raise RecordError(
            f"{path} is the profile of {whose}, not of {device}.", hint=f"rm '{path}'"
        )
    return entries


def read(path: Path) -> tuple[str, list[Entry]]:
    """The device and the entries of a file; `RecordError` names it and what is wrong with it."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is no JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(path, f"it is no profile of format {FORMAT}")
    device, entries = document.get("device"), document.get("entries")
    if not isinstance(device, str) or not isinstance(entries, list):
        raise _damaged(path, "it names no device, or has no entries")
    return device, [_entry(path, number, one) for number, one in enumerate(entries, 1)]


def _entry(path: Path, number: int, document: object) -> Entry:
    names = [field.name for field in fields(Entry)]
    if not isinstance(document, dict) or sorted(document) != sorted(names):
        raise _damaged(path, f"entry {number} has not the fields {', '.join(names)}")
    for field in fields(Entry):
        value, kind = document[field.name], str(field.type)
        if value is None and kind.endswith("| None"):
            continue
        fits = {
            "str": isinstance(value, str) and bool(value),
            "int": type(value) is int and value >= LEAST.get(field.name, 0),
            "float": type(value) in (int, float) and 0 <= value < float("inf"),
        }
        if not fits[kind.removesuffix(" | None")]:
            raise _damaged(path, f"entry {number} has {value!r} as {field.name}")
    if document["kind"] not in KINDS or document["precision"] not in PRECISIONS:
        raise _damaged(path, f"entry {number} is of no known kind or precision")
    if not document["throughput"]:
        raise _damaged(path, f"entry {number} has no throughput")
    return Entry(**document)


def _damaged(path: Path, what: str) -> RecordError:
    return RecordError(
        f"{path}: {what}.", hint=f"rm '{path}', then ringrift bench selfplay --discover"
    )
