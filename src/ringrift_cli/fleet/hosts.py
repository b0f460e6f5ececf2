"""Schema and loader of hosts.yaml. Unknown keys and invalid values are errors with a line."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from ringrift_cli.errors import UsageError
from ringrift_cli.settings import BOARDS, compose

T = TypeVar("T")
FILE = Path("hosts.yaml")
VARIABLE = "RINGRIFT_HOSTS"
ROLES = ("selfplay", "train", "eval")
MOST_SHOWN = 60  # characters of a value in an error message
NO_JOB_NEEDS = ("price", "provider", "labels", "deadline")  # keys of a host

_PORT = r"6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3}"
_IPV6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]{1,16})?"
# No leading dash: the name is inserted into the command line of a ProxyCommand.
_HOST = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}"
ADDRESS = rf"^({_HOST}(:({_PORT}))?|{_IPV6}|\[{_IPV6}\](:({_PORT}))?)\Z"
NAME = r"^[a-z0-9][a-z0-9-]{0,31}\Z"
# As ssh permits; a backslash separates a domain, so it is not the last.
USER = r"^(?!-)[^\x00-\x20\x7f'\"`;&<>|(){}$]{0,254}[^\x00-\x20\x7f'\"`;&<>|(){}$\\]\Z"
WORD = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z"
WORK = r"^(?!.*/\.\.(/|\Z))(~/|/)[^\x00-\x1f\x7f]+\Z"
COMMAND = r"^([A-Za-z0-9_][A-Za-z0-9._-]*|~?/[^\x00-\x1f\x7f]+)\Z"
ROLE, BOARD = rf"^({'|'.join(ROLES)})\Z", rf"^({'|'.join(BOARDS)})\Z"
MEANING = {  # descriptions of patterns for error messages
    ADDRESS: "host, host:port or [IPv6]:port; the user goes to the key `user`",
    NAME: "1 to 32 of a-z, 0-9 and -, not beginning with -",
    USER: "a user name: without spaces, quotes and shell characters, not beginning with -",
    WORD: "a word of letters, digits, '.', '_' and '-'",
    WORK: "a folder there: /absolute, or ~/below the home",
    COMMAND: "a command there, or its absolute path",
    ROLE: f"one of {', '.join(ROLES)}",
    BOARD: f"one of {', '.join(BOARDS)}",
}
STRICT, ACCEPT_NEW = "strict", "accept-new"
KINDS = {  # descriptions of types for error messages
    "`float`": "a number",
    "`int`": "a whole number",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "keys, as `name: value`",
}

Word: TypeAlias = Annotated[str, Meta(pattern=WORD)]
Board: TypeAlias = Annotated[str, Meta(pattern=BOARD)]
Amount: TypeAlias = Annotated[float, Meta(ge=0, lt=1e12)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, lt=1e9)]

EXAMPLE = Path(__file__).with_name("example.yaml").read_text(encoding="utf-8")


class Address(NamedTuple):
    """Address of a host: a name, an IP address, or a Host of ~/.ssh/config."""

    host: str
    port: int | None = None  # None: from ~/.ssh/config, or 22

    def __str__(self) -> str:
        """In the syntax of hosts.yaml."""
        if self.port is None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class HostDefaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings shared by all hosts, which each host may override."""

    work: Annotated[str, Meta(pattern=WORK)] = "~/ringrift"
    python: Annotated[str, Meta(pattern=COMMAND)] = "python3"
    deadline: Seconds = 2.5
    lease: Seconds = 90.0
    known_hosts: Path | None = None  # None: UserKnownHostsFile of ssh
    host_key: Literal["strict", "accept-new"] = "strict"  # what to do with an unknown host key


class Host(HostDefaults, frozen=True, kw_only=True):
    """A host entry of hosts.yaml, with the shared defaults filled in."""

    name: Annotated[str, Meta(pattern=NAME)]
    addresses: Annotated[  # in order of preference
        tuple[Annotated[str, Meta(pattern=ADDRESS)], ...], Meta(min_length=1)
    ]
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None  # for addresses without a port
    user: Annotated[str, Meta(pattern=USER)] | None = (
        None  # None: from ~/.ssh/config, or the local user name
    )
    key: Path | None = None
    gpus: Annotated[int, Meta(ge=0, le=64)] = 0
    gpu_memory: Amount = 0.0  # GB per GPU; 0: unknown
    memory: Amount = 0.0  # GB; 0: unknown
    roles: Annotated[tuple[Annotated[str, Meta(pattern=ROLE)], ...], Meta(min_length=1)] = ROLES
    boards: tuple[Board, ...] = ()  # empty: all
    board_memory: dict[Board, Amount] = {}  # GB
    price: Amount = 0.0  # dollars per hour
    provider: Word = ""
    labels: tuple[Word, ...] = ()
    enabled: bool = True

    def works_like(self, other: Host) -> bool:
        """Whether connections and jobs are the same with another entry of this host."""
        shared = {name: getattr(other, name) for name in NO_JOB_NEEDS}
        return msgspec.structs.replace(self, **shared) == other

    @property
    def places(self) -> list[Address]:
        """The addresses with their ports."""
        return [self._place(text) for text in self.addresses]

    def _place(self, text: str) -> Address:
        if text.startswith("["):
            host, _, port = text[1:].partition("]")
            port = port.removeprefix(":")
        elif text.count(":") > 1:
            host, port = text, ""
        else:
            host, _, port = text.partition(":")
        return Address(host, int(port) if port else self.port)


@dataclass(frozen=True)
class Budget:
    """Spending limits in dollars; 0: no limit."""

    per_day: float = 0.0
    total: float = 0.0


class _BudgetKeys(Struct, forbid_unknown_fields=True):
    per_day: Amount = Budget.per_day
    total: Amount = Budget.total


class _HostsFile(HostDefaults, frozen=True, kw_only=True):
    budget: _BudgetKeys = msgspec.field(default_factory=_BudgetKeys)
    hosts: list[Any] = []


@dataclass(frozen=True)
class Fleet:
    """Contents of hosts.yaml; `hosts` in file order, including disabled ones."""

    hosts: tuple[Host, ...] = ()
    deadline: float = HostDefaults().deadline
    budget: Budget = Budget()
    path: Path = FILE
    stamp: tuple[int, ...] = ()  # of the file when it was read

    @property
    def enabled(self) -> tuple[Host, ...]:
        """Enabled hosts."""
        return tuple(host for host in self.hosts if host.enabled)

    def choose(
        self, names: Collection[str] = (), labels: Collection[str] = (), *, every: bool = False
    ) -> list[Host]:
        """Enabled hosts with one of the names or labels, in file order; without either, all.

        Each word may be several, separated by commas. `UsageError` for an unknown name or label, a
        disabled host, or an empty selection.
        """
        if every and (names or labels):
            raise UsageError("Every host and some of them were asked for: choose one of the two.")
        names, labels = _separated(names), _separated(labels)
        known = {host.name: host for host in self.hosts}
        for name in names:
            if name not in known:
                raise UsageError(
                    f"{self.path} has no host {name!r}{meant(name, list(known))}",
                    hint="ringrift fleet status",
                )
            if not known[name].enabled:
                raise UsageError(
                    f"Host {name} is not enabled in {self.path}.", hint="enabled: true"
                )
        given = sorted({label for host in self.hosts for label in host.labels})
        for label in labels:
            if label not in given:
                raise UsageError(
                    f"No host of {self.path} has the label {label!r}{meant(label, given)}"
                )
        chosen = [
            host
            for host in self.enabled
            if not (names or labels) or host.name in names or set(host.labels) & {*labels}
        ]
        if not chosen:
            which = f" with the label {' or '.join(labels)}" if labels else ""
            raise UsageError(
                f"{self.path} has no enabled host{which}.", hint=f"uncomment a host in {FILE}"
            )
        return chosen

    def one(self, name: str) -> Host:
        """The enabled host of this name; errors as of `choose`."""
        found = self.choose([name])
        if len(found) > 1:
            raise UsageError(f"{name} are {len(found)} hosts: expected one.")
        return found[0]


def _separated(words: Collection[str]) -> list[str]:
    return [part.strip() for word in words for part in word.split(",")]


# ---- reading ------------------------------------------------------------------------------------


def load(path: Path | None = None) -> Fleet:
    """Loads a file; default: RINGRIFT_HOSTS or hosts.yaml in the working folder.

    `UsageError`, with file and line, for invalid content.
    """
    path = path or Path(os.environ.get(VARIABLE) or FILE).expanduser()
    stamp = stamp_of(path)
    source = _Source(path)
    top = source.tree
    if isinstance(top, dict) and top.get("hosts", 0) is None:  # all hosts are commented out
        del top["hosts"]
    file = source.read(top, _HostsFile, "")
    shared = {key: top[key] for key in HostDefaults.__struct_fields__ if key in top}
    hosts: list[Host] = []
    for number, one in enumerate(file.hosts):
        place = f"hosts[{number}]"
        given = {**shared, **one} if isinstance(one, dict) else one
        if isinstance(one, dict) and isinstance(one.get("addresses"), str):
            given["addresses"] = [one["addresses"]]
        host = source.read(given, Host, place)
        if host.name in {other.name for other in hosts}:
            raise source.error(f"{place}.name", f"is {host.name!r} again: no two may be.")
        hosts.append(host)
    budget = Budget(file.budget.per_day, file.budget.total)
    return Fleet(tuple(hosts), file.deadline, budget, path, stamp)


def stamp_of(path: Path) -> tuple[int, ...]:
    """Changes when a file is written or replaced; empty if there is none."""
    try:
        now = path.stat()
    except OSError:
        return ()
    return now.st_ino, now.st_size, now.st_mtime_ns


class _Source:
    """A YAML file as plain values, with line and text of each value by its path."""

    def __init__(self, path: Path) -> None:
        hint = "ringrift fleet init" + ("" if path == FILE else f" --out {path}")
        self.path = path
        self.lines: dict[str, int] = {}
        self.shown: dict[str, str] = {}
        root = compose(path, hint)
        self.tree = {} if root is None else self._plain(root, "")

    def _plain(self, node: Any, name: str) -> Any:
        import yaml

        self.lines.setdefault(name, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            self.shown[name] = "a list" if node.value else "an empty list"
            return [self._plain(one, f"{name}[{n}]") for n, one in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            self.shown[name] = "a mapping"
            found: dict[str, Any] = {}
            for key, value in node.value:
                below = f"{name}.{key.value}" if name else str(key.value)
                self.lines[below] = key.start_mark.line + 1
                if key.value in found:
                    raise self.error(below, "is there twice.")
                found[str(key.value)] = self._plain(value, below)
            return found
        constructor = yaml.SafeLoader("")
        if node.tag.endswith((":null", ":bool")):
            value = constructor.construct_object(node)
        else:
            value = re.sub(r"^\.(?=\d)", "0.", node.value)
        shown = str(node.value)
        self.shown[name] = (
            "empty"
            if value is None
            else repr(shown if len(shown) < MOST_SHOWN else f"{shown[:MOST_SHOWN]}…")
        )
        return value

    def read(self, value: Any, kind: type[T], name: str) -> T:
        """Converts a value by its schema; `name` is its path in the file."""
        try:
            return msgspec.convert(value, kind, strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            text, _, place = str(error).partition(" - at `")
            below = re.sub(r"^(key` in `)?\$\.?|`$", "", place)
            raise self._wrong(text, f"{name}.{below}".strip(".").replace(".[", "["), kind) from None

    def _wrong(self, text: str, where: str, kind: Any) -> UsageError:
        """Translates an error of msgspec into terms of hosts.yaml."""
        if found := re.fullmatch(r"Object contains unknown field `(.*)`", text):
            known = _BudgetKeys if where == "budget" else kind
            why = f"has an unknown key {found[1]!r}{meant(found[1], known.__struct_fields__)}"
            return self.error(where, why, f"{where}.{found[1]}".strip("."))
        if found := re.fullmatch(r"Object missing required field `(.*)`", text):
            return self.error(where, f"has no {found[1]!r}, which every host needs.")
        text = re.sub(r"^Expected |, got `\w+`$", "", text)
        for pattern, meaning in MEANING.items():
            text = text.replace(f"`str` matching regex {pattern!r}", meaning)
        for word, meaning in KINDS.items():
            text = text.replace(word, meaning)
        return self.error(where, f"is {self.shown.get(where, 'wrong')}, expected {text}.")

    def error(self, where: str, what: str, place: str | None = None) -> UsageError:
        """An error with the line of `place`, or of its nearest ancestor in the file."""
        near = where if place is None else place
        while near not in self.lines and near:
            near = re.sub(r"(^|\.|\[)[^.\[]*$", "", near)
        line = self.lines.get(near, 1)
        return UsageError(f"{self.path}, line {line}: {where or 'the file'} {what}")


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value.isprintable() and value:
        return Path(value).expanduser()
    raise ValueError("Expected a path")


def meant(name: str, known: Collection[str]) -> str:
    """End of a sentence about an unknown name: the closest match, or all known names."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(known)}." if known else "; there are none."
