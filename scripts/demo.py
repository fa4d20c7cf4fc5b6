"""The demo: `python scripts/demo.py --help` tells what it does."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # works without installation, and from anywhere
    from agents.commands import main

    sys.exit(main(["demo", *sys.argv[1:]]))
