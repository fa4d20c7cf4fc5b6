"""The papers' claims, run again: one file for each paper's plan; `command.py` runs them."""
