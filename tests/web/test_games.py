"""The board in the browser, without a browser: games, lessons, and their safety."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from ringrift_cli.game.position import Position
from ringrift_cli.game.topology import BOARDS
from ringrift_cli.play.lessons import lessons
from ringrift_cli.web.app import Site, build
from ringrift_cli.web.games import MAX_GAMES_OF_CLIENT


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(build(Site()), base_url="http://localhost") as found:
        found.get("/play")  # gets a cookie, as a browser does
        yield found


def new(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.post("/games", content=json.dumps(asked))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def command(client: TestClient, view: dict[str, Any], name: str, action: int = 0) -> dict[str, Any]:
    asked = json.dumps({"command": name, "action": action})
    answer = client.post(f"/games/{view['game']}", content=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])


def step(client: TestClient, view: dict[str, Any]) -> dict[str, Any]:
    """One decision: a person's is the first, of another player its own."""
    if view["persons_turn"]:
        return command(client, view, "move", view["choices"][0]["action"])
    return command(client, view, "answer")


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("players", [2, 3, 4])
def test_every_board_can_be_played(client: TestClient, board: str, players: int) -> None:
    seats = ["person", *["level-1"] * (players - 1)]
    view = new(client, board=board, players=players, seats=seats)
    svg = client.get(f"/boards/{board}").text
    for _ in range(4 * players):
        contents = {text for text in view["cells"] if text}
        assert contents >= view["drawings"].keys()
        view = step(client, view)
    assert view["decisions"] == 4 * players
    assert svg.count('class="cell"') == len(view["cells"]) == len(BOARDS[board].cells)
    again = client.get(f"/games/{view['game']}").json()
    assert again["drawings"].keys() == {text for text in view["cells"] if text}


def test_a_whole_game_ends_with_its_standings(client: TestClient) -> None:
    view = new(client, board="hex8", players=2, seats=["person", "level-1"])
    while not view["over"]:
        view = step(client, view)
    assert " won " in view["ending"][0]
    assert len(view["ending"]) == 3
    assert "choices" not in view


def test_undo_redo_hint_about_and_resignation(client: TestClient) -> None:
    view = new(client, seats=["person", "level-1"])
    first = view["choices"][5]
    assert command(client, view, "about", first["action"])["about"]
    after = command(client, view, "move", first["action"])
    assert after["log"][0].startswith("You (A) put")
    hint = command(client, after, "hint")
    assert hint["action"] in [choice["action"] for choice in after["choices"]]
    assert sum(hint["values"]) == pytest.approx(1)
    undone = command(client, after, "undo")
    assert undone["cells"] == view["cells"]
    redone = command(client, undone, "redo")
    assert redone["cells"] == after["cells"]
    over = command(client, redone, "resign")
    assert over["over"]
    assert "resigned. B (level 1) won." in over["ending"][0]
    assert not command(client, over, "undo")["over"]


def test_a_game_comes_back_from_its_file_and_its_text(client: TestClient) -> None:
    view = new(client, board="square8", players=3, seats=["person", "level-2", "level-1"])
    for _ in range(6):
        view = step(client, view)
    saved = client.get(f"/games/{view['game']}/file")
    assert "attachment" in saved.headers["content-disposition"]
    back = new(client, text=saved.text)
    assert (back["cells"], back["names"]) == (view["cells"], view["names"])
    shared = client.get(f"/games/{view['game']}/text").text
    assert shared.startswith("newgame board square8 players 3 pie off\nposition start moves ")
    copy = new(client, text=shared)
    assert copy["cells"] == view["cells"]
    assert copy["persons"] == [True] * 3  # the text names no players
    while "capture" in copy["text"]:  # the text lacks the stack that captures
        copy = step(client, copy)
    assert new(client, text=copy["text"])["cells"] == copy["cells"]


def test_a_swap_exchanges_the_seats(client: TestClient) -> None:
    view = new(client, seats=["person", "level-1"], pie_rule=True)
    while view["seat"] == 1 or not view["persons_turn"]:
        view = step(client, view)
        if view["seat"] == 2:
            break
    assert not view["persons_turn"]
    people = new(client, seats=["person", "person"], pie_rule=True)
    while people["seat"] == 1:
        people = step(client, people)
    swap = [choice for choice in people["choices"] if choice["kind"] == "swap"]
    assert command(client, people, "move", swap[0]["action"])["names"] == [
        "A (person)",
        "B (person)",
    ]


# ---- what a browser may not do -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["exec:touch /tmp/x", "random", "model:/etc/passwd", "heuristic:x.yaml", ""]
)
def test_players_are_those_of_the_list(client: TestClient, name: str) -> None:
    answer = client.post("/games", content=json.dumps({"seats": ["person", name]}))
    assert "choose one of the list" in refusal(answer)
    assert "choose one of the list" in refusal(
        client.post("/api/move", content=json.dumps({"player": name}))
    )


def test_a_saved_game_brings_no_player_of_its_own(client: TestClient) -> None:
    view = new(client, seats=["person", "level-1"])
    document = client.get(f"/games/{view['game']}/file").json()
    document["seats"][1]["spec"] = "exec:touch /tmp/x"
    answer = client.post("/games", content=json.dumps({"text": json.dumps(document)}))
    assert "does not play here" in refusal(answer)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"board": "go"}, "Unknown board"),
        ({"players": 9}, "players"),
        ({"players": 3, "pie_rule": True, "seats": ["person"] * 3}, "pie rule"),
        ({"seats": ["person"]}, "2 players"),
        ({"text": "/etc/passwd"}, "neither a position"),
        ({"text": "{"}, "not valid JSON"),
        ({"text": '{"format": "ringrift-play"}'}, "version"),
        ({"lesson": 99}, "no number 99"),
        ({"path": "x"}, "unknown field"),
        ([], "Expected `object`"),
    ],
)
def test_wrong_requests_say_what_is_wrong(client: TestClient, body: Any, said: str) -> None:
    assert said in refusal(client.post("/games", content=json.dumps(body)))


def test_moves_are_checked(client: TestClient) -> None:
    view = new(client, seats=["level-1", "person"])
    path = f"/games/{view['game']}"
    assert "not a person's turn" in refusal(client.post(path, content='{"command": "move"}'))
    view = new(client)
    path = f"/games/{view['game']}"
    wrong = client.post(path, content='{"command": "move", "action": 100000}')
    assert "100000" in refusal(wrong)
    assert "no command" in refusal(client.post(path, content='{"command": "save"}'))
    assert "any more" in refusal(client.get("/games/unknown"))


def test_a_client_has_a_limited_number_of_games(client: TestClient) -> None:
    first = new(client)
    for _ in range(MAX_GAMES_OF_CLIENT):
        new(client)
    assert "any more" in refusal(client.get(f"/games/{first['game']}"))


# ---- lessons -------------------------------------------------------------------------------------


def test_lessons_have_moves_to_find_and_others(client: TestClient) -> None:
    assert len(lessons()) >= 12
    for number, lesson in enumerate(lessons()):
        legal = lesson.start().legal_moves()
        assert set(lesson.find) < set(legal), lesson.title
        view = new(client, lesson=number)
        assert view["lesson"]["title"] == lesson.title
        wrong = next(c for c in view["choices"] if c["text"] not in lesson.find)
        assert not command(client, view, "move", wrong["action"])["lesson"]["solved"]
        right = next(c for c in view["choices"] if c["text"] in lesson.find)
        solved = command(client, command(client, view, "undo"), "move", right["action"])
        assert solved["lesson"]["praise"] == lesson.praise


def test_a_position_text_with_a_focus_is_refused_without_one(client: TestClient) -> None:
    position = Position.initial("hex8").play("place 0,0 2")
    answer = client.post("/games", content=json.dumps({"text": str(position)}))
    assert answer.status_code == 200  # in movement any stack may go
    assert new(client, text=json.dumps(position.to_json()))["kind"] == "move_placed"
