"""Makes what the README and its pages show, from the built-in back end: `make docs`.

Runs the demo, draws its picture and the map of its archive, types a session into a
terminal and puts what was on the screen into its page, and lists the constants.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import retrieve  # noqa: E402
import store  # noqa: E402
from cli import browse_command, menu, questions  # noqa: E402
from cli.download_command import DownloadFlags, run_download  # noqa: E402
from cli.exits import DONE  # noqa: E402
from cli.workspace import Workspace  # noqa: E402
from docs import constants, notebook  # noqa: E402
from shared.files import replacing  # noqa: E402
from tests.pages import test_browser  # noqa: E402
from tests.terminals import Terminal  # noqa: E402

CLEAR_DAY = dt.date(2025, 7, 14)  # without a cloud over the example's area
DPI = 110  # a page needs less than a paper
COLUMNS = 100  # of the terminal
TWO_TILES = 600  # s for two tiles

# What is waited for on the screen, and what is typed then.
DOWNLOAD = [
    ("Which one [1]: ", "1"), ("address of another one [1]: ", ""), ("[3.6,51.1,4.4,51.4]: ", ""),
    ("Right? [Y/n]: ", "y"), ("days A/B [2026-01-20]: ", ""), ("included [2026-01-20]: ", ""),
    ("Start? [y/N]: ", "y"),
]  # fmt: skip
RETRIEVE = [
    ("Which one [1]: ", "2"), ("[3.6,51.1,4.4,51.4]: ", ""), ("Right? [Y/n]: ", "y"),
    ("Day [2026-01-20]: ", ""), ("Bands [VV,VH]: ", ""), (".png]: ", "scheldt.png"),
]  # fmt: skip


def make() -> int:
    """All of it; the exit code of the demo."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        code = menu.run_demo()
        if code != DONE:
            return code
        path = Path(menu.DEMO_FOLDER) / "sentinel1.zarr"
        draw(store.Archive(path))
        if test_browser.BROWSER and test_browser.DRIVER:
            draw_map(path)
    code = draw_another()
    if code != DONE:
        return code
    with tempfile.TemporaryDirectory() as folder:
        screens = [session(Path(folder), answers) for answers in (DOWNLOAD, RETRIEVE)]
    put_into_page("\n".join(f"$ python main.py\n{screen}\n" for screen in screens))
    notebook.main()
    constants.PAGE.write_text(constants.page(), encoding="utf-8")
    return DONE


def draw(archive: store.Archive) -> None:
    """The picture of the demo, and the map of its archive."""
    image = retrieve.retrieve(archive, questions.EXAMPLE_AREA, questions.EXAMPLE_DAY)
    figures = {"demo.png": retrieve.plot(image), "map.png": retrieve.coverage_map(archive)}
    for name, figure in figures.items():
        with replacing(ROOT / "docs" / "pictures" / name) as temporary:
            figure.savefig(temporary, dpi=DPI)


def draw_map(path: Path) -> None:
    """The page of `browse` with the demo's archive, in Chromium; as it was where there is none."""
    from pages.app import create
    from pages.guard import Guard
    from pages.server import Address, serving

    workspace, address = Workspace(str(path)), Address()
    atlas = browse_command.atlas_of(workspace)
    app = create(atlas, browse_command.Saver(workspace), Guard(address.token))
    with serving(app, address) as url, test_browser.chromium("--window-size=1100,760") as driver:
        page = test_browser.Page(driver, url).settled()
        page.show_place(-330, 20)
        with replacing(ROOT / "docs" / "pictures" / "browse.png") as temporary:
            driver.save_screenshot(str(temporary))


def draw_another() -> int:
    """The picture of another collection; the exit code of its download."""
    day = CLEAR_DAY, CLEAR_DAY
    flags = DownloadFlags(
        questions.EXAMPLE_AREA, day, day, backend="sandbox", yes=True, collection="SENTINEL2_L2A",
        bands=("B02", "B03", "B04"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        code = run_download(Workspace("s2.zarr"), flags)
        if code == DONE:
            image = retrieve.retrieve(store.Archive("s2.zarr"), questions.EXAMPLE_AREA, day[0])
            with replacing(ROOT / "docs" / "pictures" / "sentinel2.png") as temporary:
                retrieve.plot(image).savefig(temporary, dpi=DPI)
    return code


def session(folder: Path, answers: list[tuple[str, str]]) -> str:
    """The screen of a terminal in which these questions were answered, to its end."""
    with Terminal(folder, columns=COLUMNS) as terminal:
        for question, answer in answers:
            terminal.wait_for(question)
            terminal.answer(answer)
        code = terminal.end(TWO_TILES)
    if code != DONE:
        raise RuntimeError(f"The session ended with exit code {code}:\n{terminal.screen}")
    return terminal.screen


def put_into_page(text: str) -> None:
    """Replace the session in its page."""
    page = ROOT / "docs" / "session.md"
    old = page.read_text(encoding="utf-8")
    pattern = r"(<!-- session -->\n```\n).*?(```\n<!-- end -->)"
    new, found = re.subn(pattern, lambda m: m[1] + text + m[2], old, flags=re.DOTALL)
    if found != 1:
        raise RuntimeError(f"{page} has {found} places for a session, not one.")
    page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(make())
