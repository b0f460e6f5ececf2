"""A learning loop without learning: steps that are quick, on real files.

Networks, registry, window and manifest are the real ones. Self-play writes shards of random games,
training shifts the weights a little, and the gate plays real games into a real results file; but
which candidate is accepted, and what its Elo is, the test decides.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from ringrift_cli.data.shard import write_searched
from ringrift_cli.evaluate.evaluate import ANCHOR, new_match, play_match
from ringrift_cli.evaluate.evidence import MatchEvidence
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.game.version import rules_hash
from ringrift_cli.loop import cycle
from ringrift_cli.loop.cycle import Loop
from ringrift_cli.loop.journal import Journal, opened
from ringrift_cli.loop.local import RealSteps
from ringrift_cli.loop.protocol import (
    GateResult,
    GateWork,
    Meter,
    Model,
    Played,
    SelfPlayWork,
    ShouldStop,
    Stopped,
    Trained,
    TrainWork,
    Watch,
)
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.nn.registry import EVIDENCE_FORMAT, Registry
from ringrift_cli.settings import Config, Cycle, Gate, NetworkSection, Run, SelfPlay, Train
from ringrift_cli.store.files import write_whole
from tests.searched import searched_games

SHARD_GAMES = 3


def settings(folder: Path, board: str = "hex8", players: int = 2, **cycle: Any) -> Config:
    """A run of 8 games a cycle and 8 games of a gate."""
    run = Run(
        board, players, folder=str(folder / "runs"), models=str(folder / "models"), gpus="none"
    )
    return Config(
        run,
        NetworkSection(size="tiny"),
        selfplay=SelfPlay(games_per_cycle=8, teacher="none"),
        train=Train(window=60),
        gate=Gate(max_games=8),
        cycle=Cycle(min_free_gb=0, **cycle),
    )


def changed(config: Config, section: str, **values: Any) -> Config:
    """The configuration with other values in one section."""
    return replace(config, **{section: replace(getattr(config, section), **values)})


class Notes:
    """Remembers what a loop says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.advanced = 0

    def note(self, text: str) -> None:
        self.said.append(text)

    def advance(self, amount: int, note: str = "") -> None:
        self.advanced += amount

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Meter]:
        yield self


def loop_of(
    config: Config, steps: QuickSteps, journal: Journal, should_stop: ShouldStop = lambda: False
) -> Loop:
    return Loop(config, steps, journal, Notes(), should_stop)


def run(config: Config, steps: QuickSteps, cycles: int = 1) -> list[dict[str, Any]]:
    """The records of some cycles."""
    records: list[dict[str, Any]] = []
    with opened(config.folder) as journal:
        cycle.run(loop_of(config, steps, journal), cycles, records.append)
    return records


def write_model(config: Config, folder: Path, seed: int, **about: Any) -> Model:
    """A checkpoint of a network that has learned nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(architecture("tiny", config.run.board, config.run.players)).eval()
    path = checkpoint.save(folder, network, {"parents": [], "data": [], **about})
    return Model(path.stem, path)


class QuickSteps(RealSteps):
    """Steps of a loop; candidate number n is accepted if `accepts` says so of n, from 1."""

    def __init__(
        self,
        config: Config,
        accepts: tuple[bool, ...] = (True,),  # the last one holds for all that follow
        elo: tuple[float, ...] = (0.0,),  # of the candidates against the heuristic, likewise
        pause: float = 0.0,  # seconds between the parts of a step
        lost: str = "",  # a step that says it succeeded and did not
    ) -> None:
        super().__init__(config)
        self.config = config
        self.accepts, self.elo, self.pause, self.lost = accepts, elo, pause, lost
        self.calls: list[str] = []
        self.repeated = False  # whether all games are the same

    @property
    def registry(self) -> Registry:
        return Registry(Path(self.config.run.models))

    @property
    def champions(self) -> list[str]:
        """Everybody who became champion, in order."""
        return [event.identity for event in self.registry.history(self.config.pool)]

    def crown(self, model: Model) -> None:
        """Makes a model champion as somebody else might, in between."""
        present = super().champion()
        players, identities, scores = ("model", "other"), ("a", "b"), (0.0, 1.0)
        match = MatchEvidence(
            "none", players, identities, 1, 1, 0, (0, 1), 1.0, scores, 1.0, (0.0, 2.0), 1.0
        )
        document = msgspec.structs.asdict(match)
        self.promote_on(model, _evidence(self.config, model, present, True, document))

    def promote_on(self, model: Model, evidence: dict[str, Any]) -> None:
        super().promote(model, evidence)

    def bootstrap(self, folder: Path, seed: int) -> Model:
        self.calls.append("bootstrap")
        return super().bootstrap(folder, seed)

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        self.calls.append(f"selfplay {work.games}")
        if self.lost == "selfplay":
            return Played(work.games, 1, 1.0, stopped=False)
        run, games = self.config.run, work.games
        while games:
            count = min(games, SHARD_GAMES)
            seed = work.seed + games
            origin = {"run": work.run, "model": work.model.identity}
            made = {"generation": work.cycle, "seed": seed, **origin}
            played = searched_games(run.board, run.players, count, 1 if self.repeated else seed)
            write_searched(work.folder, made, played, run.board, run.players, run.pie_rule)
            games -= count
            meter.advance(count)
            time.sleep(self.pause)
            if games and should_stop():
                break
        done = work.games - games
        return Played(done, 100 * done, 0.5 * done, stopped=games > 0)

    def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
        self.calls.append(f"train {work.parent.identity}")
        state = work.out / "state.json"
        done = json.loads(state.read_text())["steps"] if state.exists() else 0
        for step in range(done, 4):
            time.sleep(self.pause)
            write_whole(state, json.dumps({"steps": step + 1}).encode())
            if should_stop():
                raise Stopped
        shards = sorted(self.window(work.data, work.own))
        model = write_model(
            self.config, work.out, work.seed, parents=[work.parent.identity], data=shards
        )
        if self.lost == "train":
            model.path.with_suffix(".safetensors").write_bytes(b"nothing")
        losses = {"policy": 1 + 1 / work.cycle, "value": 0.6, "policy_accuracy": 0.5}
        summary = {"steps": 4, "samples": 1024, "train_last": losses, "validation_last": losses}
        return Trained(model, summary)

    def gate(self, work: GateWork, watch: Watch, should_stop: ShouldStop) -> GateResult:
        self.calls.append(f"gate {work.champion.identity if work.champion else None}")
        run = self.config.run
        players = ("heuristic:beginner,width=0", "random")
        pool = Pool(run.board, run.players, run.pie_rule)
        match = new_match(pool, players, seed=work.seed)
        with Results(work.results) as results:
            found = play_match(match, results, self.config.gate.max_games)
            counted = msgspec.structs.asdict(MatchEvidence.of(match, results, found))
        number = int(work.candidate.path.parent.name.rpartition("-")[2])
        accepted = self.accepts[min(number, len(self.accepts)) - 1]
        elo = self.elo[min(number, len(self.elo)) - 1]
        told = {"elo": elo, "elo_95": [elo - 30, elo + 30], "players": ["model", ANCHOR]}
        evidence = _evidence(
            self.config, work.candidate, work.champion, accepted, {**counted, **told}
        )
        return GateResult(evidence["verdict"], json.loads(json.dumps(evidence)))

    def rating(self, results: Path, evidence: dict[str, Any]) -> dict[str, Any] | None:
        if not evidence["checks"]:
            return None
        match = evidence["checks"][-1]["match"]
        low, high = match["elo_95"]
        return {"elo": match["elo"], "low": low, "high": high, "games": match["games"]}

    def promote(self, model: Model, evidence: dict[str, Any]) -> None:
        self.calls.append("promote")
        time.sleep(self.pause)
        if self.lost != "promote":
            super().promote(model, evidence)


def _evidence(
    config: Config,
    candidate: Model,
    champion: Model | None,
    accepted: bool,
    match: dict[str, Any],
) -> dict[str, Any]:
    """What the gate would write, with one match for all checks."""
    names = ["random", *(["champion"] if champion else []), "heuristic"]
    return {
        "format": EVIDENCE_FORMAT,
        "pool": config.pool,
        "rules": rules_hash(),
        "candidate": {"model": candidate.identity},
        "champion": {"model": champion.identity} if champion else None,
        "verdict": "accepted" if accepted else "rejected",
        "stopped": False,
        "reasons": [f"{match['games']} games say so."],
        "games": match["games"],
        "checks": [
            {"name": name, "passed": accepted or name == "random", "match": match} for name in names
        ],
    }
