"""Work on a Ray cluster of two workers, which may die."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import test_build_memory
from fake_evaluator import FakeEvaluator
from numpy.typing import NDArray
from test_build_memory import PROVENANCE, embed, some_positions

from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.selfplay.game import Conditions
from dejavu.engine.selfplay.work import SelfPlayWork
from dejavu.model.evaluations import Evaluations
from dejavu.retrieval import build
from dejavu.retrieval.build import BuildOptions, build_memory, embed_here
from dejavu.retrieval.cluster import Cluster, ClusterError
from dejavu.retrieval.positions import Positions


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Cluster, list[str]]]:
    """A cluster of two machines with a core each, and what it complains of."""
    ray = pytest.importorskip("ray")
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("no SIGKILL here")
    from ray.cluster_utils import Cluster as LocalCluster

    # The workers cannot import the modules of the tests.
    for module in (sys.modules[__name__], test_build_memory, sys.modules["fake_evaluator"]):
        ray.cloudpickle.register_pickle_by_value(module)
    machines = LocalCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    machines.add_node(num_cpus=1)
    warnings: list[str] = []
    cluster = Cluster(machines.address, 1, warnings.append)
    yield cluster, warnings
    cluster.close()
    machines.shutdown()


def die_once(marker: Path) -> None:
    """Kill this process unless an earlier one died here."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_loses_only_what_it_had_not_finished(
    cluster: tuple[Cluster, list[str]], tmp_path: Path
) -> None:
    both, warnings = cluster
    assert both.workers() == 2

    def squares(numbers: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        for number, value in numbers.items():
            with (tmp_path / f"{os.getpid()}").open("a") as log:
                print(number, file=log)
            if number == 5:
                die_once(tmp_path / "died")
            yield number, value**2

    results = list(both.run(squares, {number: number + 1 for number in range(12)}, bundle=6))
    assert sorted(results) == [(number, (number + 1) ** 2) for number in range(12)]
    assert len(warnings) == 1
    assert "a worker was lost" in warnings[0]
    tried = [path.read_text().split() for path in tmp_path.iterdir() if path.name != "died"]
    assert len(tried) >= 2
    assert sum(lines.count("5") for lines in tried) == 2


def test_a_worker_that_dies_with_nothing_left_to_do_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class RayError(Exception):
        pass

    def work(jobs: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        yield from ((number, value + 1) for number, value in list(jobs.items()))
        raise RayError

    ray = SimpleNamespace(
        init=lambda **_: None,
        cluster_resources=lambda: {"CPU": 1},
        put=lambda value: value,
        remote=lambda **_: lambda task: SimpleNamespace(remote=task),
        wait=lambda tasks, num_returns: (tasks[:num_returns], tasks[num_returns:]),
        get=lambda result: result,
        exceptions=SimpleNamespace(RayError=RayError, RayTaskError=type("RayTaskError", (RayError,), {})),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    warnings: list[str] = []
    results = Cluster("local", 1, warnings.append).run(work, {number: number for number in range(5)}, bundle=2)
    assert dict(results) == {number: number + 1 for number in range(5)}
    assert all("0 jobs go to another" in warning for warning in warnings)


def test_a_job_that_ends_every_worker_is_given_up(cluster: tuple[Cluster, list[str]]) -> None:
    def deadly(numbers: Mapping[int, None]) -> Iterator[tuple[int, None]]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield 0, None

    with pytest.raises(ClusterError, match="3 workers were lost over the same job"):
        list(cluster[0].run(deadly, {0: None}, bundle=1))


def test_an_error_of_the_work_ends_it_with_its_reason(cluster: tuple[Cluster, list[str]]) -> None:
    def broken(numbers: Mapping[int, None]) -> Iterator[tuple[int, None]]:
        raise ValueError("there is no such file")
        yield 0, None

    with pytest.raises(ClusterError, match="the work failed on a worker: there is no such file"):
        list(cluster[0].run(broken, {0: None}, bundle=1))


def test_a_memory_embedded_by_dying_workers_is_the_same(
    cluster: tuple[Cluster, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_SHARD_ROWS", 64)

    def built(folder: Path, embed: build.Embed, embed_shards: build.EmbedShards) -> bytes:
        how = build.Build(
            embed,
            "00ff",
            PROVENANCE,
            folder / "memory",
            folder / "work",
            BuildOptions(key_size=8),
            lambda stage, done, total: None,
            embed_shards=embed_shards,
        )
        build_memory([some_positions(500)], str, how)
        return (folder / "memory").read_bytes()

    driver = os.getpid()

    def deadly(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        if os.getpid() != driver:
            die_once(tmp_path / "died")
        return embed(planes, clocks)

    def on_cluster(
        make_keys: Callable[[Positions], build.Keys], shards: Mapping[int, Positions]
    ) -> Iterator[tuple[int, build.Keys]]:
        assert len(shards) == 8
        return cluster[0].run(partial(embed_here, make_keys), shards, bundle=1)

    expected = built(tmp_path / "here", embed, embed_here)
    assert built(tmp_path / "there", deadly, on_cluster) == expected
    assert (tmp_path / "died").exists()


def test_games_are_played_once_each_though_a_worker_dies(cluster: tuple[Cluster, list[str]], tmp_path: Path) -> None:
    settings = PlayerSettings("p", (), Pace(nodes=4), {"Temperature": "1", "MinibatchSize": "1"})
    driver = os.getpid()

    def load(*wanted: object) -> FakeEvaluator:
        evaluator = FakeEvaluator()
        if os.getpid() != driver:
            die_after_a_while(evaluator, tmp_path / "died")
        return evaluator

    work = SelfPlayWork(settings, Conditions(random_plies=4, max_plies=10), seed=1, at_once=2, year=2026, load=load)
    there = dict(cluster[0].run(work, dict.fromkeys(range(8)), bundle=4))
    assert (tmp_path / "died").exists()
    here = dict(work(dict.fromkeys(range(8))))
    assert there.keys() == here.keys()
    assert all(np.array_equal(there[number].played, here[number].played) for number in here)


def die_after_a_while(evaluator: FakeEvaluator, marker: Path) -> None:
    """Let the process die in the middle of its games, unless one did before."""
    real = evaluator.evaluate

    def evaluate(planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        if len(evaluator.batches) == 40:
            die_once(marker)
        return real(planes, clocks, memory)

    vars(evaluator)["evaluate"] = evaluate


def test_without_ray_or_a_cluster_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match="pip install"):
        Cluster("local", 1, print)
