"""`ringrift verify`: checks recorded games against the rules, step by step."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli.options import (
    JobsOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    file_path,
)
from ringrift_cli.cli.output import Output, counted
from ringrift_cli.system import cores

if TYPE_CHECKING:
    from ringrift_cli.game.conformance import Fault
    from ringrift_cli.game.conformance_files import FileReport, Report

LISTED_MOVES = 20  # moves listed per side; --json has all


def verify(
    files: Annotated[
        list[Path],
        typer.Argument(
            parser=file_path,
            metavar="FILE",
            help="Shards, .rrg, JSON lines, gzip or not, results files, saved games, manifests; or"
            " folders of these.",
        ),
    ],
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Replay recorded games and compare every step with the rules.

    Compares positions, legal moves, the final position and the result, in shards also the targets
    of training, and for a manifest the hashes of its files; shows the first fault. Exit code 0
    means that everything agrees. Files of something else are left out, and named.

    \b
    Examples:
      ringrift verify games.jsonl.gz
      ringrift verify runs/hex8-2p/selfplay
      ringrift verify --json tests/conformance/*.jsonl.gz
    """
    from ringrift_cli.game.conformance_files import total_size
    from ringrift_cli.review.verify import game_files
    from ringrift_cli.review.verify import verify as verify_files

    out = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    found, others = game_files(files)
    size = total_size([*found])
    for other in others:
        out.note(f"{other} holds no games: not verified.")
    out.compile_rules()
    start = time.monotonic()
    with out.progress("Verifying", size) as progress:
        report = verify_files(found, jobs=jobs or cores(), advance=progress.advance)
    seconds = time.monotonic() - start
    for file in report.files:
        out.detail(f"{file.path}: {_counts(file)}")
    out.result(_document(report, seconds), _text(report, seconds, out.colour))
    faulty = report.first_faulty
    if faulty is not None and faulty.first is not None:
        out.error(f"{_place(faulty)}: {faulty.first.sentence}.")
        raise typer.Exit(1)


# ---- text ---------------------------------------------------------------------------------------


def _counts(of: FileReport | Report) -> str:
    agree = f"{counted(of.games, 'game')} and {counted(of.steps, 'step')}"
    if of.hashes:
        listed = counted(of.hashes, "listed file")
        agree = f"{agree}, and {listed}" if of.games else listed
    agree += " agree"
    return f"{agree}, {counted(of.faults, 'fault')}" if of.faults else agree


def _place(file: FileReport) -> str:
    step = file.first.step if file.first else None
    game = f", game {file.first_line}" if file.first_line else ""
    return f"{file.path}{game}" + ("" if step is None else f", step {step}")


def _text(report: Report, seconds: float, colour: bool) -> str:
    files = counted(len(report.files), "file")
    lines = [f"{files}: {_counts(report)} ({seconds:.1f} s)"]
    if report.earlier:
        lines.append(
            f"Of these, {counted(report.earlier, 'game')} played under an earlier version of the"
            " rules, which they were replayed by."
        )
    if len(report.files) > 1:
        lines += [f"{_place(file)}: {_counts(file)}" for file in report.files if file.faults]
    faulty = report.first_faulty
    if faulty is not None and faulty.first is not None:
        lines += ["", f"First fault: {_place(faulty)}", *_fault_lines(faulty.first, colour)]
    return "\n".join(lines)


def _fault_lines(fault: Fault, colour: bool) -> list[str]:
    lines = [f"  {fault.sentence}"]
    if fault.previous_move is not None:
        lines.append(f"  after the move {fault.previous_move!r}")
    lines += _positions(fault, colour)
    for title, moves in (
        ("Moves only in the record", fault.only_recorded),
        ("Moves only by the rules", fault.only_own),
    ):
        if moves:
            more = len(moves) - LISTED_MOVES
            shown = [*map(ascii, moves[:LISTED_MOVES]), *([f"and {more} more"] if more > 0 else [])]
            lines += ["", f"{title}: {', '.join(shown)}"]
    return lines


def _positions(fault: Fault, colour: bool) -> list[str]:
    """Both positions, with differing cells marked."""
    from ringrift_cli.errors import NotationError
    from ringrift_cli.game.drawing_text import draw_text
    from ringrift_cli.game.notation import parse_position

    if fault.own_position is None:
        return []
    own = parse_position(fault.own_position)
    if fault.recorded_position is None:
        lines = ["", "Position in the record: only its digest is there"]
        return [*lines, "", "Position by the rules:", draw_text(own, colour=colour)]
    if fault.recorded_position == fault.own_position:
        return ["", "Position, the same on both sides:", draw_text(own, colour=colour)]
    lines = ["", "Position in the record:"]
    marks: dict[int, str] = {}
    try:
        recorded = parse_position(fault.recorded_position)
    except NotationError as error:
        lines += [f"  {fault.recorded_position!a}", f"  {error.message}"]
    else:
        if recorded.board == own.board:
            pairs = enumerate(zip(recorded.cells, own.cells, strict=True))
            marks = {cell: "*" for cell, (a, b) in pairs if a != b}
        lines.append(draw_text(recorded, colour=colour, marks=marks))
    return [*lines, "", "Position by the rules:", draw_text(own, colour=colour, marks=marks)]


# ---- json ---------------------------------------------------------------------------------------


def _document(report: Report, seconds: float) -> dict[str, Any]:
    return {
        "agrees": report.first_faulty is None,
        "games": report.games,
        "steps": report.steps,
        "hashes": report.hashes,
        "earlier_rules": report.earlier,
        "faults": report.faults,
        "seconds": round(seconds, 3),
        "files": [_file_document(file) for file in report.files],
    }


def _file_document(file: FileReport) -> dict[str, Any]:
    first = None if file.first is None else {"game": file.first_line or None, **asdict(file.first)}
    counts = {"games": file.games, "steps": file.steps, "hashes": file.hashes}
    counts["faults"] = file.faults
    counts["earlier_rules"] = file.earlier
    return {"file": str(file.path), **counts, "first_fault": first}
