"""Pages and pictures: HTML, charts, predictions drawn on their frame; one palette."""

from emoclip.drawing.charts import PALETTE, import_matplotlib, new_figure, own_style, png
from emoclip.drawing.html import clock, page
from emoclip.drawing.prediction import check_format, draw

__all__ = [
    "PALETTE",
    "check_format",
    "clock",
    "draw",
    "import_matplotlib",
    "new_figure",
    "own_style",
    "page",
    "png",
]
