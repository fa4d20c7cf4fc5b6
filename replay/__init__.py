"""How experience is stored: buffers as pure functions over a PyTree. `buffer.py` holds the contract."""
