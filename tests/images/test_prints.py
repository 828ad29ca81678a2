"""Figures as pixels, against what matplotlib itself prints."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from images.prints import printed
from retrieve import plot
from tests.images.test_figure import grid
from tests.images.test_series import cube
from tests.rounds import torture, turns

FIGURES = {
    "three panels": lambda: grid(columns=200, rows=160, synthetic=1),
    "a thin one": lambda: grid(columns=800, rows=3),
    "pixels larger than dots": lambda: grid(columns=3, rows=4, dlon=24e-5, dlat=15e-5),
    "pixels smaller than dots": lambda: grid(columns=2100, rows=2500, dlon=24e-5, dlat=15e-5),
    "gaps alone": lambda: grid(rows=4, columns=4) * np.nan,
    "several days": cube,
}


@torture
@pytest.mark.parametrize("name", turns(FIGURES, 2))
def test_every_dot_is_as_matplotlib_prints_it_and_the_figure_stays_as_it_is(name):
    figure, dots = plot(FIGURES[name]()), io.BytesIO()
    canvas = figure.canvas
    ours = np.asarray(printed(figure, 150))
    assert (figure.canvas, figure.dpi) == (canvas, 100)
    figure.savefig(dots, dpi=150)
    theirs = np.asarray(Image.open(dots))
    assert (theirs[..., 3] == 255).all()
    np.testing.assert_array_equal(ours, theirs[..., :3])
