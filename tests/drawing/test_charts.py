"""Charts are the same whatever the user set up for charts of their own."""

import os
import subprocess
import sys

import pytest

from emoclip.drawing import charts

pytest.importorskip("matplotlib")

PROGRAM = (
    "import hashlib; import numpy as np; from emoclip.drawing import charts; charts.check_installed();"
    "rng = np.random.default_rng(0); clips = rng.normal(size=(9, 4)).astype(np.float32);"
    "drawn = [charts.confusion_chart(np.eye(2, dtype=np.int64), ['a_1', 'b$']),"
    "charts.recall_chart([0.5, None], ['a_1', 'b$'], 0.5, 0.5),"
    "charts.map_chart(clips, np.arange(9) % 2, clips[:2], ['a_1', 'b'])];"
    "print(*(hashlib.sha256(each).hexdigest() for each in drawn))"
)
ODD = (
    "text.usetex: True\nfont.size: 20\nsavefig.dpi: 40\nsavefig.bbox: tight\naxes.facecolor: red\nno colon\n"
)


def drawn(folder, **variables):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_neither_the_users_style_nor_a_notebooks_backend_matters(tmp_path):
    plain = drawn(tmp_path)
    (tmp_path / "matplotlibrc").write_text(ODD)
    assert drawn(tmp_path, MPLBACKEND="module://matplotlib_inline.backend_inline_that_is_not") == plain
    assert drawn(tmp_path, MPLBACKEND="nosuch") == plain


def test_the_legend_of_a_recall_chart_lies_on_no_bar(monkeypatch):
    figures = []
    monkeypatch.setattr(charts, "png", lambda figure: figures.append(figure) or b"")
    charts.recall_chart([0.5, 0.97], ["sad", "glad"], 0.7, 0.735)
    (figure,) = figures
    figure.canvas.draw()
    (legend,) = (*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend()))
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
