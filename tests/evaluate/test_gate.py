"""The gate: who is stronger passes, who is not does not, and nothing passes without games."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringrift_cli.errors import PlayerError, RecordError, RingriftError, UsageError
from ringrift_cli.evaluate import gate as promote
from ringrift_cli.evaluate import match as matches
from ringrift_cli.evaluate.evaluate import ANCHOR, identity, new_match, play_match
from ringrift_cli.evaluate.evidence import (
    Contender,
    Evidence,
    GateSetting,
    MatchEvidence,
    greatest_difference,
    recorded_match,
)
from ringrift_cli.evaluate.gate import fresh_seed, gate, gate_model, model_spec
from ringrift_cli.evaluate.results import Pool, Results
from ringrift_cli.game import playout
from ringrift_cli.game.version import rules_hash
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.registry import Registry, check_evidence
from ringrift_cli.stats.elo import score_of_elo
from ringrift_cli.stats.sprt import Sprt
from tests.nn.networks import network

HEX = Pool("hex8", 2)
SETTING = GateSetting(
    seed=1,
    max_games=160,
    random_games=30,
    heuristic_games=30,
    earlier_games=30,
    reference_games=0,
)


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    """A file of its own."""
    with Results(tmp_path / "results.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """A file of all tests that do not count what is played: equal matches are played once."""
    with Results(tmp_path_factory.mktemp("gate") / "results.sqlite") as opened:
        yield opened


def careless(blunder: float) -> Contender:
    """A stand-in for a model: the more it blunders, the weaker."""
    return Contender(f"{blunder:016.14f}", f"heuristic:default,width=0,blunder={blunder}")


STRONG, MIDDLE, WEAK = careless(0.1), careless(0.5), careless(0.9)


def names(evidence: Evidence) -> list[tuple[str, bool]]:
    return [(check.name, check.passed) for check in evidence.checks]


# ---- the verdict --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pool", [HEX, Pool("square8", 3), Pool("hex8", 4), Pool("square8", 2, pie_rule=True)]
)
def test_who_is_stronger_passes(pool: Pool, shared: Results) -> None:
    first = gate(pool, MIDDLE, None, shared, SETTING)
    assert first.verdict == "accepted"
    assert names(first) == [("random", True), ("heuristic", True)]
    second = gate(pool, STRONG, MIDDLE, shared, SETTING, earlier=[WEAK], recorded=first.document())
    assert second.verdict == "accepted"
    assert names(second) == [
        ("random", True),
        ("champion", True),
        ("heuristic", True),
        ("earlier", True),
    ]
    champion, heuristic = second.checks[1], second.checks[2]
    assert champion.sprt is not None
    assert champion.sprt.decision == "H1"
    assert champion.sprt.llr >= champion.sprt.bounds[1]
    assert champion.match.identities[1] == identity(pool, MIDDLE.spec)
    assert heuristic.against == first.checks[1].match  # not played again
    assert second.games == sum(check.match.games for check in second.checks)
    assert all(check.match.games % pool.players == 0 for check in second.checks)
    name = "square8-2p-pie" if pool.pie_rule else f"{pool.board}-{pool.players}p"
    check_evidence(second.document(), name, STRONG.model)


def test_an_accepted_candidate_is_measured_against_the_best_hand_written_players(
    shared: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promote, "REFERENCES", ("heuristic", "mcts:sims=2"))
    found = gate(HEX, careless(0.0), None, shared, replace(SETTING, seed=9, reference_games=2))
    assert names(found) == [("random", True), ("heuristic", True), *[("reference", True)] * 2]
    opponents = [check.match.players[1] for check in found.checks]
    assert opponents[2:] == ["heuristic", "mcts:sims=2"]
    assert found.verdict == "accepted"
    weak = gate(HEX, careless(1.0), None, shared, replace(SETTING, seed=9, reference_games=2))
    assert names(weak) == [("random", False)]


def test_who_is_weaker_does_not(shared: Results) -> None:
    found = gate(HEX, MIDDLE, STRONG, shared, SETTING)
    assert found.verdict == "rejected"
    assert names(found) == [("random", True), ("champion", False)]  # and no more is played
    assert "accepts that it is 0 Elo stronger rather than 35" in found.reasons[-1]
    with pytest.raises(RingriftError, match="says rejected: Against random it won"):
        check_evidence(found.document(), "hex8-2p", MIDDLE.model)


def test_who_does_not_beat_random_does_not(shared: Results) -> None:
    found = gate(HEX, careless(1.0), None, shared, SETTING)
    assert found.verdict == "rejected"
    assert names(found) == [("random", False)]
    assert "must be above the fair 50.0 %" in found.reasons[0]


def test_who_is_as_strong_is_not_promoted(shared: Results) -> None:
    setting = replace(SETTING, seed=3, max_games=40)
    found = gate(HEX, careless(0.5), careless(0.50001), shared, setting)
    assert found.verdict == "inconclusive"
    assert not found.stopped
    assert "undecided between 0 and 35 Elo after all its games" in found.reasons[-1]
    with pytest.raises(RingriftError, match="says inconclusive"):
        check_evidence(found.document(), "hex8-2p", careless(0.5).model)


def test_who_beats_the_champion_but_falls_against_the_heuristic_does_not(shared: Results) -> None:
    document = gate(HEX, MIDDLE, None, shared, SETTING).document()
    document["checks"][1]["match"]["counts"] = [0, 0, 15]  # as if it had won them all
    document["checks"][1]["match"]["score"] = 1.0
    found = gate(HEX, STRONG, MIDDLE, shared, SETTING, recorded=document)
    assert found.verdict == "rejected"
    assert names(found)[-1] == ("heuristic", False)
    assert "the champion 100.0 % of 30" in found.reasons[-1]
    assert "must not be below 0" in found.reasons[-1]


def test_who_loses_to_a_champion_of_old_does_not(shared: Results) -> None:
    old = [WEAK, careless(0.0)]
    found = gate(HEX, MIDDLE, WEAK, shared, SETTING, earlier=old[1:])
    assert found.verdict == "rejected"
    assert names(found)[-1] == ("earlier", False)
    assert f"Against earlier champion {old[1].model}" in found.reasons[-1]
    fewer = replace(SETTING, earlier=0)
    assert gate(HEX, MIDDLE, WEAK, shared, fewer, earlier=old).verdict == "accepted"


def test_a_champion_that_played_otherwise_is_measured_anew(shared: Results) -> None:
    recorded = gate(HEX, WEAK, None, shared, SETTING).document()  # of another player than MIDDLE
    found = gate(HEX, STRONG, MIDDLE, shared, SETTING, recorded=recorded)
    against = found.checks[2].against
    assert against is not None
    assert against.identities == (identity(HEX, MIDDLE.spec), identity(HEX, ANCHOR))
    assert against.games == 30


# ---- what is written ----------------------------------------------------------------------------


def repeat_every_block(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Makes the seeds of matches repeat, so that every block is played so many times."""
    real = playout.game_seeds

    def seeds(seed: int, first: int, count: int) -> playout.Seeds:
        if seed == SETTING.seed ^ matches.OPENING_SALT:
            return real(seed, first // times, count)
        block, rotation = divmod(first, HEX.players)
        return real(seed, block // times * HEX.players + rotation, count)

    monkeypatch.setattr(playout, "game_seeds", seeds)


def test_repeated_games_are_no_evidence(
    results: Results, shared: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = gate(HEX, STRONG, MIDDLE, shared, SETTING)
    assert expected.verdict == "accepted"
    repeat_every_block(monkeypatch, 3)
    found = gate(HEX, STRONG, MIDDLE, results, SETTING)
    random, champion = (check.match for check in found.checks)
    assert (random.games, random.counts) == (30, expected.checks[0].match.counts)
    assert random.duplicates > 0
    # as many games as the test may take; those of them that are its own do not suffice
    assert champion.games + champion.duplicates == SETTING.max_games
    assert 3 * champion.games <= SETTING.max_games + 3 * HEX.players
    assert found.checks[1].sprt is not None
    assert found.checks[1].sprt.blocks == champion.blocks
    assert found.verdict == "inconclusive"


def test_one_game_over_and_over_is_no_evidence(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_every_block(monkeypatch, 10**6)
    with pytest.raises(RingriftError, match=r"Only 2 of \d+ games count; the others repeat"):
        gate(HEX, STRONG, None, results, SETTING)


def test_the_document_holds_every_match(shared: Results) -> None:
    found = gate(HEX, STRONG, WEAK, shared, SETTING)
    document = found.document()
    assert json.loads(json.dumps(document)) == document
    assert document["pool"] == "hex8-2p"
    assert document["rules"] == rules_hash()
    assert document["candidate"] == {"model": STRONG.model, "spec": STRONG.spec}
    assert document["setting"]["seed"] == 1
    for check in document["checks"]:
        match = check["match"]
        recorded = shared.blocks(match["match"], 2)
        assert len(recorded.numbers) == match["blocks"] == sum(match["counts"])
        assert match["games"] == 2 * match["blocks"]
        won = sum(wins * count for wins, count in enumerate(match["counts"]))
        assert won / match["games"] == pytest.approx(match["score"])
        assert match["duplicates"] == recorded.duplicates
        assert match["score_95"][0] <= match["score"] <= match["score_95"][1]
        assert check["reason"] in document["reasons"]
    assert recorded_match(document, "heuristic") == found.checks[2].match
    assert recorded_match(document, "earlier") is None
    assert recorded_match(None, "heuristic") is None
    with pytest.raises(RecordError, match="not evidence of the gate"):
        recorded_match({"checks": [{"name": "heuristic", "match": {"games": 3}}]}, "heuristic")


def test_all_won_is_valid_json(shared: Results) -> None:
    setting = replace(SETTING, max_games=4, random_games=4, heuristic_games=2)
    document = gate(HEX, careless(0.0), None, shared, setting).document()
    match = document["checks"][0]["match"]
    assert (match["score"], match["elo"], match["elo_95"][1]) == (1.0, None, None)
    assert "+infinite Elo" in document["reasons"][0]
    assert "Infinity" not in json.dumps(document)


# ---- what goes wrong ----------------------------------------------------------------------------


def test_a_player_that_fails_is_no_evidence(results: Results) -> None:
    broken = Contender("0" * 16, "exec:false")
    with pytest.raises(PlayerError):
        gate(HEX, broken, None, results, SETTING)
    with pytest.raises(PlayerError):
        gate(HEX, MIDDLE, broken, results, SETTING)


def test_no_games_are_no_match(results: Results) -> None:
    match = new_match(HEX, (STRONG.spec, "random"))
    empty = play_match(match, results, 2, should_stop=lambda: True)
    with pytest.raises(RingriftError, match=r"No game of .* counts"):
        MatchEvidence.of(match, results, empty)
    for name in ("max_games", "random_games", "heuristic_games", "earlier_games"):
        with pytest.raises(UsageError, match=f"gate.{name} is 0, expected an integer, at least 2"):
            GateSetting(seed=1, **{name: 0})
    with pytest.raises(UsageError, match=r"gate\.earlier is -1"):
        GateSetting(seed=1, earlier=-1)
    with pytest.raises(UsageError, match="elo0 must be less than elo1"):
        GateSetting(seed=1, elo0=30, elo1=10)


def test_a_player_is_not_tested_against_itself(results: Results) -> None:
    with pytest.raises(UsageError, match="are one player"):
        gate(HEX, MIDDLE, Contender("1" * 16, MIDDLE.spec), results, SETTING)


def test_a_stopped_gate_goes_on_and_ends_the_same(results: Results, tmp_path: Path) -> None:
    patience = 0

    def stop_soon() -> bool:
        nonlocal patience
        patience -= 1
        return patience < 0

    told: list[int] = []
    stops = 0
    for patience in (1, 150, 400):  # noqa: B007  stop_soon counts it down
        found = gate(HEX, STRONG, MIDDLE, results, SETTING, earlier=[WEAK], should_stop=stop_soon)
        if found.stopped:
            stops += 1
            assert found.verdict == "inconclusive"
            assert found.reasons[-1] == "It was stopped before the verdict."
    assert stops >= 2
    found = gate(
        HEX,
        STRONG,
        MIDDLE,
        results,
        SETTING,
        earlier=[WEAK],
        advance=lambda games, note: told.append(games),
    )
    with Results(tmp_path / "other.sqlite") as other:
        whole = gate(HEX, STRONG, MIDDLE, other, SETTING, earlier=[WEAK])
    assert found.checks == whole.checks
    assert found.verdict == whole.verdict == "accepted"
    assert sum(told) >= found.games  # what was there is told as well
    assert sum(told) <= SETTING.most_games(champion=True, earlier=1)


def test_the_test_keeps_its_promise() -> None:
    rng = np.random.default_rng(2)
    setting = GateSetting(seed=0)
    test = Sprt(setting.elo0, setting.elo1, setting.alpha, setting.beta)
    accepted = {}
    for elo in (-20.0, 0.0, 50.0, 100.0):
        wins = rng.binomial(2, score_of_elo(elo), (300, setting.max_games // 2))
        counts = (wins[..., None] == np.arange(3)).cumsum(axis=1)[:, 9::10]
        llrs = test.llrs(counts.reshape(-1, 3)).reshape(300, -1)
        outside = (llrs <= test.lower) | (llrs >= test.upper)
        first = llrs[np.arange(300), outside.argmax(axis=1)]
        accepted[elo] = float((first >= test.upper).mean())
    assert accepted[-20.0] <= 0.01
    assert accepted[0.0] <= 0.07  # alpha, and the noise of 300 tests
    assert accepted[50.0] >= 0.65
    assert accepted[100.0] >= 0.98


# ---- the comparison with the champion's share ---------------------------------------------------


def test_the_bound_of_a_difference() -> None:
    equal = greatest_difference([10, 20, 10], [10, 20, 10])
    assert 0 < equal < 0.2
    assert greatest_difference([0, 0, 40], [40, 0, 0]) > 0.9
    assert greatest_difference([40, 0, 0], [0, 0, 40]) < -0.9
    assert greatest_difference([1, 0, 0], [0, 0, 1]) == pytest.approx(0.41421356)  # nothing known
    # shares of 56/70 and 48/80 (Newcombe 1998, table II): his 90 % bounds, by another strictness
    many = greatest_difference([1400, 5600], [3200, 4800])
    assert many == pytest.approx(0.2 + 1.645 * np.sqrt(0.16 / 7000 + 0.24 / 8000), abs=1e-3)


def test_equals_seldom_look_worse() -> None:
    rng = np.random.default_rng(0)
    blocks = 50
    for share in (0.02, 0.3, 0.5, 0.95):
        chances = [(1 - share) ** 2, 2 * share * (1 - share), share**2]
        counts, before = rng.multinomial(blocks, chances, (2, 1500))
        assert (greatest_difference(counts, before) < 0).mean() < 0.065
    worse = greatest_difference([30, 15, 5], rng.multinomial(blocks, chances, 100)) < 0
    assert worse.all()


# ---- models of the registry ---------------------------------------------------------------------


def test_seeds_are_fresh() -> None:
    seeds = {fresh_seed(a, b) for a in ("x", "y") for b in ("x", "y", None)}
    assert len(seeds) == 6
    assert fresh_seed("x", "y") == fresh_seed("x", "y") < 2**48


def test_models_are_gated_with_the_registry(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "models")
    made: dict[str, str] = {}
    entries = []
    for seed, stand_in in enumerate((MIDDLE, careless(0.2), careless(0.0))):
        path = checkpoint.save(tmp_path / "made", network("hex8", 2, seed), {})
        entries.append(registry.find("hex8-2p", str(path)))
        made[path.stem] = stand_in.spec
    monkeypatch.setattr(promote, "model_spec", lambda entry, sims: made[entry.identity])
    setting = replace(SETTING, max_games=800)
    documents: list[dict[str, Any]] = []
    for entry in entries:
        found = gate_model(registry, HEX, entry, results, setting, 8)
        assert found.verdict == "accepted", found.reasons
        documents.append(found.document())
        registry.add("hex8-2p", entry.path)
        registry.promote("hex8-2p", entry.identity, documents[-1])
    champions = [doc["champion"] and doc["champion"]["model"] for doc in documents]
    assert champions == [None, entries[0].identity, entries[1].identity]
    assert [check["name"] for check in documents[2]["checks"]] == [
        "random",
        "champion",
        "heuristic",
        "earlier",
    ]
    heuristic = documents[2]["checks"][2]
    assert heuristic["against"] == documents[1]["checks"][2]["match"]
    with pytest.raises(RingriftError, match="is already the champion of hex8-2p"):
        gate_model(registry, HEX, entries[2], results, setting, 8)
    again = gate_model(registry, HEX, entries[0], results, setting, 8)
    assert again.verdict == "rejected"  # and it does not meet itself among the champions of old


def test_networks_play_in_the_gate(results: Results, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    entry = registry.add("hex8-2p", checkpoint.save(tmp_path, network("hex8", 2), {}))
    setting = replace(SETTING, random_games=4, heuristic_games=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = gate_model(registry, HEX, entry, results, setting, 2)
    finally:
        torch.set_num_threads(threads)
    assert found.candidate == Contender(entry.identity, model_spec(entry, 2))
    assert found.checks[0].match.games == 4
    assert found.checks[0].match.identities[0] == identity(HEX, model_spec(entry, 2))


def test_folders_that_no_player_can_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "a=b")
    entry = registry.add("hex8-2p", checkpoint.save(tmp_path, network("hex8", 2), {}))
    with pytest.raises(UsageError, match="holds ',' or '='"):
        model_spec(entry, 1)
