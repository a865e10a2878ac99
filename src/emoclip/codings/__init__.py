"""Human codings: read them, say how well they agree, and learn the coder's own categories from them."""

from emoclip.codings import report as agreement_report
from emoclip.codings.agreement import Agreement, AgreementConfig, measure
from emoclip.codings.coding import ANYONE, Coding, Mark
from emoclip.codings.methods import DASH
from emoclip.codings.methods import figure as shown_figure
from emoclip.codings.methods import paragraph as methods_paragraph
from emoclip.codings.pairing import Pairing, Rater, check_names, pair, raters
from emoclip.codings.read import check_tiers, read, read_all
from emoclip.codings.samples import named as named_videos
from emoclip.codings.suggest import suggest as suggest_windows
from emoclip.codings.suggest import write as write_suggestions
from emoclip.codings.tables import way_of
from emoclip.codings.teach import Lesson, forecast, usual_window
from emoclip.codings.teach import prepare as prepare_lesson
from emoclip.codings.teach import teach as teach_labels
from emoclip.codings.teach import write as write_labels

__all__ = [
    "ANYONE",
    "DASH",
    "Agreement",
    "AgreementConfig",
    "Coding",
    "Lesson",
    "Mark",
    "Pairing",
    "Rater",
    "agreement_report",
    "check_names",
    "check_tiers",
    "forecast",
    "measure",
    "methods_paragraph",
    "named_videos",
    "pair",
    "prepare_lesson",
    "raters",
    "read",
    "read_all",
    "shown_figure",
    "suggest_windows",
    "teach_labels",
    "usual_window",
    "way_of",
    "write_labels",
    "write_suggestions",
]
