"""A speckle filter that keeps the radiometry: against plain numpy, and against theory."""

from __future__ import annotations

import datetime as dt
from typing import Any

import healpy
import numpy as np
import pytest
import rasterio
import xarray as xr
from scipy.signal import convolve2d

import main
import retrieve
from convert import tile_runs
from grid import BBox, Chunk, Provenance, Tile
from healpix.ids import runs_to_ids
from images import speckle
from shared import compute
from store import Archive
from tests.rounds import torture, turns

TILES = Tile(7.0, 50.0, 8.0, 50.5), Tile(8.0, 50.0, 9.0, 50.5)
FIRST = dt.date(2026, 1, 20)
DAYS = [FIRST + dt.timedelta(days=6 * i) for i in range(5)]
LAST = DAYS[-1]
FINE: dict[str, Any] = {"dlat": 0.004, "dlon": 0.006}  # than cells of 0.014 degrees
ACROSS = BBox(7.7, 50.1, 8.3, 50.4)
LOOKS = 4.4


def cells_of(tile, power, nside=4096, counts=None):
    """A record of a power for each cell id; ``counts`` of each."""
    start, length = tile_runs(tile, nside)
    ids = runs_to_ids(start, length)
    count = np.full(len(ids), 7, np.uint16) if counts is None else counts(ids)
    values = np.where(count > 0, power(ids), np.nan).astype(np.float32)
    data = {"VV": ("cells", values), "VH": ("cells", values / 5), "count": ("cells", count)}
    runs = {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    attrs = {"nside": nside, "ellipsoid": "sphere", "ordering": "nested", "source": ""}
    return xr.Dataset(data | runs, attrs=attrs)


def came(track):
    return Provenance(
        backend="sandbox", collection="SENTINEL1_GRD", job_id="j", processed="2026-01-27T00:00:00Z",
        synthetic=True, relative_orbits=(track,),
    )  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Five days of two tiles with gaps, and one of another relative orbit."""
    archive = Archive(tmp_path_factory.mktemp("speckle") / "a.zarr")
    for number, day in enumerate([*DAYS, LAST + dt.timedelta(days=1)]):
        for tile in TILES:
            rng = np.random.default_rng([number, int(tile.west)])
            cells = cells_of(
                tile,
                lambda ids, rng=rng: rng.gamma(LOOKS, 0.02, len(ids)),
                counts=lambda ids, rng=rng: rng.integers(0, 9, len(ids)).astype(np.uint16),
            )
            archive.write(Chunk(tile, day, "ascending"), cells, came(15 if number < 5 else 88))
    return archive


def plainly(archive, day, days, band="VV"):
    """Of each cell id the filtered value: healpy's neighbours on the plane, and numpy."""
    nside, window = archive.layout.nside, np.ones((speckle.WINDOW, speckle.WINDOW))
    sums: dict[int, Any] = {}
    number: dict[int, Any] = {}
    own: dict[int, Any] = {}
    for each in days:
        cells = retrieve.select(archive, (6, 49.5, 10, 51), each, "ascending", cell_ids=True)
        x, y, face = healpy.pix2xyf(nside, cells["cell_ids"].values.astype(np.int64), nest=True)
        count = cells["count"].values * np.isfinite(cells[band].values)
        for f in np.unique(face):
            here = face == f
            plane = x[here], y[here]
            value, weight = np.zeros((2, nside, nside))
            value[plane] = np.nan_to_num(cells[band].values[here].astype(float)) * count[here]
            weight[plane] = count[here]
            near = slice(x[here].min(), x[here].max() + 1), slice(y[here].min(), y[here].max() + 1)
            value, weight = value[near], weight[near]
            mean = convolve2d(value, window, "same") / convolve2d(weight, window, "same")
            with np.errstate(invalid="ignore"):
                ratio = value / weight / mean
            total = sums.setdefault(f, np.zeros((nside, nside)))
            times = number.setdefault(f, np.zeros((nside, nside)))
            total[near] += np.nan_to_num(ratio)
            times[near] += np.isfinite(ratio)
            if each == day:
                whole = np.full((nside, nside), np.nan)
                whole[near] = np.where(weight > 0, mean, np.nan)
                own[f] = whole
    found: dict[int, float] = {}
    for f, mean in own.items():
        with np.errstate(invalid="ignore"):
            filtered = mean * sums[f] / number[f]
        x, y = np.nonzero(np.isfinite(filtered))
        ids = healpy.xyf2pix(nside, x, y, f, nest=True)
        found |= dict(zip(ids.tolist(), filtered[x, y].tolist(), strict=True))
    return found


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
@torture
@pytest.mark.parametrize("band", turns(["VV", "VH"], 2))
def test_it_is_what_plain_numpy_makes(archive, band):
    grid = retrieve.load(archive, ACROSS, FIRST, LAST, **FINE, despeckle=True)
    lon, lat = np.meshgrid(grid["lon"], grid["lat"])
    ids = healpy.ang2pix(archive.layout.nside, lon, lat, nest=True, lonlat=True)
    for number in (0, 3):
        expected = plainly(archive, DAYS[number], DAYS, band)
        wanted = np.array([[expected.get(i, np.nan) for i in row] for row in ids.tolist()])
        np.testing.assert_allclose(grid[band].values[number], wanted, rtol=1e-6)


def test_it_does_not_depend_on_the_box(archive):
    step: dict[str, Any] = {"dlat": 2**-8, "dlon": 2**-7}
    large, small = BBox(7.5, 50.0, 8.5, 50.5), BBox(7.875, 50.125, 8.25, 50.25)
    whole = retrieve.load(archive, large, FIRST, LAST, **step, despeckle=True)
    part = retrieve.load(archive, small, FIRST, LAST, **step, despeckle=True)
    rows = slice(round(0.125 / 2**-8), round(0.25 / 2**-8))
    columns = slice(round(0.375 / 2**-7), round(0.75 / 2**-7))
    for band in ("VV", "VH"):
        np.testing.assert_array_equal(whole[band].values[:, rows, columns], part[band].values)


def test_gaps_stay_gaps_and_others_are_filled_by_nothing(archive):
    plain = retrieve.load(archive, ACROSS, FIRST, LAST, **FINE)
    found = retrieve.load(archive, ACROSS, FIRST, LAST, **FINE, despeckle=True)
    np.testing.assert_array_equal(np.isnan(found["VV"]), np.isnan(plain["VV"]))
    assert np.isnan(plain["VV"]).any()


def test_an_image_of_its_own_orbit_is_filtered_by_nobody(archive):
    alone = LAST + dt.timedelta(days=1)
    plain = retrieve.load(archive, ACROSS, FIRST, alone, **FINE)
    found = retrieve.load(archive, ACROSS, FIRST, alone, **FINE, despeckle=True)
    np.testing.assert_allclose(found["VV"].values[-1], plain["VV"].values[-1], rtol=1e-6)
    five = retrieve.load(archive, ACROSS, FIRST, LAST, **FINE, despeckle=True)
    np.testing.assert_array_equal(found["VV"].values[:5], five["VV"].values)


def test_lazy_blocks_are_the_same(archive, monkeypatch):
    from images import blocks

    now = retrieve.load(archive, ACROSS, FIRST, LAST, **FINE, despeckle=True)
    monkeypatch.setattr(blocks, "FILTERED", 2000)  # cells: several blocks
    lazy = retrieve.open(archive, ACROSS, FIRST, LAST, **FINE, despeckle=True)
    assert lazy["VV"].data.numblocks[1] > 1
    xr.testing.assert_identical(lazy.compute(), now)


def test_a_cluster_makes_the_same(archive, cluster):
    lazy = retrieve.open(archive, ACROSS, FIRST, LAST, **FINE, despeckle=True)
    here = lazy["VV"].compute()
    with compute.cluster(cluster):
        np.testing.assert_array_equal(lazy["VV"].compute(), here)


# --- what theory says ---


def looks_after(images, window, looks):
    """The equivalent number of looks, for independent cells of gamma speckle: docs/science.md."""
    n = window**2
    a = (1 + 1 / (n * looks)) * (1 + (n - 1) / (n * looks + 1)) - 1
    others = images - 1
    spread = 1 / looks + others * a + others * (images - 2) / (n * looks) + 2 * others / (n * looks)
    return images**2 / spread


@pytest.fixture(scope="module")
def speckled(tmp_path_factory):
    """Eight images of known speckle: an even field, twice as bright in the north, and a ship."""
    archive, nside = Archive(tmp_path_factory.mktemp("speckled") / "a.zarr"), 16384
    for number in range(8):
        rng = np.random.default_rng(number)

        def power(ids, rng=rng, number=number):
            lon, lat = healpy.pix2ang(nside, ids.astype(np.int64), nest=True, lonlat=True)
            level = 0.05 * (1 + 0.2 * number) * np.where(lat > 50.25, 2.0, 1.0)
            level = np.where(np.hypot(lon - 7.5, lat - 50.1) < 0.004, 50 * level, level)
            return level * rng.gamma(LOOKS, 1 / LOOKS, len(ids))

        day = FIRST + dt.timedelta(days=6 * number)
        archive.write(Chunk(TILES[0], day, "ascending"), cells_of(TILES[0], power, nside), came(15))
    return archive


STEP: dict[str, Any] = {"dlat": 0.0035, "dlon": 0.0055}  # about a cell
NORTH, SOUTH = BBox(7.05, 50.3, 7.95, 50.48), BBox(7.05, 50.02, 7.45, 50.2)


def filtered(archive, box, **more):
    return retrieve.load(archive, box, FIRST, "2026-12-31", ["VV"], **STEP, **more)["VV"].values


@pytest.mark.parametrize("box", [NORTH, SOUTH])
def test_the_mean_stays(speckled, box):
    before, after = filtered(speckled, box), filtered(speckled, box, despeckle=True)
    decibels = 10 * np.log10(after.mean(axis=(1, 2)) / before.mean(axis=(1, 2)))
    assert np.abs(decibels).max() < 0.02


@pytest.mark.parametrize("box", [NORTH, SOUTH])
def test_the_looks_are_as_many_as_theory_says(speckled, box):
    before, after = filtered(speckled, box), filtered(speckled, box, despeckle=True)

    def looks(images):
        return np.mean(images.mean(axis=(1, 2)) ** 2 / images.var(axis=(1, 2)))

    assert looks(before) == pytest.approx(LOOKS, rel=0.03)
    expected = looks_after(8, speckle.WINDOW, LOOKS)
    assert expected > 6.5 * LOOKS
    assert looks(after) == pytest.approx(expected, rel=0.06)


def test_an_edge_and_a_ship_stay_sharp(speckled):
    box = BBox(7.05, 50.2, 7.95, 50.3)
    edge = filtered(speckled, box, despeckle=True).mean(axis=(0, 2))
    rows = box.south + (np.arange(edge.size) + 0.5) * STEP["dlat"]
    beside = np.abs(rows - 50.25) > 0.004  # a cell
    level = np.where(rows > 50.25, edge[rows > 50.27].mean(), edge[rows < 50.23].mean())
    np.testing.assert_allclose(edge[beside], level[beside], rtol=0.12)
    around = BBox(7.47, 50.08, 7.53, 50.12)
    before, after = filtered(speckled, around), filtered(speckled, around, despeckle=True)
    assert after.max(axis=(1, 2)) == pytest.approx(before.max(axis=(1, 2)), rel=0.6)
    assert after.max(axis=(1, 2)).min() > 15 * np.median(after)


# --- said and refused ---


def test_the_files_say_so(archive, tmp_path, capsys):
    flags = ["--archive", str(archive.path), "--bbox", str(ACROSS), "--start", str(FIRST)]
    flags += ["--end", str(LAST), "--dlat", "0.01", "--dlon", "0.01", "--no-show", "--despeckle"]
    names = [str(tmp_path / f"a.{suffix}") for suffix in ("nc", "tif")]
    outputs = [word for name in names for word in ("--output", name)]
    assert main.main(["retrieve", *flags, *outputs]) == 0
    with xr.open_dataset(names[0]) as grid:
        assert "Quegan and Yu (2001), 7 x 7 cells, 5 days" in grid.attrs["speckle_filter"]
        assert grid.attrs["title"].endswith("speckle filtered")
    with rasterio.open(names[1]) as picture:
        assert "Quegan and Yu" in picture.tags()["speckle_filter"]


@pytest.mark.parametrize(
    "flags",
    [["--day", str(FIRST)], ["--start", str(FIRST), "--end", str(LAST), "--composite", "mean"]],
)
def test_what_is_no_series_is_refused(archive, capsys, flags):
    where = [
        "--archive",
        str(archive.path),
        "--bbox",
        str(ACROSS),
        "--no-show",
        "--output",
        "a.png",
    ]
    assert main.main(["retrieve", *where, *flags, "--despeckle"]) == 2
    assert "--despeckle filters each day by the others" in capsys.readouterr().err


def test_a_composite_or_newest_values_are_refused(archive):
    with pytest.raises(ValueError, match="days by themselves"):
        retrieve.load(archive, ACROSS, FIRST, LAST, despeckle=True, composite="mean")
    with pytest.raises(ValueError, match="days by themselves"):
        retrieve.load(archive, ACROSS, FIRST, as_of=5, despeckle=True)
