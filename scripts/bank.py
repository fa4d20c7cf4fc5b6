"""Make a bank of MiniGrid levels: `python scripts/bank.py --help` tells how."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # works without installation, and from anywhere
    from agents.commands import main

    sys.exit(main(["bank", *sys.argv[1:]]))
