"""The registry: nobody is champion without evidence, and no crash or race leaves a half-truth."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringrift_cli.errors import RecordError, RingriftError, UsageError
from ringrift_cli.game.version import rules_hash
from ringrift_cli.nn import checkpoint
from ringrift_cli.nn.registry import Registry, default_folder, pool_name, shipped_pools
from tests.nn.networks import network

POOL = "hex8-2p"
Maker = Callable[..., Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Makes checkpoints: the same seed, board and players, the same one."""
    folder = tmp_path_factory.mktemp("made")

    def make(seed: int = 0, board: str = "hex8", players: int = 2, **about: Any) -> Path:
        weights = network(board, players, seed)
        return checkpoint.save(folder / f"{board}-{players}-{seed}", weights, about)

    return make


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def evidence(
    candidate: str, champion: str | None, pool: str = POOL, number: int = 0
) -> dict[str, Any]:
    """What an accepting gate writes, as far as the registry looks."""
    names = ["random", "champion", "heuristic"] if champion else ["random", "heuristic"]
    return {
        "format": 1,
        "pool": pool,
        "candidate": {"model": candidate, "spec": f"model:{candidate}"},
        "champion": None if champion is None else {"model": champion, "spec": f"model:{champion}"},
        "verdict": "accepted",
        "stopped": False,
        "reasons": ["It is better."],
        "games": 10 * len(names),
        "checks": [{"name": n, "passed": True, "match": {"games": 10}} for n in names],
        "setting": {"seed": number},
        "rules": rules_hash(),
        "time": "2026-01-01T00:00:00+00:00",
    }


def crown(registry: Registry, path: Path, pool: str = POOL) -> str:
    """Adds a checkpoint and promotes it; its identity."""
    entry = registry.add(pool, path)
    present = registry.champion(pool)
    number = len(registry.history(pool))
    registry.promote(
        pool,
        entry.identity,
        evidence(entry.identity, present.identity if present else None, pool, number),
    )
    return entry.identity


# ---- reading ------------------------------------------------------------------------------------


def test_an_empty_registry(registry: Registry) -> None:
    assert registry.pools() == []
    assert registry.models(POOL) == []
    assert registry.champion(POOL) is None
    assert registry.evidence(POOL) is None
    assert registry.history(POOL) == []
    assert registry.earlier(POOL) == []
    with pytest.raises(UsageError, match="hex8-2p has no champion"):
        registry.find(POOL, "champion")
    assert not registry.folder.exists()  # looking changes nothing


def test_pools_have_names() -> None:
    assert pool_name("hex8", 2) == POOL
    assert pool_name("square19", 2, pie_rule=True) == "square19-2p-pie"
    for wrong in ("hex8", "hex8-5p", "../hex8-2p", "hex8-2p-pie-pie"):
        with pytest.raises(UsageError, match="not a pool of models"):
            Registry(Path("models")).models(wrong)


def test_the_folder_is_what_the_environment_says_else_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RINGRIFT_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert default_folder() == Path("models")
    Path("ringrift.yaml").write_text("run:\n  models: kept\n")
    assert default_folder() == Path("kept")
    monkeypatch.setenv("RINGRIFT_MODELS", "/elsewhere")
    assert default_folder() == Path("/elsewhere")
    Path("ringrift.yaml").write_text("run:\n  modles: kept\n")
    with pytest.raises(UsageError, match=r"ringrift\.yaml:2: there is no key 'modles' in run"):
        default_folder()


def test_an_added_checkpoint_is_whole_and_can_be_found(registry: Registry, made: Maker) -> None:
    path = made(1, steps=7)
    elsewhere = path.parent / "best.json"
    elsewhere.write_bytes(path.read_bytes())
    elsewhere.with_suffix(".safetensors").write_bytes(path.with_suffix(".safetensors").read_bytes())
    entry = registry.add(POOL, elsewhere.with_suffix(".safetensors"))
    assert entry.path == registry.folder / POOL / f"{entry.identity}.json"
    assert checkpoint.load(entry.path, "hex8", 2).identity == entry.identity
    assert entry.weights.read_bytes() == path.with_suffix(".safetensors").read_bytes()
    assert entry.about == {"steps": 7}
    assert registry.add(POOL, path) == entry  # and once more changes nothing
    assert registry.pools() == [POOL]
    assert registry.models(POOL) == [entry]
    for name in (entry.identity, entry.identity[:4], str(entry.path), str(entry.weights)):
        assert registry.find(POOL, name).identity == entry.identity
    assert registry.find(POOL, str(elsewhere)).path == elsewhere


def test_a_whole_model_stays_as_it_is(registry: Registry, made: Maker, tmp_path: Path) -> None:
    entry = registry.add(POOL, made(1, steps=7))
    before = entry.path.read_bytes()
    again = checkpoint.save(tmp_path / "again", network("hex8", 2, 1), {"steps": 9})
    assert again.stem == entry.identity
    found = registry.add(POOL, again)
    assert (found, entry.path.read_bytes()) == (entry, before)
    assert found.about == {"steps": 7}
    entry.path.write_text("{")  # one that is not whole gives way
    assert registry.add(POOL, again).about == {"steps": 9}
    break_weights(entry.path)
    assert registry.add(POOL, made(1, steps=7)).about == {"steps": 7}
    assert checkpoint.load(entry.path, "hex8", 2).identity == entry.identity


def test_only_who_can_never_be_champion_again_is_removed(registry: Registry, made: Maker) -> None:
    first, second, third = (crown(registry, made(seed)) for seed in (1, 2, 3))
    idle = registry.add(POOL, made(4))
    size = idle.path.stat().st_size + idle.weights.stat().st_size
    for identity, what in ((third, "is the champion"), (first, "is an earlier champion")):
        with pytest.raises(UsageError, match=f"{identity} {what} of hex8-2p, expected a model"):
            registry.remove(POOL, identity)
    assert registry.remove(POOL, idle.identity) == size
    assert not idle.path.exists()
    assert not idle.weights.exists()
    with pytest.raises(RecordError, match=f"{idle.identity} of hex8-2p is not in"):
        registry.remove(POOL, idle.identity)
    registry.rollback(POOL, "a test")
    history = registry.history(POOL)
    registry.remove(POOL, third)  # nothing brings back who fell
    assert registry.history(POOL) == history
    assert [entry.identity for entry in registry.earlier(POOL)] == [first]
    champion = registry.champion(POOL)
    assert champion is not None
    assert champion.identity == second


def test_names_that_are_nobody(registry: Registry, made: Maker) -> None:
    entry = registry.add(POOL, made(1))
    with pytest.raises(UsageError, match="'zzzz' names no single model"):
        registry.find(POOL, "zzzz")
    with pytest.raises(UsageError, match="4 digits of an identity"):
        registry.find(POOL, entry.identity[:3])
    last = "1" if entry.identity.endswith("0") else "0"
    twin = entry.path.with_name(f"{entry.identity[:15]}{last}.json")
    twin.write_bytes(entry.path.read_bytes())
    with pytest.raises(UsageError, match=f"it fits .*{entry.identity}"):
        registry.find(POOL, entry.identity[:8])
    with pytest.raises(RecordError, match="about another model"):
        registry.find(POOL, twin.stem)
    with pytest.raises(RecordError, match="nowhere"):
        registry.find(POOL, "nowhere/at-all.json")
    crown(registry, made(1))
    with pytest.raises(UsageError, match="no previous champion"):
        registry.find(POOL, "previous")


@pytest.mark.parametrize(("board", "players"), [("square8", 3), ("square19", 4), ("hexagonal", 2)])
def test_every_pool_has_models_of_its_own(
    registry: Registry, made: Maker, board: str, players: int
) -> None:
    pool = pool_name(board, players)
    identity = crown(registry, made(0, board, players), pool)
    champion = registry.champion(pool)
    assert champion is not None
    assert champion.identity == identity
    assert registry.champion(POOL) is None
    with pytest.raises(UsageError, match=f"a network for {board} with {players} players"):
        registry.add(POOL, champion.path)


def test_pie_rule_models_stay_among_themselves(registry: Registry, made: Maker) -> None:
    registry.add("hex8-2p-pie", made(2, pie_rule=True))
    with pytest.raises(UsageError, match="trained with the pie rule"):
        registry.add(POOL, made(2, pie_rule=True))


# ---- what is damaged ----------------------------------------------------------------------------


def break_weights(path: Path) -> None:
    data = bytearray(path.with_suffix(".safetensors").read_bytes())
    data[-9] ^= 1
    path.with_suffix(".safetensors").write_bytes(data)


def test_damaged_checkpoints_are_refused(registry: Registry, made: Maker, tmp_path: Path) -> None:
    first, second, third = (crown(registry, made(seed)) for seed in (1, 2, 3))
    folder = registry.folder / POOL
    outside = tmp_path / "copy.json"
    outside.write_bytes(made(4).read_bytes())
    with pytest.raises(RecordError, match=r"Cannot read .*copy\.safetensors"):
        registry.add(POOL, outside)
    outside.with_suffix(".safetensors").write_bytes(b"no weights")
    with pytest.raises(RecordError, match="SHA-256"):
        registry.add(POOL, outside)
    break_weights(folder / f"{second}.json")
    with pytest.raises(RecordError, match="SHA-256"):
        registry.rollback(POOL, "a test")
    fourth = registry.add(POOL, made(4))
    break_weights(fourth.path)
    with pytest.raises(RecordError, match="SHA-256"):
        registry.promote(POOL, fourth.identity, evidence(fourth.identity, third))
    fourth.weights.unlink()
    with pytest.raises(RecordError, match="Cannot read"):
        registry.promote(POOL, fourth.identity, evidence(fourth.identity, third))
    with pytest.raises(RecordError, match=r"ffffffffffffffff .*is not in"):
        registry.promote(POOL, "f" * 16, evidence("f" * 16, third))
    assert [e.identity for e in registry.history(POOL)] == [first, second, third]
    registry.add(POOL, made(2))  # the whole one replaces the damaged one
    assert registry.rollback(POOL, "a test").identity == second


def test_json_of_other_weights_is_refused(registry: Registry, made: Maker) -> None:
    entry = registry.add(POOL, made(1))
    document = json.loads(entry.path.read_text())
    document["identity"] = "0123456789abcdef"
    fake = entry.path.with_name("0123456789abcdef.json")
    fake.write_text(json.dumps(document))
    fake.with_suffix(".safetensors").write_bytes(entry.weights.read_bytes())
    with pytest.raises(RecordError, match="identity"):
        registry.promote(POOL, fake.stem, evidence(fake.stem, None))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"promotion"', '"coronation"'),
        lambda text: text.replace(POOL, "square8-2p"),
        lambda text: text.replace('"format": 1', '"format": 2', 1),
        lambda text: json.dumps({**json.loads(text), "champion": "0" * 16}),
        lambda text: json.dumps({**json.loads(text), "history": []}),
    ],
)
def test_a_damaged_history_is_told_and_never_written_over(
    registry: Registry, made: Maker, damage: Callable[[str], str]
) -> None:
    identity = crown(registry, made(1))
    pointer = registry.folder / POOL / "champion.json"
    pointer.write_text(damage(pointer.read_text()))
    before = pointer.read_bytes()
    with pytest.raises(RecordError, match=r"champion\.json"):
        registry.champion(POOL)
    with pytest.raises(RecordError, match=r"champion\.json"):
        registry.promote(POOL, identity, evidence(identity, None))
    with pytest.raises(RecordError, match=r"champion\.json"):
        registry.rollback(POOL, "a test")
    assert pointer.read_bytes() == before


# ---- promotion ----------------------------------------------------------------------------------


def test_promotions_are_remembered_with_their_evidence(registry: Registry, made: Maker) -> None:
    first, second, third = (crown(registry, made(seed)) for seed in (1, 2, 3))
    champion = registry.champion(POOL)
    assert champion is not None
    assert champion.identity == third
    assert registry.find(POOL, "champion") == champion
    assert registry.find(POOL, "previous").identity == second
    assert [entry.identity for entry in registry.earlier(POOL)] == [second, first]
    history = registry.history(POOL)
    assert [(e.event, e.identity, e.parent) for e in history] == [
        ("promotion", first, None),
        ("promotion", second, first),
        ("promotion", third, second),
    ]
    assert registry.evidence(POOL) == evidence(third, second, number=2) == history[-1].evidence
    assert len(registry.models(POOL)) == 3


def test_no_promotion_without_evidence(registry: Registry, made: Maker) -> None:
    model, other = (registry.add(POOL, made(seed)).identity for seed in (1, 2))
    good = evidence(model, None)

    def changed(**fields: Any) -> dict[str, Any]:
        return {**copy.deepcopy(good), **fields}

    no_games = changed()
    no_games["checks"][0]["match"]["games"] = 0
    failed = changed()
    failed["checks"][1]["passed"] = False
    refused = [
        ({}, "There is no evidence"),
        (changed(verdict="rejected"), "says rejected: It is better"),
        (changed(verdict="inconclusive"), "says inconclusive"),
        (changed(stopped=True), "says accepted"),
        (changed(pool="square8-2p"), f"is about {model} in square8-2p"),
        (evidence(other, None), f"is about {other}"),
        (changed(rules="0" * 12), "not these"),
        (changed(format=0), "format 0"),
        (no_games, "a match without games"),
        (failed, "a check that failed"),
        (changed(checks=[]), "no match of: heuristic, random"),
        (changed(checks=good["checks"][:1]), "no match of: heuristic"),
        ({k: v for k, v in good.items() if k != "reasons"}, "lacks 'reasons'"),
        (changed(checks=[{"name": "random"}]), "lacks 'passed'"),
    ]
    for document, sentence in refused:
        with pytest.raises(RingriftError, match=sentence):
            registry.promote(POOL, model, document)
    against = evidence(model, other)
    with pytest.raises(RingriftError, match=f"against {other}, but the champion .* is nobody"):
        registry.promote(POOL, model, against)
    against["checks"] = [c for c in against["checks"] if c["name"] != "champion"]
    with pytest.raises(RingriftError, match="no match of: champion"):
        registry.promote(POOL, model, against)
    assert registry.history(POOL) == []
    assert registry.promote(POOL, model, good).identity == model


def test_evidence_against_somebody_else_does_not_count(registry: Registry, made: Maker) -> None:
    first = crown(registry, made(1))
    second, third = (registry.add(POOL, made(seed)).identity for seed in (2, 3))
    early = evidence(third, first)
    registry.promote(POOL, second, evidence(second, first))
    with pytest.raises(RingriftError, match=f"tested against {first}, but .* is {second}"):
        registry.promote(POOL, third, early)
    with pytest.raises(RingriftError, match=f"{second} is already the champion of hex8-2p"):
        registry.promote(POOL, second, evidence(second, first, number=9))
    assert [e.identity for e in registry.history(POOL)] == [first, second]


def test_the_same_promotion_twice_is_one(registry: Registry, made: Maker) -> None:
    entry = registry.add(POOL, made(1))
    for _ in range(2):
        registry.promote(POOL, entry.identity, evidence(entry.identity, None))
    assert len(registry.history(POOL)) == 1


# ---- the way back -------------------------------------------------------------------------------


def test_a_rollback_goes_one_back_and_is_remembered(registry: Registry, made: Maker) -> None:
    first, second, third = (crown(registry, made(seed)) for seed in (1, 2, 3))
    assert registry.rollback(POOL, "weak endgame").identity == second
    assert [e.identity for e in registry.earlier(POOL)] == [first]
    assert registry.evidence(POOL) == evidence(second, first, number=1)
    last = registry.history(POOL)[-1]
    assert (last.event, last.identity, last.parent) == ("rollback", second, third)
    assert last.reason == "weak endgame"
    assert registry.rollback(POOL, "weaker still").identity == first
    with pytest.raises(UsageError, match="no previous champion"):
        registry.rollback(POOL, "and now?")
    assert len(registry.history(POOL)) == 5
    fourth = crown(registry, made(4))
    assert [e.identity for e in registry.earlier(POOL)] == [first]
    assert registry.find(POOL, "champion").identity == fourth


def test_a_rollback_needs_a_reason_and_somebody(registry: Registry, made: Maker) -> None:
    with pytest.raises(UsageError, match="no previous champion"):
        registry.rollback(POOL, "a test")
    crown(registry, made(1))
    crown(registry, made(2))
    with pytest.raises(UsageError, match="needs a reason"):
        registry.rollback(POOL, " ")


def test_evidence_counts_once(registry: Registry, made: Maker) -> None:
    first, second = (crown(registry, made(seed)) for seed in (1, 2))
    used = registry.evidence(POOL)
    assert used is not None
    registry.rollback(POOL, "a test")
    again = {**copy.deepcopy(used), "time": "2027-01-01T00:00:00+00:00"}
    again["candidate"]["spec"] = "model:elsewhere"
    for written in (used, again):  # the same games, written down once more
        with pytest.raises(RingriftError, match="it needs new evidence"):
            registry.promote(POOL, second, written)
    registry.promote(POOL, second, evidence(second, first, number=99))
    champion = registry.champion(POOL)
    assert champion is not None
    assert champion.identity == second


# ---- several processes, and none ----------------------------------------------------------------

PROMOTER = """
import json, sys
from pathlib import Path
from ringrift_cli.errors import RingriftError
from ringrift_cli.nn.registry import Registry
registry = Registry(Path(sys.argv[1]))
registry.find("hex8-2p", sys.argv[2])
import torch
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    try:
        done = registry.promote("hex8-2p", order["model"], order["evidence"]).identity
    except RingriftError as error:
        done = error.message
    print(json.dumps(done), flush=True)
"""


def promoter(registry: Registry, name: str) -> subprocess.Popen[str]:
    """A process that promotes what it is told to; it has loaded all that takes time."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROMOTER, str(registry.folder), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def tell(process: subprocess.Popen[str], model: str, document: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"model": model, "evidence": document}) + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = json.loads(process.stdout.readline())
    assert isinstance(found, str)
    return found


def test_of_two_promotions_at_once_one_wins(registry: Registry, made: Maker) -> None:
    models = [registry.add(POOL, made(seed)).identity for seed in (1, 2, 3)]
    running = [promoter(registry, model) for model in models[:2]]
    present: str | None = None
    try:
        for number in range(8):
            rivals = [model for model in models if model != present][:2]
            for process, model in zip(running, rivals, strict=True):
                tell(process, model, evidence(model, present, number=number))
            told = [answer(process) for process in running]
            champion = registry.champion(POOL)
            assert champion is not None
            assert champion.identity in told
            (loser,) = (said for said in told if said not in models)
            assert f"but the champion of hex8-2p is {champion.identity}" in loser
            present = champion.identity
    finally:
        for process in running:
            process.communicate()
    assert len(registry.history(POOL)) == 8


def test_a_kill_leaves_a_whole_registry(registry: Registry, made: Maker) -> None:
    models = [registry.add(POOL, made(seed)).identity for seed in (1, 2)]
    rng = np.random.default_rng(5)
    for _ in range(5):
        known = len(registry.history(POOL))
        process = promoter(registry, models[0])
        for number in range(known, known + 40):  # they fit into the pipe, and take a second
            before = models[(number - 1) % 2] if number else None
            tell(process, models[number % 2], evidence(models[number % 2], before, number=number))
        assert answer(process) == models[known % 2]
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
        said, _ = process.communicate()
        reported = 1 + len(said.splitlines())
        history = registry.history(POOL)
        assert known + reported <= len(history) <= known + reported + 1
        assert len(history) < known + 40  # it was killed at work
        assert [e.identity for e in history] == [models[i % 2] for i in range(len(history))]
        champion = registry.champion(POOL)
        assert champion is not None
        assert champion.identity == history[-1].identity
        assert checkpoint.load(champion.path).identity == champion.identity


def test_models_that_are_shipped_load_and_are_found(registry: Registry) -> None:
    assert shipped_pools()
    for pool in shipped_pools():
        board, players = pool.removesuffix("p").rsplit("-", 1)
        entry = registry.find(pool, "shipped")
        assert checkpoint.load(entry.path, board, int(players)).identity == entry.identity
    with pytest.raises(UsageError, match="ringrift ships no model of square19-4p, but of "):
        registry.find("square19-4p", "shipped")
    with pytest.raises(UsageError, match="no champion") as caught:
        registry.find("hex8-2p", "champion")
    assert caught.value.hint is not None
    assert "model:shipped" in caught.value.hint
