"""The steps of the learning loop on this machine: self-play, training, gate and registry."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ringrift_cli.data import window
from ringrift_cli.errors import RecordError
from ringrift_cli.evaluate.evaluate import elo_by_player
from ringrift_cli.evaluate.evidence import GateSetting
from ringrift_cli.evaluate.gate import check_nameable, gate_model
from ringrift_cli.evaluate.results import Pool, Results
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
from ringrift_cli.nn.registry import PROMOTION, Registry
from ringrift_cli.players.spec import teacher
from ringrift_cli.selfplay.actor import Counts
from ringrift_cli.selfplay.generate import Generated, devices_named, generate, of_config
from ringrift_cli.selfplay.worker import TEACHER
from ringrift_cli.settings import Config
from ringrift_cli.train.settings import TrainSetting

WHOLE = 1000  # progress units of a training run
# Fields of the training summary that are elsewhere in the record, or in the checkpoint.
NOT_KEPT = ("checkpoint", "identity", "shards", "parents", "stopped")


class TrainingMeter:
    """Reports training steps as progress out of `WHOLE`."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._shown = meter, 0

    def on_step(self, step: int, steps: int, numbers: dict[str, float]) -> None:
        note = ""
        if "seconds_left" in numbers:
            note = (
                f"loss policy {numbers['policy']:.3f} value {numbers['value']:.3f},"
                f" {numbers['samples_per_second']:,.0f} samples/s,"
                f" {numbers['seconds_left'] / 60:.1f} min left"
            )
        done = WHOLE * step // steps
        self._meter.advance(done - self._shown, note)
        self._shown = done


class RealSteps:
    """Implements `Steps` on this machine."""

    elsewhere = False

    def __init__(self, config: Config) -> None:
        self._config = config
        run = config.run
        self._pool = Pool(run.board, run.players, run.pie_rule)
        self._registry = Registry(Path(run.models))
        for folder in (self._registry.folder, config.folder):  # fail now rather than hours later
            check_nameable(folder)
        self.devices = devices_named(run.gpus)

    # ---- models ---------------------------------------------------------------------------------

    @property
    def _initialised(self) -> bool:
        """Whether a new network takes the weights of another."""
        return self._config.network.init != "none"

    def champion(self) -> Model | None:
        champion = self._registry.champion(self._config.pool)
        return None if champion is None else Model(champion.identity, champion.path)

    def bootstrap(self, folder: Path, seed: int) -> Model:
        import torch

        from ringrift_cli.nn import checkpoint
        from ringrift_cli.nn.network import Network, architecture
        from ringrift_cli.nn.transfer import transferred

        run, parents = self._config.run, []
        if self._initialised:
            found = checkpoint.load(Path(self._config.network.init))
            network, parents = transferred(found.network, run.board, run.players), [found.identity]
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = Network(architecture(self._config.network.size, run.board, run.players))
        about = {"seed": seed, "parents": parents, "data": []}
        path = checkpoint.save(folder, network.eval(), about)
        return Model(path.stem, path)

    def teacher(self) -> Model | None:
        run = self._config.run
        if self._config.selfplay.teacher == "none" or self._initialised:
            return None
        return Model(teacher(TEACHER, run.board, run.players).identity, Path(TEACHER))

    def check(self, model: Model) -> None:
        from ringrift_cli.nn import checkpoint

        run = self._config.run
        teacher = self.teacher()
        if model == teacher:
            return
        if model.path == Path(TEACHER):
            raise RecordError(
                f"This cycle was begun with the games of teacher {model.identity}, not of"
                f" {teacher.identity if teacher else 'a new network'}.",
                hint="--set selfplay.teacher=heuristic until the cycle is done, with the ringrift"
                " that began it",
            )
        found = checkpoint.load(model.path, run.board, run.players)
        if found.identity != model.identity:
            raise RecordError(f"{model.path} holds {found.identity}, not {model.identity}.")

    def rating(self, results: Path, evidence: dict[str, Any]) -> dict[str, Any] | None:
        players = [check["match"]["identities"][0] for check in evidence["checks"]]
        if not players:
            return None
        with Results(results) as known:
            return elo_by_player(self._pool, known).get(players[0])

    def promote(self, model: Model, evidence: dict[str, Any]) -> None:
        self._registry.add(self._config.pool, model.path)
        self._registry.promote(self._config.pool, model.identity, evidence)

    def bring(self) -> dict[str, str]:
        return {}

    def promotions(self, model: Model) -> int:
        history = self._registry.history(self._config.pool)
        return sum(e.event == PROMOTION and e.identity == model.identity for e in history)

    def referred(self) -> set[str]:
        models = self._registry.models(self._config.pool)
        # a model without a list of its data was trained elsewhere
        return {name for entry in models for name in entry.about.get("data", [])}

    # ---- games ----------------------------------------------------------------------------------

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        setting = of_config(
            self._config,
            None if work.model == self.teacher() else work.model.path,
            work.model.identity,
            seed=work.seed,
            generation=work.cycle,
            run=work.run,
            devices=self.devices,
        )

        def advance(more: Counts, so_far: Generated) -> None:
            spent = max(so_far.seconds, 1e-9)
            meter.advance(
                more.games,
                f"{3600 * so_far.counts.games / spent:,.0f} games/h,"
                f" {so_far.counts.evaluations / spent:,.0f} evals/s",
            )

        done = generate(
            setting, work.folder, games=work.games, advance=advance, should_stop=should_stop
        )
        counts = done.counts
        return Played(
            counts.games,
            counts.evaluations,
            done.seconds,
            done.stopped,
            resign_checked=counts.resign_checked,
            resign_wrong=counts.resign_wrong,
        )

    def window(self, data: Path, own: Collection[str]) -> set[str]:
        run = self._config.run
        if not own:
            return set()
        setting = window.WindowSetting(
            run.board, run.players, run.pie_rule, self._config.train.window
        )
        return set(window.choose(data, setting, among=own).hashes)

    # ---- training and gate -----------------------------------------------------------------------

    def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
        from ringrift_cli.train.trainer import MODELS, Sources, train

        setting = self._train_setting(work)
        init = None if work.follows else work.parent.path
        sources = Sources(work.data, among=work.own, init=init, previous=work.previous)
        with watch.progress("Training", WHOLE) as meter:
            found = train(
                setting,
                sources,
                work.out,
                resume=True,
                on_step=TrainingMeter(meter).on_step,
                on_choice=lambda choice: watch.note(choice.text) if choice.refused else None,
                should_stop=should_stop,
            )
        if found.checkpoint is None or found.identity is None:
            raise Stopped
        kept = {k: v for k, v in found.document().items() if k not in NOT_KEPT}
        # not the recorded path: the run may have been moved, or trained elsewhere
        path = work.out / MODELS / Path(found.checkpoint).name
        return Trained(Model(found.identity, path), kept)

    def _train_setting(self, work: TrainWork) -> TrainSetting:
        run = self._config.run
        return TrainSetting(
            run.board,
            run.players,
            run.pie_rule,
            work.seed,
            self._config.train,
            size=None if self._initialised else self._config.network.size,
            generation=work.cycle,
            device=self.devices[0],
        )

    def gate(self, work: GateWork, watch: Watch, should_stop: ShouldStop) -> GateResult:
        section = self._config.gate
        setting = GateSetting(**vars(section), seed=work.seed)
        candidate = self._registry.find(self._config.pool, str(work.candidate.path))
        most = setting.most_games(
            champion=work.champion is not None,
            earlier=len(self._registry.earlier(self._config.pool)),
        )
        with Results(work.results) as results, watch.progress("Gate", most) as meter:
            found = gate_model(
                self._registry,
                self._pool,
                candidate,
                results,
                setting,
                section.sims,
                advance=meter.advance,
                should_stop=should_stop,
            )
        if found.stopped:
            raise Stopped
        return GateResult(found.verdict, found.document())
