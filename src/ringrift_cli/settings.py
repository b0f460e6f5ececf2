"""Settings: every one is declared here, once, with its default, its range and its sentence.

    flag  >  RINGRIFT_* environment variable  >  settings file (ringrift.yaml)  >  default

The declaration gives the YAML key, the environment variable, the flag (cli/options.py), the
argument of `--set SECTION.KEY=VALUE`, the checks, the file that `ringrift init` writes and
docs/settings.md. Unknown keys and impossible values are refused with file and line, so that no
setting is ever ignored. Class attributes are the defaults: `Run.board` is "hex8".
"""

from __future__ import annotations

import difflib
import json
import os
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
REFERENCE = """\
# Settings

`ringrift init --reference` writes this page; `ringrift init` writes `ringrift.yaml` with every
setting. The `ringrift.yaml` of the working folder, or the file of `--config`, applies to every
command with such a setting. Precedence: a flag or `--set SECTION.KEY=VALUE`, the environment
variable, the file, the default. The variable of `selfplay.sims` is `RINGRIFT_SELFPLAY_SIMS`; the
variables of `run` omit the section: `RINGRIFT_BOARD`.
In paths, `~` is the home folder.
"""
KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "text"}

T = TypeVar("T", bool, int, float, str)


def key(
    default: T,
    about: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    choices: tuple[str, ...] = (),
    path: bool = False,
) -> T:
    """Declares a setting: its default, its sentence, and the values that it may have."""
    rules = {"about": about, "ge": ge, "gt": gt, "le": le, "choices": choices, "path": path}
    declared: Any = field(default=default, metadata=rules)
    return declared  # type: ignore[no-any-return]


class Section:
    """A section of settings; `UsageError` for a value that a setting cannot have."""

    def __post_init__(self) -> None:
        for one in DECLARED.values():
            if isinstance(self, SECTIONS[one.section]):
                one.check(getattr(self, one.name))


@dataclass(frozen=True)
class Run(Section):
    """Board, players, seed, devices and folders of a run."""

    board: str = key("hex8", "Board.", choices=BOARDS)
    players: int = key(2, "Number of players.", ge=2, le=4)
    pie_rule: bool = key(False, "Pie rule: seat 2 may swap once (2 players).")
    seed: int = key(0, "Seed of all random numbers.", ge=0)
    gpus: str = key("all", "GPUs: all; none, for the CPU; or their numbers, as 0,1.")
    folder: str = key(
        "runs", "Folder of runs: a folder for each board and number of players.", path=True
    )
    models: str = key("models", "Folder of the model registry.", path=True)
    store: str = key(
        "none",
        "Object store that mirrors runs: none, s3://BUCKET/PATH, gs://…, az://… or file:///FOLDER.",
    )
    report_to: str = key(
        "none",
        "Experiment tracker that receives every finished step: none, mlflow:URI, wandb:PROJECT or"
        " tensorboard:DIR.",
    )


@dataclass(frozen=True)
class NetworkSection(Section):
    """Network architecture."""

    size: str = key("small", "Size of a new network.", choices=SIZES)
    init: str = key(
        "none",
        "Initial weights of a new network: none, random ones; or a model, of any board and number"
        " of players, which also plays until there is a champion.",
        path=True,
    )


@dataclass(frozen=True)
class SelfPlay(Section):
    """Self-play."""

    games_per_cycle: int = key(2000, "Games per cycle.", ge=1)
    concurrent: int = key(
        0,
        "Concurrent games per process; 0: as found by ringrift bench selfplay --discover, else 128"
        " on a core and 2048 on a GPU.",
        ge=0,
    )
    shard_games: int = key(256, "Games per shard.", ge=1)
    sims: int = key(32, "Simulations per full search.", ge=2)
    fast_sims: int = key(8, "Simulations per fast search.", ge=1)
    full_share: float = key(
        0.3, "Share of decisions with a full search; only these are trained on.", gt=0, le=1
    )
    teacher: str = key(
        "heuristic",
        "Player until there is a champion: none, an untrained network; or heuristic, a search with"
        " the tuned heuristic.",
        choices=("none", "heuristic"),
    )
    considered: int = key(
        0,
        "Actions considered at the root of a full search; 0: a quarter of its simulations, from 2"
        " to 16.",
        ge=0,
    )
    fast_considered: int = key(
        0, "Actions considered at the root of a fast search; 0: likewise.", ge=0
    )
    value_scale: float = key(
        1.0, "Weight of values relative to the policy in the search of self-play.", gt=0
    )
    exploration: float = key(0.5, "PUCT exploration constant below the root.", ge=0)
    opening_decisions: int = key(12, "First decisions that are sampled, not maximised.", ge=0)
    opening_temperature: float = key(1.2, "Temperature of that sampling.", gt=0, le=10)
    random_opening_share: float = key(
        0.75, "Share of games that begin with random turns, as those of matches do.", ge=0, le=1
    )
    sparring_share: float = key(
        0.25,
        "Share of games in which a sparring partner plays one seat; its decisions are not trained"
        " on.",
        ge=0,
        le=1,
    )
    partner: str = key("heuristic", "Player spec of the sparring partner, as mcts:sims=16.")
    resign_below: float = key(
        0.0, "Win probability below which a side resigns (2 players); 0: never.", ge=0, le=0.5
    )
    resign_decisions: int = key(4, "Consecutive decisions below it before a resignation.", ge=1)
    resign_control_share: float = key(
        0.2, "Share of games played to the end to measure false resignations.", ge=0, le=1
    )


@dataclass(frozen=True)
class Train(Section):
    """Training of a network on the games of self-play."""

    batch: int = key(256, "Positions per step.", ge=2)
    samples_per_position: float = key(
        3.0, "Average number of times a new position is seen; it sets the steps.", gt=0, le=1000
    )
    optimiser: str = key("adamw", "Optimiser.", choices=("adamw", "sgd"))
    learning_rate: float = key(0.002, "Learning rate.", gt=0, le=1)
    schedule: str = key("cosine", "Learning rate schedule.", choices=("constant", "cosine"))
    warmup: int = key(50, "Warm-up steps of a fresh optimiser and of every cosine.", ge=0)
    weight_decay: float = key(0.05, "Weight decay.", ge=0, le=1)
    clip: float = key(1.0, "Maximum norm of the gradient.", gt=0)
    average: float = key(
        0.995, "Decay per step of the averaged weights, which become the model.", ge=0, le=0.9999
    )
    carried: str = key(
        "optimiser",
        "State carried over from the previous run: weights and optimiser, or weights only.",
        choices=("optimiser", "weights"),
    )
    window: int = key(100_000, "Window size in positions; sublinear growth beyond it.", ge=1)
    surprise_weight: float = key(
        0.0, "Policy-surprise weighting of sampling: 0 uniform, 1 proportional.", ge=0, le=1
    )
    value_mix: float = key(
        0.5, "Weight of the search's value beside the winner in the value target.", ge=0, le=1
    )
    value_weight: float = key(1.0, "Loss weight of the value.", ge=0, le=10)
    owner_weight: float = key(1.0, "Loss weight of the final owner of each cell.", ge=0, le=10)
    eliminated_weight: float = key(
        0.5, "Loss weight of the rings eliminated at the end.", ge=0, le=10
    )
    validation_share: float = key(0.05, "Share of games held out for validation.", ge=0, le=0.9999)
    validation_positions: int = key(2048, "Maximum positions per validation.", ge=1)
    validate_every: int = key(250, "Steps between validations.", ge=1)
    patience: int = key(5, "Validations without improvement before an early stop; 0: never.", ge=0)
    keep: int = key(3, "Latest models of a run that are kept, besides the best.", ge=1)
    checkpoint_minutes: float = key(5.0, "Minutes between saved states.", ge=0)
    precision: str = key(
        "auto", "Precision of training.", choices=("auto", "float32", "bfloat16", "float16")
    )
    max_age: float = key(
        168.0, "Maximum age in hours of the newest shard; older data are refused.", gt=0
    )
    max_generations_behind: int = key(
        20, "Maximum generations between the newest shard and the model in training.", ge=0
    )


@dataclass(frozen=True)
class Gate(Section):
    """Gate: acceptance test of candidates for promotion to champion."""

    sims: int = key(64, "Simulations per decision of candidate and champions.", ge=0)
    lax_elo: float = key(
        20.0,
        "The newest candidate plays unless it is weaker than the champion by more Elo than this,"
        " with 95 %.",
        ge=0,
    )
    elo0: float = key(0.0, "Elo difference under H0 of the test against the champion.")
    elo1: float = key(35.0, "Elo difference under H1 of the test against the champion.")
    alpha: float = key(0.05, "Probability of accepting H1 under H0.", gt=0, le=0.5)
    beta: float = key(0.05, "Probability of accepting H0 under H1.", gt=0, le=0.5)
    max_games: int = key(
        400,
        "Maximum games against the champion; if still undecided, the champion stays.",
        ge=2,
    )
    random_games: int = key(
        40, "Games against random; the share won must be significantly above the fair share.", ge=2
    )
    heuristic_games: int = key(
        100, "Games against heuristic:default; the result must not be below the champion's.", ge=2
    )
    earlier: int = key(2, "Number of earlier champions that the candidate must not lose to.", ge=0)
    earlier_games: int = key(100, "Games against each earlier champion.", ge=2)
    reference_games: int = key(
        100,
        "Games of an accepted candidate against the tuned heuristic and mcts:sims=64, as a"
        " measurement; 0: none.",
        ge=0,
    )


@dataclass(frozen=True)
class Cycle(Section):
    """Training loop: limits and alarms."""

    max_weaker: int = key(
        3,
        "Candidates in a row clearly weaker than the champion (gate.lax_elo) after which training"
        " continues from the champion.",
        ge=1,
    )
    overlap: bool = key(
        False,
        "Self-play on hosts (--fleet) also during training and gate.",
    )
    min_free_gb: float = key(2.0, "Minimum free disk space in GB to begin a step.", ge=0)
    max_data_gb: float = key(
        20.0, "Maximum size of the shards in GB; the oldest unused ones are deleted.", gt=0
    )
    alarm_data_hours: float = key(24.0, "Alarm: age in hours of the newest training data.", gt=0)
    alarm_elo_cycles: int = key(
        10, "Alarm: Elo against the heuristic below the best of this many champions.", ge=1
    )
    alarm_rate_share: float = key(
        0.5, "Alarm: games per hour below this share of the median.", ge=0, le=1
    )
    alarm_rejections: int = key(12, "Alarm: rejections in a row.", ge=1)
    alarm_duplicates: float = key(
        0.05, "Alarm: share of self-play games that repeat others.", ge=0, le=1
    )


@dataclass(frozen=True)
class Tune(Section):
    """Tuning of the heuristic's weights (ringrift cmaes)."""

    population: int = key(64, "Candidates per generation.", ge=6)  # ranks of fewer say nothing
    games: int = key(
        8, "Initial games per candidate and generation; whole openings, more under noise.", ge=1
    )
    sigma: float = key(0.8, "Initial step size, relative to the default weights.", gt=0, le=10)
    elo0: float = key(0.0, "Elo difference to the start under H0 of the final test.", ge=0)
    elo1: float = key(20.0, "Elo difference to the start under H1 of the final test.")
    test_games: int = key(20_000, "Maximum games of the final test.", ge=1)


@dataclass(frozen=True)
class Declaration:
    """A declared setting."""

    section: str
    name: str
    default: bool | int | float | str
    about: str
    ge: float | None
    gt: float | None
    le: float | None
    choices: tuple[str, ...]
    path: bool

    @property
    def label(self) -> str:
        """As in `--set`: selfplay.sims."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable: RINGRIFT_SELFPLAY_SIMS, or RINGRIFT_BOARD for run.board."""
        section = "" if self.section == "run" else f"{self.section}_"
        return f"{PREFIX}{section}{self.name}".upper()

    @property
    def expected(self) -> str:
        """The values that it may have, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.path:
            return "a path without ',' and '=', which separate the arguments of a player"
        limits = (("at least", self.ge), ("above", self.gt), ("at most", self.le))
        bounds = [f"{word} {limit:g}" for word, limit in limits if limit is not None]
        return ", ".join([KINDS[type(self.default)], *bounds])

    def read(self, text: str, where: str = "") -> Any:
        """The value of a text; `UsageError` with its place if the setting cannot have it."""
        kind = type(self.default)
        try:
            value: Any = WORDS[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise self._impossible(text, where) from None
        if self.path:
            value = str(Path(value).expanduser()) if value else value
        self.check(value, where)
        return value

    def check(self, value: Any, where: str = "") -> None:
        """`UsageError` for a value that it cannot have."""
        known = (type(value) is type(self.default)) or (
            type(self.default) is float and type(value) is int
        )
        if not (
            known
            and value == value  # a number
            and value not in ("", float("inf"), float("-inf"))
            and (not self.choices or value in self.choices)
            and not (self.path and set(value) & set(SEPARATORS))
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
        ):
            raise self._impossible(value, where)

    def _impossible(self, value: Any, where: str) -> UsageError:
        place = f"{where}: " if where else ""
        return UsageError(f"{place}{self.label} is {value!r}, expected {self.expected}.")


SECTIONS: dict[str, type[Section]] = {
    "run": Run,
    "network": NetworkSection,
    "selfplay": SelfPlay,
    "train": Train,
    "gate": Gate,
    "cycle": Cycle,
    "tune": Tune,
}
DECLARED: dict[str, Declaration] = {  # by label, in order
    f"{section}.{one.name}": Declaration(section, one.name, getattr(kind, one.name), **one.metadata)
    for section, kind in SECTIONS.items()
    for one in fields(kind)  # type: ignore[arg-type]
}
VARIABLES = {one.variable: one for one in DECLARED.values()}


@dataclass(frozen=True)
class Config:
    """All settings; `load` makes one."""

    run: Run = field(default_factory=Run)
    network: NetworkSection = field(default_factory=NetworkSection)
    selfplay: SelfPlay = field(default_factory=SelfPlay)
    train: Train = field(default_factory=Train)
    gate: Gate = field(default_factory=Gate)
    cycle: Cycle = field(default_factory=Cycle)
    tune: Tune = field(default_factory=Tune)

    def __post_init__(self) -> None:
        if self.run.pie_rule and self.run.players != 2:
            raise UsageError(
                f"run.pie_rule is for 2 players, but run.players is {self.run.players}.",
                hint="--no-pie",
            )
        if self.selfplay.resign_below > 0 and self.run.players != 2:
            raise UsageError(
                f"selfplay.resign_below is for 2 players, but run.players is {self.run.players}.",
                hint="--set selfplay.resign_below=0",
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
        """Name of what is learned and of its folders, as hex8-2p."""
        pie = "-pie" if self.run.pie_rule else ""
        return f"{self.run.board}-{self.run.players}p{pie}"

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.run.folder) / self.pool

    def document(self) -> dict[str, dict[str, Any]]:
        """Every setting, as JSON: sections of keys."""
        return asdict(self)


def commented(config: Config | None = None) -> str:
    """A settings file with every key, its value and its sentence; `load` reads it back."""
    lines = [
        "# Settings of ringrift. A flag wins over RINGRIFT_<SECTION>_<KEY> in the environment",
        "# (RINGRIFT_<KEY> for those of run), that over this file, and that over the default.",
    ]
    for section, values in (config or Config()).document().items():
        lines += ["", f"# {SECTIONS[section].__doc__}", f"{section}:"]
        for name, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if isinstance(value, str) and not re.fullmatch(r"[\w./,~-]+", value):
                text = json.dumps(value)  # YAML reads JSON strings
            about = DECLARED[f"{section}.{name}"].about
            lines.append(f"  {name}: {text}".ljust(32) + f"  # {about}")
    return "\n".join(lines) + "\n"


def reference() -> str:
    """docs/settings.md: every setting in Markdown."""
    lines = REFERENCE.splitlines()
    for section, kind in SECTIONS.items():
        lines += ["", f"## {section}", "", f"{kind.__doc__}", ""]
        lines += ["| setting | default | value | meaning |", "|---|---|---|---|"]
        for one in DECLARED.values():
            if one.section == section:
                default = "false" if one.default is False else one.default
                lines.append(f"| `{one.name}` | {default} | {one.expected} | {one.about} |")
    return "\n".join(lines) + "\n"


# ---- reading ------------------------------------------------------------------------------------


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Config:
    """The settings of a file under an environment (os.environ) and flags, `{"run.board": "hex8"}`.

    Without a path, of ringrift.yaml in the working folder if there is one. `UsageError` with its
    place for what cannot be read, is not known or cannot be.
    """
    return made(flags or {}, given(path, environment))


def given(path: Path | None, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Values by label that a file and the environment give; arguments and errors as `load`."""
    return _of_file(path) | _of_environment(os.environ if environment is None else environment)


def made(flags: Mapping[str, str], values: Mapping[str, Any] | None = None) -> Config:
    """The settings of flags alone, or over `values` by label; errors as `load`."""
    values = dict(values or {})
    for label, text in flags.items():
        where = f"{label}={text}"
        section, _, name = label.partition(".")
        values[label] = declaration(section, name, where).read(text, where)
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for label, value in values.items():
        section, _, name = label.partition(".")
        parts[section][name] = value
    sections: Any = {section: SECTIONS[section](**part) for section, part in parts.items()}
    return Config(**sections)


def declaration(section: str, name: str, where: str) -> Declaration:
    """A setting by its names; `UsageError` with the place and what may be meant."""
    if section not in SECTIONS:
        raise _unknown(where, f"section {section!r}", section, list(SECTIONS))
    found = DECLARED.get(f"{section}.{name}")
    if found is None:
        elsewhere = [one.label for one in DECLARED.values() if one.name == name]
        if elsewhere:
            raise UsageError(
                f"{where}: there is no key {name!r} in {section}; it is in {elsewhere[0]}."
            )
        names = [one.name for one in DECLARED.values() if one.section == section]
        raise _unknown(where, f"key {name!r} in {section}", name, names)
    return found


def _unknown(where: str, what: str, name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}."
    return UsageError(f"{where}: there is no {what}{meant}")


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Values by label. Only variables that begin with a section are refused if they are unknown."""
    values = {}
    for variable, text in environment.items():
        section, _, name = variable.removeprefix(PREFIX).lower().partition("_")
        if not variable.startswith(PREFIX) or not text:
            continue
        one = VARIABLES.get(variable)
        if one is None and section in SECTIONS and name:
            one = declaration(section, name, variable)
        if one is not None:
            values[one.label] = one.read(text, variable)
    return values


def _of_file(path: Path | None) -> dict[str, Any]:
    """Values of a settings file by label, of ringrift.yaml if there is one; errors as `load`."""
    import yaml

    if path is None and not FILE.exists():
        return {}
    path = path or FILE
    root = compose(path, f"ringrift init --out {path}")
    values = {}
    for section, part, where in _items(path, root, "sections"):
        if section not in SECTIONS:
            raise _unknown(where, f"section {section!r}", section, list(SECTIONS))
        for name, node, line in _items(path, part, f"keys of {section}"):
            declared = declaration(section, name, line)
            if not isinstance(node, yaml.ScalarNode) or node.tag == NULL:
                raise UsageError(
                    f"{line}: {section}.{name} has no value, or several; expected one."
                )
            values[declared.label] = declared.read(node.value, line)
    return values


def compose(path: Path, hint: str) -> Node | None:
    """The YAML of a file, whose nodes know their lines; None for an empty one.

    `UsageError` if it cannot be read, with `hint` if it is missing.
    """
    import yaml

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.", hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    return None if root is None or root.tag == NULL else root


def _items(path: Path, node: Node | None, what: str) -> Iterator[tuple[str, Node, str]]:
    """Name, value and place of the items of a mapping; nothing of an empty one."""
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
            raise UsageError(f"{where}: {name.value!r} is repeated.")
        seen.add(name.value)
        yield name.value, value, where
