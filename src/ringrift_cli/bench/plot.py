"""Plot of the settings measured by `--discover`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringrift_cli.bench.discover import Discovery
from ringrift_cli.bench.measure import BenchSubject, Measurement
from ringrift_cli.plotting import new_figure, picture
from ringrift_cli.runtime.machine import GIGABYTE
from ringrift_cli.text import counted


def plot_ladders(subject: BenchSubject, found: Mapping[str, Discovery], form: str) -> bytes:
    """Throughput, with its range over the rounds, and memory by batch.

    One line per device (key of `found`), number of threads and precision; the chosen setting is
    circled.
    """
    series: dict[str, list[Measurement]] = {}
    for device, discovery in found.items():
        for one in (rung.measured for rung in discovery.rungs):
            if one is not None:
                threads = counted(one.setting.threads, "thread") if one.setting.threads else ""
                label = ", ".join(filter(None, (device, threads, one.setting.precision)))
                series.setdefault(label, []).append(one)
    figure = new_figure(8, 7)
    axes: Any = figure.subplots(2, 1, sharex=True)
    speed, memory = axes
    for label, measured in series.items():
        measured.sort(key=lambda one: one.setting.batch)
        batches, rates = [m.setting.batch for m in measured], [m.throughput for m in measured]
        off = [
            [m.throughput - min(m.throughputs) for m in measured],
            [m.best - m.throughput for m in measured],
        ]
        line = speed.errorbar(batches, rates, yerr=off, fmt="o-", capsize=3, label=label)
        colour = line.lines[0].get_color()
        memory.plot(batches, [m.memory / GIGABYTE for m in measured], "o-", color=colour)
    for discovery in found.values():
        best = discovery.chosen
        speed.plot([best.setting.batch], [best.throughput], "o", ms=14, mfc="none", mec="tab:red")
    speed.set_ylabel(subject.unit)
    speed.set_title(str(subject.key()))
    memory.set_ylabel("memory, GB")
    memory.set_xlabel("batch")
    memory.set_xscale("log", base=2)
    ticks = sorted({m.setting.batch for measured in series.values() for m in measured})
    memory.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    memory.minorticks_off()
    for one_of in (speed, memory):
        one_of.set_ylim(bottom=0)
        one_of.grid(alpha=0.3)
    if len(series) > 1:
        speed.legend()
    return picture(figure, form)
