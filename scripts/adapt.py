"""Draw how agents adapt to tasks that they never saw: `python scripts/adapt.py --help` tells how."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # works without installation, and from anywhere
    from agents.commands import main

    sys.exit(main(["adapt", *sys.argv[1:]]))
