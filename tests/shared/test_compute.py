"""The same work on threads and on a cluster of two worker processes."""

from __future__ import annotations

import copy
import datetime as dt
import os
import pickle
import socket
import subprocess
import sys

import cloudpickle
import dask
import pytest
import xarray as xr
from distributed import get_client

import convert
import retrieve as room
from grid import BBox, Tile
from images import blocks
from retrieve import export
from shared import compute
from store import Archive
from tests.images.test_blocks import filled
from tests.images.test_lazy import scene
from tests.rounds import seldom, torture, turns
from tests.sphere import grown

DAY = dt.date(2026, 1, 20)
BOX = BBox(7.3, 50.1, 8.6, 50.9)


@pytest.fixture(scope="module")
def rhine(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("rhine") / "a.zarr", BOX)


def test_a_cluster_gives_what_threads_give(rhine, cluster, monkeypatch):
    monkeypatch.setattr(blocks, "SIDE", 32)
    cubes = [room.open(rhine, BOX, DAY, dlat=step, dlon=1.6 * step) for step in (0.01, 0.1)]
    here = [cube.compute() for cube in cubes]
    with compute.cluster(cluster):
        assert compute.workers(get_client()) == 2
        there = [cube.compute() for cube in cubes]
    for one, other in zip(here, there, strict=True):
        xr.testing.assert_identical(one, other)


def test_an_export_by_a_cluster_is_the_same_file(rhine, cluster, tmp_path):
    cube = room.open(rhine, BOX, DAY, dlat=0.01, dlon=0.016)
    export(cube, tmp_path / "a.nc")
    with compute.cluster(cluster):
        export(cube, tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "a.nc") as one, xr.open_dataset(tmp_path / "b.nc") as other:
        xr.testing.assert_equal(one, other)


def test_what_is_on_the_cluster_already_is_exported_from_there(rhine, cluster, tmp_path):
    cube = room.open(rhine, BOX, DAY, dlat=0.01, dlon=0.016)
    export(cube, tmp_path / "a.nc")
    with compute.cluster(cluster):
        there = cube.persist()
        assert there["VV"].chunks
        export(there, tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "a.nc") as one, xr.open_dataset(tmp_path / "b.nc") as other:
        xr.testing.assert_equal(one, other)


def test_workers_that_are_out_of_reach_answer_through_the_scheduler(cluster, monkeypatch):
    def refuses(address, timeout):
        raise TimeoutError

    pieces = [dask.delayed(os.getpid)() for _ in range(4)]
    with compute.cluster(cluster):
        with monkeypatch.context() as patch:
            patch.setattr(socket, "create_connection", refuses)
            assert not compute._reaches_workers(get_client())
            assert os.getpid() not in [*compute.each(pieces)]
        assert compute._reaches_workers(get_client())
        assert os.getpid() not in [*compute.each(pieces)]


def test_a_worker_converts_a_result_as_it_is_done_here(cluster, tmp_path):
    tile = Tile(8, 50, 8.05, 50.05)
    path = tmp_path / "openEO.nc"
    scene(grown(tile.bbox, 0.002), 20.0).to_netcdf(path)
    work = convert.raster_to_cells, path, tile
    here = compute.call(*work, nside=65536)
    with compute.cluster(cluster):
        there = compute.call(*work, nside=65536)
    assert here["count"].values.any()
    xr.testing.assert_identical(here, there)


def test_a_single_call_runs_in_a_worker_if_there_is_one(cluster):
    assert compute.call(os.getpid) == os.getpid()
    with compute.cluster(cluster):
        assert compute.call(os.getpid) != os.getpid()
    assert compute.call(os.getpid) == os.getpid()


def test_results_come_in_order_a_few_at_a_time():
    begun: list[int] = []

    def work(number):
        begun.append(number)
        return number

    results = compute.each(dask.delayed(work)(i) for i in range(50))
    assert next(results) == 0
    assert len(begun) <= compute.AHEAD * compute.workers() + 1
    assert [*results] == [*range(1, 50)]


def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(compute, "CONNECT_WAIT", 1)
    with (
        pytest.raises(ConnectionError, match=r"no dask scheduler at tcp://127.0.0.1:9 .*Nothing"),
        compute.cluster("tcp://127.0.0.1:9"),
    ):
        pass


def test_a_worker_without_the_program_is_one_sentence(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(compute, "_HOME", str(tmp_path / "elsewhere"))
    with (
        pytest.raises(ConnectionError, match=r"does not see the folder .*elsewhere.*Nothing was"),
        compute.cluster(cluster),
    ):
        pass


CARRIERS = {
    "pickle": lambda grid: pickle.loads(pickle.dumps(grid)),
    "the oldest pickle": lambda grid: pickle.loads(pickle.dumps(grid, 2)),
    "cloudpickle": lambda grid: cloudpickle.loads(cloudpickle.dumps(grid)),
    "a deep copy": copy.deepcopy,
    "a shallow copy": copy.copy,
}


@torture
@pytest.mark.parametrize("then", turns(CARRIERS.values(), 2), ids=turns(CARRIERS, 2))
@pytest.mark.parametrize("first", CARRIERS.values(), ids=CARRIERS)
def test_a_lazy_grid_can_be_carried_and_carried_on(rhine, first, then):
    grid = room.open(rhine, BOX, DAY, dlat=0.1, dlon=0.16)
    carried = then(first(grid))
    assert carried["VV"].chunks
    xr.testing.assert_identical(carried.compute(), grid.compute())
    xr.testing.assert_identical(then(carried.compute()), grid.compute())


def test_what_a_grid_is_computed_by_can_be_copied_before_and_after_it_was_called():
    portable = compute.Portable(os.path.basename)
    for carry in CARRIERS.values():
        once = carry(portable)
        again = carry(once)
        assert once("a/b") == again("a/b") == "b"
        assert carry(once)("a/b") == carry(again)("a/b") == "b"


@seldom(1)
def test_a_pickled_grid_is_computed_in_a_process_elsewhere(rhine, tmp_path, monkeypatch):
    """By an interpreter that knows nothing of the program and of the folder it was made in."""
    monkeypatch.chdir(rhine.path.parent)
    paths = {"absolute": rhine.path, "relative": rhine.path.name}
    grids = {
        kind: room.open(Archive(path), BOX, DAY, dlat=0.1, dlon=0.16)
        for kind, path in paths.items()
    }
    for kind, grid in grids.items():
        (tmp_path / kind).write_bytes(pickle.dumps(grid))
    code = """if True:
        import copy, pickle
        for kind in ("absolute", "relative"):
            grid = pickle.loads(open(kind, "rb").read())
            carried = pickle.loads(pickle.dumps(copy.deepcopy(grid)))
            carried = carried.compute()
            pickle.loads(pickle.dumps(grid))["VV"].isel(lat=0).compute()
            open(f"{kind} back", "wb").write(pickle.dumps(carried))
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    for kind, grid in grids.items():
        back = pickle.loads((tmp_path / f"{kind} back").read_bytes())
        xr.testing.assert_identical(back, grid.compute())


def test_a_worker_elsewhere_takes_a_grid_and_gives_it_back(rhine, cluster):
    grid = room.open(rhine, BOX, DAY, dlat=0.1, dlon=0.16)

    def shorten(packed):
        import pickle

        return pickle.dumps(pickle.loads(packed).isel(lat=slice(3)))

    with compute.cluster(cluster):
        back = get_client().submit(shorten, pickle.dumps(grid), pure=False).result()
    xr.testing.assert_identical(pickle.loads(back).compute(), grid.isel(lat=slice(3)).compute())
