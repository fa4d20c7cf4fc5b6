"""Compare what a run's world model predicts with what happens: `python scripts/calibration.py --help` tells how."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # works without installation, and from anywhere
    from agents.commands import main

    sys.exit(main(["calibration", *sys.argv[1:]]))
