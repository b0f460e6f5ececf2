"""Ablations: what a setting does to the model that a cycle of learning makes.

    out/ablation.json                  what is compared
    out/seed-1/base/                   games, training run
    out/seed-1/train.batch-64/         training run, on the games of base
    out/seed-1/selfplay.sims-16/       games, as many as the same number of evaluations allows
    out/results.sqlite                 games between each model and that of base

An arm is the configuration with another value for one setting. Arms that vary training share the
games of the base; arms that vary self-play play their own, at an equal number of evaluations, and
train for as many steps. Everything is derived from what lies in `out`, so that a run that was
stopped or killed resumes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from ringrift_cli import settings
from ringrift_cli.errors import RecordError, RingriftError, UsageError
from ringrift_cli.evaluate.evaluate import new_match, play_sprt
from ringrift_cli.evaluate.gate import check_nameable
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.loop.local import WHOLE, RealSteps, TrainingMeter
from ringrift_cli.loop.protocol import (
    Model,
    SelfPlayWork,
    ShouldStop,
    Stopped,
    Watch,
    derived_seed,
)
from ringrift_cli.settings import Config
from ringrift_cli.stats.elo import estimate
from ringrift_cli.stats.sprt import Sprt
from ringrift_cli.store.files import write_whole
from ringrift_cli.store.locks import locked
from ringrift_cli.text import finite
from ringrift_cli.train.trainer import MODELS, Sources, TrainSetting, TrainSummary, train

FORMAT = 1
BASE = "base"
SECTIONS = ("selfplay", "train")
# Settings that do not change what one cycle learns from given games, or change who plays them.
WITHOUT_EFFECT = (
    "selfplay.games_per_cycle",
    "selfplay.concurrent",
    "selfplay.shard_games",
    "selfplay.teacher",
    "selfplay.partner",
    "train.keep",
    "train.checkpoint_minutes",
    "train.carried",
    "train.max_age",
    "train.max_generations_behind",
)
PLAN, RATE, RESULTS, TRAIN = "ablation.json", "rate.json", "results.sqlite", "train"
PILOT = 0.1  # share of the games that measures the evaluations per game
MIN_PILOT = 16
NO_LIMIT = 1e6  # hours
LOCK = "lock"
WORDS = {"H1": "stronger", "H0": "weaker", None: "undecided"}


@dataclass(frozen=True)
class Arm:
    """A configuration; `name` is its setting, or `base` for the one that is given."""

    name: str
    config: Config

    @property
    def plays(self) -> bool:
        """Whether it needs games of its own."""
        return self.name == BASE or self.name.startswith("selfplay.")


class SeedResult(msgspec.Struct, frozen=True):
    """An arm against the base, both learned with one seed. An infinite Elo is None."""

    seed: int
    verdict: str  # stronger, weaker, undecided, or same: both made the same model
    games: int
    score: float  # share of the games
    elo: float | None
    elo_95: tuple[float | None, float | None]


class ArmResult(msgspec.Struct, frozen=True):
    """An arm over all seeds; `elo` against the base is that of all games together."""

    setting: str
    selfplay_games: int
    positions: int
    steps: int
    train_seconds: float
    games: int
    score: float
    elo: float | None
    elo_95: tuple[float | None, float | None]
    seeds: tuple[SeedResult, ...]


def arms(config: Config, varied: Sequence[str]) -> list[Arm]:
    """The base, and an arm for each other value of `SECTION.KEY=VALUE,VALUE…`.

    `UsageError` for a setting that is unknown or does not act on the model, and a wrong value.
    """
    found = {BASE: Arm(BASE, config)}
    for text in varied:
        label, equals, values = text.partition("=")
        where = f"--vary {text}"
        section, _, name = label.partition(".")
        if not equals or not name:
            raise UsageError(f"{where}: expected SECTION.KEY=VALUE,VALUE.")
        declared = settings.declaration(section, name, where)
        if section not in SECTIONS or label in WITHOUT_EFFECT:
            raise UsageError(
                f"{where}: {section if section not in SECTIONS else label} does not act on what one"
                f" cycle learns from equal compute; expected another setting of"
                f" {' or '.join(SECTIONS)}."
            )
        before = getattr(config, section)
        for value in values.split(","):
            read = declared.read(value, where)
            if read != getattr(before, name):
                changed = replace(config, **{section: replace(before, **{name: read})})
                key = f"{label}={read}"
                found[key] = Arm(key, changed)
    if len(found) == 1:
        raise UsageError(
            "There is nothing to compare: every value is that of the configuration.",
            hint="--vary train.owner_weight=0.15,1.0",
        )
    return list(found.values())


class Ablation:
    """Arms with some seeds in a folder; `UsageError` if another ablation lies there."""

    def __init__(
        self,
        config: Config,
        varied: Sequence[str],
        out: Path,
        *,
        seeds: int,
        elo: float,
        init: Path | None = None,
    ) -> None:
        self._config, self._out, self._seeds, self._elo = config, out, seeds, elo
        self._arms = arms(config, varied)
        self._base = RealSteps(config)
        self._init = self._base.champion() if init is None else self._checked(init)
        check_nameable(out)
        plan: dict[str, Any] = {
            "format": FORMAT,
            "settings": config.document(),
            "init": self._init.identity if self._init else None,
        }
        place = out / PLAN
        try:
            known = json.loads(place.read_text()) if place.exists() else plan
        except ValueError as error:
            raise RecordError(f"{place} is damaged: {error}.", hint="another --out") from error
        if known != plan:
            different = [key for key in plan if known.get(key) != plan[key]]
            raise UsageError(
                f"{out} holds an ablation with other {' and '.join(different)}.",
                hint="the options it was started with, or another --out",
            )
        out.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(plan, indent=1).encode())

    def _checked(self, path: Path) -> Model:
        from ringrift_cli.nn import checkpoint

        run = self._config.run
        return Model(checkpoint.load(path, run.board, run.players).identity, path)

    def run(self, watch: Watch, should_stop: ShouldStop) -> list[ArmResult]:
        """Learns and compares what is missing; `Stopped` if asked to stop, the rest is kept."""

        def busy() -> RingriftError:
            return RingriftError(f"Another process works on {self._out}.", hint="another --out")

        with locked(self._out / LOCK, busy=busy):
            return self._run(watch, should_stop)

    def _run(self, watch: Watch, should_stop: ShouldStop) -> list[ArmResult]:
        pool = Pool(self._config.run.board, self._config.run.players, self._config.run.pie_rule)
        learned: dict[str, list[TrainSummary]] = {arm.name: [] for arm in self._arms}
        with Results(self._out / RESULTS) as results:
            outcome: dict[str, list[tuple[SeedResult, list[float]]]] = {}
            for seed in range(1, self._seeds + 1):
                now: dict[str, TrainSummary] = {}
                for arm in self._arms:
                    now[arm.name] = self._learn(seed, arm, now.get(BASE), watch, should_stop)
                    learned[arm.name].append(now[arm.name])
                for arm in self._arms[1:]:
                    found = self._compare(pool, results, seed, arm.name, now, watch, should_stop)
                    outcome.setdefault(arm.name, []).append(found)
        return [self._row(arm, learned[arm.name], outcome.get(arm.name, [])) for arm in self._arms]

    # ---- learning -------------------------------------------------------------------------------

    def _folder(self, seed: int, name: str) -> Path:
        safe = re.sub(r"[^\w.+-]", "-", name)  # as part of a player's spec
        return self._out / f"seed-{seed}" / safe

    def _data(self, seed: int, arm: Arm) -> Path:
        return self._folder(seed, arm.name if arm.plays else BASE) / "selfplay"

    def _learn(
        self,
        seed: int,
        arm: Arm,
        base: TrainSummary | None,
        watch: Watch,
        should_stop: ShouldStop,
    ) -> TrainSummary:
        """Plays and trains; `base`: what the base learned with this seed."""
        if should_stop():
            raise Stopped
        parent = self._init or self._base.bootstrap(self._folder(seed, BASE) / "parent", seed)
        if arm.plays:
            self._play(seed, arm, parent, watch, should_stop)
        run, config = self._config.run, arm.config
        setting = TrainSetting(
            run.board,
            run.players,
            run.pie_rule,
            derived_seed(run.seed, "ablate", seed, "train"),
            replace(config.train, max_age=NO_LIMIT),  # the games are of this ablation
            generation=1,
            steps=base.steps if base and arm.plays else None,
            device=self._base.devices[0],
        )
        sources = Sources(self._data(seed, arm), init=parent.path)
        with watch.progress(f"Seed {seed}, {arm.name}: training", WHOLE) as meter:
            found = train(
                setting,
                sources,
                self._folder(seed, arm.name) / TRAIN,
                resume=True,
                on_step=TrainingMeter(meter).on_step,
                should_stop=should_stop,
            )
        if found.checkpoint is None:
            raise Stopped
        return found

    def _play(
        self, seed: int, arm: Arm, parent: Model, watch: Watch, should_stop: ShouldStop
    ) -> None:
        steps = RealSteps(arm.config)
        player = self._init or steps.teacher() or parent
        games = self._config.selfplay.games_per_cycle
        if arm.name != BASE:
            rates = [
                self._rate(seed, one, player, watch, should_stop) for one in (self._arms[0], arm)
            ]
            games = max(1, round(games * rates[0] / rates[1]))
        work = SelfPlayWork(
            self._data(seed, arm),
            player,
            1,
            games,
            derived_seed(self._config.run.seed, "ablate", seed),
        )
        with watch.progress(f"Seed {seed}, {arm.name}: self-play", games) as meter:
            if steps.generate(work, meter, should_stop).stopped:
                raise Stopped

    def _rate(
        self, seed: int, arm: Arm, player: Model, watch: Watch, should_stop: ShouldStop
    ) -> float:
        """Evaluations per game, measured once on games that are not used otherwise."""
        place = self._folder(seed, arm.name) / RATE
        if place.exists():
            return float(json.loads(place.read_text()))
        pilot = self._folder(seed, arm.name) / "pilot"
        shutil.rmtree(pilot, ignore_errors=True)  # of a pilot that was interrupted
        games = max(MIN_PILOT, round(PILOT * self._config.selfplay.games_per_cycle))
        work = SelfPlayWork(
            pilot, player, 1, games, derived_seed(self._config.run.seed, "ablate", seed, "pilot")
        )
        with watch.progress(f"Seed {seed}, {arm.name}: evaluations per game", games) as meter:
            played = RealSteps(arm.config).generate(work, meter, should_stop)
        shutil.rmtree(pilot, ignore_errors=True)
        if played.stopped:
            raise Stopped
        if not played.evaluations:
            raise RingriftError(f"{games} games of {arm.name} needed no evaluation.")
        rate = played.evaluations / played.games
        write_whole(place, json.dumps(rate).encode())
        return rate

    # ---- comparing ------------------------------------------------------------------------------

    def _model(self, seed: int, name: str, learned: TrainSummary) -> Path:
        assert learned.checkpoint is not None
        return self._folder(seed, name) / TRAIN / MODELS / Path(learned.checkpoint).name

    def _compare(
        self,
        pool: Pool,
        results: Results,
        seed: int,
        name: str,
        learned: dict[str, TrainSummary],
        watch: Watch,
        should_stop: ShouldStop,
    ) -> tuple[SeedResult, list[float]]:
        """The test of an arm against the base, and the share that the arm won of each block."""
        gate = self._config.gate
        paths = [self._model(seed, one, learned[one]) for one in (name, BASE)]
        if paths[0].stem == paths[1].stem:
            return SeedResult(seed, "same", 0, 1 / pool.players, 0.0, (0.0, 0.0)), []
        specs = tuple(f"model:{path.resolve()},sims={gate.sims}" for path in paths)
        test = Sprt(-self._elo, self._elo, gate.alpha, gate.beta, pool.players)
        match_seed = derived_seed(self._config.run.seed, "ablate", seed, "match")
        with (
            closing(new_match(pool, specs, seed=match_seed)) as match,
            watch.progress(f"Seed {seed}, {name}: match", gate.max_games) as meter,
        ):
            found = play_sprt(
                match,
                results,
                test,
                gate.max_games,
                advance=meter.advance,
                should_stop=should_stop,
            )
            blocks = results.blocks(match.key, match.rotations).winners
        if not found.match.finished:
            raise Stopped
        own = found.match.entrants[0]
        verdict = WORDS[found.decision]
        return (
            SeedResult(seed, verdict, found.match.games, own.score, own.elo, own.elo_95),
            [block.count(0) / len(block) for block in blocks],
        )

    def _row(
        self,
        arm: Arm,
        learned: Sequence[TrainSummary],
        outcome: Sequence[tuple[SeedResult, list[float]]],
    ) -> ArmResult:
        shares = [share for _, blocks in outcome for share in blocks]
        players = self._config.run.players
        joint = estimate(shares, players=players, seats=1) if shares else None
        return ArmResult(
            arm.name,
            sum(one.window["games"] for one in learned),
            sum(one.positions for one in learned),
            sum(one.steps for one in learned),
            sum(one.seconds for one in learned),
            sum(seed.games for seed, _ in outcome),
            joint.score if joint else 1 / players,
            finite(joint.elo) if joint else 0.0,
            (finite(joint.elo_low), finite(joint.elo_high)) if joint else (0.0, 0.0),
            tuple(seed for seed, _ in outcome),
        )
