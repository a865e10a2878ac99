"""Pages and pictures: HTML, charts, predictions drawn on their frame; one palette."""

from emoclip.drawing.charts import PALETTE, new_figure, png
from emoclip.drawing.html import clock, page
from emoclip.drawing.prediction import check_format, draw

__all__ = [
    "PALETTE",
    "check_format",
    "clock",
    "draw",
    "new_figure",
    "page",
    "png",
]
