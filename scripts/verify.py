"""Prove where a trained policy decides what is forbidden: `python scripts/verify.py --help` tells how."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # works without installation, and from anywhere
    from agents.commands import main

    sys.exit(main(["verify", *sys.argv[1:]]))
