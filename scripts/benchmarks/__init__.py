"""Speed, measured beside peers in one run on one machine. One file for each benchmark; `command.py` runs them."""
