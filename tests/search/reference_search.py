"""A search in plain Python, written from the papers and the definitions of search/, not from its
code: objects, dictionaries and the public `Position`. Slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ringrift_cli.game.position import Position

# priors by action and chances by seat
Judge = Callable[[Position], tuple[dict[int, float], list[float]]]


@dataclass
class Edge:
    prior: float
    child: Node | None = None
    visits: int = 0
    worth: list[float] = field(default_factory=list)

    def value(self, seat: int) -> float:
        if self.child is not None and self.child.winner is not None:
            return float(self.child.winner == seat)
        return self.worth[seat] / self.visits

    def loses(self, seat: int) -> bool:
        return self.child is not None and self.child.winner not in (None, seat)

    def wins(self, seat: int) -> bool:
        return self.child is not None and self.child.winner == seat


@dataclass
class Node:
    position: Position
    seat: int
    value: list[float]
    edges: dict[int, Edge]
    winner: int | None = None  # who is certain to win

    def prove(self) -> None:
        if any(edge.wins(self.seat) for edge in self.edges.values()):
            self.winner = self.seat
            return
        winners = {None if e.child is None else e.child.winner for e in self.edges.values()}
        if len(winners) == 1:
            self.winner = winners.pop()


def settle(position: Position) -> Position:
    """The position behind the decisions that are none."""
    while not position.is_over and len(position.legal_actions()) == 1:
        position = position.play(int(position.legal_actions()[0]))
    return position


class Search:
    def __init__(
        self, root: Position, judge: Judge, exploration: float, considered: int, scale: float
    ) -> None:
        self.judge, self.exploration, self.scale = judge, exploration, scale
        self.players = root.players
        self.root = self.node(root)
        width = min(considered, len(self.root.edges))
        ranked = sorted(self.root.edges, key=lambda a: -self.root.edges[a].prior)
        self.considered = ranked[:width]

    def node(self, position: Position) -> Node:
        result = position.result()
        if result is not None:
            winner = result.winner - 1
            return Node(position, -1, [float(q == winner) for q in range(self.players)], {}, winner)
        priors, value = self.judge(position)
        edges = {a: Edge(p, worth=[0.0] * self.players) for a, p in priors.items()}
        return Node(position, position.seat - 1, value, edges)

    def puct(self, node: Node) -> int:
        total = sum(edge.visits for edge in node.edges.values())
        seen = sum(edge.prior for edge in node.edges.values() if edge.visits)
        unseen = max(0.0, node.value[node.seat] - 0.2 * math.sqrt(seen))

        def score(action: int) -> float:
            edge = node.edges[action]
            q = edge.value(node.seat) if edge.visits else unseen
            if edge.visits and edge.loses(node.seat):
                q -= 1e9
            weight = self.exploration * math.sqrt(max(1, total)) * edge.prior
            return q + weight / (1 + edge.visits)

        return max(node.edges, key=score)  # the first of equals

    def mixed(self) -> float:
        seat = self.root.seat
        visited = [e for e in self.root.edges.values() if e.visits]
        own = self.root.value[seat]
        if not visited:
            return own
        total = sum(e.visits for e in visited)
        mean = sum(e.prior * e.value(seat) for e in visited) / sum(e.prior for e in visited)
        return (own + total * mean) / (1 + total)

    def sigma(self, action: int) -> float:
        edge = self.root.edges[action]
        most = max(e.visits for e in self.root.edges.values())
        q = edge.value(self.root.seat) if edge.visits else self.mixed()
        return (50 + most) * self.scale * q

    def at_root(self, schedule: list[int], done: int) -> int:
        if not self.considered:
            return self.puct(self.root)
        open_ = [a for a in self.considered if not self.root.edges[a].loses(self.root.seat)]

        def score(action: int) -> float:
            return math.log(self.root.edges[action].prior) + self.sigma(action)

        due = [a for a in open_ if self.root.edges[a].visits == schedule[done]]
        if due or open_:
            return max(due or open_, key=score)
        return self.puct(self.root)

    def run(self, simulations: int) -> None:
        schedule = halving(len(self.considered), simulations)
        for done in range(simulations):
            if self.root.winner is not None:
                return
            node, action = self.root, self.at_root(schedule, done)
            path = [(node, action)]
            while True:
                edge = node.edges[action]
                if edge.child is None:
                    edge.child = self.node(settle(node.position.play(action)))
                    break
                node = edge.child
                if node.winner is not None:
                    break
                action = self.puct(node)
                path.append((node, action))
            leaf = edge.child if path[-1][0].edges[path[-1][1]] is edge else node
            assert leaf is not None
            value = leaf.value
            if leaf.winner is not None:
                value = [float(q == leaf.winner) for q in range(self.players)]
            for parent, taken in reversed(path):
                edge = parent.edges[taken]
                edge.visits += 1
                edge.worth = [a + b for a, b in zip(edge.worth, value, strict=True)]
            for parent, _ in reversed(path):
                if parent.winner is None:
                    parent.prove()

    def policy(self) -> dict[int, float]:
        """The improved policy of the paper, without what is certainly lost."""
        edges, seat = self.root.edges, self.root.seat
        left = [a for a in edges if not edges[a].loses(seat)] or list(edges)
        if self.root.winner == seat:
            left = [a for a in left if edges[a].wins(seat)]
        raw = {a: math.log(edges[a].prior) + self.sigma(a) for a in left}
        top = max(raw.values())
        total = sum(math.exp(x - top) for x in raw.values())
        return {a: math.exp(raw[a] - top) / total if a in raw else 0.0 for a in edges}


def halving(actions: int, simulations: int) -> list[int]:
    """Visits that an action must have for simulation 0, 1, … (Karnin et al. 2013)."""
    if actions <= 1:
        return list(range(simulations))
    visits = [0] * actions
    left = actions
    found: list[int] = []
    phases = math.ceil(math.log2(actions))
    while len(found) < simulations:
        for _ in range(max(1, simulations // (phases * left))):
            found += visits[:left]
            visits[:left] = [v + 1 for v in visits[:left]]
        left = max(2, left // 2)
    return found[:simulations]
