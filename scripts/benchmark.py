"""Measure Auxin's speed beside its peers: `python scripts/benchmark.py --help` tells how."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # works without installation, and from anywhere
    from scripts.benchmarks.command import main

    sys.exit(main(sys.argv[1:]))
