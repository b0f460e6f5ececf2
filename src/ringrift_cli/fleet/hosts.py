"""hosts.yaml: the machines that may work for you, where they answer and what they may be asked.

Every key is read by one entry of a table here; a key nobody knows or a value that cannot be is
refused with its line, so that no setting is ever ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringrift_cli.errors import UsageError
from ringrift_cli.fleet.yaml_values import At, meant
from ringrift_cli.settings import BOARDS, NULL

FILE = Path("hosts.yaml")
VARIABLE = "RINGRIFT_HOSTS"
ROLES = ("selfplay", "train", "eval")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
# Neither begins with a dash: a name is put into the command of a ProxyCommand.
HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
COMMAND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|~?/[^\x00-\x1f\x7f]+")
IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,16})?")

EXAMPLE = """\
# The machines that may run `ringrift` for you. Every host below is commented out, so that nothing
# is contacted until you take the marks away and fill in your own. `ringrift fleet status` says
# what became of it.

# These hold for all hosts; a host may have its own.
work: ~/ringrift      # the folder there for jobs, games, models and the virtual environment
python: python3       # what makes that environment; 3.11 or later
deadline: 2.5         # seconds in which a host must answer
lease: 90             # seconds without a sign of life after which a job counts as lost
# known_hosts: ~/.ssh/known_hosts

# In dollars; 0 is no limit. Beyond it no work is started.
budget:
  per_day: 0
  total: 0

hosts:
#  - name: desk                        # a-z, 0-9 and -: names folders, appears in every report
#    addresses: [localhost]            # or a Host of ~/.ssh/config, with its User, Port, ProxyJump
#    roles: [selfplay, eval]           # of selfplay, train, eval; all if left out
#    gpus: 0                           # how many to use; 0 plays on the processor alone
#    memory: 32                        # GB of RAM
#
#  - name: rented-4090
#    addresses:                        # in order of preference; the first that answers is used
#      - gpu-box.tailnet.ts.net
#      - 100.64.1.7
#      - "203.0.113.17:40022"          # IPv6 with a port: "[2001:db8::1]:40022"
#    port: 22                          # of addresses without one
#    user: root
#    key: ~/.ssh/id_ed25519            # without it: ssh-agent, ~/.ssh/config, then ~/.ssh/id_*
#    work: /workspace/ringrift
#    python: /usr/bin/python3.11
#    gpus: 1
#    gpu_memory: 24                    # GB of each
#    memory: 64
#    roles: [selfplay, train, eval]
#    boards: [hex8, square8]           # all if left out
#    board_memory: {square19: 16}      # GB that a board needs here: of the GPU, or RAM without one
#    price: 0.42                       # dollars an hour while it is up
#    provider: vast
#    labels: [rented, fast]            # for --label
#    enabled: true                     # false: never contacted
"""


@dataclass(frozen=True)
class Address:
    """Where a host may answer: a name, an IP address, or a Host of ~/.ssh/config."""

    host: str
    port: int | None = None  # None: as ~/.ssh/config says, or 22

    def __str__(self) -> str:
        """As it is written in hosts.yaml."""
        if self.port is None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Host:
    """A machine; the keys of hosts.yaml, with what holds for all hosts filled in."""

    name: str
    addresses: tuple[Address, ...]  # in order of preference, with `port` filled in
    port: int | None = None
    user: str | None = None  # None: as ~/.ssh/config says, or the name of the user here
    key: Path | None = None
    work: str = "~/ringrift"  # absolute, or below the home of the user there
    python: str = "python3"
    deadline: float = 2.5  # s
    lease: float = 90.0  # s
    known_hosts: Path | None = None  # None: ~/.ssh/known_hosts
    gpus: int = 0
    gpu_memory: float = 0.0  # GB each; 0: not known
    memory: float = 0.0  # GB; 0: not known
    roles: tuple[str, ...] = ROLES
    boards: tuple[str, ...] = ()  # none: all
    board_memory: Mapping[str, float] = field(default_factory=dict, hash=False)  # GB
    price: float = 0.0  # dollars an hour
    provider: str = ""
    labels: tuple[str, ...] = ()
    enabled: bool = True


@dataclass(frozen=True)
class Budget:
    """What may be spent, in dollars; 0 is no limit."""

    per_day: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Fleet:
    """What hosts.yaml says; `hosts` in its order, those that are not enabled too."""

    hosts: tuple[Host, ...] = ()
    work: str = Host.work
    python: str = Host.python
    deadline: float = Host.deadline  # s
    lease: float = Host.lease  # s
    known_hosts: Path | None = None
    budget: Budget = Budget()
    path: Path = FILE

    @property
    def enabled(self) -> tuple[Host, ...]:
        """The hosts that may be contacted."""
        return tuple(host for host in self.hosts if host.enabled)

    def choose(
        self, names: Collection[str] = (), labels: Collection[str] = (), *, every: bool = False
    ) -> list[Host]:
        """The hosts named or with any of the labels, in the order of the file; or every one.

        Without names and labels that is every enabled host. `UsageError` for a name or label that
        no host has, for a host that is not enabled, and if there is none to choose.
        """
        if every and (names or labels):
            raise UsageError("Every host and some of them were asked for: choose one of the two.")
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
                f"{self.path} has no enabled host{which}.", hint=f"take the marks away in {FILE}"
            )
        return chosen


def load(path: Path | None = None) -> Fleet:
    """The fleet of a file; without one, of RINGRIFT_HOSTS or of hosts.yaml in the working folder.

    `UsageError` for what cannot be read, is not known or cannot be; it says where that stands.
    """
    import yaml

    path = path or Path(os.environ.get(VARIABLE) or FILE)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except OSError as error:
        hint = "ringrift fleet init" + ("" if path == FILE else f" --out {path}")
        raise UsageError(f"Cannot read {path}: {error.strerror}.", hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if root is None or root.tag == NULL:
        return Fleet(path=path)
    top = At(path, root, "").keys(FLEET_KEYS)
    shared = {name: read(top[name]) for name, read in SHARED_KEYS.items() if name in top}
    hosts = [_host(one, shared) for one in top["hosts"].items()] if "hosts" in top else []
    seen: dict[str, At] = {}
    for host, at in hosts:
        if host.name in seen:
            raise at.error(f"is {host.name!r}, as in line {seen[host.name].line}: no two may be.")
        seen[host.name] = at
    budget = _budget(top["budget"]) if "budget" in top else Budget()
    return Fleet(hosts=tuple(host for host, _ in hosts), **shared, budget=budget, path=path)


def _host(at: At, shared: Mapping[str, Any]) -> tuple[Host, At]:
    """A host, and where its name stands."""
    given = at.keys(HOST_KEYS)
    for name in ("name", "addresses"):
        if name not in given:
            raise at.error(f"has no {name!r}, which every host needs.")
    values: dict[str, Any] = {**shared}
    values |= {name: HOST_KEYS[name](value) for name, value in given.items()}
    port = values.get("port")
    values["addresses"] = tuple(Address(one.host, one.port or port) for one in values["addresses"])
    return Host(**values), given["name"]


def _budget(at: At) -> Budget:
    keys = at.keys({"per_day", "total"})
    return Budget(**{name: one.number("a number of dollars") for name, one in keys.items()})


# ---- values -------------------------------------------------------------------------------------


def _address(at: At) -> Address:
    expected = "host, host:port or [IPv6]:port; the user goes to the key `user`"
    text = at.text(expected, re.compile(r"\S+"))
    bracketed = re.fullmatch(r"\[([^]]+)\](?::([0-9]{1,5}))?", text)
    if bracketed:
        host, port, pattern = bracketed[1], bracketed[2], IPV6
    elif text.count(":") > 1:
        host, port, pattern = text, None, IPV6
    else:
        host, colon, port = text.partition(":")
        pattern = HOST_NAME
        if colon and not re.fullmatch(r"[0-9]{1,5}", port):
            raise at.wrong(expected)
    if not pattern.fullmatch(host) or (port and not 1 <= int(port) <= 65535):
        raise at.wrong(expected)
    return Address(host, int(port) if port else None)


def _addresses(at: At) -> tuple[Address, ...]:
    import yaml

    if isinstance(at.node, yaml.ScalarNode) and at.node.tag != NULL:
        return (_address(at),)
    addresses = tuple(_address(one) for one in at.items("a list of addresses"))
    if not addresses:
        raise at.wrong("at least one address")
    return addresses


def _work(at: At) -> str:
    expected = "a folder there: /absolute, or ~/below the home"
    text = at.text(expected, re.compile(r"(~/|/)[^\x00-\x1f\x7f]+")).rstrip("/")
    if ".." in text.split("/") or text in ("", "~"):
        raise at.wrong(expected)
    return text


def _path(at: At) -> Path:
    return Path(at.text("a path", re.compile(r"[^\x00-\x1f\x7f]+"))).expanduser()


def _board_memory(at: At) -> dict[str, float]:
    return {board: one.number("a number of GB") for board, one in at.keys(BOARDS).items()}


_SECONDS = "a number of seconds"
SHARED_KEYS: dict[str, Callable[[At], Any]] = {
    "work": _work,
    "python": lambda at: at.text("a command there, or its absolute path", COMMAND),
    "deadline": lambda at: at.number(_SECONDS, above=0),
    "lease": lambda at: at.number(_SECONDS, above=0),
    "known_hosts": _path,
}
FLEET_KEYS = (*SHARED_KEYS, "budget", "hosts")
HOST_KEYS: dict[str, Callable[[At], Any]] = {
    "name": lambda at: at.text("1 to 32 of a-z, 0-9 and -, not beginning with -", NAME),
    "addresses": _addresses,
    "port": lambda at: at.whole(1, 65535),
    "user": lambda at: at.text("the name of a user there", WORD),
    "key": _path,
    **SHARED_KEYS,
    "gpus": lambda at: at.whole(0, 64),
    "gpu_memory": lambda at: at.number("a number of GB"),
    "memory": lambda at: at.number("a number of GB"),
    "roles": lambda at: at.among(ROLES, least=1),
    "boards": lambda at: at.among(BOARDS),
    "board_memory": _board_memory,
    "price": lambda at: at.number("a number of dollars an hour"),
    "provider": lambda at: at.text("a word", WORD),
    "labels": lambda at: tuple(
        dict.fromkeys(one.text("a word", WORD) for one in at.items("a list of words"))
    ),
    "enabled": lambda at: at.flag(),
}
