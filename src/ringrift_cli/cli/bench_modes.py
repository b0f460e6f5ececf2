"""What the commands of `ringrift bench` share: one setting, `--discover` and `--validate`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringrift_cli.cli import bench_text as text
from ringrift_cli.cli.options import check_picture, whole_number
from ringrift_cli.cli.output import Output, Progress
from ringrift_cli.errors import UsageError

if TYPE_CHECKING:
    from ringrift_cli.bench.bench import Discovery, Effort, Measure
    from ringrift_cli.bench.subject import Setting, Subject

ROUND, ROUNDS, ROUNDS_TO_VALIDATE = 2, 3, 5
TOLERANCE = 0.15

BatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch",
        parser=whole_number(1),
        metavar="N",
        help="Games at once, of self-play in each process; positions of a step of training.",
        show_default="what it would take itself",
    ),
]
SecondsOption = Annotated[
    int | None,
    typer.Option(
        "--seconds",
        parser=whole_number(1),
        metavar="S",
        help="Of a round.",
        show_default=str(ROUND),
    ),
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        "--rounds",
        parser=whole_number(1),
        metavar="N",
        help="Of a setting.",
        show_default=f"{ROUNDS}, {ROUNDS_TO_VALIDATE} with --validate",
    ),
]
DiscoverOption = Annotated[
    bool,
    typer.Option("--discover", help="Measure a ladder of settings, and save the best one."),
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory",
        metavar="GB",
        help="That --discover may take.",
        show_default="80 % of what is free",
    ),
]
ValidateOption = Annotated[
    bool, typer.Option("--validate", help="Measure what was saved again; 1 if it is slower now.")
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="SHARE",
        help="By which it may be slower.",
        show_default=f"{TOLERANCE:g}",
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", help="A picture of what --discover found: .png or .svg."
    ),
]


@dataclass(frozen=True)
class Asked:
    """What a command line says of how to measure."""

    batch: int | None
    seconds: int | None
    rounds: int | None
    discover: bool
    memory: float | None
    validate: bool
    tolerance: float | None
    plot: Path | None

    def __post_init__(self) -> None:
        modes = {
            "--batch": self.batch is not None,
            "--discover": self.discover,
            "--validate": self.validate,
        }
        chosen = [name for name, wanted in modes.items() if wanted]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} exclude each other: expected one of them.")
        if not self.discover and (self.memory is not None or self.plot is not None):
            option = "--memory" if self.memory is not None else "--plot"
            raise UsageError(f"{option} is for --discover.", hint="--discover")
        if self.tolerance is not None and not self.validate:
            raise UsageError("--tolerance is for --validate.", hint="--validate")
        if self.memory is not None and not 0 < self.memory < float("inf"):
            raise UsageError(f"--memory is {self.memory:g}, expected gigabytes above 0.")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise UsageError(f"--tolerance is {self.tolerance:g}, expected a share below 1.")
        check_picture(self.plot)

    @property
    def of_a_profile(self) -> bool:
        """Whether a profile is to be made or held to its word."""
        return self.discover or self.validate

    def effort(self) -> Effort:
        """How long each setting is measured."""
        from ringrift_cli.bench.bench import Effort

        rounds = ROUNDS_TO_VALIDATE if self.validate else ROUNDS
        return Effort(float(self.seconds or ROUND), self.rounds or rounds)


def run(out: Output, subject: Subject, gpus: str, asked: Asked) -> None:
    """Measures as asked: on all cores, or on each kind of GPU; prints what came out.

    Raises `typer.Exit` with 1 where a profile does not hold.
    """
    from ringrift_cli.runtime.machine import device_name
    from ringrift_cli.selfplay.generate import devices_named

    subjects: dict[str, Subject] = {}
    for device in devices_named(gpus):
        subjects.setdefault(device_name(device), replace(subject, device=device))
    subject.key()  # a model that is not there is told before anything is measured
    if asked.discover:
        _discover(out, subjects, asked)
    elif asked.validate:
        _validate(out, subjects, asked)
    else:
        _one_setting(out, subjects, asked)


def _about(subject: Subject) -> dict[str, Any]:
    from ringrift_cli.game.bench import this_machine

    key = subject.key()
    return {
        "machine": vars(this_machine()),
        "kind": key.kind,
        "board": key.board,
        "players": key.players,
        "network": None if subject.kind == "engine" else key.network,
    }


def _measure_of(subject: Subject, effort: Effort, progress: Progress) -> Measure:
    """Measures a setting of a subject, and shows its rounds."""
    from ringrift_cli.bench.bench import measured

    return lambda one: measured(subject, one, effort, lambda: progress.advance(1, str(one)))


# ---- one setting --------------------------------------------------------------------------------


def _one_setting(out: Output, subjects: dict[str, Subject], asked: Asked) -> None:
    from ringrift_cli.bench.bench import measured_or_halved

    documents, texts = [], []
    for name, subject in subjects.items():
        setting = _own_setting(out, name, subject, asked.batch)
        effort = asked.effort()
        with out.progress(str(subject.key()), effort.rounds) as progress:
            measure = _measure_of(subject, effort, progress)
            found = measured_or_halved(measure, setting, out.note)
        documents.append({"device": name, "setting": str(found.setting), **found.document()})
        texts.append(text.one_setting(subject, name, found))
    subject = next(iter(subjects.values()))
    out.result({**_about(subject), "devices": documents}, "\n\n".join(texts))


def _own_setting(out: Output, name: str, subject: Subject, batch: int | None) -> Setting:
    """The setting that the work would have by itself, but for a batch that was asked for."""
    from ringrift_cli.bench import bench
    from ringrift_cli.bench.subject import Setting
    from ringrift_cli.runtime.profiles import Choice, find

    if subject.kind == "train":
        from ringrift_cli.nn.network import architecture
        from ringrift_cli.train.machine import advised
        from ringrift_cli.train.settings import TrainSetting

        made = architecture(subject.size, subject.board, subject.players)
        training = TrainSetting(subject.board, subject.players, False, 0, device=subject.device)
        advice = advised(training, made)
        out.choice(Choice(f"Threads and precision: {advice.text}.", advice.refused))
        size = batch or bench.default_batch(subject)
        return Setting(size, advice.threads, advice.precision)
    if batch is not None:
        return Setting(batch)
    found = find(name, subject.key())
    out.choice(Choice(f"Batch: {found.text}.", found.refused))
    return Setting(found.entry.batch if found.entry else bench.default_batch(subject))


# ---- profiles -----------------------------------------------------------------------------------


def _discover(out: Output, subjects: dict[str, Subject], asked: Asked) -> None:
    from ringrift_cli.bench import bench
    from ringrift_cli.runtime.machine import GIGABYTE, free_bytes
    from ringrift_cli.runtime.profiles import known, save

    documents, texts, found = [], [], {}
    effort = asked.effort()
    for name in subjects:
        known(name)  # a damaged file is told before anything is measured
    for name, subject in subjects.items():
        free = int(bench.SHARE_OF_FREE * free_bytes(subject.device))
        limit = free if asked.memory is None else int(asked.memory * GIGABYTE)
        total = bench.settings_of(subject) * effort.rounds
        with out.progress(str(subject.key()), total) as progress:
            measure = _measure_of(subject, replace(effort, rounds=1), progress)
            ladder = bench.discover(subject, measure, limit, out.note, effort.rounds)
        entry = bench.entry_of(subject, ladder.chosen, effort)
        path = save(name, entry)
        found[name] = ladder
        documents.append(
            {
                "device": name,
                "limit_bytes": limit,
                "rungs": [rung.document() for rung in ladder.rungs],
                "chosen": entry.document(),
                "profile": str(path),
            }
        )
        texts.append(text.ladder(subject, name, ladder, limit, path))
    subject = next(iter(subjects.values()))
    if asked.plot is not None:
        _plot(asked.plot, subject, found)
    out.result({**_about(subject), "devices": documents}, "\n\n".join(texts))


def _plot(path: Path, subject: Subject, found: dict[str, Discovery]) -> None:
    """Draws ladders, a line for each device, number of threads and precision."""
    from ringrift_cli.evaluate.plots import Step, plot_ladder
    from ringrift_cli.store.files import write_whole

    series: dict[str, list[Step]] = {}
    for name, ladder in found.items():
        for rung in ladder.rungs:
            one = rung.measured
            if one is None:
                continue
            rates = one.counting
            label = text.series_name(name, one.setting)
            series.setdefault(label, []).append(
                Step(
                    one.setting.batch, one.throughput, min(rates), max(rates), one.memory,
                    chosen=one is ladder.chosen,
                )
            )  # fmt: skip
    for steps in series.values():
        steps.sort(key=lambda step: step.batch)
    unit, form = f"{subject.counted}/s", path.suffix.removeprefix(".")
    write_whole(path, plot_ladder(str(subject.key()), unit, series, form))


def _validate(out: Output, subjects: dict[str, Subject], asked: Asked) -> None:
    from ringrift_cli.bench import bench
    from ringrift_cli.runtime.profiles import find

    documents, verdicts = [], []
    again = _command(next(iter(subjects.values())))
    tolerance = TOLERANCE if asked.tolerance is None else asked.tolerance
    for name, subject in subjects.items():
        found = find(name, subject.key())
        if found.entry is None:
            raise UsageError(f"There is nothing to validate: {found.text}.", hint=again)
        entry = found.entry
        effort = bench.Effort(float(asked.seconds or entry.seconds), asked.effort().rounds)
        with out.progress(str(subject.key()), effort.rounds) as progress:
            measured = _measure_of(subject, effort, progress)(bench.setting_of(entry))
        verdict = bench.Verdict(entry, measured, tolerance)
        verdicts.append(verdict)
        documents.append(
            {
                "device": name,
                "holds": verdict.holds,
                "ratio": verdict.ratio,
                "tolerance": tolerance,
                "measured": measured.document(),
                "profile": entry.document(),
            }
        )
    holds = all(verdict.holds for verdict in verdicts)
    subject = next(iter(subjects.values()))
    said = [verdict.sentence() for verdict in verdicts if verdict.holds]
    if said or out.as_json:
        document = {**_about(subject), "holds": holds, "devices": documents}
        out.result(document, "\n".join(said))
    if not holds:
        slow = next(verdict for verdict in verdicts if not verdict.holds)
        out.error(slow.sentence(), f"{again}, if nothing else is running here")
        raise typer.Exit(1)


def _command(subject: Subject) -> str:
    network = ""
    if subject.kind != "engine":
        network = f" --model {subject.model}" if subject.model else f" --size {subject.size}"
    return (
        f"ringrift bench {subject.kind} --discover --board {subject.board}"
        f" --players {subject.players}{network}"
    )
