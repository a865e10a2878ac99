"""Every HTML page we write: a template filled with data; one file, light and dark, nothing loaded from anywhere."""

import base64
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def page(template: str, **data: Any) -> str:
    """Fill a template of `assets` with data and return a whole HTML document.  Text in the data stays text."""
    return environment().get_template(template).render(data)


@cache
def environment() -> "Environment":
    """Return what renders templates: everything is escaped but what a template itself holds, and a typo is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("emoclip", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["asset"] = _asset
    made.filters |= {"base64": _base64, "clock": clock, "figure": _figure}
    made.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "allow_nan": False,
        "separators": (",", ":"),
    }
    return made


def clock(seconds: float) -> str:
    """Return a time as people read it: 1:02.5, or 1:02:03.4 from an hour on."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def _asset(name: str) -> str:
    """A style or script of ours, which stands in a page as it is."""
    from markupsafe import Markup

    return Markup((files("emoclip") / "assets" / name).read_text(encoding="utf-8"))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _figure(value: object) -> object:
    """A cell's value as it is shown: a dash for None, floats with two decimals."""
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else value
