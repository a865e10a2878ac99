"""Human codings: read them, say how well they agree, and learn the coder's own categories from them."""

from emoclip.codings.coding import ANYONE, Coding, Mark
from emoclip.codings.read import read, read_all

__all__ = ["ANYONE", "Coding", "Mark", "read", "read_all"]
