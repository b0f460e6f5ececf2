"""Tables of `ringrift bench`, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ringrift_cli.cli.output import counted

if TYPE_CHECKING:
    from ringrift_cli.bench.bench import Discovery, Rung
    from ringrift_cli.bench.selfplay import SelfPlaySpeed
    from ringrift_cli.bench.subject import Measured, Setting, Subject
    from ringrift_cli.game.bench import Machine, Speed
    from ringrift_cli.players.bench import PlayerSpeed

NAMES = {"free_simulations": "free sims", "free_decisions": "free decisions"}


def machine_line(machine: Machine) -> str:
    cores = counted(machine.cores, "core")
    return f"{machine.processor}, {cores}, Python {machine.python}, numba {machine.numba}"


def player_table(machine: Machine, speeds: list[PlayerSpeed]) -> str:
    cores = counted(machine.cores, "core")
    lines = [
        machine_line(machine),
        "",
        (
            f"{'board':<10}{'players':>8}{'ms/decision':>13}{'games/s':>9}"
            f"{'on ' + cores:>12}{'games/s':>9}{'per game':>10}"
        ),
    ]
    for s in speeds:
        one, every = s.games_per_second
        lines.append(
            f"{s.board:<10}{s.players:>8}{1000 * s.one_core:>13.3f}{one:>9.1f}"
            f"{1000 * s.all_cores:>12.3f}{every:>9.1f}{s.decisions_per_game:>10.1f}"
        )
    return "\n".join(lines)


def engine_table(machine: Machine, speeds: list[Speed]) -> str:
    cores = counted(machine.cores, "core")
    head = (
        f"{'board':<10}{'players':>8}{'decisions/s':>14}{'games/s':>10}"
        f"{'on ' + cores:>14}{'games/s':>10}{'ratio':>7}{'per game':>10}{'MB/4096':>9}"
    )
    lines = [machine_line(machine), "", head]
    lines += [
        f"{s.board:<10}{s.players:>8}{s.one.decisions:>14,.0f}{s.one.games:>10,.0f}"
        f"{s.all.decisions:>14,.0f}{s.all.games:>10,.0f}{s.ratio:>7.2f}"
        f"{s.decisions_per_game:>10.1f}{s.batch_megabytes:>9.1f}"
        for s in speeds
    ]
    return "\n".join(lines)


def selfplay(speed: SelfPlaySpeed, machine: Machine) -> str:
    """Self-play, the evaluator alone, and how much of the second the first keeps."""
    of, device = speed.setting, speed.setting.devices[0].partition(":")[0]
    network = f"{of.model or of.size}, {speed.precision}"
    processes = f"{len(of.devices)} x {device}, {of.concurrent} games each"
    rates = f"{speed.games:,.1f} games/s, {speed.decisions:,.0f} decisions/s"
    lines = [
        f"{of.board} {of.players}p, {network}, {processes}, {speed.memory / 1e9:.1f} GB",
        f"{machine.processor}, {counted(machine.cores, 'core')}",
        f"  {speed.selfplay:>10,.0f} evals/s  self-play: {rates}",
    ]
    for batch, rate in speed.alone.items():
        lines.append(f"  {rate:>10,.0f} evals/s  evaluator alone, {batch} positions a batch")
    used = "of the evaluator's speed is used (median round)"
    lines.append(f"  {speed.ratio or 0:>10.1%}          {used}")
    return "\n".join(lines)


def one_setting(subject: Subject, device: str, found: Measured) -> str:
    """A setting and all its rates."""
    rounds = counted(len(found.rounds), "round")
    lines = [f"{subject.key()}", device, f"  {found.setting}"]
    for name in found.rounds[0]:
        own = name.removeprefix("free_")
        free = "" if own == name else ", with a judge that costs nothing"
        lines.append(f"  {found.rate(name):>14,.1f} {own}/s{free}")
    if found.ratio is not None:
        lines.append(f"  {found.ratio:>14.1f} times as many: how much faster the trees alone are")
    lines.append(
        f"  medians of {rounds}, which spread over {found.spread:.0%};"
        f" {found.memory / 1e9:.2f} GB at most"
    )
    return "\n".join(lines)


def series_name(device: str, setting: Setting) -> str:
    """What distinguishes the lines of a picture."""
    threads = "" if setting.threads is None else counted(setting.threads, "thread")
    return ", ".join(part for part in (device, threads, setting.precision) if part)


def ladder(subject: Subject, device: str, found: Discovery, limit: int, path: Path) -> str:
    """All settings that were measured or skipped, and what was saved."""
    measured = [rung.measured for rung in found.rungs if rung.measured is not None]
    names = list(measured[0].rounds[0])
    with_others = subject.kind == "train"
    others = f"{'threads':>9}{'precision':>11}" if with_others else ""
    rates = "".join(f"{NAMES.get(name, name) + '/s':>17}" for name in names)
    lines = [
        f"{subject.key()}",
        f"{device}; {limit / 1e9:.1f} GB at most",
        "",
        f"  {'batch':>8}{others}{rates}{'best round':>13}{'spread':>8}{'GB':>7}",
    ]
    lines += [_rung(rung, found, names, with_others=with_others) for rung in found.rungs]
    setting = found.chosen.setting
    saved = f"batch {setting.batch:,}"
    if with_others:
        threads = "" if setting.threads is None else f"{counted(setting.threads, 'thread')}, "
        saved = f"{threads}{setting.precision} (the batch stays what train.batch says)"
    return "\n".join([*lines, "", f"Saved: {saved}, in {path}"])


def _rung(rung: Rung, found: Discovery, names: list[str], *, with_others: bool) -> str:
    setting, one = rung.setting, rung.measured
    mark = "*" if one is found.chosen else " "
    line = f"{mark} {setting.batch:>8,}"
    if with_others:
        line += f"{setting.threads or '':>9}{setting.precision or '':>11}"
    if one is None:
        return f"{line}   {rung.skipped}"
    line += "".join(f"{one.rate(name):>17,.{1 if one.rate(name) < 1000 else 0}f}" for name in names)
    line += f"{one.best:>13,.0f}{one.spread:>8.0%}{one.memory / 1e9:>7.2f}"
    return line + ("   too much memory" if rung.too_large else "")
