"""Run a paper's claims again: `python scripts/reproduce.py --help` tells how."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # works without installation, and from anywhere
    from scripts.reproductions.command import main

    sys.exit(main(sys.argv[1:]))
