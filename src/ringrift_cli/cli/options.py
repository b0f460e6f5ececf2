"""Options shared by commands, and options generated from declared settings.

An option with the environment variable of a setting follows that setting:

    flag  >  RINGRIFT_* environment variable  >  --config FILE, else ringrift.yaml  >  default

`FileDefaults` provides the values of the file to Typer; `configuration` combines all settings of a
command.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ringrift_cli import settings
from ringrift_cli.cli import completion
from ringrift_cli.cli.output import was_typed
from ringrift_cli.errors import UsageError
from ringrift_cli.settings import Config
from ringrift_cli.version import MARK

HEAD = 4096  # bytes of a file that hold the mark of ringrift


def whole_number(least: int, most: int | None = None) -> Callable[[str | int], int]:
    """A parser for the whole numbers from `least` to `most`, for `typer.Option(parser=...)`."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            limit = f"of {least} or more" if most is None else f"from {least} to {most}"
            raise typer.BadParameter(f"{text!r} is not a whole number {limit}.")
        return number

    return parse


def above_zero(text: str | float) -> float:
    """A parser for finite numbers above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a number above 0.")
    return number


def file_path(text: str | Path) -> Path:
    """Parser of paths; expands ~."""
    return Path(text).expanduser()


def check_pie(pie: bool, players: int) -> None:
    """`UsageError` for the pie rule with more than two players."""
    if pie and players != 2:
        raise UsageError(f"The pie rule is for 2 players, not {players}.", hint="--no-pie")


def _picture_path(text: str | Path) -> Path:
    path = file_path(text)
    if path.suffix not in (".png", ".svg"):
        raise typer.BadParameter(f"{path}: expected a name that ends in .png or .svg.")
    return path


def number_option(
    flag: str,
    about: str,
    *,
    least: int = 1,
    most: int | None = None,
    metavar: str = "N",
    **more: Any,
) -> Any:
    """The `typer.Option` of a whole number; `more` as for `typer.Option`."""
    parser = whole_number(least, most)
    return typer.Option(flag, parser=parser, metavar=metavar, help=about, **more)


def path_option(flag: str, about: str, *, metavar: str = "FILE", **more: Any) -> Any:
    """The `typer.Option` of a file or folder; `more` as for `typer.Option`."""
    return typer.Option(flag, parser=file_path, metavar=metavar, help=about, **more)


def plot_option(about: str) -> Any:
    """The `typer.Option` of a picture to write, `--plot`."""
    return typer.Option("--plot", parser=_picture_path, metavar="FILE", help=about)


ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace existing files that ringrift did not make.")
]


def check_folder(path: Path) -> None:
    """`UsageError` for a file to write in a folder that does not exist."""
    if not path.parent.is_dir():
        make = f"mkdir -p {shlex.quote(str(path.parent))}"
        raise UsageError(f"There is no folder {path.parent}.", hint=make)


def check_outputs(*paths: Path | None, force: bool, mark: str = MARK) -> None:
    """`UsageError` for existing files that lack the `mark` of ringrift, unless `force`.

    Also for files in folders that do not exist: a mistyped path is not made.
    """
    for path in filter(None, paths):
        check_folder(path)
        if path.is_file() and not force:
            with path.open("rb") as file:
                if mark.encode() not in file.read(HEAD):
                    raise UsageError(
                        f"{path} already exists, and ringrift did not make it.",
                        hint="--force to replace it, or another name",
                    )


# ---- settings -----------------------------------------------------------------------------------


def setting(label: str, *flags: str, metavar: str | None = None) -> Any:
    """The `typer.Option` of a declared setting, as `setting("run.board", "--board")`.

    The parameter's default is the declared one: `board: BoardOption = Run.board`.
    """
    declared = settings.DECLARED[label]
    about = declared.about
    if declared.choices:
        about = f"{about.removesuffix('.')}: {', '.join(declared.choices)}."
    kind = type(declared.default)
    return typer.Option(
        *flags,
        parser=None if kind is bool else partial(_read, declared),
        metavar=None if kind is bool else metavar or {int: "N", float: "X", str: "NAME"}[kind],
        help=about,
        envvar=declared.variable,
        autocompletion=(lambda: list(declared.choices)) if declared.choices else None,
    )


def _read(declared: settings.Declaration, text: object) -> Any:
    try:
        return declared.read(str(text))
    except UsageError as error:
        raise typer.BadParameter(error.message) from error


class FileDefaults:
    """Click's `default_map` of a command: values of the settings file, else of the environment.

    The file is read only if a parameter of the command follows a setting; `UsageError` if it is
    invalid.
    """

    def __init__(self, command: Any, file: Path | None = None) -> None:
        self._command, self._file = command, file

    @cached_property
    def _values(self) -> dict[str, Any]:
        return settings.given(self._file)

    def get(self, name: str, default: Any = None) -> Any:
        """The defaults of a subcommand, or the value of a parameter."""
        subcommand = getattr(self._command, "commands", {}).get(name)
        if subcommand is not None:
            return FileDefaults(subcommand, self._file)
        for parameter in self._command.params:
            declared = _followed(parameter)
            if parameter.name == name and declared is not None:
                return self._values.get(declared.label, default)
        return default


def _followed(parameter: Any) -> settings.Declaration | None:
    """The setting that a parameter of a command follows."""
    variable = parameter.envvar
    return settings.VARIABLES.get(variable) if isinstance(variable, str) else None


def bind(context: typer.Context, file: Path | None = None) -> None:
    """Uses the settings of a file, else of ringrift.yaml, as defaults of a command."""
    defaults: Any = FileDefaults(context.command, file)
    context.default_map = defaults


def _use_file(context: typer.Context, file: Path | None) -> Path | None:
    """The callback of `--config`, which is read before the options that follow settings."""
    if file is not None:
        bind(context, file)
    return file


def configuration(context: typer.Context, *sections: str) -> Config:
    """All settings of a command: its flags and `--set`, the environment, its file, the defaults.

    `--set` is limited to the `sections` that the command uses, if given. `UsageError` for unknown
    or invalid settings.
    """
    file: Path | None = context.params.get("config_file")
    return settings.load(file, flags=flags_of(context, *sections))


def flags_of(context: typer.Context, *sections: str) -> dict[str, str]:
    """Settings given on the command line, by label; see `configuration`."""
    flags = {}
    for text in context.params.get("settings") or []:
        label, equals, value = text.partition("=")
        if not equals or "." not in label:
            raise UsageError(
                f"--set {text}: expected SECTION.KEY=VALUE.", hint="--set selfplay.sims=32"
            )
        section = label.partition(".")[0]
        if sections and section in settings.SECTIONS and section not in sections:
            raise UsageError(
                f"--set {text}: {context.command_path} uses settings of {', '.join(sections)} only."
            )
        flags[label] = value
    for parameter in context.command.params:
        declared, name = _followed(parameter), str(parameter.name)
        if declared is not None and was_typed(context, name):
            flags[declared.label] = str(context.params[name])
    return flags


BoardOption = Annotated[str, setting("run.board", "--board")]
PlayersOption = Annotated[int, setting("run.players", "--players")]
PieOption = Annotated[bool, setting("run.pie_rule", "--pie/--no-pie")]
SeedOption = Annotated[int, setting("run.seed", "--seed")]
GpusOption = Annotated[str, setting("run.gpus", "--gpus", metavar="all|none|0,1")]
StoreOption = Annotated[str, setting("run.store", "--store", metavar="URL")]
SizeOption = Annotated[str, setting("network.size", "--size")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        parser=file_path,
        metavar="FILE",
        help="Settings file.",
        is_eager=True,
        callback=_use_file,
        show_default=f"{settings.FILE}, if there is one",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Any setting, as selfplay.sims=32; repeatable.",
        autocompletion=completion.setting_texts,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        parser=whole_number(1),
        metavar="N",
        help="Number of processes.",
        envvar="RINGRIFT_JOBS",
        show_default="all cores",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="More details on stderr.")]
