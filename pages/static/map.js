// @ts-check
/* The archive on a map: which image is shown, what is at a place, and the area that is drawn. */
"use strict";

/** @typedef {{day: string, orbit: string, tiles: number}} Image */
/** @typedef {{name: string, label: string, isClass: boolean}} Band */
/**
 * @typedef {object} Archive
 * @property {string} name
 * @property {string} title
 * @property {string} version   another one after each change
 * @property {number} records
 * @property {Band[]} bands
 * @property {string[]} composites
 * @property {Image[]} images   by day
 * @property {number[] | null} extent   west, south, east, north; degrees
 * @property {[number, number]} tileSize   width and height, degrees
 */
/** @typedef {{wantsArea: boolean, first: string, last: string, box: number[] | null}} Desk */
/**
 * @typedef {object} Row   what a record has of a cell
 * @property {string} day
 * @property {string} orbit
 * @property {string} tile
 * @property {number} count
 * @property {Object<string, number | null>} values
 * @property {Object<string, number | null>} shown
 * @property {string | null} begin
 * @property {string} platform
 * @property {number} relativeOrbit
 * @property {Object<string, string>} provenance
 */

const LOOK_AGAIN = 10_000; // ms, after which it is asked whether something was written
const FILLED = 32; // pixels, a tile of the archive narrower than that is filled
const PATIENCE = 300; // ms, after which somebody who drags is thought to have stopped
const [STEP, LEAP] = [2, 20]; // pixels, that an arrow key moves a corner; with Shift
/** @type {Object<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

/** @type {any} */
const L = /** @type {any} */ (window).L;

/** @param {string} id @returns {any} */
const at = (id) => document.getElementById(id);

/** @type {Archive | null} */
let archive = null;
/** @type {Image[]} */
let images = []; // those of the orbit that is chosen
/** @type {Object<string, Object<string, [number, number]>>} */
const ranges = {}; // by band: what is darkest and brightest of each channel

const map = L.map("map", {
  preferCanvas: true, worldCopyJump: true, minZoom: 1, fadeAnimation: false,
});
map.attributionControl.setPrefix("Leaflet");
L.control.scale({ imperial: false }).addTo(map);
const ground = L.tileLayer("", { maxZoom: 19, maxNativeZoom: 12 }).addTo(map);
const picture = L.tileLayer("", { maxZoom: 22, className: "archive-tile" });
const outlines = L.featureGroup().addTo(map);
const spot = L.circleMarker([0, 0], { radius: 6, color: "#d55e00", fill: false });

// --- asking the server ---------------------------------------------------------------

/**
 * What the server answers, or an error in its words.
 * @param {string} what @param {Object<string, any>} [query] @param {Object<string, any>} [body]
 * @returns {Promise<any>}
 */
async function ask(what, query = {}, body) {
  const address = `${what}?${new URLSearchParams(query)}`;
  const how = body && {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  };
  let answer;
  try {
    answer = await fetch(address, how);
  } catch {
    throw new Error("The server has ended; the terminal says why.");
  }
  const found = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(found.error);
  return found;
}

/** Say something to whoever looks, or what went wrong. @param {string | Error} words */
function say(words) {
  at("said").textContent = words instanceof Error ? words.message : words;
}

/**
 * A function that waits until it has not been called for a moment.
 * @param {() => void} work
 */
function patient(work) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, PATIENCE);
  };
}

/** Wrap a longitude into -180 to 180. @param {number} lon */
const wrapped = (lon) => ((((lon + 180) % 360) + 360) % 360) - 180;

/** @param {number} number */
const degrees = (number) => String(Math.round(number * 1e5) / 1e5);

// --- what is shown -------------------------------------------------------------------

/** The image that is chosen. @returns {Image | undefined} */
const chosen = () => images[Number(at("slider").value)];

/** What the server is to show. @returns {Object<string, string>} */
function picked() {
  const image = /** @type {Image} */ (chosen());
  const how = at("how").value;
  return {
    first: how ? at("since").value : image.day,
    last: image.day, orbit: at("orbit").value, band: at("band").value, how,
  };
}

/** West, south, east, north of what is seen. */
function seen() {
  const box = map.getBounds();
  const width = Math.min(360, box.getEast() - box.getWest());
  const west = width >= 360 ? -180 : wrapped(box.getWest());
  return [west, Math.max(-85, box.getSouth()), west + width, Math.min(85, box.getNorth())];
}

/** Show what is chosen, in a range that is the same for all days. */
async function show() {
  if (!archive || !chosen()) return;
  const query = picked();
  tellDay();
  await drawOutlines(query);
  if (!ranges[query.band]) await fit();
  const found = ranges[query.band];
  if (!found) {
    picture.remove();
    return;
  }
  const numbers = Object.values(found).flat().join(",");
  const words = new URLSearchParams({ ...query, ranges: numbers, v: archive.version });
  picture.setUrl(`tile/{z}/{x}/{y}.png?${words}`);
  if (!map.hasLayer(picture)) picture.addTo(map);
}

function tellDay() {
  const image = /** @type {Image} */ (chosen());
  const many = image.tiles === 1 ? "1 tile" : `${image.tiles} tiles`;
  at("day").textContent = `${image.day} ${image.orbit === "any" ? "" : image.orbit} (${many})`;
}

/** Find what is darkest and brightest in the view. */
async function fit() {
  const query = picked();
  let found = await ask("ranges", { ...query, box: seen().join(",") });
  if (!Object.keys(found).length && archive && archive.extent) {
    found = await ask("ranges", { ...query, box: archive.extent.join(",") });
  }
  if (Object.keys(found).length) ranges[query.band] = found;
  listRanges();
}

function listRanges() {
  const place = at("ranges");
  place.replaceChildren();
  const found = ranges[at("band").value] || {};
  for (const [name, limits] of Object.entries(found)) {
    const label = document.createElement("label");
    const words = document.createElement("span");
    words.textContent = name;
    label.append(words);
    limits.forEach((_, i) => {
      const input = document.createElement("input");
      input.type = "number";
      input.step = "any";
      const shown = () => String(Math.round(limits[i] * 1000) / 1000);
      input.value = shown();
      input.setAttribute("aria-label", `${name}, ${i ? "brightest" : "darkest"}`);
      input.addEventListener("change", () => {
        const next = Number(input.value);
        if (input.value === "" || (i ? next <= limits[0] : next >= limits[1])) {
          say("The darkest must be below the brightest.");
          input.value = shown();
          return;
        }
        limits[i] = next;
        show().catch(say);
      });
      label.append(input);
    });
    place.append(label);
  }
}

/** @param {Object<string, string>} query */
async function drawOutlines(query) {
  outlines.clearLayers();
  if (!archive || !at("tiles").checked) return;
  const [width, height] = archive.tileSize;
  for (const [west, south, , some] of await ask("coverage", query)) {
    const box = L.rectangle([[south, west], [south + height, west + width]], {
      color: some ? "#e69f00" : "#7a8891", weight: 1, interactive: false,
    });
    outlines.addLayer(box);
  }
  fillOutlines();
}

/** From afar, where too many tiles would make an image, they are filled; near they hide nothing. */
function fillOutlines() {
  if (!archive) return;
  const width = (archive.tileSize[0] / 360) * 256 * 2 ** map.getZoom(); // pixels
  outlines.setStyle({ fillOpacity: width < FILLED ? 0.4 : 0 });
}

/** Take what the archive holds into the controls, and keep what was chosen. */
function fillControls() {
  if (!archive) return;
  at("title").textContent = `${archive.title}: ${archive.name}`;
  document.title = archive.title;
  const orbits = [...new Set(archive.images.map((image) => image.orbit))];
  const together = orbits.length > 1 || orbits[0] === "any" ? ["any"] : [];
  options(at("orbit"), [...new Set([...orbits, ...together])]);
  options(at("band"), archive.bands.map((band) => band.name), archive.bands.map((b) => b.label));
  options(at("how"), ["", ...archive.composites], ["one day", ...archive.composites]);
  listDays(true);
}

/** Put options into a choice; what was chosen stays if it is still there.
 * @param {HTMLSelectElement} select @param {string[]} values @param {string[]} [labels] */
function options(select, values, labels = values) {
  const before = select.value;
  select.replaceChildren(...values.map((value, i) => new Option(labels[i], value)));
  if (values.includes(before)) select.value = before;
}

/**
 * The images of the orbit that is chosen; the newest is shown unless another one was.
 * @param {boolean} [follows]   whether who looks at the newest wants a newer one
 */
function listDays(follows = false) {
  if (!archive) return;
  const before = chosen();
  const wasLast = !before || (follows && Number(at("slider").value) === images.length - 1);
  const orbit = at("orbit").value;
  images = orbit === "any" ? oneEachDay(archive.images)
    : archive.images.filter((image) => image.orbit === orbit);
  const same = images.findIndex((image) => before && image.day === before.day);
  at("slider").max = String(Math.max(0, images.length - 1));
  at("slider").value = String(wasLast || same < 0 ? images.length - 1 : same);
  at("slider").disabled = images.length < 2;
  options(at("since"), images.map((image) => image.day));
}

/** @param {Image[]} some */
function oneEachDay(some) {
  /** @type {Map<string, Image>} */
  const days = new Map();
  for (const image of some) {
    const tiles = image.tiles + (days.get(image.day)?.tiles || 0);
    days.set(image.day, { day: image.day, orbit: "any", tiles });
  }
  return [...days.values()];
}

/** Ask whether something was written since. */
async function lookAgain() {
  if (document.hidden) return;
  const found = (await ask("about")).archive;
  if (!archive || !found || found.version === archive.version) return;
  archive = found;
  fillControls();
  await show();
}

// --- what is at a place --------------------------------------------------------------

/** Say what the archive has of a place. @param {{lat: number, lng: number}} where */
async function tellPlace(where) {
  if (!archive || !chosen()) return;
  const { lat, lng } = where;
  spot.setLatLng(where).addTo(map);
  const days = { ...picked(), orbit: "any", how: "", first: "0001-01-01", last: "9999-12-31" };
  const found = await ask("place", { lon: wrapped(lng), lat, ...days });
  drawPlace(found);
}

/**
 * @param {{cell: number, level: number, lon: number, lat: number, units: Object<string, string>,
 *   records: Row[]}} found
 */
function drawPlace(found) {
  const panel = at("place");
  panel.hidden = false;
  const close = document.createElement("button");
  close.textContent = "Close";
  close.addEventListener("click", closePlace);
  const title = document.createElement("h2");
  title.textContent = `Cell ${found.cell}, level ${found.level}`;
  panel.replaceChildren(title, table({ centre: `${degrees(found.lat)} N, ${degrees(found.lon)} E` }));
  const query = picked();
  const now = found.records.filter((row) => query.first <= row.day && row.day <= query.last
    && ["any", row.orbit].includes(query.orbit));
  if (found.records.length > 1) panel.append(plot(found.records, found.units));
  if (!now.length) panel.append(paragraph("Nothing of the days that are shown."));
  for (const row of now.slice(-3).reverse()) panel.append(table(told(row)));
  panel.append(close);
}

/** What there is to say of a record at a cell. @param {Row} row */
function told(row) {
  const orbit = row.relativeOrbit ? `${row.orbit}, relative orbit ${row.relativeOrbit}` : row.orbit;
  /** @type {Object<string, string>} */
  const words = { day: row.day, orbit };
  for (const [band, value] of Object.entries(row.values)) {
    const shown = row.shown[band];
    const same = shown === value || shown === null;
    words[band] = value === null ? "no value"
      : `${value.toPrecision(4)}${same ? "" : ` = ${shown?.toFixed(1)} dB`}`;
  }
  words.count = `${row.count} pixels`;
  if (row.begin) words.time = row.begin.replace("T", " ").replace("Z", " UTC");
  if (row.platform) words.platform = row.platform;
  return { ...words, tile: row.tile, ...row.provenance };
}

/** @param {Object<string, string>} rows */
function table(rows) {
  const found = document.createElement("table");
  for (const [name, value] of Object.entries(rows)) {
    const row = found.insertRow();
    const head = document.createElement("th");
    head.textContent = name;
    row.append(head);
    row.insertCell().textContent = value;
  }
  return found;
}

/** @param {string} words */
function paragraph(words) {
  const found = document.createElement("p");
  found.textContent = words;
  return found;
}

/**
 * The values of a cell over time; passes of each direction apart.
 * @param {Row[]} rows @param {Object<string, string>} units
 */
function plot(rows, units) {
  const [wide, high, left, low] = [300, 150, 34, 128];
  const bands = Object.keys(rows[0].shown);
  const times = rows.map((row) => Date.parse(row.day));
  const values = rows.flatMap((row) => bands.map((band) => row.shown[band]));
  const known = /** @type {number[]} */ (values.filter((value) => value !== null));
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const [first, last] = [Math.min(...times), Math.max(...times)];
  /** @param {number} time */
  const x = (time) => left + ((time - first) / (last - first || 1)) * (wide - left - 8);
  /** @param {number} value */
  const y = (value) => low - ((value - least) / (most - least || 1)) * (low - 22);
  const svg = element("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img" });
  svg.setAttribute("aria-label", `${bands.join(", ")} from ${rows[0].day} to ${rows.at(-1)?.day}`);
  const digits = most - least > 5 ? 0 : most - least > 0.5 ? 1 : 3;
  svg.append(
    element("path", { d: `M${left} 18V${low}H${wide}`, fill: "none", stroke: "currentColor" }),
    text(0, y(most) + 4, most.toFixed(digits)), text(0, y(least) + 4, least.toFixed(digits)),
    text(left, high - 6, rows[0].day), text(wide - 62, high - 6, rows[rows.length - 1].day),
  );
  bands.forEach((band, i) => {
    const colour = COLOURS[i % COLOURS.length];
    const unit = units[band] ? ` (${units[band]})` : "";
    svg.append(text(left + 6 + (unit ? 66 : 46) * i, 11, band + unit, colour));
    for (const orbit of new Set(rows.map((row) => row.orbit))) {
      const some = rows.filter((row) => row.orbit === orbit);
      const path = some.map((row, k) => {
        const value = row.shown[band];
        if (value === null) return "";
        const joins = k > 0 && some[k - 1].shown[band] !== null;
        return `${joins ? "L" : "M"}${x(Date.parse(row.day))} ${y(value)}`;
      });
      const dashes = orbit === "descending" ? "4 3" : "";
      svg.append(element("path", {
        d: path.join(""), fill: "none", stroke: colour, "stroke-dasharray": dashes,
      }));
      for (const row of some) {
        const value = row.shown[band];
        if (value === null) continue;
        const dot = element("circle", { cx: x(Date.parse(row.day)), cy: y(value), r: 2.5, fill: colour });
        const title = element("title", {});
        title.textContent = `${row.day} ${orbit} ${band} ${value.toFixed(2)}`;
        dot.append(title);
        svg.append(dot);
      }
    }
  });
  return svg;
}

/** @param {string} name @param {Object<string, any>} attributes */
function element(name, attributes) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  return found;
}

/** @param {number} x @param {number} y @param {string} words @param {string} [colour] */
function text(x, y, words, colour) {
  const found = element("text", { x, y });
  if (colour) found.style.fill = colour;
  found.textContent = words;
  return found;
}

function closePlace() {
  at("place").hidden = true;
  spot.remove();
}

/** Have the view written to a file. */
async function save() {
  const query = picked();
  const numbers = Object.values(ranges[query.band] || {}).flat().join(",");
  say("Writing ...");
  at("save").disabled = true;
  try {
    const body = { ...query, ranges: numbers, box: seen().join(","), format: at("format").value };
    const found = await ask("save", {}, body);
    say(`Written: ${found.file}. The same on the command line:`);
    const line = document.createElement("code");
    line.textContent = found.command;
    at("said").append(document.createElement("br"), line);
  } finally {
    at("save").disabled = false;
  }
}

// --- drawing an area -----------------------------------------------------------------

/** @type {[number, number][]} */
let corners = []; // latitude, longitude; of a rectangle the four
/** @type {any[]} */
let marks = []; // what each corner is held by
let drawing = ""; // "rectangle", "polygon" or nothing
const shape = L.polygon([], { color: "#d55e00", weight: 2, fillOpacity: 0.15, interactive: false });
const handles = L.layerGroup();

/** @param {string} what */
function draw(what) {
  drawing = drawing === what ? "" : what;
  for (const name of ["rectangle", "polygon"]) {
    at(name).setAttribute("aria-pressed", String(drawing === name));
  }
  map.dragging[drawing === "rectangle" ? "disable" : "enable"]();
  map.doubleClickZoom[drawing ? "disable" : "enable"]();
  at("map").style.cursor = drawing ? "crosshair" : "";
  if (drawing) setCorners([]);
  at("hint").textContent = drawing === "polygon"
    ? "Click each corner; a double click, or Enter, ends it."
    : drawing ? "Press at one corner and drag to the other."
      : "Corners can be dragged, or moved with the arrow keys (Shift: further); Insert adds one, Delete "
        + "removes one. The sides of a rectangle can be typed.";
}

/** @param {[number, number][]} some */
function setCorners(some) {
  corners = some;
  shape.setLatLngs(corners).addTo(map);
  handles.clearLayers().addTo(map);
  marks = corners.map(handleOf);
  nameCorners();
  showArea();
}

/** What a corner is held by. @param {[number, number]} corner @param {number} i */
function handleOf(corner, i) {
  const icon = L.divIcon({ className: "corner", iconSize: [12, 12] });
  const handle = L.marker(corner, { icon, draggable: true });
  handle.on("drag", () => moveCorner(i, handle.getLatLng()));
  handles.addLayer(handle);
  handle.getElement().addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (!pressCorner(i, event)) return;
    event.preventDefault();
    event.stopPropagation(); // else the map moves as well
  });
  return handle;
}

/** Say which corner is where, to who cannot see it. */
function nameCorners() {
  marks.forEach((handle, i) => {
    const [lat, lon] = corners[i];
    const where = `${degrees(lat)} N, ${degrees(wrapped(lon))} E`;
    handle.getElement().setAttribute("aria-label", `Corner ${i + 1} of ${corners.length}: ${where}`);
  });
}

/**
 * What a key does to a corner; whether it does anything.
 * @param {number} i @param {KeyboardEvent} event
 */
function pressCorner(i, event) {
  const way = ARROWS[event.key];
  if (way && !event.altKey && !event.ctrlKey && !event.metaKey) {
    const step = event.shiftKey ? LEAP : STEP;
    const place = map.latLngToContainerPoint(corners[i]).add([way[0] * step, way[1] * step]);
    moveCorner(i, map.containerPointToLatLng(place));
    map.panInside(corners[i]);
  } else if (event.key === "Insert" || event.key === "+") {
    const [here, next] = [corners[i], corners[(i + 1) % corners.length]];
    const middle = /** @type {[number, number]} */ ([(here[0] + next[0]) / 2, (here[1] + next[1]) / 2]);
    setCorners([...corners.slice(0, i + 1), middle, ...corners.slice(i + 1)]);
    marks[i + 1].getElement().focus();
  } else if (event.key === "Delete" || event.key === "Backspace") {
    if (corners.length < 4 && !drawing) say("An area has three corners at least.");
    else setCorners(corners.filter((_, k) => k !== i));
    marks[Math.min(i, marks.length - 1)]?.getElement().focus();
  } else return false;
  return true;
}

/** @param {number} i @param {{lat: number, lng: number}} to */
function moveCorner(i, to) {
  const isBox = isRectangle();
  corners[i] = [to.lat, to.lng];
  if (isBox) {
    const other = corners[(i + 2) % 4];
    const [beside, below] = [(i + 1) % 4, (i + 3) % 4];
    corners[beside] = i % 2 ? [to.lat, other[1]] : [other[0], to.lng];
    corners[below] = i % 2 ? [other[0], to.lng] : [to.lat, other[1]];
  }
  shape.setLatLngs(corners);
  marks.forEach((handle, k) => handle.setLatLng(corners[k]));
  nameCorners();
  showArea();
}

function isRectangle() {
  if (corners.length !== 4) return false;
  const [lats, lons] = [new Set(corners.map((c) => c[0])), new Set(corners.map((c) => c[1]))];
  return lats.size === 2 && lons.size === 2;
}

/** @param {{lat: number, lng: number}} a @param {{lat: number, lng: number}} b */
function setBox(a, b) {
  const [south, north] = [Math.min(a.lat, b.lat), Math.max(a.lat, b.lat)];
  const [west, east] = [Math.min(a.lng, b.lng), Math.max(a.lng, b.lng)];
  setCorners([[south, west], [north, west], [north, east], [south, east]]);
}

/** The area as the server takes it. */
function spelled() {
  if (isRectangle()) {
    const [lats, lons] = [corners.map((c) => c[0]), corners.map((c) => c[1])];
    const [west, east] = [Math.min(...lons), Math.max(...lons)];
    return [wrapped(west), Math.min(...lats), wrapped(east), Math.max(...lats)].map(degrees).join(",");
  }
  return corners.map(([lat, lon]) => `${degrees(lon)},${degrees(lat)}`).join(",");
}

function showArea() {
  const isArea = isRectangle() || corners.length > 2;
  at("use").disabled = !isArea || drawing === "polygon";
  const sides = isRectangle() ? spelled().split(",") : ["", "", "", ""];
  ["west", "south", "east", "north"].forEach((side, i) => {
    if (document.activeElement !== at(side)) at(side).value = sides[i];
  });
  at("estimate").textContent = isArea ? at("estimate").textContent : "";
  if (isArea) estimateSoon();
}

const estimateSoon = patient(() => estimate().catch(tellEstimate));

/** @param {string | Error} words */
function tellEstimate(words) {
  at("estimate").textContent = words instanceof Error ? words.message : words;
}

async function estimate() {
  const asked = spelled();
  if (!at("from").value || !at("to").value || !corners.length) return;
  tellEstimate("Asking the catalogue ...");
  const found = await ask("estimate", { area: asked, first: at("from").value, last: at("to").value });
  if (asked === spelled()) tellEstimate(found.words);
}

function readSides() {
  const [west, south, east, north] = ["west", "south", "east", "north"].map((s) => at(s).value);
  if ([west, south, east, north].includes("")) return;
  const beyond = Number(east) < Number(west) ? 360 : 0;
  setBox({ lat: Number(south), lng: Number(west) }, { lat: Number(north), lng: Number(east) + beyond });
  look([Number(west), Number(south), Number(east) + beyond, Number(north)]);
}

function listenToDrawing() {
  /** @type {any} */
  let begun = null;
  map.on("mousedown", (/** @type {any} */ event) => {
    if (drawing === "rectangle") begun = event.latlng;
  });
  map.on("mousemove", (/** @type {any} */ event) => {
    if (begun) setBox(begun, event.latlng);
  });
  map.on("mouseup", () => {
    if (!begun) return;
    begun = null;
    draw("rectangle"); // which ends it
    showArea();
  });
  map.on("dblclick", () => drawing === "polygon" && endPolygon());
  for (const name of ["rectangle", "polygon"]) {
    at(name).addEventListener("click", () => {
      const before = corners;
      draw(name);
      if (!drawing) setCorners(before);
    });
  }
  at("clear").addEventListener("click", () => setCorners([]));
  for (const side of ["west", "south", "east", "north"]) at(side).addEventListener("change", readSides);
  for (const day of ["from", "to"]) at(day).addEventListener("change", showArea);
  at("area").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    useArea().catch(tellEstimate);
  });
}

function endPolygon() {
  const found = corners.filter((c, i) => i === 0 || c[0] !== corners[i - 1][0] || c[1] !== corners[i - 1][1]);
  draw("polygon"); // which ends it
  setCorners(found);
}

async function useArea() {
  await ask("area", {}, { area: spelled() });
  at("area").hidden = true;
  say("Handed to the terminal, where the questions go on. This page may be closed.");
}

// --- all together --------------------------------------------------------------------

function listen() {
  /** @param {string} id @param {string} kind @param {() => any} work */
  const on = (id, kind, work) => at(id).addEventListener(kind, () => Promise.resolve(work()).catch(say));
  on("slider", "input", show);
  on("band", "change", async () => { await show(); listRanges(); });
  on("orbit", "change", () => { listDays(); return show(); });
  on("how", "change", () => { at("sinceLabel").hidden = !at("how").value; return show(); });
  on("since", "change", show);
  on("tiles", "change", show);
  on("fit", "click", async () => { await fit(); await show(); });
  on("save", "click", save);
  map.on("click", (/** @type {any} */ event) => {
    if (drawing === "polygon") setCorners([...corners, [event.latlng.lat, event.latlng.lng]]);
    else if (!drawing) tellPlace(event.latlng).catch(say);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement && event.target.type !== "range") return;
    const step = { "[": -1, "]": 1 }[event.key];
    if (step && chosen()) {
      const slider = at("slider");
      slider.value = String(Number(slider.value) + step);
      show().catch(say);
    }
    if (event.key === "Enter" && drawing === "polygon") endPolygon();
    else if (event.key === "Enter" && event.target === at("map")) tellPlace(map.getCenter()).catch(say);
    if (event.key === "Escape") {
      if (drawing) draw(drawing);
      closePlace();
    }
  });
  map.on("zoomend", fillOutlines);
  picture.on("tileerror", () => say("A tile could not be made; the terminal may say why."));
  setInterval(() => lookAgain().catch(say), LOOK_AGAIN);
}

function paintGround() {
  ground.setUrl(`land/{z}/{x}/{y}.png?dark=${DARK.matches ? 1 : 0}`);
}

/** A box with what is around it. @param {number[]} box */
function wider([west, south, east, north]) {
  const [dx, dy] = [(east - west) / 2, (north - south) / 2];
  return [west - dx, south - dy, east + dx, north + dy];
}

/** Show a box beside the controls. @param {number[]} box */
function look(box) {
  const beside = window.matchMedia("(max-width: 640px)").matches ? 0 : at("controls").offsetWidth;
  map.fitBounds([[box[1], box[0]], [box[3], box[2]]], {
    paddingTopLeft: [20, 20], paddingBottomRight: [20 + beside, 20],
  });
}

/** @param {Desk} desk */
function start(desk) {
  const box = (desk.box && wider(desk.box)) || (archive && archive.extent) || [-30, 30, 40, 65];
  look(box);
  at("area").hidden = !desk.wantsArea;
  [at("from").value, at("to").value] = [desk.first, desk.last];
  at("view").hidden = !archive || !archive.images.length;
  if (!archive) at("title").textContent = "There is no archive yet";
  else if (!archive.images.length) say("The archive has no record yet.");
  if (desk.wantsArea && desk.box) {
    const [west, south, east, north] = desk.box;
    setBox({ lat: south, lng: west }, { lat: north, lng: east });
  }
}

async function main() {
  paintGround();
  DARK.addEventListener("change", paintGround);
  const found = await ask("about");
  archive = found.archive;
  fillControls();
  start(found.desk);
  listen();
  listenToDrawing();
  await show();
}

main().catch(say);
