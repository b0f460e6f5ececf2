"""The learning loop with other machines: the same loop, whose steps are done elsewhere.

Which machines there are and how they are reached is behind `Machines`. Whatever they say, the loop
counts what has arrived here and passed the checks.
"""

from __future__ import annotations

from typing import Protocol

from ringrift_cli.data import window
from ringrift_cli.errors import RecordError
from ringrift_cli.loop.local import RealSteps
from ringrift_cli.loop.protocol import (
    Meter,
    Played,
    SelfPlayWork,
    ShouldStop,
    Trained,
    TrainWork,
    Watch,
)
from ringrift_cli.settings import Config


class Machines(Protocol):
    """Other machines, as the loop needs them. One that fails delays none of the others."""

    trains: bool  # whether one of them trains

    def generate(
        self, work: SelfPlayWork, *, teacher: bool, meter: Meter, should_stop: ShouldStop
    ) -> Played:
        """Has them play until enough games have come here; what each machine came to.

        With `teacher` it is the heuristic's search that plays, not the checkpoint of the work.
        `RingriftError` if none of them goes on.
        """

    def train(
        self, work: TrainWork, shards: list[str], watch: Watch, should_stop: ShouldStop
    ) -> None:
        """Has one of them train on these shards, in this order; the run is in `work.out` then.

        `Stopped` if it was asked to stop; the next call goes on there.
        """

    def bring(self, pool: str) -> dict[str, str]:
        """Brings them the champion of a pool; of each machine `CONFIRMED`, or why it has it not."""


class SharedSteps(RealSteps):
    """What `ringrift cycle --fleet` does; see `Steps`."""

    def __init__(self, config: Config, machines: Machines) -> None:
        super().__init__(config)
        self._machines = machines

    def generate(self, work: SelfPlayWork, meter: Meter, should_stop: ShouldStop) -> Played:
        teacher = work.model == self.teacher()
        return self._machines.generate(work, teacher=teacher, meter=meter, should_stop=should_stop)

    def train(self, work: TrainWork, watch: Watch, should_stop: ShouldStop) -> Trained:
        if self._machines.trains and not _is_done(work):
            self._machines.train(work, self._shards(work), watch, should_stop)
            if not _is_done(work):
                raise RecordError(f"{work.out} holds no finished training run, but it was done.")
        # A run that is done elsewhere is only read here, as one that was done before.
        return super().train(work, watch, should_stop)

    def _shards(self, work: TrainWork) -> list[str]:
        """The shards of a run: those it was begun with, else the window, which must be fresh.

        Its age is judged here, not by the clock of another machine.
        """
        from ringrift_cli.train import state as train_state

        if train_state.has_state(work.out):
            return train_state.read_state(work.out).shards
        setting = self._train_setting(work).window_setting()
        return window.choose(work.data, setting).hashes

    def bring(self) -> dict[str, str]:
        return self._machines.bring(self._config.pool)


def _is_done(work: TrainWork) -> bool:
    from ringrift_cli.train import state as train_state

    there = train_state.has_state(work.out)
    return there and train_state.read_state(work.out).summary is not None
