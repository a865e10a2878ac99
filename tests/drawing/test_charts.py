"""Charts are the same whatever the user set up for charts of their own."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

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


def test_many_threads_may_begin_to_draw_at_once():
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from emoclip.drawing.charts import import_matplotlib
ready = Barrier(8)
def whole(_):
    ready.wait()
    return import_matplotlib().rc_context
with ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(whole, range(8)))) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, instead of its PNG."""
    monkeypatch.setattr(charts, "png", lambda figure: figure)


def test_the_legend_of_a_recall_chart_lies_on_no_bar(figures):
    figure = charts.recall_chart([0.5, 0.97], ["sad", "glad"], 0.7, 0.735)
    figure.canvas.draw()
    (legend,) = (*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend()))
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def chart(names):
    return charts.recall_chart([0.5] * len(names), names, 0.5, 0.5)


def test_letters_that_no_font_has_are_told_in_one_line(monkeypatch, recwarn):
    charts._tell.cache_clear()
    monkeypatch.setattr(charts, "installed", tuple)
    chart(["高兴", "ärgerlich", "悲伤\n"])
    chart(["悲伤", "高兴"])
    (line,) = [str(each.message) for each in recwarn]
    assert line.startswith("charts: no font here has 伤, 兴, 悲, 高; boxes stand in their place, install")


def test_letters_that_a_font_of_the_system_has_are_drawn_in_it(monkeypatch, recwarn):
    font_manager = pytest.importorskip("matplotlib.font_manager")
    folder = Path(charts.import_matplotlib().get_data_path()) / "fonts/ttf"
    usual, other = (
        font_manager.get_font(str(folder / name)).get_charmap()
        for name in ("DejaVuSans.ttf", "STIXGeneral.ttf")
    )
    letter = chr(min({*other} - {*usual}))
    charts._tell.cache_clear()
    monkeypatch.setattr(charts, "installed", tuple)
    boxes = chart([letter, "a"])
    assert len(recwarn) == 1
    charts._tell.cache_clear()
    monkeypatch.setattr(charts, "installed", lambda: (ImageFont.truetype(str(folder / "STIXGeneral.ttf")),))
    assert chart([letter, "a"]) != boxes
    assert len(recwarn) == 1


@pytest.mark.parametrize(("seeds", "told"), [(1, "true (clips)"), (3, "true (clips x 3 seeds)")])
def test_counts_over_seeds_are_called_that(figures, seeds, told):
    assert (
        charts.confusion_chart(3 * np.eye(2, dtype=np.int64), ["a", "b"], seeds).axes[0].get_ylabel() == told
    )


@pytest.mark.parametrize("count", [7, 43])
def test_the_map_names_each_class_once_and_over_no_other(figures, count):
    rng = np.random.default_rng(0)
    names = [f"anger_disgust_{k}" for k in range(count)]
    clips, text = rng.normal(size=(99, 8)).astype("f4"), rng.normal(size=(count, 8)).astype("f4")
    figure = charts.map_chart(clips, np.arange(99) % count, text, names)
    figure.canvas.draw()
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert [each.get_text() for each in legend.get_texts()] == names
    assert not axes.texts
    boxes = [each.get_window_extent() for each in legend.get_texts()]
    assert not any(one.overlaps(two) for one, two in combinations(boxes, 2))
    assert not any(box.overlaps(axes.get_window_extent()) for box in boxes)
