"""The JSON interface, and analysis of games and positions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ringrift_cli.game.position import Position
from ringrift_cli.review.sources import GameFile
from ringrift_cli.web.app import Site, build
from tests.conftest import CONFORMANCE, Ringrift

GAME = CONFORMANCE / "hex8-2p.jsonl.gz"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(build(Site(files=[GameFile(GAME)])), base_url="http://localhost") as found:
        yield found


def ask(client: TestClient, path: str, asked: Any) -> Any:
    answer = client.post(path, content=json.dumps(asked))
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(client: TestClient, path: str, asked: Any) -> list[dict[str, Any]]:
    text = client.post(path, content=json.dumps(asked)).text
    return [json.loads(part.removeprefix("data: ")) for part in text.split("\n\n") if part]


# ---- serve ---------------------------------------------------------------------------------------


def test_legal_moves_are_those_of_the_rules(client: TestClient) -> None:
    position = Position.initial("square8", 3).play("place 0,0 2")
    asked = {"board": "square8", "players": 3, "moves": ["place 0,0 2"]}
    for place in (asked, {"position": position.to_json()}):
        found = ask(client, "/api/legal", place)
        assert found["moves"] == position.legal_moves()
        assert (found["seat"], found["phase"], found["result"]) == (1, "movement", None)


def test_moves_of_players_are_legal_and_repeatable(client: TestClient) -> None:
    for player in ("level-1", "level-5", "network-shipped"):
        asked = {"player": player, "seed": 7}
        first, second = ask(client, "/api/move", asked), ask(client, "/api/move", asked)
        assert first == second
        assert first["position"] == str(Position.initial("hex8").play(first["move"]))


def test_an_analysis_has_candidates_with_lines(client: TestClient) -> None:
    found = ask(client, "/api/analyse", {"simulations": 60, "candidates": 3})
    assert sum(found["values"]) == pytest.approx(1)
    assert len(found["candidates"]) == 3
    for candidate in found["candidates"]:
        position = Position.initial("hex8")
        for move in candidate["line"]:
            position = position.play(move)
        assert candidate["line"][0] == candidate["move"]
    assert (
        ask(client, "/api/analyse", {"evaluator": "heuristic", "simulations": 5})["simulations"]
        == 5
    )


def test_a_batch_has_answers_and_errors(client: TestClient) -> None:
    good, bad = ask(client, "/api/legal", [{}, {"moves": ["place 9,9 1"]}])
    assert len(good["moves"]) == 183
    assert "9,9" in bad["error"]
    document = client.get("/api/openapi.json").json()
    assert document["paths"].keys() == {"/api/legal", "/api/move", "/api/analyse"}
    assert "simulations" in document["components"]["schemas"]["AnalyseRequest"]["properties"]


# ---- analyse -------------------------------------------------------------------------------------


def test_a_recorded_game_opens_with_what_each_decision_changed(client: TestClient) -> None:
    assert client.get("/analysis/sources").json()[0]["label"] == GAME.name
    view = ask(client, "/analysis/load", {"source": 0, "number": 2})
    record, _ = GameFile(GAME).record(2)
    cells = list(view["first"]["cells"])
    for step, (position, action) in zip(view["steps"], record.positions(), strict=False):
        assert cells == list(position.text.cells)
        assert step["action"] == action
        for cell, content in step["changed"].items():
            cells[int(cell)] = content
            assert content == "" or content in view["first"]["drawings"]
    assert view["ending"].startswith(f"Player {record.result.winner} won")


def test_a_search_is_streamed_with_ownership(client: TestClient) -> None:
    key = ask(client, "/analysis/load", {"source": 0, "number": 1})["game"]
    first, *states = events(
        client, "/analysis/position", {"game": key, "ply": 20, "simulations": 50}
    )
    assert len(first["ownership"]) == 61
    assert sum(first["ownership"][0]) == pytest.approx(1, abs=0.01)
    assert states[-1]["done"]
    assert states[-1]["simulations"] == 50
    assert sum(states[-1]["policy"].values()) == pytest.approx(1, abs=0.1)
    best = states[-1]["candidates"][0]
    varied = ask(client, "/analysis/load", {"game": key, "ply": 20, "action": best["action"]})
    assert varied["steps"][-1]["move"] == best["move"]


def test_a_finished_game_has_nothing_to_analyse(client: TestClient) -> None:
    key = ask(client, "/analysis/load", {"source": 0, "number": 1})["game"]
    asked = {"game": key, "ply": 10_000, "evaluator": "heuristic"}
    assert "is over" in events(client, "/analysis/position", asked)[-1]["error"]
    assert client.post("/analysis/position", content='{"game": "x"}').status_code == 400


def test_a_whole_game_is_analysed_in_parts(client: TestClient) -> None:
    loaded = ask(client, "/analysis/load", {"source": 0, "number": 1})
    found = events(client, "/analysis/game", {"game": loaded["game"], "simulations": 4})
    done = [state["done"] for state in found]
    assert done == sorted(done)
    decisions, final = found[-1]["decisions"], found[-1]["final"]
    assert [one["move"] for one in decisions] == [step["move"] for step in loaded["steps"]]
    assert sorted(final) == [0, 1]
    assert all(one["lost"] == 0 for one in decisions if one["move"] == one["best"])
    assert {one["mark"] for one in decisions} >= {None, "blunder"}  # it was drawn at random


def test_analyse_writes_tables_documents_and_pages(ringrift: Ringrift, tmp_path: Path) -> None:
    page = tmp_path / "game.html"
    done = ringrift("analyse", GAME, "--game", 2, "--sims", 4, "--html", page, "--json")
    found = json.loads(done.out)
    assert (done.code, found["board"], found["html"]) == (0, "hex8", str(page))
    text = page.read_text()
    assert "<svg" in text
    assert "<script" not in text
    assert "blunder" in ringrift("analyse", GAME, "--sims", 4, "--evaluator", "heuristic").out
    assert ringrift("analyse", GAME, "--evaluator", "x").code == 2
    assert "no game 9" in ringrift("analyse", GAME, "--game", 999).err
