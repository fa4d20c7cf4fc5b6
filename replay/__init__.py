"""How experience is stored: buffers as pure functions over a PyTree. `buffer.py` holds the contract.

Each member of the door is a file with `Config` and `make(**options) -> Buffer`; `n_step` takes the buffer that it folds
into as its first argument.
"""
