"""The evaluator: the same numbers as the network, whatever else is in the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ringrift_cli.errors import RingriftError, UsageError
from ringrift_cli.game import layout as L
from ringrift_cli.game.playout import LongArray, list_all
from ringrift_cli.game.topology import IntArray, tables
from ringrift_cli.nn import evaluator, folded
from ringrift_cli.nn.checkpoint import identity_of
from ringrift_cli.nn.evaluator import NetworkEvaluator, cpu_precisions, fastest_precision
from ringrift_cli.nn.features import encode_all
from ringrift_cli.nn.folded import Folded, pass_size
from ringrift_cli.nn.network import Network, architecture
from tests.nn.networks import drawn, network, randomised, rows_of
from tests.walks import CONFIGURATIONS, positions

ROOT = Path(__file__).parents[2]
Answer = tuple[evaluator.FloatArray, evaluator.FloatArray]


def plain(net: Network, rows: IntArray, actions: IntArray, offsets: LongArray) -> Answer:
    """What the network itself says, seats put right in plain Python."""
    players = net.architecture.players
    planes, scalars = encode_all(tables(net.architecture.board, players), rows)
    position = np.repeat(np.arange(len(rows)), np.diff(offsets))
    arrays = (planes, scalars, position, actions.astype(np.int64))
    with torch.no_grad():
        heads = net(*(torch.from_numpy(array) for array in arrays))
    relative = heads.value.double().softmax(1).numpy()
    values = np.zeros_like(relative)
    for i, row in enumerate(rows):
        for r in range(players):
            values[i, (row[L.SEAT] + r) % players] = relative[i, r]
    return heads.logits.double().numpy(), values


def close(found: Answer, expected: Answer, tolerance: float = 1e-4) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


KINDS = ("compiled", "oneDNN", "torch")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A way to compute on a CPU; the last one is what GPUs do."""
    found = str(request.param)
    monkeypatch.setattr(folded, "onednn_convolves", lambda _dtype: found == "oneDNN")
    return found


def judge_of(net: Network, kind: str, most: int = 4096) -> NetworkEvaluator:
    """An evaluator in float32 that computes in one of KINDS."""
    judge = NetworkEvaluator(net, precision="float32")
    if kind != "compiled":
        judge.network = Folded(net, torch.device("cpu"), torch.float32, most)
    return judge


@pytest.mark.parametrize(("board", "players"), CONFIGURATIONS)
def test_agrees_with_the_network(board: str, players: int, kind: str) -> None:
    net = network(board, players, blocks=4)
    given = rows_of(drawn(board, players, 7))
    judge = judge_of(net, kind)
    found = judge.evaluate(*given)
    close(found, plain(net, *given))
    assert np.allclose(found[1].sum(axis=1), 1, atol=1e-12)
    assert found[1].std() > 0.01
    assert judge.positions == 7
    assert judge.identity == identity_of(net)


@pytest.mark.parametrize("size", ["tiny", "small", "medium"])
def test_agrees_in_every_width(size: str, kind: str) -> None:
    """Channels and policy features that do and do not fill the vectors."""
    net = randomised(Network(architecture(size, "square8", 2)))
    given = rows_of(drawn("square8", 2, 5))
    close(judge_of(net, kind).evaluate(*given), plain(net, *given))


def test_rows_do_not_influence_each_other(kind: str) -> None:
    given = rows, actions, offsets = rows_of(drawn("hex8", 3, 37))
    net = network("hex8", 3)
    whole = judge_of(net, kind).evaluate(*given)
    close(judge_of(net, kind, most=5).evaluate(*given), whole, 1e-5)
    alone = judge_of(net, kind)
    for i in range(len(rows)):
        own = slice(offsets[i], offsets[i + 1])
        found = alone.evaluate(rows[i : i + 1], actions[own], offsets[i : i + 2] - offsets[i])
        expected = whole[0][own], whole[1][i : i + 1]
        close(found, expected, 1e-5)
        if kind == "compiled":
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert alone.positions == len(rows)


def test_answers_do_not_depend_on_what_was_asked_before(kind: str) -> None:
    """A thread's room is used again and again."""
    judge = judge_of(network("hex8", 2), kind)
    late, early = rows_of(drawn("hex8", 2, 9, 5)[4:]), rows_of(drawn("hex8", 2, 9, 6)[:4])
    first = judge.evaluate(*early)
    judge.evaluate(*late)
    again = judge.evaluate(*early)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_comes_near(precision: str) -> None:
    net, given = network("hex8", 2), rows_of(drawn("hex8", 2, 8))
    close_in_half(net, precision, given, plain(net, *given))


def close_in_half(net: Network, precision: str, given: Any, expected: Answer) -> None:
    """A precision that the processor lacks is refused, and computed by torch where it is asked."""
    if precision in cpu_precisions():
        judge = NetworkEvaluator(net, precision=precision)
        assert judge.precision == precision
    else:
        with pytest.raises(UsageError, match=f"no convolutions in {precision}") as caught:
            NetworkEvaluator(net, precision=precision)
        assert "precision=float32" in (caught.value.hint or "")
        judge = NetworkEvaluator(net)
        judge.network = Folded(net, torch.device("cpu"), evaluator.PRECISIONS[precision])
    found = judge.evaluate(*given)
    spread = expected[0].std()
    assert np.abs(found[0] - expected[0]).max() < 0.1 * spread
    assert np.abs(found[1] - expected[1]).max() < 0.02


# What to set so that a processor looks older than it is.
OLDER = {
    "no AVX-512": ("AVX2", "avx2", "haswell", "+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2"),
    "no AVX2 and FMA": ("SSE41", "default", "nehalem", "+sse4.2,+popcnt"),
}
OLDER_SCRIPT = """
import sys
import numpy as np
from ringrift_cli.nn import vector
from tests.nn import test_evaluator as tests
given = np.load(sys.argv[1])
tests.compare_precisions(tests.network("hex8", 2), *(given[x] for x in given.files))
print(vector.LANES, vector.FUSED, tests.cpu_precisions())
"""


def compare_precisions(net: Network, *given: npt.NDArray[Any]) -> None:
    expected = plain(net, *given)
    close(NetworkEvaluator(net).evaluate(*given), expected)
    for precision in ("bfloat16", "float16"):
        close_in_half(net, precision, given, expected)


@pytest.mark.parametrize("older", OLDER)
def test_older_processors(older: str, tmp_path: Path) -> None:
    """Rows come from here, so that the rules need not be compiled for them."""
    np.savez(tmp_path / "given.npz", *rows_of(drawn("hex8", 2, 8)))
    isa, aten, name, features = OLDER[older]
    masked = {
        "ONEDNN_MAX_CPU_ISA": isa,
        "ATEN_CPU_CAPABILITY": aten,
        "NUMBA_CPU_NAME": name,
        "NUMBA_CPU_FEATURES": features,
    }
    done = subprocess.run(
        [sys.executable, "-c", OLDER_SCRIPT, tmp_path / "given.npz"],
        env={**os.environ, **masked}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert done.stdout == f"8 {'+fma' in features} ['float32']\n"


def test_is_a_copy_of_the_network(kind: str) -> None:
    """Training goes on with the network; the evaluator stays what its identity says."""
    net, given = network("hex8", 2), rows_of(drawn("hex8", 2, 3))
    judge = judge_of(net, kind)
    before = judge.evaluate(*given)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1)
    close(judge.evaluate(*given), before, 1e-7)
    assert judge.identity != identity_of(net)


def test_threads_may_ask_at_the_same_time(kind: str) -> None:
    net = network("hex8", 2)
    asked = [rows_of(drawn("hex8", 2, 16 + seed, seed)) for seed in range(6)]
    judge = judge_of(net, kind)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda given: judge.evaluate(*given), asked * 3))
    for given, found in zip(asked * 3, answers, strict=True):
        close(found, plain(net, *given))
    assert judge.positions == 3 * sum(len(rows) for rows, _, _ in asked)


def test_no_rows_and_rows_without_actions(kind: str) -> None:
    rows, actions, offsets = rows_of(drawn("hex8", 2, 3))
    judge = judge_of(network("hex8", 2), kind)
    logits, values = judge.evaluate(rows[:0], actions[:0], offsets[:1])
    assert logits.shape == (0,)
    assert values.shape == (0, 2)
    logits, values = judge.evaluate(rows, actions[:0], np.zeros(4, np.int64))
    assert logits.shape == (0,)
    close((logits, values), (logits, judge.evaluate(rows, actions, offsets)[1]))


# ---- precision and sizes ------------------------------------------------------------------------


def test_unknown_precision_is_named() -> None:
    with pytest.raises(UsageError, match=r"'int4'.*one of float32, bfloat16, float16, int8"):
        NetworkEvaluator(network("hex8", 2), precision="int4")


@pytest.mark.parametrize(
    ("words", "vnni", "channels", "expected"),
    [
        ("GenuineIntel avx512_bf16 amx_bf16", True, 64, torch.bfloat16),
        ("GenuineIntel avx512_bf16 amx_bf16", True, 32, torch.int8),
        ("GenuineIntel avx512_bf16", True, 64, torch.int8),
        ("GenuineIntel avx512_bf16", False, 64, torch.float32),
        ("", False, 64, torch.float32),
    ],
)
def test_precision_is_the_fastest_of_the_processor(
    words: str,
    vnni: bool,
    channels: int,
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluator, "processor_flags", lambda: frozenset(words.split()))
    monkeypatch.setattr(evaluator, "HAS_VNNI", vnni)
    monkeypatch.setattr(evaluator, "onednn_convolves", lambda _dtype: True)
    assert fastest_precision(torch.device("cpu"), channels) == expected


def test_sizes_of_passes_are_few_and_near() -> None:
    sizes = [pass_size(count) for count in range(1, 4097)]
    for count, size in enumerate(sizes, 1):
        assert count <= size < count + max(4, 0.125 * count)
        assert pass_size(size) == size
    assert len(set(sizes)) < 80


def test_a_network_that_says_no_number_is_refused() -> None:
    net = network("hex8", 2)
    with torch.no_grad():
        net.value.bias[0] = float("nan")
    T = tables("hex8", 2)
    rows = np.stack([p.row for p in positions("hex8", 2, 1, 5)])
    actions, offsets = list_all(T, rows)
    for precision in cpu_precisions():
        with pytest.raises(RingriftError, match="not finite"):
            NetworkEvaluator(net, "cpu", precision).evaluate(rows, actions, offsets)


def test_half_precision_is_another_identity() -> None:
    net = network("hex8", 2)
    for precision in set(cpu_precisions()) - {"float32"}:
        half = NetworkEvaluator(net, "cpu", precision).identity
        assert half == f"{identity_of(net)}-{precision}"
