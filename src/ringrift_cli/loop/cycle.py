"""The learning loop: self-play, training, the gate, promotion, over and over.

    selfplay   the champion (before there is one, a network that has learned nothing) plays itself
    train      makes a candidate, from the last candidate or the champion
    gate       judges it; what it finds is written as evidence
    promote    makes an accepted candidate champion
    collect    deletes the oldest shards that nobody needs, beyond a limit

A finished step is in the journal, and is not done again; the one that was under way is gone on
with. So wherever a run is killed, the same command continues it. Nothing is believed that a step
says of itself: shards are hashed and replayed, checkpoints loaded, the registry read back, before
the journal says done.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ringrift_cli.data import retention as cycle_data
from ringrift_cli.errors import RecordError, UsageError
from ringrift_cli.game.version import codec_hash, rules_hash
from ringrift_cli.loop.alarms import alarms
from ringrift_cli.loop.journal import BEGUN, CYCLE, DONE, STOPPED, Journal, now
from ringrift_cli.loop.protocol import (
    ACCEPTED,
    GateWork,
    Judged,
    Model,
    SelfPlayWork,
    ShouldStop,
    Steps,
    Stopped,
    TrainWork,
    Watch,
    derived_seed,
)
from ringrift_cli.settings import Config, commented
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.hashes import sha256
from ringrift_cli.text import counted
from ringrift_cli.train.settings import FREE
from ringrift_cli.version import __version__

FORMAT = 1
SELFPLAY, TRAIN, GATE, PROMOTE, COLLECT = "selfplay", "train", "gate", "promote", "collect"
STEPS = (SELFPLAY, TRAIN, GATE, PROMOTE, COLLECT)
RESULTS = "results.sqlite"
CANDIDATE, CHAMPION, BOOTSTRAP, TEACHER = "candidate", "champion", "bootstrap", "teacher"
PLAYED = "played"  # an event of selfplay: what an attempt says of itself
PACE = ("games", "seconds")  # of an attempt
DELETING = "deleting"  # an event of collect, which says what before it acts
KEPT_RUNS = 3  # training runs whose weights and moments stay; the registry has its own copies
MOST_ATTEMPTS = 3  # of self-play that ends without all of its games

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Folders:
    """Where the parts of a run lie."""

    run: Path

    @property
    def data(self) -> Path:
        return self.run / SELFPLAY

    @property
    def results(self) -> Path:
        return self.run / RESULTS

    @property
    def settings(self) -> Path:
        """The settings that the run was last worked on with."""
        return self.run / "settings.yaml"

    def train(self, cycle: int) -> Path:
        return self.run / TRAIN / f"cycle-{cycle:05}"

    def evidence(self, cycle: int) -> Path:
        return self.run / GATE / f"cycle-{cycle:05}.json"


class Loop:
    """A run that is worked on. `journal` is open, so nobody else does."""

    def __init__(
        self,
        config: Config,
        steps: Steps,
        journal: Journal,
        watch: Watch,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        self.config, self.steps, self.journal, self.watch = config, steps, journal, watch
        self.should_stop = should_stop
        self.folders = Folders(journal.folder)
        self.cycle = journal.current

    def run_cycle(self) -> Outcome:
        """Ends the cycle that is under way, or a new one; its record.

        `Stopped` if it was asked to stop, and `RingriftError` if a step failed: the next call goes
        on there in both cases.
        """
        self.cycle = self.journal.current
        plan = self._plan()
        played = self._step(SELFPLAY, lambda: self._selfplay(plan))
        trained = self._step(TRAIN, lambda: self._train(plan))
        candidate = self._model(trained)
        judged = self._judged(candidate)
        if judged["verdict"] == ACCEPTED:
            self._step(PROMOTE, lambda: self._promote(candidate, judged))
        collected = self._step(COLLECT, self._collect)
        record = self._record(plan, played, trained, judged, collected)
        self.journal.add(self.cycle, CYCLE, DONE, outcome=record)
        self.journal.write_cycles()
        return record

    def _plan(self) -> Outcome:
        """Who plays and what is trained on, decided once for each cycle."""
        begun = self.journal.find(self.cycle, CYCLE, BEGUN)
        if begun is None:
            cycle_data.check_space(self.folders.run, self.config.cycle.min_free_gb, SELFPLAY)
            self.journal.add(self.cycle, CYCLE, BEGUN, plan=make_plan(self))
            begun = self.journal.lines[-1]
        return dict(begun["plan"])

    def _judged(self, candidate: Model) -> Outcome:
        """The verdict on a candidate that holds now: it is judged again if the last one does not.

        What was promoted in this cycle stays so in its record, whatever happened since.
        """
        judged = self._step(GATE, lambda: self._gate(candidate))
        while judged["verdict"] == ACCEPTED and self.journal.outcome(self.cycle, PROMOTE) is None:
            why = self._outdated(candidate, judged)
            if why is None:
                break
            self.watch.note(f"Cycle {self.cycle}: {why}; judging again.")
            judged = self._step(GATE, lambda: self._gate(candidate), again=True)
        return judged

    def _outdated(self, candidate: Model, judged: Outcome) -> str | None:
        """Why nobody can be promoted on an accepting verdict any more; None if one can.

        The candidate may be champion already, by an attempt that was killed before it said so.
        """
        champion = self.steps.champion()
        identity = champion.identity if champion else None
        if identity == candidate.identity:
            return None
        if identity != judged["against"]:
            return "another champion by now"
        if self.steps.promotions(candidate) != judged.get("promotions", 0):
            return f"{candidate.identity} was champion since, and was rolled back"
        if not (self.folders.run / judged["evidence"]).exists():
            return f"there is no {judged['evidence']} any more"
        return None

    def _step(self, name: str, act: Callable[[], Outcome], *, again: bool = False) -> Outcome:
        """The outcome of a step, which is done now unless it was before, or is to be `again`."""
        done = self.journal.outcome(self.cycle, name)
        if done is not None and not again:
            return done
        if self.should_stop():
            raise Stopped
        if name != COLLECT:  # which makes space
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
        """Plays the games that whole shards of this cycle do not hold yet."""
        data, wanted = self.folders.data, self.config.selfplay.games_per_cycle
        model = self._model(plan["model"])
        self.steps.check(model)
        attempts = 0
        with self.watch.progress(f"Cycle {self.cycle}: self-play", wanted) as meter:
            known = cycle_data.games_of(cycle_data.of_cycle(data, self.cycle))
            meter.advance(min(known, wanted))
            while known < wanted:
                if attempts == MOST_ATTEMPTS:
                    raise RecordError(
                        f"Self-play ended {attempts} times, but the manifest of {data} has"
                        f" {known} of {wanted} games of cycle {self.cycle}."
                    )
                attempts += 1
                seed = self._seed(SELFPLAY, known)  # never again that of games that are kept
                work = SelfPlayWork(data, model, self.cycle, wanted - known, seed)
                played = self.steps.generate(work, meter, self.should_stop)
                self.journal.add(self.cycle, SELFPLAY, PLAYED, played=asdict(played))
                known = cycle_data.games_of(cycle_data.of_cycle(data, self.cycle))
                if played.stopped and known < wanted:
                    raise Stopped
        reports = [line["played"] for line in self._lines(SELFPLAY, PLAYED)]
        return {
            **cycle_data.read_back(data, self.cycle),
            **self._pace(),
            **{name: _total(reports, name) for name in ("resign_checked", "resign_wrong")},
            "absent": reports[-1].get("absent", {}) if reports else {},
        }

    def _pace(self) -> Outcome:
        """How fast games were made, by the attempts that lived to say so.

        Games that a killed attempt left are taken to have cost as much as the others.
        """
        attempts = self._lines(SELFPLAY, PLAYED)
        games, seconds = (sum(line["played"][key] for line in attempts) for key in PACE)
        told = [line["played"]["evaluations"] for line in attempts]
        if not games or not seconds:
            return {"evaluations": None, "games_per_hour": None, "evaluations_per_second": None}
        rate = {"games_per_hour": round(3600 * games / seconds, 1)}
        if None in told:  # of games that were played elsewhere nobody has counted them
            return {"evaluations": None, **rate, "evaluations_per_second": None}
        known = cycle_data.games_of(cycle_data.of_cycle(self.folders.data, self.cycle))
        return {
            "evaluations": round(sum(told) * known / games),
            **rate,
            "evaluations_per_second": round(sum(told) / seconds, 1),
        }

    def _lines(self, step: str, event: str) -> list[Outcome]:
        """What the journal says of this cycle."""
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
        data_hours = cycle_data.newest_hours(self.folders.data)
        work = TrainWork(
            self.folders.data,
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
        """What the journal says when training begins: its settings, unless a run goes on."""
        from ringrift_cli.train.state import has_state  # with torch, not for a look

        going_on = has_state(self.folders.train(self.cycle))
        return {} if going_on else {"settings": self._train_settings()}

    def _same_settings(self) -> None:
        """Holds a training run that goes on to the settings that it was begun with."""
        first = [line for line in self._lines(TRAIN, BEGUN) if "settings" in line][-1]["settings"]
        for section, values in self._train_settings().items():
            for name, value in values.items():
                known = first[section].get(name, value)  # none: of a key that is new since then
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
            judged = self._not_judged(candidate)
        else:
            # games on which it was promoted, and then rolled back, are no evidence a second time
            seed = self._seed(GATE, promotions) if promotions else self._seed(GATE)
            work = GateWork(candidate, champion, self.folders.results, seed)
            judged = self.steps.gate(work, self.watch, self.should_stop)
        evidence = (json.dumps(judged.evidence, indent=1) + "\n").encode()
        path = self.folders.evidence(self.cycle)
        write_whole(path, evidence)
        return {
            "verdict": judged.verdict,
            "reasons": judged.evidence["reasons"],
            "games": judged.evidence["games"],
            "checks": [_check(check) for check in judged.evidence["checks"]],
            "player": next((c["match"]["identities"][0] for c in judged.evidence["checks"]), None),
            "weaker": clearly_weaker(judged.evidence["checks"], self.config.gate.lax_elo),
            "rating": self.steps.rating(self.folders.results, judged.evidence),
            "against": champion.identity if champion else None,
            "promotions": promotions,
            "evidence": str(path.relative_to(self.folders.run)),
            "sha256": sha256(evidence),
        }

    def _not_judged(self, candidate: Model) -> Judged:
        """The verdict on the champion itself: nobody is promoted, and the next cycle may begin."""
        reason = (
            f"{candidate.identity} is champion already, though cycle {self.cycle} has not judged"
            " it: training gave back what it began with, or it was promoted by hand."
        )
        self.watch.note(reason)
        verdict = "inconclusive"
        return Judged(verdict, {"verdict": verdict, "reasons": [reason], "games": 0, "checks": []})

    def _promote(self, candidate: Model, judged: Outcome) -> Outcome:
        """Promotes, unless an attempt that was killed has done so; the registry is read back."""
        champion = self.steps.champion()
        if champion is None or champion.identity != candidate.identity:
            path = self.folders.run / judged["evidence"]
            data = path.read_bytes()
            if sha256(data) != judged["sha256"]:
                raise RecordError(
                    f"{path} is not the evidence that the gate of this cycle wrote.",
                    hint="bring the file back from a backup, or delete it: then the candidate is"
                    " judged again, by its recorded games",
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
        """Deletes what a killed attempt began to delete, then what is too much."""
        data = self.folders.data
        for line in self._lines(COLLECT, DELETING):
            cycle_data.delete(data, line["names"], line["files"])
        found = surplus(self.config, self.steps, data)
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
        judged: Outcome,
        collected: Outcome,
    ) -> Outcome:
        """The line of cycles.jsonl: all from the journal, nothing from memory."""
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
            "rules": rules_hash(),
            "codec": codec_hash(),
            "settings": self.config.document(),
            "selfplay": {**played, "model": plan["model"]},
            "train": trained,
            "gate": judged,
            "promoted": promoted is not None,
            "brought": (promoted or {}).get("hosts", {}),  # the champion, to other machines
            "champion": promoted["champion"] if promoted else judged["against"],
            "rejections": 0 if promoted else before["rejections"] + 1,
            "weaker": before.get("weaker", 0) + 1 if judged["weaker"] else 0,  # in a row
            "collected": collected,
        }
        record["alarms"] = alarms(self.config.cycle, record, earlier)
        return record


def _total(reports: list[Outcome], name: str) -> int | None:
    """The sum of a count over attempts at self-play; None if one of them did not count it."""
    counts: list[Any] = [report.get(name) for report in reports]
    return None if not counts or None in counts else sum(counts)


def _check(check: Outcome) -> Outcome:
    """What the record of a cycle keeps of a check of the gate."""
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
    loop: Loop, cycles: int | None, tell: Callable[[Outcome], None] = lambda record: None
) -> None:
    """Runs so many cycles, or for ever; `tell` has the record of each. Errors as `run_cycle`."""
    write_whole(loop.folders.settings, commented(loop.config).encode())
    numbers = itertools.count() if cycles is None else range(cycles)
    for _ in numbers:
        tell(loop.run_cycle())


def named(model: Model, run: Path) -> Outcome:
    """A model as the journal names it: `file` is its place within the run, which may be moved."""
    known = {"identity": model.identity, "path": str(model.path)}
    if model.path.is_relative_to(run):
        known["file"] = str(model.path.relative_to(run))
    return known


def model_of(outcome: Outcome, run: Path) -> Model:
    """The model of an outcome that `named` made."""
    path = run / outcome["file"] if "file" in outcome else Path(outcome["path"])
    return Model(outcome["identity"], path)


def make_plan(loop: Loop) -> Outcome:
    """The player and the parent of training in the next cycle; a new network if need be."""
    run, champion = loop.folders.run, loop.steps.champion()
    last = next(reversed(loop.journal.finished), None)
    newest, weaker = newest_candidate(last, champion, run)
    player: Model | None
    if champion is None:
        seed = derived_seed(loop.config.run.seed, BOOTSTRAP)
        parent = newest or loop.steps.bootstrap(run / TRAIN / BOOTSTRAP, seed)
        player, kind = loop.steps.teacher(), TEACHER
        if player is None:
            player, kind = parent, CANDIDATE if newest else BOOTSTRAP
    else:
        plays = newest is not None and not weaker
        player, kind = (newest, CANDIDATE) if plays else (champion, CHAMPION)
        back = weaker % loop.config.cycle.max_weaker == 0 and weaker > 0
        parent = champion if newest is None or back else newest
    assert player is not None
    return {
        "model": {**named(player, run), "kind": kind},
        "parent": named(parent, run),
        "follows": last is not None and parent.identity == last["train"]["identity"],
    }


def newest_candidate(
    last: Outcome | None, champion: Model | None, run: Path
) -> tuple[Model | None, int]:
    """The candidate of the last cycle, and how many in a row were clearly weaker than the champion.

    None if it is the champion, or was compared with another one than that of now.
    """
    if last is None or (champion is not None and champion.identity != last["champion"]):
        return None, 0
    candidate = model_of(last["train"], run)
    if champion is not None and candidate.identity == champion.identity:
        return None, 0
    return candidate, last.get("weaker", 0)


def clearly_weaker(checks: list[Outcome], lax_elo: float) -> bool:
    """Whether checks of the gate show a candidate to be weaker than the champion by `lax_elo`.

    One that does not beat random is; one that was not tested against a champion is not.
    """
    for check in checks:
        high = check["match"]["elo_95"][1]
        if check["name"] == CHAMPION:
            return high is not None and high < -lax_elo
        if not check["passed"]:
            return True
    return False


def surplus(config: Config, steps: Steps, data: Path) -> cycle_data.Surplus:
    """The shards that may go, and what holds the others."""
    return cycle_data.surplus(
        data, config.cycle.max_data_gb, window=steps.window(data), models=steps.referred()
    )
