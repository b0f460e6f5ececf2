"""The gate: the matches that a candidate must pass to become champion.

1. `random`: the lower bound of its share is above the fair share.
2. `champion`: a sequential test accepts that it is `elo1` stronger than the champion rather than
   `elo0`. A test that is undecided after all its games does not promote, so that a candidate that
   is no stronger is accepted with a probability of at most `alpha`.
3. `heuristic`: it is no worse against the default heuristic than the champion was.
4. `earlier`: it does not lose to an earlier champion.

The first model of a pool has no champion to beat; it must pass 1 and is measured by 3. The first
check that fails ends the gate. The result is a document with every match, which the registry
(nn/registry.py) demands for a promotion. Games are read back from the results file, so a gate that
was stopped or killed continues after the recorded games.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.evaluate.evaluate import (
    ANCHOR,
    Advance,
    StopCheck,
    identity,
    new_match,
    play_match,
    play_sprt,
)
from ringrift_cli.evaluate.evidence import (
    Check,
    Contender,
    Evidence,
    GateSetting,
    MatchEvidence,
    SprtEvidence,
    VerdictName,
    greatest_difference,
    recorded_match,
)
from ringrift_cli.evaluate.match import Match
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.evaluate.runner import HERE, GameRunner
from ringrift_cli.nn.registry import Entry, Registry
from ringrift_cli.settings import SEPARATORS
from ringrift_cli.stats.elo import fair_share
from ringrift_cli.stats.sprt import Decision, Sprt

REFERENCES = ("heuristic", "mcts:sims=64")  # the best players that learned nothing


class _Stopped(Exception):
    """A match was stopped on request."""


def gate(
    pool: Pool,
    candidate: Contender,
    champion: Contender | None,
    results: Results,
    setting: GateSetting,
    *,
    earlier: Sequence[Contender] = (),
    recorded: dict[str, Any] | None = None,
    runner: GameRunner = HERE,
    advance: Advance = lambda games, note: None,
    should_stop: StopCheck = lambda: False,
) -> Evidence:
    """Plays the matches that decide on a candidate; errors as `play_match`.

    `earlier` are earlier champions, the latest first. `recorded` is the evidence of the champion's
    promotion: its match with the heuristic is taken from there if its player was the same, and
    otherwise played now. After `should_stop` the evidence is `stopped`.
    """
    series = _Series(pool, candidate, results, setting, runner, advance, should_stop)
    checks: list[Check] = []
    stopped = False
    try:
        for check in _checks(series, champion, earlier[: setting.earlier], recorded):
            checks.append(check)
            if not check.passed:
                break
    except _Stopped:
        stopped = True
    verdict, reasons = _verdict(checks, stopped=stopped)
    return Evidence(
        pool=pool.name,
        candidate=candidate,
        champion=champion,
        verdict=verdict,
        stopped=stopped,
        reasons=reasons,
        games=sum(check.match.games for check in checks),
        checks=tuple(checks),
        setting=setting,
    )


def _verdict(checks: Sequence[Check], *, stopped: bool) -> tuple[VerdictName, tuple[str, ...]]:
    reasons = tuple(check.reason for check in checks)
    if stopped:
        return "inconclusive", (*reasons, "It was stopped before the verdict.")
    last = checks[-1]
    if last.passed:
        return "accepted", reasons
    undecided = last.sprt is not None and last.sprt.decision is None
    return ("inconclusive" if undecided else "rejected"), reasons


def _checks(
    series: _Series,
    champion: Contender | None,
    earlier: Sequence[Contender],
    recorded: dict[str, Any] | None,
) -> Iterator[Check]:
    yield series.against_random()
    if champion is None:
        yield series.against_heuristic(None)
    else:
        yield series.against_champion(champion)
        yield series.against_heuristic(series.champions_share(champion, recorded))
        for old in earlier:
            yield series.against_earlier(old)
    if series.setting.reference_games:
        for spec in REFERENCES:
            yield series.measured(spec)


@dataclass(frozen=True)
class _Series:
    """The matches of a candidate."""

    pool: Pool
    candidate: Contender
    results: Results
    setting: GateSetting
    runner: GameRunner
    advance: Advance
    should_stop: StopCheck

    def _match(self, spec: str, opponent: str) -> Match:
        return new_match(self.pool, (spec, opponent), seed=self.setting.seed)

    def _play(self, spec: str, opponent: str, games: int) -> MatchEvidence:
        """`_Stopped` if not all games were played."""
        with closing(self._match(spec, opponent)) as match:
            report = play_match(
                match,
                self.results,
                games,
                runner=self.runner,
                advance=self.advance,
                should_stop=self.should_stop,
            )
            if not report.finished:
                raise _Stopped
            return MatchEvidence.of(match, self.results, report)

    def against_random(self) -> Check:
        found = self._play(self.candidate.spec, "random", self.setting.random_games)
        fair = fair_share(self.pool.players)
        passed = found.score_95[0] > fair
        reason = (
            f"Against random it won {found.text}; the lower bound of its share is"
            f" {100 * found.score_95[0]:.1f} %, and must be above the fair {100 * fair:.1f} %."
        )
        return Check("random", passed, reason, found)

    def against_champion(self, champion: Contender) -> Check:
        s = self.setting
        test = Sprt(s.elo0, s.elo1, s.alpha, s.beta, self.pool.players)
        with closing(self._match(self.candidate.spec, champion.spec)) as match:
            verdict = play_sprt(
                match,
                self.results,
                test,
                s.max_games,
                runner=self.runner,
                advance=self.advance,
                should_stop=self.should_stop,
            )
            if not verdict.match.finished:
                raise _Stopped
            found = MatchEvidence.of(match, self.results, verdict.match)
        meaning: dict[Decision | None, str] = {
            "H1": f"accepts that it is {s.elo1:g} Elo stronger rather than {s.elo0:g}",
            "H0": f"accepts that it is {s.elo0:g} Elo stronger rather than {s.elo1:g}",
            None: f"is undecided between {s.elo0:g} and {s.elo1:g} Elo after all its games, which"
            " is not enough",
        }
        lower, upper = verdict.bounds
        reason = (
            f"Against champion {champion.model} it won {found.text}; the sequential test"
            f" {meaning[verdict.decision]} (LLR {verdict.llr:+.2f}, bounds {lower:+.2f} and"
            f" {upper:+.2f}, errors {s.alpha:g} and {s.beta:g})."
        )
        test_evidence = SprtEvidence(verdict.decision, verdict.llr, verdict.bounds, verdict.blocks)
        return Check("champion", verdict.decision == "H1", reason, found, sprt=test_evidence)

    def champions_share(
        self, champion: Contender, recorded: dict[str, Any] | None
    ) -> MatchEvidence:
        """The champion's match with the heuristic: as recorded, or played now."""
        plays_as = identity(self.pool, champion.spec)
        known = recorded_match(recorded, "heuristic")
        if known is not None and known.identities == (plays_as, identity(self.pool, ANCHOR)):
            return known
        return self._play(champion.spec, ANCHOR, self.setting.heuristic_games)

    def against_heuristic(self, before: MatchEvidence | None) -> Check:
        """Not worse than the champion, with 95 %; the first model is only measured."""
        found = self._play(self.candidate.spec, ANCHOR, self.setting.heuristic_games)
        reason = f"Against {ANCHOR} it won {found.text}"
        if before is None:
            return Check(
                "heuristic", True, f"{reason}; the first of its pool is only measured.", found
            )
        most = float(greatest_difference(found.counts, before.counts))
        passed = most >= 0
        reason += (
            f", the champion {100 * before.score:.1f} % of {before.games}; its share is more than"
            f" the champion's by at most {100 * most:+.1f} points, with 95 %, and that must not be"
            " below 0."
        )
        return Check("heuristic", passed, reason, found, against=before)

    def against_earlier(self, old: Contender) -> Check:
        found = self._play(self.candidate.spec, old.spec, self.setting.earlier_games)
        fair = fair_share(self.pool.players)
        passed = found.score_95[1] >= fair
        reason = (
            f"Against earlier champion {old.model} it won {found.text}; the upper bound of its"
            f" share is {100 * found.score_95[1]:.1f} %, and must not be below the fair"
            f" {100 * fair:.1f} %."
        )
        return Check("earlier", passed, reason, found)

    def measured(self, spec: str) -> Check:
        """The candidate against a reference player, which it need not beat."""
        found = self._play(self.candidate.spec, spec, self.setting.reference_games)
        return Check("reference", True, f"Against {spec} it won {found.text}; measured.", found)


def model_spec(entry: Entry, sims: int) -> str:
    """The spec of a model with `sims` simulations; 0: its policy alone."""
    check_nameable(entry.path)
    return f"model:{entry.path.resolve()},sims={sims}"


def check_nameable(path: Path) -> None:
    """`UsageError` for a path, or a folder of files, that cannot be part of a player's spec."""
    whole = str(path.resolve())
    if set(whole) & set(SEPARATORS):
        raise UsageError(
            f"The path {whole} cannot be part of a player: it holds ',' or '='.",
            hint="a folder of another name",
        )


def fresh_seed(candidate: str, champion: str | None) -> int:
    """A seed of openings for a pair of models, 48 bits."""
    text = f"{candidate}/{champion}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def gate_model(
    registry: Registry,
    pool: Pool,
    candidate: Entry,
    results: Results,
    setting: GateSetting,
    sims: int,
    *,
    runner: GameRunner = HERE,
    advance: Advance = lambda games, note: None,
    should_stop: StopCheck = lambda: False,
) -> Evidence:
    """The gate for a checkpoint against the champion and the earlier champions of the registry."""
    name = pool.name
    champion = registry.champion(name)
    if champion is not None and champion.identity == candidate.identity:
        raise RingriftError(f"{candidate.identity} is already the champion of {name}.")
    old = [entry for entry in registry.earlier(name) if entry.identity != candidate.identity]
    return gate(
        pool,
        _contender(candidate, sims),
        None if champion is None else _contender(champion, sims),
        results,
        setting,
        earlier=[_contender(entry, sims) for entry in old],
        recorded=registry.evidence(name),
        runner=runner,
        advance=advance,
        should_stop=should_stop,
    )


def _contender(entry: Entry, sims: int) -> Contender:
    return Contender(entry.identity, model_spec(entry, sims))
