"""Where Auxin keeps what can be made again: compiled programs, banks of levels."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`AUXIN_CACHE`, else `auxin` in the user's cache folder (`XDG_CACHE_HOME` or `~/.cache`); it need not exist."""
    own = os.environ.get("AUXIN_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "auxin"
