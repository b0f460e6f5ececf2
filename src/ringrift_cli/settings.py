"""The one configuration of the learning loop: `ringrift.yaml`, its defaults, and what overrides it.

    flag  >  RINGRIFT_* environment  >  file  >  default

A key is declared once, here, with its default, its bounds and the sentence that `ringrift init`
writes beside it. A key nobody knows or a value that cannot be is refused with its file and line,
so that no setting is ever ignored.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ringrift_cli.errors import UsageError

if TYPE_CHECKING:
    from yaml import Node

FILE = Path("ringrift.yaml")
PREFIX = "RINGRIFT_"
NULL = "tag:yaml.org,2002:null"
# Written here because the modules that define them load numpy and torch, which no root module does.
BOARDS = ("square8", "square19", "hex8", "hexagonal")
SIZES = ("tiny", "small", "medium", "large", "huge")
SEPARATORS = ",="  # of the arguments of a player's spec, in which models are named by their files
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}

S = TypeVar("S")
T = TypeVar("T", bool, int, float, str)


def key(
    default: T,
    about: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    among: tuple[str, ...] | None = None,
) -> T:
    """A key: its default, its sentence, and the values that it may have."""
    rules = {"about": about, "least": least, "most": most, "above": above, "among": among}
    declared: Any = field(default=default, metadata=rules)
    return declared  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Run:
    """What is learned, and where it is kept."""

    board: str = key("hex8", "The board.", among=BOARDS)
    players: int = key(2, "How many play.", least=2, most=4)
    pie_rule: bool = key(False, "Whether seat 2 may swap once (2 players).")
    seed: int = key(0, "Where all random numbers come from.", least=0)
    gpus: str = key("all", "all: every GPU there is; none: the CPU; or numbers, as 0,1.")
    folder: str = key("runs", "Runs: shards, training, results and journal, a folder each.")
    models: str = key("models", "The registry of models, with a folder for each board and count.")


@dataclass(frozen=True)
class NetworkSection:
    """The network that is trained."""

    size: str = key("small", "tiny, small, medium, large or huge.", among=SIZES)


@dataclass(frozen=True)
class SelfPlay:
    """How the champion plays itself."""

    games_per_cycle: int = key(2000, "Games of a cycle.", least=1)
    concurrent: int = key(
        0,
        "Games at once in a process; 0: as ringrift bench selfplay --discover found, else 128 on a"
        " core and 2048 on a GPU.",
        least=0,
    )
    shard_games: int = key(256, "Games of a file.", least=1)
    sims: int = key(32, "Simulations of a decision that is searched in full.", least=2)
    fast_sims: int = key(8, "Simulations of the other decisions.", least=1)
    full_share: float = key(
        0.3, "Share of decisions searched in full; only these are trained on.", above=0, most=1
    )
    teacher: str = key(
        "heuristic",
        "Who plays until there is a champion: none, a network that knows nothing; or heuristic, a"
        " search with the tuned heuristic.",
        among=("none", "heuristic"),
    )
    considered: int = key(16, "Most actions that the root of a full search tries.", least=2)
    fast_considered: int = key(4, "The same for the other decisions.", least=1)
    value_scale: float = key(0.3, "Weight of values beside the policy in the search.", above=0)
    exploration: float = key(0.5, "Of PUCT below the root.", least=0)
    opening_decisions: int = key(12, "First decisions, which are drawn, not the best.", least=0)
    opening_temperature: float = key(1.2, "Temperature of that draw.", above=0, most=10)
    random_opening_share: float = key(
        0.25, "Share of games that begin with a few random turns.", least=0, most=1
    )
    resign_below: float = key(
        0.0, "A side resigns whose chance stays below (2 players); 0: never.", least=0, most=0.5
    )
    resign_decisions: int = key(4, "So many of its decisions in a row.", least=1)
    resign_control_share: float = key(
        0.2, "Share of games played to the end all the same, as a check.", least=0, most=1
    )


@dataclass(frozen=True)
class Train:
    """How the network learns from the games."""

    batch: int = key(256, "Positions of a step.", least=2)
    samples_per_position: float = key(
        3.0, "How often a new position is seen; steps follow from it.", above=0, most=1000
    )
    optimiser: str = key("adamw", "adamw or sgd.", among=("adamw", "sgd"))
    learning_rate: float = key(0.002, "Of the optimiser.", above=0, most=1)
    schedule: str = key("constant", "constant or cosine.", among=("constant", "cosine"))
    warmup: int = key(
        50, "Steps in which the rate rises: of a fresh optimiser, of every cosine.", least=0
    )
    weight_decay: float = key(0.05, "Of the optimiser.", least=0, most=1)
    clip: float = key(1.0, "Greatest norm of the gradient.", above=0)
    average: float = key(
        0.995, "Decay of the averaged weights, which are those kept.", least=0, most=0.9999
    )
    window: int = key(
        100000, "Positions that are all trained on; beyond, the window grows slower.", least=1
    )
    surprise_weight: float = key(
        0.5, "How much surprising positions are preferred: 0 not, 1 wholly.", least=0, most=1
    )
    value_mix: float = key(
        0.3, "Weight of the search's value beside the winner in the target.", least=0, most=1
    )
    value_weight: float = key(1.0, "Weight of the value in the loss.", least=0, most=10)
    owner_weight: float = key(0.15, "Weight of who owns each cell at the end.", least=0, most=10)
    eliminated_weight: float = key(
        0.1, "Weight of the rings eliminated at the end.", least=0, most=10
    )
    validation_share: float = key(
        0.05, "Share of the games that are never trained on.", least=0, most=0.5
    )
    patience: int = key(
        5, "Validations without a better one before it stops early; 0: never.", least=0
    )
    checkpoint_minutes: float = key(5.0, "How often the state is kept.", least=0)
    precision: str = key(
        "auto",
        "auto, float32, bfloat16 or float16.",
        among=("auto", "float32", "bfloat16", "float16"),
    )
    max_age: float = key(168.0, "Hours; training refuses data that are older.", above=0)
    max_generations_behind: int = key(20, "Training refuses data that are further behind.", least=0)


@dataclass(frozen=True)
class Gate:
    """What a candidate must show to become champion."""

    sims: int = key(16, "Simulations of a decision of candidate and champions.", least=0)
    elo0: float = key(0.0, "H0 of the test against the champion: no stronger than so.")
    elo1: float = key(35.0, "H1: at least so much stronger.")
    alpha: float = key(0.05, "Chance of accepting one that H0 describes.", above=0, most=0.5)
    beta: float = key(0.05, "Chance of rejecting one that H1 describes.", above=0, most=0.5)
    max_games: int = key(800, "Most games of the test.", least=2)
    random_games: int = key(100, "Games against random, which it must beat clearly.", least=2)
    heuristic_games: int = key(
        200, "Games against heuristic:default; no worse than the champion.", least=2
    )
    earlier: int = key(2, "So many champions of old must not beat it.", least=0)
    earlier_games: int = key(100, "Games against each of them.", least=2)


@dataclass(frozen=True)
class Cycle:
    """How the steps hang together, and when somebody should look."""

    continue_from: str = key(
        "candidate",
        "What training goes on from after a rejection.",
        among=("candidate", "champion"),
    )
    max_rejections: int = key(
        4, "After so many rejections in a row training goes on from the champion.", least=1
    )
    min_free_gb: float = key(2.0, "No step begins with less free disk space.", least=0)
    max_data_gb: float = key(20.0, "Oldest shards nobody needs are deleted beyond this.", above=0)
    alarm_data_hours: float = key(24.0, "Alarm: newest data older than so at training.", above=0)
    alarm_elo_cycles: int = key(
        10, "Alarm: Elo against the heuristic below the best of so many champions.", least=1
    )
    alarm_rate_share: float = key(
        0.5, "Alarm: games per hour below this share of the median.", least=0, most=1
    )
    alarm_rejections: int = key(6, "Alarm: so many rejections in a row.", least=1)
    alarm_duplicates: float = key(
        0.05, "Alarm: a larger share of self-play games repeats others.", least=0, most=1
    )


@dataclass(frozen=True)
class Config:
    """All settings of a run; `load` makes one."""

    run: Run = field(default_factory=Run)
    network: NetworkSection = field(default_factory=NetworkSection)
    selfplay: SelfPlay = field(default_factory=SelfPlay)
    train: Train = field(default_factory=Train)
    gate: Gate = field(default_factory=Gate)
    cycle: Cycle = field(default_factory=Cycle)

    def __post_init__(self) -> None:
        if self.run.pie_rule and self.run.players != 2:
            raise UsageError(
                f"run.pie_rule is for 2 players, but run.players is {self.run.players}."
            )
        if self.selfplay.resign_below > 0 and self.run.players != 2:
            raise UsageError(
                f"selfplay.resign_below is for 2 players, but run.players is {self.run.players}.",
                hint="--set selfplay.resign_below=0",
            )
        for name in ("folder", "models"):
            path = getattr(self.run, name)
            if set(path) & set(SEPARATORS):
                raise UsageError(
                    f"run.{name} is {path!r}, expected a path without ',' and '=', which separate"
                    " the arguments of a player that is named by its file.",
                    hint="a folder of another name",
                )
        if self.gate.elo1 <= self.gate.elo0:
            raise UsageError(
                f"gate.elo1 is {self.gate.elo1:g}, expected more than gate.elo0,"
                f" {self.gate.elo0:g}."
            )
        if self.selfplay.fast_sims > self.selfplay.sims:
            raise UsageError(
                f"selfplay.fast_sims is {self.selfplay.fast_sims}, expected at most selfplay.sims,"
                f" {self.selfplay.sims}."
            )

    @property
    def pool(self) -> str:
        """The name of what is learned, as hex8-2p: that of its folders."""
        pie = "-pie" if self.run.pie_rule else ""
        return f"{self.run.board}-{self.run.players}p{pie}"

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.run.folder) / self.pool

    def document(self) -> dict[str, dict[str, Any]]:
        """Every setting, as JSON: sections of keys."""
        return asdict(self)


def setting_of(kind: type[S], section: object, **more: Any) -> S:
    """A setting of a step: the keys of a section that it has, and more."""
    own = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    shared = {one.name: getattr(section, one.name) for one in fields(section) if one.name in own}  # type: ignore[arg-type]
    return kind(**{**shared, **more})


SECTIONS = {part.name: type(getattr(Config(), part.name)) for part in fields(Config)}


def keys() -> Iterator[tuple[str, str, Any]]:
    """Section, key and declaration of every key, in order."""
    for section, declared in SECTIONS.items():
        for one in fields(declared):
            yield section, one.name, one


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Config:
    """The configuration of a file under an environment and flags, `{"selfplay.sims": "32"}`.

    Without a path, `ringrift.yaml` of the working folder if there is one. `UsageError` for what
    cannot be read, is not known or cannot be; it says where that stands.
    """
    if path is None and FILE.exists():
        path = FILE
    values = _of_file(path) if path is not None else {}
    values |= _of_environment(environment or {})
    return made(flags or {}, values)


def made(flags: Mapping[str, str], values: Mapping[tuple[str, str], Any] | None = None) -> Config:
    """The configuration of flags alone, or over `values` by section and key; errors as `load`."""
    values = dict(values or {})
    for name, text in flags.items():
        section, _, short = name.partition(".")
        values[section, short] = _value(section, short, text, f"{name}={text}")
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for (section, name), value in values.items():
        parts[section][name] = value
    return Config(**{section: SECTIONS[section](**part) for section, part in parts.items()})


# ---- values -------------------------------------------------------------------------------------


def _value(section: str, name: str, text: str, where: str) -> Any:
    """What a key's text says; `UsageError` if there is no such key or it may not say that."""
    declared = _declared(section, name, where)
    kind = type(declared.default)
    try:
        value: Any = WORDS[text.lower()] if kind is bool else kind(text)
        if value != value:  # not a number
            raise ValueError
    except (ValueError, KeyError):
        raise UsageError(
            f"{where}: {section}.{name} is {text!r}, expected {KINDS[kind]}."
        ) from None
    rules = declared.metadata
    expected = None
    if rules["among"] is not None and value not in rules["among"]:
        expected = f"one of {', '.join(rules['among'])}"
    elif rules["least"] is not None and value < rules["least"]:
        expected = f"at least {rules['least']:g}"
    elif rules["above"] is not None and value <= rules["above"]:
        expected = f"more than {rules['above']:g}"
    elif rules["most"] is not None and value > rules["most"]:
        expected = f"at most {rules['most']:g}"
    if expected or value in ("", float("inf")):
        said = repr(text) if kind is str else text
        raise UsageError(
            f"{where}: {section}.{name} is {said}, expected {expected or KINDS[kind]}."
        )
    return value


def _declared(section: str, name: str, where: str) -> Any:
    if section not in SECTIONS:
        raise _unknown(where, f"section {section!r}", section, list(SECTIONS))
    known = {one.name: one for one in fields(SECTIONS[section])}
    if name not in known:
        elsewhere = [f"{of}.{key}" for of, key, _ in keys() if key == name]
        if elsewhere:
            raise UsageError(
                f"{where}: there is no key {name!r} in {section}; it is in {elsewhere[0]}."
            )
        raise _unknown(where, f"key {name!r} in {section}", name, list(known))
    return known[name]


def _unknown(where: str, what: str, name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}."
    return UsageError(f"{where}: there is no {what}{meant}")


# ---- where values come from ---------------------------------------------------------------------


def _of_environment(environment: Mapping[str, str]) -> dict[tuple[str, str], Any]:
    """RINGRIFT_SELFPLAY_SIMS is selfplay.sims, and RINGRIFT_BOARD is run.board.

    Only names that begin with a section are ours to refuse: other commands have variables too.
    """
    values = {}
    of_run = {one.name for one in fields(Run)}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or not text:
            continue
        name = variable.removeprefix(PREFIX).lower()
        section, _, short = name.partition("_")
        if name in of_run:
            section, short = "run", name
        elif section not in SECTIONS or not short:
            continue
        values[section, short] = _value(section, short, text, variable)
    return values


def _of_file(path: Path) -> dict[tuple[str, str], Any]:
    import yaml

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except OSError as error:
        raise UsageError(
            f"Cannot read {path}: {error.strerror}.", hint=f"ringrift init --out {path}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    values = {}
    for section, part, where in _items(path, root, "sections"):
        if section not in SECTIONS:
            raise _unknown(where, f"section {section!r}", section, list(SECTIONS))
        for name, node, line in _items(path, part, f"keys of {section}"):
            _declared(section, name, line)
            if not isinstance(node, yaml.ScalarNode) or node.tag == NULL:
                raise UsageError(f"{line}: {section}.{name} has no single value.")
            values[section, name] = _value(section, name, node.value, line)
    return values


def _items(path: Path, node: Node | None, what: str) -> Iterator[tuple[str, Node, str]]:
    """Name, value and place of what a mapping holds; nothing of one that is empty."""
    import yaml

    if node is None or node.tag == NULL:
        return
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{path}:{node.start_mark.line + 1}: expected {what}, as `name: value`.")
    seen: set[str] = set()
    for name, value in node.value:
        where = f"{path}:{name.start_mark.line + 1}"
        if not isinstance(name, yaml.ScalarNode):
            raise UsageError(f"{where}: expected a name before the colon.")
        if name.value in seen:
            raise UsageError(f"{where}: {name.value!r} is there twice.")
        seen.add(name.value)
        yield name.value, value, where


# ---- the file that `ringrift init` writes -------------------------------------------------------


def commented(config: Config | None = None) -> str:
    """A file with every key, its value and its sentence; read back, it is the same."""
    config = config or Config()
    lines = [
        "# Settings of `ringrift cycle`. A flag wins over RINGRIFT_<SECTION>_<KEY> in the",
        "# environment (RINGRIFT_<KEY> for those of run), that over this file, and that over the",
        "# defaults, which are what `ringrift init` writes.",
    ]
    for section, declared in SECTIONS.items():
        lines += ["", f"# {declared.__doc__}", f"{section}:"]
        for one in fields(declared):
            value = getattr(getattr(config, section), one.name)
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if isinstance(value, str) and not re.fullmatch(r"[\w./,~-]+", value):
                text = json.dumps(value)  # YAML reads JSON strings
            lines.append(f"  {one.name}: {text}".ljust(32) + f"  # {one.metadata['about']}")
    return "\n".join(lines) + "\n"
