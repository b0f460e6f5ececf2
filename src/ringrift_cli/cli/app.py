"""Command-line entry point: commands, and the message and exit code of every known failure.

Exit codes: 0 done, 1 failed for a known cause, 2 wrong usage, 3 done with an alarm (cycle), 130 on
Ctrl-C, 143 on SIGTERM.
"""

from __future__ import annotations

import functools
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ringrift_cli.cli import (
    ablate,
    analyse,
    bench,
    cmaes,
    cycle,
    engine,
    env,
    fleet,
    fleet_jobs,
    init,
    matrix,
    metrics,
    models,
    perft,
    play,
    report,
    runs,
    selfplay,
    show,
    status,
    sync,
    track,
    train,
    verify,
    warmup,
    web,
)
from ringrift_cli.cli import eval as evaluation
from ringrift_cli.cli.options import bind
from ringrift_cli.cli.output import Output, discard_stdout, need_subcommand
from ringrift_cli.errors import HostUnreachable, RingriftError
from ringrift_cli.store.files import FULL, reason
from ringrift_cli.version import __version__

INTERRUPTED = 130
TERMINATED = 143
SPINS = "3000"  # of libgomp, which reads the variable when torch is imported
CACHE = "RINGRIFT_CACHE_DIR"
# Plain help answers in half the time of rich help, and pastes well.
app = typer.Typer(
    name="ringrift",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(selfplay.selfplay)
app.command()(show.show)
app.command()(analyse.analyse)
app.command()(verify.verify)
app.command()(play.play)
app.command()(web.web)
app.command()(perft.perft)
app.command()(engine.engine)
app.command()(cmaes.cmaes)
app.command()(train.train)
app.command(context_settings={"default_map": {}})(init.init)  # it replaces a wrong file
app.command()(cycle.cycle)
app.command()(ablate.ablate)
app.command()(status.status)
app.command()(report.report)
app.command()(track.track)
app.command()(metrics.metrics)
app.command()(warmup.warmup)
app.command()(env.env)
app.add_typer(bench.app)
app.add_typer(evaluation.app)
app.add_typer(models.app)
fleet.app.command()(fleet_jobs.jobs)
fleet.app.command()(fleet_jobs.dismiss)
fleet.app.command()(fleet_jobs.clean)
app.add_typer(fleet.app)
app.add_typer(sync.app)
app.add_typer(matrix.app)
app.add_typer(runs.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"ringrift {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def ringrift(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """The board game RingRift: play it, build players, and measure which is stronger.

    \b
    Examples:
      ringrift play --board hex8 --level 2
      ringrift eval match heuristic random --board hex8 --games 200
      ringrift cmaes --board hex8 --players 2 --minutes 10
    """
    bind(context)
    need_subcommand(context)


@functools.cache
def command_tree() -> Any:
    """The command line with all its commands and options; it takes a tenth of a second to build."""
    return typer.main.get_command(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line, without the program's name; returns the exit code."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # torch's idle OpenMP threads spin for long, which starves other work on the machine.
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    cache = os.environ.get(CACHE, "")
    if cache.startswith("~"):  # no shell expands the environment of a job or unit
        os.environ[CACHE] = str(Path(cache).expanduser())
    args = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An error may quote a file name that is not valid text.
        sys.stdout.reconfigure(errors="backslashreplace")
    code = _run(args)
    try:
        sys.stdout.flush()
    except OSError:
        discard_stdout()
        return code or 1
    return code


def _run(args: list[str]) -> int:
    try:
        code = command_tree().main(args, prog_name="ringrift", standalone_mode=False)
    except tuple(FAILURES) as error:
        failure = next(FAILURES[kind] for kind in FAILURES if isinstance(error, kind))(error)
        if failure is None:
            raise
        out = Output(as_json="--json" in args)
        out.error(failure.sentence, failure.hint)
        if out.as_json:
            out.result({"error": failure.sentence, "hint": failure.hint})
        return failure.code
    except SystemExit as ended:
        code = ended.code
    if code in (INTERRUPTED, TERMINATED):  # the command has already reported it
        Output().error("Interrupted." if code == INTERRUPTED else "Terminated.")
    return code if isinstance(code, int) else 0


# ---- failures -----------------------------------------------------------------------------------


class Failure(NamedTuple):
    """Exit code, sentence and hint of an exception."""

    code: int
    sentence: str
    hint: str | None = None


def _system(error: OSError) -> Failure | None:
    if error.filename is None and error.errno not in FULL:  # these come without the name of a file
        return None
    where = f"{error.filename}: " if error.filename else ""
    why = reason(Path(os.fsdecode(error.filename or "")), error)
    return Failure(1, f"{where}{why}.", "df -h" if error.errno in FULL else None)


def _usage(error: typer.TyperException) -> Failure:
    near = getattr(error, "possibilities", None)
    sentence = error.message if near else error.format_message()
    if near:
        sentence += f". Did you mean {' or '.join(near)}?"
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "ringrift"
    for name in re.findall(r"\(env var: '(\w+)'\)", sentence):
        if name not in os.environ:  # it is the flag that is wrong
            sentence = sentence.replace(f" (env var: '{name}')", "")
    return Failure(error.exit_code, " ".join(sentence.split()), f"{path} --help")


# The first matching entry applies. Other exceptions are bugs and keep their traceback.
FAILURES: dict[type[BaseException], Callable[[Any], Failure | None]] = {
    HostUnreachable: lambda e: Failure(e.exit_code, e.message, e.hint or "ringrift fleet status"),
    RingriftError: lambda e: Failure(e.exit_code, e.message, e.hint),
    typer.TyperException: _usage,
    typer.Abort: lambda _: Failure(1, "Cancelled; nothing was done."),
    OSError: _system,
}
