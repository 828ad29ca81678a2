"""What the server answers: the page, tiles of the map, and what there is at a place.

Everything is below the token: ``/<token>/tile/9/261/170.png?...``.  What is wrong with a request is
a sentence in JSON, with status 400; nothing of a request ever becomes the name of a file.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flask import Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException

from grid import ORBITS, BBox, as_box, as_day
from images.atlas import Atlas, Picked
from images.web_tiles import ZOOM_MAX, land_tile
from pages.guard import HEADERS, Guard

if TYPE_CHECKING:
    from images.atlas import Range

STATIC = Path(__file__).with_name("static")
LEAFLET = ("leaflet.js", "leaflet.css")
OWN = ("index.html", "map.js", "map.css")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
AT_ONCE = 2  # tiles that are made at a time; more would only take each other's memory
BODY = 65_536  # bytes, the most that a request may say
CORNERS = 500  # of a polygon
FORMATS = ("png", "nc", "tif")


class Desk(Protocol):
    """Whoever wants to be handed an area, or a view to be saved."""

    def estimate(self, area: str, days: tuple[dt.date, dt.date]) -> dict[str, Any]:
        """What an area would cost; raises ValueError."""
        ...

    def take(self, area: str) -> None:
        """Use this area, spelled as in the terminal; raises ValueError."""
        ...

    def save(self, view: View, suffix: str) -> dict[str, Any]:
        """Write what is seen to a file; its name and the command that does the same."""
        ...

    def about(self) -> dict[str, Any]:
        """What the page has to know: whether an area is wanted, and which days are meant."""
        ...


@dataclass(frozen=True)
class View:
    """What is seen in the page: what is picked, of which box, in which range."""

    picked: Picked
    bbox: BBox
    ranges: dict[str, Range]


def create(atlas: Atlas | None, desk: Desk, guard: Guard) -> Flask:
    """The application.  ``atlas`` is None where there is no archive yet."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]  # red, green and blue have an order
    busy = threading.Semaphore(AT_ONCE)

    @app.before_request
    def admit() -> None:
        token = request.path.strip("/").partition("/")[0]
        if why := guard.reason(token, request.method, request.headers):
            abort(Response(f"{why}\n", 403, mimetype="text/plain"))

    @app.after_request
    def seal(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.errorhandler(ValueError)
    def explain(error: ValueError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(Exception)
    def apologise(error: Exception) -> tuple[Response, int]:
        if isinstance(error, HTTPException):
            return jsonify(error=str(error.description)), error.code or 500
        return jsonify(error=f"{type(error).__name__}: {error}"), 500

    @app.get("/<token>/")
    def page(token: str) -> Response:  # noqa: ARG001
        return _file(STATIC / "index.html")

    for name in OWN[1:]:
        app.add_url_rule(f"/<token>/{name}", name, _giver(STATIC / name))
    for name in LEAFLET:
        app.add_url_rule(f"/<token>/{name}", name, _giver(_leaflet() / name))

    @app.get("/<token>/about")
    def about(token: str) -> Response:  # noqa: ARG001
        if atlas is not None:
            atlas.look_again()
        return jsonify(archive=atlas and atlas.about(), desk=desk.about(), zoomMax=ZOOM_MAX)

    @app.get("/<token>/land/<int:z>/<int:x>/<int:y>.png")
    def land(token: str, z: int, x: int, y: int) -> Response:  # noqa: ARG001
        with busy:
            return _picture(land_tile(z, x, y, dark=_text("dark", "0") == "1"))

    @app.get("/<token>/estimate")
    def estimate(token: str) -> Response:  # noqa: ARG001
        return jsonify(desk.estimate(_area(_text("area")), _days()))

    @app.post("/<token>/area")
    def area(token: str) -> Response:  # noqa: ARG001
        desk.take(_area(str(_body().get("area", ""))))
        return jsonify(taken=True)

    if atlas is not None:
        _add_archive(app, atlas, desk, busy)
    return app


def _add_archive(app: Flask, atlas: Atlas, desk: Desk, busy: threading.Semaphore) -> None:
    """The answers that need an archive."""

    @app.get("/<token>/tile/<int:z>/<int:x>/<int:y>.png")
    def tile(token: str, z: int, x: int, y: int) -> Response:  # noqa: ARG001
        picked = _picked(request.args)
        ranges = _ranges(request.args, atlas.names(picked.band))
        with busy:
            return _picture(atlas.tile(picked, ranges, z, x, y))

    @app.get("/<token>/coverage")
    def coverage(token: str) -> Response:  # noqa: ARG001
        return jsonify(atlas.coverage(_picked(request.args)))

    @app.get("/<token>/ranges")
    def ranges(token: str) -> Response:  # noqa: ARG001
        picked = _picked(request.args)
        with busy:
            return jsonify(atlas.ranges(picked, _box(_text("box"))))

    @app.get("/<token>/place")
    def place(token: str) -> Response:  # noqa: ARG001
        lon, lat = _number("lon"), _number("lat")
        if not (-180 <= lon < 180 and -90 <= lat <= 90):
            raise ValueError(f"{lon}, {lat} is no place on the Earth.")
        with busy:
            return jsonify(atlas.place(_picked(request.args), lon, lat))

    @app.post("/<token>/save")
    def save(token: str) -> Response:  # noqa: ARG001
        said = {name: str(value) for name, value in _body().items()}
        if (suffix := said.get("format", "")) not in FORMATS:
            raise ValueError(f"{suffix!r} is no format; these are: {', '.join(FORMATS)}.")
        picked = _picked(said)
        ranges = _ranges(said, atlas.names(picked.band))
        return jsonify(desk.save(View(picked, _box(said.get("box", "")), ranges), suffix))


# --- what a request says ------------------------------------------------------------------


def _picked(said: Any) -> Picked:
    """What is to be shown; raises ValueError."""
    first = as_day(said.get("first", ""))
    last = as_day(said.get("last") or first)
    orbit, how = said.get("orbit", ORBITS[0]), said.get("how") or None
    if orbit not in ORBITS:
        raise ValueError(f"{orbit!r} is none of {', '.join(ORBITS)}.")
    if last < first:
        raise ValueError(f"{last} is before {first}.")
    from images.composites import judged

    return Picked(first, last, orbit, str(said.get("band", "")), judged(how))


def _ranges(said: Any, names: tuple[str, ...]) -> dict[str, Range]:
    """``low,high`` of each, one after the other."""
    numbers = [_finite(text) for text in str(said.get("ranges", "")).split(",")]
    if len(numbers) != 2 * len(names):
        raise ValueError(f"ranges needs two numbers for each of {', '.join(names)}.")
    found = {name: (numbers[2 * i], numbers[2 * i + 1]) for i, name in enumerate(names)}
    for name, (low, high) in found.items():
        if not low < high:
            raise ValueError(f"The range of {name} goes from {low:g} to {high:g}.")
    return found


def _area(text: str) -> str:
    """An area as the terminal takes it: a box of four numbers, or a polygon of more, as WKT.

    It is put together again of numbers alone.
    """
    numbers = [_finite(part) for part in text.split(",")]
    if len(numbers) == 4:
        return ",".join(f"{number:.7g}" for number in numbers)
    if len(numbers) < 6 or len(numbers) % 2 or len(numbers) > 2 * CORNERS:
        raise ValueError(f"An area has four numbers, or three to {CORNERS} corners.")
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    listed = ", ".join(f"{lon:.7g} {lat:.7g}" for lon, lat in [*corners, corners[0]])
    return f"POLYGON (({listed}))"


def _box(text: str) -> BBox:
    numbers = [_finite(part) for part in text.split(",")]
    if len(numbers) != 4:
        raise ValueError("A box has four numbers.")
    west, south, east, north = numbers
    if east - west >= 360:
        west, east = -180.0, 180.0
    return as_box((west, max(-90.0, south), east, min(90.0, north)))


def _days() -> tuple[dt.date, dt.date]:
    first, last = as_day(_text("first")), as_day(_text("last"))
    if last < first:
        raise ValueError(f"{last} is before {first}.")
    return first, last


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]!r} is no number.")
    return number


def _number(name: str) -> float:
    return _finite(_text(name))


def _text(name: str, otherwise: str = "") -> str:
    return request.args.get(name, otherwise)


def _body() -> dict[str, Any]:
    found = request.get_json()
    if not isinstance(found, dict):
        raise ValueError("The request says nothing.")
    return found


# --- what is answered ---------------------------------------------------------------------


def _leaflet() -> Path:
    """Where Leaflet is, in a package that is only that."""
    spec = importlib.util.find_spec("js_lib_leaflet")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The package django-js-lib-leaflet, which has the map, is missing."
        )
    return Path(spec.origin).with_name("static") / "js_lib_leaflet"


def _giver(path: Path) -> Callable[[str], Response]:
    def give(token: str) -> Response:  # noqa: ARG001
        return _file(path)

    return give


def _file(path: Path) -> Response:
    return Response(path.read_bytes(), content_type=f"{TYPES[path.suffix]}; charset=utf-8")


def _picture(data: bytes) -> Response:
    """A picture, which the address names wholly: it has the version of the archive in it."""
    return Response(data, mimetype="image/png", headers={"Cache-Control": "private, max-age=3600"})
