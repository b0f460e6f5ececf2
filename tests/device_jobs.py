"""Jobs for the simulator (simulated.py): what drivers of a GPU do, with arrays in and out."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from ringrift_cli.game.cuda.batch import DeviceBatch, play_random
from ringrift_cli.game.cuda.device import Device
from ringrift_cli.game.topology import tables
from ringrift_cli.nn.cuda.evaluator import DeviceNetwork, Encoder
from ringrift_cli.nn.folded import Folded
from ringrift_cli.nn.network import Network, architecture
from ringrift_cli.players.cuda.playout import HeuristicBatch, Temper
from ringrift_cli.search.cuda.check import DeviceArithmetic, trace
from ringrift_cli.search.cuda.forest import DeviceForest
from ringrift_cli.selfplay.actor import Actor
from ringrift_cli.settings import SelfPlay
from tests.simulated import Arrays

QUICK = SelfPlay(
    sims=6, fast_sims=2, considered=4, fast_considered=2, full_share=0.5, opening_decisions=4
)


def named(given: Arrays) -> tuple[str, int]:
    """The board and number of players that a job is about."""
    return str(given["board"]), int(given["players"])


def games(given: Arrays) -> Arrays:
    """Random games in both orders of memory, and what follows of their last positions."""
    told: Arrays = {}
    for by_word in (False, True):
        batch = DeviceBatch(*named(given), len(given["seeds"]), Device("cpu"), by_word=by_word)
        rows, logs, lengths = play_random(batch, given["seeds"], int(given["log"]))
        lists, counts = batch.legal()
        found: Arrays = {
            "rows": rows.copy(), "logs": logs, "lengths": lengths, "mask": batch.mask().numpy(),
            "winners": batch.ended().numpy(), "counts": counts.numpy(),
        }  # fmt: skip
        first = torch.where(counts > 0, lists[:, 0], -1)
        batch.apply(first)
        found |= {"first": first.numpy(), "after": batch.rows.numpy()}
        told |= {f"{name}-{by_word}": array.copy() for name, array in found.items()}
    return told


def many_games(given: Arrays) -> Arrays:
    """More games than rows."""
    device = Device("cpu")
    batch = DeviceBatch(*named(given), 2, device)
    return {"lengths": batch.play_many(device.moved(given["seeds"])).numpy()}


def features(given: Arrays) -> Arrays:
    """Planes and scalars of rows."""
    device, rows = Device("cpu"), torch.from_numpy(given["rows"])
    encoder = Encoder(tables(*named(given)), len(rows), device)
    for _ in range(2):  # the second time over what the first one left
        encoder.encode(rows)
    return {"planes": encoder.planes.numpy(), "scalars": encoder.scalars.numpy()}


def network(given: Arrays) -> Arrays:
    """What a new network says of rows, and whether one of no numbers is found out."""
    (board, players), device = named(given), Device("cpu")
    T, rows = tables(board, players), torch.from_numpy(given["rows"])
    lists, counts = torch.from_numpy(given["lists"]), torch.from_numpy(given["counts"])
    torch.manual_seed(0)
    net = Network(architecture("tiny", board, players)).eval()
    told: Arrays = {}
    for name in ("sound", "unsound"):
        judge = DeviceNetwork(Folded(net, device.torch, torch.float32), T, len(rows), device)
        few = counts if name == "sound" else counts.clamp(max=2)
        logits, chances = judge.evaluate(rows, lists, few)
        told[name] = judge.wrong.numpy().copy()
        if name == "sound":
            told |= {"logits": logits.numpy().copy(), "chances": chances.numpy().copy()}
        torch.nn.init.constant_(net.value.bias, float("nan"))
    return told


def search(given: Arrays) -> Arrays:
    """Decisions by a search; see check.trace."""
    (board, players), device = named(given), Device("cpu")
    simulations, considered = int(given["simulations"]), int(given["considered"])
    forest = DeviceForest(
        tables(board, players), len(given["rows"]), DeviceArithmetic(players, device), device,
        simulations=simulations, considered=considered,
    )  # fmt: skip
    found = trace(
        forest, given["rows"], given["seeds"], int(given["decisions"]), simulations, considered
    )
    told = found.arrays()
    return {**told, "evaluated": np.array(forest.evaluated), "cramped": np.array(forest.cramped)}


def selfplay(given: Arrays) -> Arrays:
    """Games of self-play: their decisions and targets, by the order in which they end."""
    (board, players), device = named(given), Device("cpu")
    forest = DeviceForest(
        tables(board, players), 2, DeviceArithmetic(players, device), device,
        simulations=QUICK.sims, considered=4, value_scale=QUICK.value_scale,
    )  # fmt: skip
    left = iter(range(int(given["games"])))
    actor = Actor(board, players, QUICK, forest, lambda: next(left, None), seed=3)
    ended = itertools.count()
    told: Arrays = {}
    while actor.playing:
        for game in actor.step():
            number = next(ended)
            told |= {f"actions-{number}": game.actions, f"targets-{number}": game.targets}
    told["evaluations"] = np.array(actor.counts.evaluations)
    return told


def heuristic(given: Arrays) -> Arrays:
    """Games of the heuristic."""
    device, seeds = Device("cpu"), given["seeds"]
    batch = HeuristicBatch(*named(given), len(seeds), device, given["weights"])
    temper = Temper(int(given["width"]), *given["careless"].tolist())
    logs, lengths = batch.play(device.moved(seeds), int(given["log"]), temper)
    return {"rows": batch.batch.rows.numpy(), "logs": logs.numpy(), "lengths": lengths.numpy()}
