"""The page in a real browser: Chromium without a window, driven by Selenium."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from cli import area_page, browse_command
from cli.workspace import Workspace
from grid import BBox, Chunk, Tile
from pages.app import create
from pages.guard import Guard
from pages.server import Address, serving
from store import Archive
from tests.images.test_atlas import filled
from tests.images.test_blocks import cells_of

webdriver = pytest.importorskip("selenium.webdriver", reason="there is no Selenium")
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

from tests.rounds import seldom  # noqa: E402
from tests.waiting import until  # noqa: E402

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
DRIVER = shutil.which("chromedriver") or ""
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="there is no Chromium with its driver"
)
ALONE = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextlib.contextmanager
def chromium(*flags):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*ALONE, *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def wide():
    with chromium("--window-size=1200,900") as driver:
        yield driver


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("browser") / "a.zarr")


class Page:
    """The page of an archive in a browser."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        driver.get_log("browser")  # of the page before
        driver.get(url)

    def __getitem__(self, name):
        return self.driver.find_element(By.ID, name)

    def until(self, done, what="it"):
        return until(done, lambda: f"{what}; the page says {self['said'].text!r}")

    def settled(self) -> Page:
        """Wait until all tiles are there."""
        script = (
            "const t = [...document.querySelectorAll('img.leaflet-tile')];"
            "return t.length > 0 && t.every((i) => i.complete && i.naturalWidth > 0)"
        )
        self.until(lambda: self.driver.execute_script(script), "loading")
        return self

    def tiles(self):
        """The addresses of the tiles of the image."""
        images = "[...document.querySelectorAll('.archive-tile img')]"
        return self.driver.execute_script(f"return {images}.map((i) => i.src)")

    def shown(self, path):
        self.driver.save_screenshot(str(path))
        return np.asarray(Picture.open(path).convert("RGB")).astype(int)

    def choose(self, name, value):
        self.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'));",
            self[name], value,
        )  # fmt: skip

    def press(self, keys):
        ActionChains(self.driver).send_keys(keys).perform()

    def at(self, dx, dy):
        """The mouse at a place of the map, counted from its middle."""
        return ActionChains(self.driver).move_to_element_with_offset(self["map"], dx, dy)

    def show_place(self, dx: int, dy: int) -> None:
        """Wait for an image, and say what is at a place of it."""
        self.until(self.tiles, "an image")
        self.at(dx, dy).click().perform()
        self.until(lambda: self["place"].text, "the values")
        self.settled()

    def complaints(self):
        return [each["message"] for each in self.driver.get_log("browser")]


@contextlib.contextmanager
def browsed(driver, archive, desk=None):
    """The page of an archive, served; there must be nothing to complain of."""
    workspace, address = Workspace(str(archive.path)), Address()
    atlas = browse_command.atlas_of(workspace)
    app = create(atlas, desk or browse_command.Saver(workspace), Guard(address.token))
    with serving(app, address) as url:
        page = Page(driver, url)
        page.settled()
        yield page
        assert page.complaints() == []


def test_it_loads_pans_and_zooms(wide, archive, tmp_path):
    with browsed(wide, archive) as page:
        assert page["title"].text.startswith("Sentinel-1 backscatter")
        page.until(page.tiles, "an image")
        before = page.tiles()
        grey = page.shown(tmp_path / "a.png")
        assert np.abs(grey[..., 0] - grey[..., 2]).max() > 60  # there is colour
        page.at(0, 0).click_and_hold().move_by_offset(-200, 120).release().perform()
        page.until(lambda: page.tiles() != before, "panning")
        page.press("+")
        page["map"].send_keys("+")
        page.until(lambda: all("/tile/" in each for each in page.tiles()), "zooming")
        page.settled()


def test_days_are_stepped_through(wide, archive):
    with browsed(wide, archive) as page:
        page.until(page.tiles, "an image")
        assert "2026-01-20 ascending" in page["day"].text
        page.choose("orbit", "any")
        page.until(lambda: "2026-01-20" in page["day"].text, "the days of all")
        page.press("]")
        page.until(lambda: "2026-01-26 (1 tile)" in page["day"].text, "the next day")
        page.until(lambda: all("last=2026-01-26" in each for each in page.tiles()), "its tiles")
        page.press("[")
        page.until(lambda: "2026-01-20 (2 tiles)" in page["day"].text, "the day before")
        page.choose("how", "newest")
        page.until(lambda: all("how=newest" in each for each in page.tiles()), "a composite")
        page.settled()


@seldom(1)
def test_a_band_has_a_range_that_can_be_typed(wide, archive):
    with browsed(wide, archive) as page:
        page.until(page.tiles, "an image")
        page.choose("band", "VV")
        page.until(lambda: all("band=VV" in each for each in page.tiles()), "the band")
        page.driver.execute_script("document.querySelector('details').open = true")
        low, high = page.until(lambda: page.driver.find_elements(By.CSS_SELECTOR, "#ranges input"))
        before = low.get_attribute("value")
        low.send_keys(Keys.CONTROL, "a", Keys.NULL, "1000\n")
        page.until(lambda: "below the brightest" in page["said"].text, "a reason")
        assert low.get_attribute("value") == before
        high.send_keys(Keys.CONTROL, "a", Keys.NULL, "77\n")
        page.until(lambda: all("%2C77" in each for each in page.tiles()), "the new range")


def test_a_click_says_what_is_there(wide, archive):
    with browsed(wide, archive) as page:
        page.until(page.tiles, "an image")
        page.at(-250, 0).click().perform()
        words = page.until(lambda: page["place"].text, "the values")
        for part in ("Cell ", "VV", "VH", "pixels", "2026-01-20 06:00:00 UTC", "j-0"):
            assert part in words
        assert len(page.driver.find_elements(By.CSS_SELECTOR, "#place svg circle")) == 4
        page.press(Keys.ESCAPE)
        page.until(lambda: not page["place"].is_displayed(), "closing")


@seldom(3)
def test_the_view_is_saved(wide, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with browsed(wide, archive) as page:
        page.until(page.tiles, "an image")
        # Less of the Earth is sooner saved.
        page.driver.execute_script("map.setZoom(map.getZoom() + 4, {animate: false})")
        page.settled()["save"].click()
        page.until(lambda: "Written" in page["said"].text, "saving")
        (file,) = tmp_path.iterdir()
        assert file.name in page["said"].text
        assert "python main.py retrieve" in page["said"].text
        assert Picture.open(file).format == "PNG"


@seldom(3)
def test_what_is_written_meanwhile_comes_by_itself(wide, tmp_path):
    archive = filled(tmp_path / "a.zarr")
    with browsed(wide, archive) as page:
        page.until(page.tiles, "an image")
        right, new = Tile(8.0, 50.0, 9.0, 50.5), dt.date(2026, 2, 1)
        Archive(archive.path).write(Chunk(right, new, "ascending"), cells_of(right, seed=5))
        page.driver.execute_script("lookAgain()")  # which it does by itself every ten seconds
        page.until(lambda: "2026-02-01" in page["day"].text, "the new day")
        page.settled()


@pytest.fixture
def desk():
    days = dt.date(2026, 1, 20), dt.date(2026, 1, 20)
    return area_page.AreaDesk(lambda box, _: f"of {box}", (1.0, 0.5), days, BBox(7, 50, 8, 50.5))


def test_a_rectangle_is_drawn_and_handed_over(wide, archive, desk):
    with browsed(wide, archive, desk) as page:
        page["rectangle"].click()
        page.at(-300, -100).click_and_hold().move_by_offset(80, 60).move_by_offset(40, 40).perform()
        ActionChains(page.driver).release().perform()
        sides = [
            float(page[name].get_attribute("value")) for name in ("west", "south", "east", "north")
        ]
        assert sides[0] < sides[2]
        assert sides[1] < sides[3]
        page.until(lambda: "1 tile" in page["estimate"].text, "the estimate")
        page["use"].click()
        page.until(lambda: "Handed" in page["said"].text, "handing over")
        assert [*map(float, desk.taken.get().split(","))] == pytest.approx(sides)


@seldom(2)
def test_a_polygon_is_drawn_by_mouse_and_a_box_typed(wide, archive, desk):
    with browsed(wide, archive, desk) as page:
        page["polygon"].click()
        for place in ((-300, -60), (-200, -100), (-150, 20), (-260, 60)):
            page.at(*place).click().perform()
        page.press(Keys.ENTER)
        page.until(page["use"].is_enabled, "the end of the polygon")
        page["use"].click()
        page.until(lambda: not desk.taken.empty(), "handing over")
        assert desk.taken.get().startswith("POLYGON ((")
    with browsed(wide, archive, desk) as page:
        for name, value in zip(
            ("west", "south", "east", "north"), (7.1, 50.1, 7.4, 50.3), strict=True
        ):
            page[name].clear()
            page[name].send_keys(f"{value}\t")
        page["use"].send_keys(Keys.ENTER)
        page.until(lambda: not desk.taken.empty(), "handing over")
        assert desk.taken.get() == "7.1,50.1,7.4,50.3"


def corners(page):
    """What is said of each corner, and the corners to be given keys."""
    found = page.driver.find_elements(By.CSS_SELECTOR, ".corner")
    return [each.get_attribute("aria-label") for each in found], found


def place_of(words):
    """Latitude and longitude of a corner, by what is said of it."""
    lat, lon = words.split(": ")[1].split(", ")
    return float(lat.removesuffix(" N")), float(lon.removesuffix(" E"))


@seldom(1)
def test_corners_are_moved_added_and_removed_with_the_keyboard(wide, archive, desk):
    with browsed(wide, archive, desk) as page:
        centre = page.driver.execute_script("return map.getCenter().toString()")
        page["polygon"].click()
        for place in ((-300, -60), (-200, -100), (-150, 20), (-260, 60)):
            page.at(*place).click().perform()
        page.press(Keys.ENTER)
        page.until(page["use"].is_enabled, "the end of the polygon")
        before, handles = corners(page)
        assert [words.split(":")[0] for words in before] == [
            f"Corner {i} of 4" for i in range(1, 5)
        ]
        handles[1].send_keys(Keys.ARROW_RIGHT * 3 + Keys.ARROW_UP)
        after, _ = corners(page)
        (lat, lon), (north, east) = place_of(before[1]), place_of(after[1])
        assert north > lat
        assert east > lon
        assert [after[0], *after[2:]] == [before[0], *before[2:]]
        assert page.driver.execute_script("return map.getCenter().toString()") == centre
        handles[1].send_keys(Keys.SHIFT, Keys.ARROW_RIGHT, Keys.NULL)
        assert place_of(corners(page)[0][1])[1] - east > 2 * (east - lon)
        handles[1].send_keys(Keys.DELETE)
        assert len(corners(page)[0]) == 3
        page.driver.switch_to.active_element.send_keys(Keys.DELETE)
        page.until(lambda: "three corners" in page["said"].text, "a reason")
        page.driver.switch_to.active_element.send_keys(Keys.INSERT)
        assert len(corners(page)[0]) == 4
        assert page.driver.switch_to.active_element.get_attribute("aria-label").startswith(
            "Corner 3 of 4"
        )
        page["use"].click()
        page.until(lambda: not desk.taken.empty(), "handing over")
        assert desk.taken.get().count(",") == 4  # the first one is also the last


def test_a_rectangle_stays_one_when_a_key_moves_its_corner(wide, archive, desk):
    with browsed(wide, archive, desk) as page:
        _, handles = corners(page)
        handles[0].send_keys(Keys.ARROW_LEFT + Keys.ARROW_DOWN)
        west, south, east, north = (
            float(page[name].get_attribute("value")) for name in ("west", "south", "east", "north")
        )
        assert (west < 7, south < 50) == (True, True)
        assert (east, north) == (8, 50.5)


@seldom(2)
def test_a_narrow_dark_window_has_all_of_it(archive, tmp_path):
    with chromium("--window-size=420,800", "--blink-settings=preferredColorScheme=0") as narrow:
        with browsed(narrow, archive) as page:
            page.until(page.tiles, "an image")
            width = "return document.documentElement.scrollWidth <= window.innerWidth"
            assert narrow.execute_script(width)
            assert page["controls"].rect["y"] >= page["map"].rect["height"] - 1
            dark = page.shown(tmp_path / "a.png")
            assert dark[-5:, 5:50].mean() < 60  # the paper of the controls
        assert json.loads(json.dumps(page.tiles())) != []
