"""A run's folder belongs to one process at a time: two that go on with the same run would spoil each other's files."""

import contextlib
import fcntl
from collections.abc import Iterable, Iterator
from pathlib import Path

from envs.errors import UsageError

FILE = ".lock"


@contextlib.contextmanager
def alone(folders: Iterable[Path]) -> Iterator[None]:
    """Holds the folders for as long as the block runs; the system lets go of them where the process dies.

    Raises:
      UsageError: where another process, or another run of this one, holds one of them.
    """
    with contextlib.ExitStack() as held:
        for folder in folders:
            file = held.enter_context((folder / FILE).open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{folder} is being trained by another process: wait for it, or stop it.") from None
        yield
