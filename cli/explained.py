"""What each question is about, for who answers it with a question mark."""

from __future__ import annotations

WORDS = ("?", "help")  # answers that ask for an explanation
BACK = "back"  # the answer that returns to the question before

# By the name of a question, or by how it begins.
QUESTIONS = {
    "What do you want to do": (
        "The number of a command, or its name.  Each asks for what it needs, and says what it"
        " will do before it does it; update goes on until today as the last download was.  "
        "main.py COMMAND --help says what each can do without questions."
    ),
    "Continue it": "What was ordered and not fetched goes on; nothing is paid for twice.",
    "Back end": (
        "1 makes images up on this computer, for trying things out; 2 is the Copernicus "
        "Data Space, which needs a free account; or write the address of another openEO "
        "back end."
    ),
    "Area": (
        "A box, as 3.6,51.1,4.4,51.4 or 3.6E 51.1N 4.4E 51.4N; or polygons: the name of a"
        " GeoJSON, shapefile, GeoPackage or KML file (of one layer, as file.gpkg|layer), "
        "or WKT; lat,lon: before it if latitudes come first.  map opens a page in the "
        "browser to draw it on."
    ),
    "Right": "That is how the area was understood; n asks for it again.",
    "Did you mean": (
        "Latitudes may have been written first.  y takes the box that is proposed, n what"
        " was typed."
    ),
    "Leave out what is outside": (
        "y leaves pixels empty whose centre is outside of the polygon; n shows all of its box."
    ),
    "First day": (
        "2026-01-20, 20260120 or 20.01.2026 is a day; 2026-01, 2026 or 2026-W04 all days "
        "of a month, year or week; last 30 days, yesterday, or A/B from one to another.  "
        "Days are of UTC."
    ),
    "Last day": "The last day that is wanted, itself included; written as the first one.",
    "Start": (
        "y orders the images and goes on until they are stored; until then nothing is paid for."
    ),
    "Order every day": (
        "Without the catalogue nobody knows which days have images, and a job without one"
        " costs as well."
    ),
    "Day": (
        "A day, as 2026-01-20 or 20.01.2026; where several are offered, also a month, or A/B "
        "from one to another.  A share is how much of the area was seen."
    ),
    "Each day by itself": (
        "1 keeps the days apart; with the others each cell shows the mean, the median, the "
        "newest and so on of its values on all of the days."
    ),
    "Filter the speckle": (
        "y takes most of the grain from each day, by what the other days on its orbit show of each "
        "cell; its brightness stays."
    ),
    "Clouds": "Images with more of their area under clouds, in percent, are not ordered.",
    "Merge by the counts": (
        "y makes one record of both, weighted by how many pixels each has in a cell; n keeps "
        "what is added apart."
    ),
    "Passes of which orbit": (
        "Ascending passes look east, descending ones west, so hills and houses look "
        "different; any mixes them, apart has images of each."
    ),
    "Apart by": (
        "1 has images and lines of each direction, 2 of each relative orbit, which sees the ground "
        "from the same place every time."
    ),
    "Named by": "The column of the file with the features' names; usual finds one, or counts.",
    "Bands": "Those that are wanted, with commas between them.",
    "Files": (
        "Names with commas or blanks between them; how a name ends says what kind of file it "
        "is.  Files that are added may be in a folder that is named."
    ),
    "Replace it": "y writes over the file, n asks for other names.",
    "Step": "A number of the list: which of the time steps of the file is meant.",
    "Remove": "y takes the records out, so that `download` orders them again; n leaves them.",
    "Pixel size": (
        "Degrees, as 0.001, or metres, as 100 m; one number, or height and width.  Pixels larger "
        "than cells are their means."
    ),
    "Pixels smaller than cells": (
        "1 shows the cell around each pixel, 2 what lies between its four neighbours."
    ),
    "Older days": (
        "Where the day has a gap, the newest value of so many days before it is shown; 0: none."
    ),
    "Red, green, blue": "Three bands, as B08,B04,B03, that are shown in these colours.",
    "Darkest and brightest": (
        "Two numbers, in dB or in the units of the bands; without them nearly all values are "
        "between black and white."
    ),
    "Line": (
        "A file for the mean of the area day by day: .png is a plot, .csv are numbers; none "
        "writes none."
    ),
    "Each feature": (
        "The file of the area has several features.  .csv and .parquet have a row for each of "
        "them, day and passes; .png has a panel for each; none writes none."
    ),
    "Name at": "The name of your account there; the password is asked for next.",
}


def explained(name: str, has_default: bool) -> str:
    """What a question is about, and what can be answered at any."""
    about = next((text for begin, text in QUESTIONS.items() if name.startswith(begin)), "")
    enter = "Enter takes what is in brackets" if has_default else "There is no answer for Enter"
    always = f"{enter}; {BACK} returns to the question before; Ctrl-C ends, with nothing started."
    return f"{about}\n  {always}" if about else always
