"""Profiles: the fastest settings measured on each device, used by self-play and training.

    <folder>/intel-r-xeon-r-processor-2-cores.json
        {"format": 1, "device": "Intel(R) Xeon(R) Processor, 2 cores", "entries": [ProfileEntry, …]}

The folder is $RINGRIFT_PROFILES, else $XDG_CONFIG_HOME/ringrift/machines, else
~/.config/ringrift/machines. `ringrift bench … --discover` writes one entry per kind of work, board,
number of players and network size. Entries measured with another version of ringrift or of the
rules, or on another device, are ignored, and the reason is reported.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ringrift_cli.errors import RecordError
from ringrift_cli.game.version import rules_hash
from ringrift_cli.store.files import write_whole
from ringrift_cli.version import __version__

FORMAT: Literal[1] = 1
FOLDER_VARIABLE = "RINGRIFT_PROFILES"
NO_NETWORK = "none"

Count = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Key:
    """Identifies the workload of an entry."""

    kind: str  # as ProfileEntry.kind
    board: str
    players: int
    network: str  # size name; blocks x channels if it has none; or NO_NETWORK

    def __str__(self) -> str:
        network = "" if self.network == NO_NETWORK else f", network {self.network}"
        return f"{self.kind} on {self.board} with {self.players} players{network}"


class ProfileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A setting, its measurement, and the versions it was measured with."""

    kind: Annotated[str, msgspec.Meta(pattern="^(engine|search|selfplay|train)$")]
    board: Text
    players: Annotated[int, msgspec.Meta(ge=2)]
    network: Text
    batch: Count  # concurrent games per process, or training batch size
    threads: Count | None  # of torch, in training
    precision: Annotated[str, msgspec.Meta(pattern="^(b?float16|float32)$")] | None  # of training
    throughput: Annotated[float, msgspec.Meta(gt=0)]  # median of the rounds, in `unit`
    unit: Text
    spread: NotNegative  # (greatest - least) / median of the rounds
    memory: Annotated[int, msgspec.Meta(ge=0)]  # peak, bytes
    rounds: Count
    seconds: NotNegative  # of a round
    date: Text  # ISO 8601
    ringrift: Text
    rules: Text  # hash
    torch: Text
    numba: Text

    @property
    def key(self) -> Key:
        return Key(self.kind, self.board, self.players, self.network)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return msgspec.structs.asdict(self)


class _ProfilesFile(msgspec.Struct, forbid_unknown_fields=True):
    device: Text
    entries: list[ProfileEntry]
    format: Literal[1] = FORMAT


@dataclass(frozen=True)
class ProfileLookup:
    """The entry of a key; without one, `text` gives the reason."""

    entry: ProfileEntry | None
    text: str
    refused: bool = False  # an entry exists, but for another device or version


@dataclass(frozen=True)
class Choice:
    """Message about an automatically chosen setting."""

    text: str
    refused: bool = False  # a profile exists but could not be used


OnChoice = Callable[[Choice], None]


def ignore_choice(_choice: Choice) -> None:
    """An `OnChoice` without effect."""


def versions() -> dict[str, str]:
    """Version fields of a new entry."""
    return {
        "ringrift": __version__,
        "rules": rules_hash(),
        "torch": version("torch"),
        "numba": version("numba"),
    }


def now() -> str:
    """Current UTC time, ISO 8601."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def network_named(architecture: Mapping[str, Any]) -> str:
    """Size name of the architecture in a checkpoint, or blocks x channels."""
    from ringrift_cli.nn.network import SIZES

    shape = (architecture["blocks"], architecture["channels"])
    return next((name for name, known in SIZES.items() if known == shape), "{}x{}".format(*shape))


def folder() -> Path:
    """Folder of the profiles."""
    override = os.environ.get(FOLDER_VARIABLE)
    if override:
        return Path(override).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "ringrift" / "machines"


def path_of(device: str) -> Path:
    """File of a device, by its name (`machine.device_name`)."""
    return folder() / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


def find(device: str, key: Key) -> ProfileLookup:
    """Looks up the entry of a device; `RecordError` if its file is damaged."""
    path = path_of(device)
    file = _read(path)
    if file is None:
        return ProfileLookup(None, f"no profile of {device}")
    if file.device != device:
        text = f"{path} is the profile of {file.device}, not of {device}"
        return ProfileLookup(None, text, refused=True)
    entry = next((entry for entry in file.entries if entry.key == key), None)
    if entry is None:
        return ProfileLookup(None, f"{path} has no entry for {key}")
    if entry.ringrift != __version__:
        theirs, ours = f"ringrift {entry.ringrift}", __version__
    elif entry.rules != rules_hash():
        theirs, ours = f"rules {entry.rules}", rules_hash()
    else:
        return ProfileLookup(entry, f"profile of {device} from {entry.date[:10]}")
    text = f"the entry of {path} for {key} was measured with {theirs}, not {ours}"
    return ProfileLookup(None, text, refused=True)


def save(device: str, entry: ProfileEntry) -> Path:
    """Writes an entry, replacing one with the same key; returns the file.

    Errors as `known`.
    """
    kept = [one for one in known(device) if one.key != entry.key]
    document = msgspec.json.encode(_ProfilesFile(device, [*kept, entry]))
    path = path_of(device)
    write_whole(path, msgspec.json.format(document, indent=1) + b"\n")
    return path


def known(device: str) -> list[ProfileEntry]:
    """All entries of a device; `RecordError` if its file is damaged or of another device."""
    path = path_of(device)
    file = _read(path)
    if file is None:
        return []
    if file.device != device:
        raise RecordError(
            f"{path} is the profile of {file.device}, not of {device}.", hint=f"rm '{path}'"
        )
    return file.entries


def _read(path: Path) -> _ProfilesFile | None:
    """Reads a profile, None if missing; `RecordError` names the file and the invalid field."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_ProfilesFile)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(
            f"{path} is not a profile of format {FORMAT}: {error}.",
            hint=f"rm '{path}', then ringrift bench selfplay --discover",
        ) from error
