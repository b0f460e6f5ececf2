"""The learning loop: cycles of self-play, training, gate and promotion.

    selfplay   generates games with the current player (a new network before the first champion)
    train      trains a candidate from the last candidate or the champion
    gate       evaluates the candidate and writes the evidence
    promote    makes an accepted candidate champion
    collect    deletes the oldest unused shards beyond a limit

With `cycle.overlap` other machines do not wait: during training they play more games of the cycle,
and during the gate the candidate plays games of the next one.

Finished steps are in the journal and not repeated; an interrupted step is resumed, so the same
command continues a killed run. The outcome of a step is verified before the journal marks it done:
shards are hashed and replayed, checkpoints loaded, the registry read back.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringrift_cli.data import retention as cycle_data
from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.loop.alarms import alarms
from ringrift_cli.loop.journal import BEGUN, CYCLE, DONE, STOPPED, Journal
from ringrift_cli.loop.overlap import meanwhile
from ringrift_cli.loop.protocol import (
    ACCEPTED,
    GateResult,
    GateWork,
    Model,
    Played,
    SelfPlayWork,
    ShouldStop,
    Steps,
    Stopped,
    TrainWork,
    Unseen,
    Watch,
    derived_seed,
)
from ringrift_cli.runtime.machine import device_name
from ringrift_cli.settings import Config, commented
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.store.manifest import ShardEntry, searched
from ringrift_cli.text import counted, now
from ringrift_cli.train.settings import FREE
from ringrift_cli.version import __version__

FORMAT = 1
SELFPLAY, TRAIN, GATE, PROMOTE, COLLECT = "selfplay", "train", "gate", "promote", "collect"
STEPS = (SELFPLAY, TRAIN, GATE, PROMOTE, COLLECT)
RESULTS = "results.sqlite"
CANDIDATE, CHAMPION, BOOTSTRAP, TEACHER = "candidate", "champion", "bootstrap", "teacher"
PLAYED = "played"  # event of selfplay: report of an attempt
AHEAD = "ahead"  # event of a cycle that is played before it begins
PACE = ("games", "seconds")  # fields of that report
DELETING = "deleting"  # event of collect, written before the deletion
KEPT_RUNS = 3  # training runs whose tensors are kept; the registry has its own copies
MOST_ATTEMPTS = 3  # attempts at self-play that end with too few games

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Folders:
    """Paths within a run folder."""

    run: Path

    @property
    def data(self) -> Path:
        return self.run / SELFPLAY

    @property
    def results(self) -> Path:
        return self.run / RESULTS

    @property
    def settings(self) -> Path:
        """Settings of the last call."""
        return self.run / "settings.yaml"

    def train(self, cycle: int) -> Path:
        return self.run / TRAIN / f"cycle-{cycle:05}"

    def evidence(self, cycle: int) -> Path:
        return self.run / GATE / f"cycle-{cycle:05}.json"


class Loop:
    """A run of the learning loop. The open `journal` holds the lock of the run."""

    def __init__(
        self,
        config: Config,
        steps: Steps,
        journal: Journal,
        watch: Watch,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        if config.cycle.overlap and not steps.elsewhere:
            raise UsageError(
                "cycle.overlap is for self-play on other machines.",
                hint="--fleet, or --set cycle.overlap=false",
            )
        self.config, self.steps, self.journal, self.watch = config, steps, journal, watch
        self.should_stop = should_stop
        self.folders = Folders(journal.folder)
        self.cycle = journal.current
        self._others = 0  # games in the data folder that are not of this run, as told

    def run_cycle(self) -> Outcome:
        """Completes the cycle in progress, or a new one; returns its record.

        `Stopped` if asked to stop, `RingriftError` if a step failed; the next call resumes there.
        """
        self.cycle = self.journal.current
        plan = self._plan()
        played = self._selfplay_outcome(plan)
        with self._meanwhile(TRAIN, self.cycle):
            trained = self._step(TRAIN, lambda: self._train(plan))
        candidate = self._model(trained)
        with self._meanwhile(GATE, self._ahead(plan, candidate)):
            gate = self._gate_outcome(candidate)
        if gate["verdict"] == ACCEPTED:
            self._step(PROMOTE, lambda: self._promote(candidate, gate))
        collected = self._step(COLLECT, self._collect)
        record = self._record(plan, played, trained, gate, collected)
        self.journal.add(self.cycle, CYCLE, DONE, outcome=record)
        self.journal.write_cycles()
        return record

    def _ahead(self, plan: Outcome, candidate: Model) -> int:
        """The next cycle; if it is played before it begins, by the candidate or the teacher."""
        following = self.cycle + 1
        if self._overlaps(GATE) and self.journal.find(following, CYCLE, AHEAD) is None:
            model = {**named(candidate, self.folders.run), "kind": CANDIDATE}
            if plan["model"]["kind"] == TEACHER and self.steps.champion() is None:
                model = plan["model"]
            run = self.journal.identity
            self.journal.add(following, CYCLE, AHEAD, run=run, plan={"model": model})
        return following

    def _overlaps(self, step: str) -> bool:
        """Whether other machines play during a step, which is not done yet."""
        return self.config.cycle.overlap and self.journal.outcome(self.cycle, step) is None

    def _meanwhile(self, step: str, cycle: int) -> AbstractContextManager[None]:
        """Games of a cycle on other machines during a step.

        Beside training as many more as a cycle has; ahead of a cycle those that it lacks.
        """

        def play(should_stop: ShouldStop) -> None:
            line = next(line for line in reversed(self.journal.lines) if _plays(line, cycle))
            model, data = self._model(line["plan"]["model"]), self.folders.data
            known = cycle_data.games_of(cycle_data.of_cycle(data, self.journal.origins, cycle))
            seed = derived_seed(self.config.run.seed, cycle, SELFPLAY, known)
            games = self.config.selfplay.games_per_cycle - (known if step == GATE else 0)
            run = self.journal.origins[cycle][0]
            work = SelfPlayWork(data, model, cycle, games, seed, run, step == TRAIN)
            if games > 0:
                cycle_data.check_space(self.folders.run, self.config.cycle.min_free_gb, SELFPLAY)
                played = self.steps.generate(work, Unseen(), should_stop)
                self.journal.add(cycle, SELFPLAY, PLAYED, played=asdict(played))

        def failed(sentence: str) -> None:
            self.watch.note(f"Cycle {cycle}: self-play ended early: {sentence}")
            played = Played(0, None, 0.0, stopped=True, absent={"all hosts": sentence})
            self.journal.add(cycle, SELFPLAY, PLAYED, played=asdict(played))

        if not self._overlaps(step):
            return nullcontext()
        return meanwhile(play, self.should_stop, failed)

    def _plan(self) -> Outcome:
        """The player and the parent of training, chosen once per cycle."""
        begun = self.journal.find(self.cycle, CYCLE, BEGUN)
        if begun is None:
            cycle_data.check_space(self.folders.run, self.config.cycle.min_free_gb, SELFPLAY)
            run = self.journal.identity
            self.journal.add(self.cycle, CYCLE, BEGUN, run=run, plan=make_plan(self))
            begun = self.journal.lines[-1]
        return dict(begun["plan"])

    def _selfplay_outcome(self, plan: Outcome) -> Outcome:
        """The games of the cycle; more are played if it counted shards that are not its own.

        Those are foreign, or were deleted. What was trained on stays in the record.
        """
        played = self._step(SELFPLAY, lambda: self._selfplay(plan))
        own = {entry.sha256 for entry in self._own()}
        if own.issuperset(played["shards"]) or self.journal.outcome(self.cycle, TRAIN) is not None:
            return played
        self.watch.note(f"Cycle {self.cycle} counted games that are not its own; playing others.")
        return self._step(SELFPLAY, lambda: self._selfplay(plan), again=True)

    def _gate_outcome(self, candidate: Model) -> Outcome:
        """The current verdict on a candidate; the gate is repeated if the last verdict is outdated.

        A promotion in this cycle stays in its record, whatever happened since.
        """
        gate = self._step(GATE, lambda: self._gate(candidate))
        while gate["verdict"] == ACCEPTED and self.journal.outcome(self.cycle, PROMOTE) is None:
            why = self._outdated(candidate, gate)
            if why is None:
                break
            self.watch.note(f"Cycle {self.cycle}: {why}; evaluating it again.")
            gate = self._step(GATE, lambda: self._gate(candidate), again=True)
        return gate

    def _outdated(self, candidate: Model, gate: Outcome) -> str | None:
        """Why an accepting verdict is outdated; None if it still permits a promotion.

        The candidate may be champion already, by an attempt killed before its journal entry.
        """
        champion = self.steps.champion()
        identity = champion.identity if champion else None
        if identity == candidate.identity:
            return None
        if identity != gate["against"]:
            return "another champion by now"
        if self.steps.promotions(candidate) != gate.get("promotions", 0):
            return f"{candidate.identity} was champion since, and was rolled back"
        if not (self.folders.run / gate["evidence"]).exists():
            return f"there is no {gate['evidence']} any more"
        return None

    def _step(self, name: str, act: Callable[[], Outcome], *, again: bool = False) -> Outcome:
        """The outcome of a step, which is run unless it is done; `again` repeats it."""
        done = self.journal.outcome(self.cycle, name)
        if done is not None and not again:
            return done
        if self.should_stop():
            raise Stopped
        if name != COLLECT:  # which frees space
            cycle_data.check_space(self.folders.run, self.config.cycle.min_free_gb, name)
        if self.journal.find(self.cycle, name, BEGUN) is not None:
            self.watch.note(f"Cycle {self.cycle}: going on with {name}.")
        self.journal.add(self.cycle, name, BEGUN, **(self._begins() if name == TRAIN else {}))
        began = time.monotonic()
        try:
            outcome = act()
        except Stopped:
            spent = round(time.monotonic() - began, 3)
            self.journal.add(self.cycle, name, STOPPED, seconds=spent)
            raise
        spent = round(time.monotonic() - began, 3)
        self.journal.add(self.cycle, name, DONE, seconds=spent, outcome=outcome)
        return outcome

    # ---- steps ----------------------------------------------------------------------------------

    def _model(self, outcome: Outcome) -> Model:
        return model_of(outcome, self.folders.run)

    def _seed(self, *path: object) -> int:
        return derived_seed(self.config.run.seed, self.cycle, *path)

    def _selfplay(self, plan: Outcome) -> Outcome:
        """Plays the games that are missing in the shards of this cycle."""
        data, wanted = self.folders.data, self.config.selfplay.games_per_cycle
        model, run = self._model(plan["model"]), self.journal.origins[self.cycle][0]
        self.steps.check(model)
        self._note_others()
        attempts = 0
        with self.watch.progress(f"Cycle {self.cycle}: self-play", wanted) as meter:
            known = cycle_data.games_of(self._own())
            meter.advance(min(known, wanted))
            while known < wanted:
                if attempts == MOST_ATTEMPTS:
                    raise RecordError(
                        f"Self-play ended {attempts} times, but the manifest of {data} has"
                        f" {known} of {wanted} games of cycle {self.cycle}."
                    )
                attempts += 1
                seed = self._seed(SELFPLAY, known)  # differs from the seeds of kept games
                work = SelfPlayWork(data, model, self.cycle, wanted - known, seed, run)
                played = self.steps.generate(work, meter, self.should_stop)
                self.journal.add(self.cycle, SELFPLAY, PLAYED, played=asdict(played))
                known = cycle_data.games_of(self._own())
                if played.stopped and known < wanted:
                    raise Stopped
        reports = [line["played"] for line in self._lines(SELFPLAY, PLAYED)]
        return {
            **cycle_data.read_back(data, self._own()),
            "asked": wanted,
            **self._pace(),
            **{name: _total(reports, name) for name in ("resign_checked", "resign_wrong")},
            "absent": reports[-1].get("absent", {}) if reports else {},
        }

    def _own(self) -> list[ShardEntry]:
        """The shards of this cycle so far."""
        return cycle_data.of_cycle(self.folders.data, self.journal.origins, self.cycle)

    def _note_others(self) -> None:
        """Tells of games that are in the data folder but not of this run."""
        data = self.folders.data
        own = cycle_data.of_run(data, self.journal.origins)
        others = cycle_data.games_of(searched(data)) - cycle_data.games_of(own)
        if others != self._others:
            self.watch.note(
                f"{counted(others, 'game')} in {data} are not of this run: they are neither counted"
                " nor trained on."
            )
        self._others = others

    def _pace(self) -> Outcome:
        """Speed of self-play from the reports of completed attempts.

        Games of killed attempts are assumed to have the same mean cost.
        """
        attempts = self._lines(SELFPLAY, PLAYED)
        games, seconds = (sum(line["played"][key] for line in attempts) for key in PACE)
        reported = [line["played"]["evaluations"] for line in attempts]
        if not games or not seconds:
            return {"evaluations": None, "games_per_hour": None, "evaluations_per_second": None}
        rate = {"games_per_hour": round(3600 * games / seconds, 1)}
        if None in reported:  # hosts do not report evaluations
            return {"evaluations": None, **rate, "evaluations_per_second": None}
        known = cycle_data.games_of(self._own())
        return {
            "evaluations": round(sum(reported) * known / games),
            **rate,
            "evaluations_per_second": round(sum(reported) / seconds, 1),
        }

    def _lines(self, step: str, event: str) -> list[Outcome]:
        """The journal lines of an event in this cycle."""
        wanted = (self.cycle, step, event)
        return [
            line
            for line in self.journal.lines
            if (line["cycle"], line["step"], line["event"]) == wanted
        ]

    def _train(self, plan: Outcome) -> Outcome:
        parent = self._model(plan["parent"])
        self.steps.check(parent)
        self._same_settings()
        own = cycle_data.of_run(self.folders.data, self.journal.origins)
        data_hours = cycle_data.newest_hours(own)
        work = TrainWork(
            self.folders.data,
            frozenset(entry.sha256 for entry in own),
            self.folders.train(self.cycle),
            parent,
            self.folders.train(self.cycle - 1) if self.cycle > 1 else None,
            plan["follows"],
            self.cycle,
            self._seed(TRAIN),
        )
        trained = self.steps.train(work, self.watch, self.should_stop)
        self.steps.check(trained.model)
        return {
            **trained.summary,
            **named(trained.model, self.folders.run),
            "parent": parent.identity,
            "data_hours": round(data_hours, 3),
        }

    def _begins(self) -> Outcome:
        """Facts journalled at the start of training: its settings, unless a run is resumed."""
        from ringrift_cli.train.state import has_state  # imports torch

        going_on = has_state(self.folders.train(self.cycle))
        return {} if going_on else {"settings": self._train_settings()}

    def _same_settings(self) -> None:
        """`UsageError` if a resumed training run has other settings than at its start."""
        first = [line for line in self._lines(TRAIN, BEGUN) if "settings" in line][-1]["settings"]
        for section, values in self._train_settings().items():
            for name, value in values.items():
                known = first[section].get(name, value)  # a missing key is newer than the run
                if known != value and name not in FREE:
                    raise UsageError(
                        f"Training of cycle {self.cycle} was begun with {section}.{name}"
                        f" {known}, not {value}.",
                        hint=f"--set {section}.{name}={known} until it is done",
                    )

    def _train_settings(self) -> Outcome:
        document = self.config.document()
        return {name: document[name] for name in ("network", "train")}

    def _gate(self, candidate: Model) -> Outcome:
        self.steps.check(candidate)
        champion, promotions = self.steps.champion(), self.steps.promotions(candidate)
        if champion is not None and champion.identity == candidate.identity:
            gate = self._champion_gate(candidate)
        else:
            # Games that led to a promotion that was rolled back are no evidence a second time.
            seed = self._seed(GATE, promotions) if promotions else self._seed(GATE)
            work = GateWork(candidate, champion, self.folders.results, seed)
            gate = self.steps.gate(work, self.watch, self.should_stop)
        evidence = (json.dumps(gate.evidence, indent=1) + "\n").encode()
        path = self.folders.evidence(self.cycle)
        write_whole(path, evidence)
        return {
            "verdict": gate.verdict,
            "reasons": gate.evidence["reasons"],
            "games": gate.evidence["games"],
            "checks": [_check(check) for check in gate.evidence["checks"]],
            "player": next((c["match"]["identities"][0] for c in gate.evidence["checks"]), None),
            "weaker": clearly_weaker(gate.evidence["checks"], self.config.gate.lax_elo),
            "rating": self.steps.rating(self.folders.results, gate.evidence),
            "against": champion.identity if champion else None,
            "promotions": promotions,
            "evidence": str(path.relative_to(self.folders.run)),
            "sha256": sha256(evidence),
        }

    def _champion_gate(self, candidate: Model) -> GateResult:
        """The verdict if the candidate is champion already: inconclusive, without a match."""
        reason = (
            f"{candidate.identity} is champion already, though cycle {self.cycle} has not"
            " evaluated it: training returned its parent, or it was promoted by hand."
        )
        self.watch.note(reason)
        verdict = "inconclusive"
        return GateResult(
            verdict, {"verdict": verdict, "reasons": [reason], "games": 0, "checks": []}
        )

    def _promote(self, candidate: Model, gate: Outcome) -> Outcome:
        """Promotes, unless a killed attempt has done so, and verifies the registry."""
        champion = self.steps.champion()
        if champion is None or champion.identity != candidate.identity:
            path = self.folders.run / gate["evidence"]
            data = path.read_bytes()
            if sha256(data) != gate["sha256"]:
                raise RecordError(
                    f"{path} is not the evidence that the gate of this cycle wrote.",
                    hint="bring the file back from a backup, or delete it: then the candidate is"
                    " evaluated again, by its recorded games",
                )
            self.steps.promote(candidate, json.loads(data))
            champion = self.steps.champion()
        if champion is None or champion.identity != candidate.identity:
            raise RecordError(
                f"{candidate.identity} was promoted, but the registry's champion is"
                f" {champion.identity if champion else 'nobody'}."
            )
        return {"champion": champion.identity, "hosts": self.steps.bring()}

    def _collect(self) -> Outcome:
        """Completes the deletions of a killed attempt, then deletes the surplus."""
        data = self.folders.data
        for line in self._lines(COLLECT, DELETING):
            cycle_data.delete(data, line["names"], line["files"])
        found = surplus(self.config, self.steps, data, self.journal)
        if found.names:
            facts = {"names": found.names, "files": found.files, "size": found.size}
            self.journal.add(self.cycle, COLLECT, DELETING, **facts)
            cycle_data.delete(data, found.names, found.files)
            self.watch.note(
                f"Deleted {counted(len(found.names), 'old shard')},"
                f" {found.size / cycle_data.GB:.2f} GB."
            )
        deleting = self._lines(COLLECT, DELETING)
        cycle_data.drop_tensors(self.folders.run / TRAIN, KEPT_RUNS)
        return {
            "shards": sum(len(line["names"]) for line in deleting),
            "bytes": sum(line["size"] for line in deleting),
            "left": found.left,
            "window": found.window,
            "models": found.models,
        }

    # ---- the record -----------------------------------------------------------------------------

    def _record(
        self,
        plan: Outcome,
        played: Outcome,
        trained: Outcome,
        gate: Outcome,
        collected: Outcome,
    ) -> Outcome:
        """The line of cycles.jsonl, from the journal alone."""
        journal, earlier = self.journal, self.journal.finished
        begun = journal.find(self.cycle, CYCLE, BEGUN)
        promoted = journal.outcome(self.cycle, PROMOTE)
        before = earlier[-1] if earlier else {"rejections": 0}
        record = {
            "format": FORMAT,
            "pool": self.config.pool,
            "cycle": self.cycle,
            "begun": begun["time"] if begun else None,
            "ended": now(),
            "seconds": {name: journal.seconds(self.cycle, name) for name in STEPS},
            "version": __version__,
            "machine": device_name("cpu"),
            "rules": rules_hash(),
            "codec": codec_hash(),
            "settings": self.config.document(),
            "selfplay": {**played, "model": plan["model"]},
            "train": trained,
            "gate": gate,
            "promoted": promoted is not None,
            "brought": (promoted or {}).get("hosts", {}),  # the champion, to other machines
            "champion": promoted["champion"] if promoted else gate["against"],
            "rejections": 0 if promoted else before["rejections"] + 1,
            "weaker": before.get("weaker", 0) + 1 if gate["weaker"] else 0,  # in a row
            "collected": collected,
        }
        record["alarms"] = alarms(self.config.cycle, record, earlier)
        return record


def _plays(line: Outcome, cycle: int) -> bool:
    """Whether a journal line has the player of a cycle."""
    return line["cycle"] == cycle and "plan" in line


def _total(reports: list[Outcome], name: str) -> int | None:
    """The sum of a count over attempts at self-play; None if one of them did not count it."""
    counts: list[Any] = [report.get(name) for report in reports]
    return None if not counts or None in counts else sum(counts)


def _check(check: Outcome) -> Outcome:
    """Summary of a gate check for the record of a cycle."""
    match = check["match"]
    low, high = match["elo_95"]
    return {
        "name": check["name"],
        "opponent": match["players"][1],
        "passed": check["passed"],
        "games": match["games"],
        "score": match["score"],
        "elo": match["elo"],
        "low": low,
        "high": high,
    }


def run(
    loop: Loop, cycles: int | None, on_record: Callable[[Outcome], None] = lambda record: None
) -> None:
    """Runs `cycles` cycles (None: endless); `on_record` gets each record. Errors as `run_cycle`."""
    write_whole(loop.folders.settings, commented(loop.config).encode())
    numbers = itertools.count() if cycles is None else range(cycles)
    for _ in numbers:
        on_record(loop.run_cycle())


def named(model: Model, run: Path) -> Outcome:
    """A model as a journal record; `file` is relative to the run folder, which may be moved."""
    known = {"identity": model.identity, "path": str(model.path)}
    if model.path.is_relative_to(run):
        known["file"] = str(model.path.relative_to(run))
    return known


def model_of(outcome: Outcome, run: Path) -> Model:
    """Inverse of `named`."""
    path = run / outcome["file"] if "file" in outcome else Path(outcome["path"])
    return Model(outcome["identity"], path)


def make_plan(loop: Loop) -> Outcome:
    """The player and the parent of training in the next cycle; creates a network if needed."""
    run, config = loop.folders.run, loop.config
    last = next(reversed(loop.journal.finished), None)
    ahead = loop.journal.find(loop.cycle, CYCLE, AHEAD)
    player, kind, parent = choose(config, loop.steps, last, run)
    if parent is None:
        seed = derived_seed(config.run.seed, BOOTSTRAP)
        parent = loop.steps.bootstrap(run / TRAIN / BOOTSTRAP, seed)
    if ahead is not None:  # it has played already
        player, kind = model_of(ahead["plan"]["model"], run), ahead["plan"]["model"]["kind"]
    player = player or parent
    return {
        "model": {**named(player, run), "kind": kind},
        "parent": named(parent, run),
        "follows": last is not None and parent.identity == last["train"]["identity"],
    }


def choose(
    config: Config, steps: Steps, last: Outcome | None, run: Path
) -> tuple[Model | None, str, Model | None]:
    """Player of the cycle after `last`, its kind, and parent of training; None: a new network."""
    champion = steps.champion()
    newest, weaker = newest_candidate(last, champion, run)
    if champion is None:
        player, kind = steps.teacher(), TEACHER
        if player is None:
            player, kind = newest, CANDIDATE if newest else BOOTSTRAP
        return player, kind, newest
    plays = newest is not None and not weaker
    player, kind = (newest, CANDIDATE) if plays else (champion, CHAMPION)
    back = weaker % config.cycle.max_weaker == 0 and weaker > 0
    return player, kind, champion if newest is None or back else newest


def newest_candidate(
    last: Outcome | None, champion: Model | None, run: Path
) -> tuple[Model | None, int]:
    """The last cycle's candidate, and the number of consecutive clearly weaker candidates.

    None if it is the champion, or was compared with another champion than the current one.
    """
    if last is None or (champion is not None and champion.identity != last["champion"]):
        return None, 0
    candidate = model_of(last["train"], run)
    if champion is not None and candidate.identity == champion.identity:
        return None, 0
    return candidate, last.get("weaker", 0)


def clearly_weaker(checks: list[Outcome], lax_elo: float) -> bool:
    """Whether gate checks show a candidate to be weaker than the champion by `lax_elo`.

    True without a win against random; False if it was not tested against a champion.
    """
    for check in checks:
        high = check["match"]["elo_95"][1]
        if check["name"] == CHAMPION:
            return high is not None and high < -lax_elo
        if not check["passed"]:
            return True
    return False


def surplus(config: Config, steps: Steps, data: Path, journal: Journal) -> cycle_data.Surplus:
    """The shards of the run to delete, and the sizes of those that must stay."""
    own = cycle_data.of_run(data, journal.origins)
    window = steps.window(data, frozenset(entry.sha256 for entry in own))
    limit = config.cycle.max_data_gb
    return cycle_data.surplus(data, own, limit, window=window, models=steps.referred())
