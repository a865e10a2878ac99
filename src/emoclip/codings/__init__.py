"""Human codings: read them, say how well they agree, and learn the coder's own categories from them."""

from emoclip.codings import report as agreement_report
from emoclip.codings.agreement import Agreement, Settings, measure
from emoclip.codings.coding import ANYONE, Coding, Mark
from emoclip.codings.methods import figure as shown_figure
from emoclip.codings.methods import paragraph as methods_paragraph
from emoclip.codings.pairing import Pairing, Rater, pair, raters
from emoclip.codings.read import read, read_all

__all__ = [
    "ANYONE",
    "Agreement",
    "Coding",
    "Mark",
    "Pairing",
    "Rater",
    "Settings",
    "agreement_report",
    "measure",
    "methods_paragraph",
    "pair",
    "raters",
    "read",
    "read_all",
    "shown_figure",
]
