"""Steps of the learning loop that run on other machines.

`Machines` hides which machines there are and how they are reached. Only data that has arrived here
and passed the checks counts.
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
    """Interface to other machines; one that fails delays no other."""

    trains: bool  # whether training runs on one of them

    def generate(
        self, work: SelfPlayWork, *, teacher: bool, meter: Meter, should_stop: ShouldStop
    ) -> Played:
        """Plays on all machines until enough games have arrived.

        With `teacher` the heuristic's search plays, not the checkpoint of `work`. `RingriftError`
        if no machine can continue.
        """

    def train(
        self, work: TrainWork, shards: list[str], watch: Watch, should_stop: ShouldStop
    ) -> None:
        """Trains on one machine with these shards, in this order; stores the run in `work.out`.

        `Stopped` if asked to stop; the next call resumes.
        """

    def bring(self, pool: str) -> dict[str, str]:
        """Sends the champion of a pool to all; `CONFIRMED` or an error by machine."""


class SharedSteps(RealSteps):
    """Implements `Steps` with other machines."""

    elsewhere = True

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
        # A run that was finished elsewhere is only read.
        return super().train(work, watch, should_stop)

    def _shards(self, work: TrainWork) -> list[str]:
        """The shards of a training run: those of its start, else the current window.

        The age limit is checked here, not by the clock of another machine.
        """
        from ringrift_cli.train import state as train_state

        if train_state.has_state(work.out):
            return train_state.read_state(work.out).shards
        setting = self._train_setting(work).window_setting()
        return window.choose(work.data, setting, among=work.own).hashes

    def bring(self) -> dict[str, str]:
        return self._machines.bring(self._config.pool)


def _is_done(work: TrainWork) -> bool:
    from ringrift_cli.train import state as train_state

    there = train_state.has_state(work.out)
    return there and train_state.read_state(work.out).summary is not None
