"""Makes banks of levels with Farama's own generators, in spawned processes that import NumPy and `minigrid` alone."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import UsageError, missing_extra
from envs.minigrid.bank import PART, Damaged, check, command_for, home, level_seed, part_path, read_part, write_part
from envs.minigrid.convert import level_of
from envs.minigrid.farama import create
from envs.minigrid.levels import Level
from envs.minigrid.tasks import Task
from envs.vector import cores, hidden_main

Watch = Callable[[int, int], None]


def build(
    task: Task,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    levels: int = 20_000,
    processes: int = 0,
    watch: Watch = lambda done, total: None,
) -> Path:
    """Makes what is missing of a bank and returns where it is.

    Sound parts are kept and damaged ones made again, so a build that was cut short goes on where it was. What comes out
    depends on neither that nor the number of processes.

    Args:
      task: whose levels.
      folder: the folder of banks, see `bank.home`.
      seed: the bank's seed.
      levels: how many there must be in the end, rounded up to whole parts of 100.
      processes: how many make levels at a time, 0 for one per core.
      watch: called with the number of levels that are there and that are to be there, at first and after every part.

    Raises:
      UsageError: the task can have no bank, `minigrid` is not installed, another version of it made the parts that are
        there, the folder holds what does not belong there or cannot be written, or a generator failed.
    """
    check(task)
    try:
        generator = version("minigrid")
    except PackageNotFoundError as error:
        raise missing_extra("minigrid", "minigrid") from error
    where = home(task, folder, seed)
    command = command_for(task, folder, seed)
    total = -(-levels // PART)
    missing = []
    for part in range(total):
        if not _sound(part_path(where, part), task, seed, part * PART, command, generator):
            missing.append(part)
    done = total - len(missing)
    watch(done * PART, total * PART)
    with contextlib.closing(_made(task, seed, missing, processes or cores())) as made:
        for part, found in made:
            write_part(part_path(where, part), task, seed, part * PART, found, generator)
            done += 1
            watch(done * PART, total * PART)
    return where


def make_levels(env: Any, task: Task, seed: int, first: int) -> Level:
    """The levels of the part that begins with level `first`, from Farama's environment of the task."""
    made = []
    for index in range(first, first + PART):
        env.reset(seed=level_seed(seed, index))
        made.append(level_of(env, task))
    return Level(*map(np.stack, zip(*made, strict=True)))


def _sound(path: Path, task: Task, seed: int, first: int, command: str, generator: str) -> bool:
    if not path.exists():
        return False
    try:
        _, made_by = read_part(path, task, seed, first, command)
    except Damaged:
        return False
    if made_by != generator:
        raise UsageError(
            f"{path} was made by minigrid {made_by}, but {generator} is installed and may draw differently: "
            "give another --out, or remove it."
        )
    return True


def _made(task: Task, seed: int, parts: Sequence[int], processes: int) -> Generator[tuple[int, Level], None, None]:
    """The levels of these parts, each as soon as it is made."""
    waiting = list(reversed(parts))
    workers = _open_workers(task, seed, min(processes, len(parts)))
    busy = list(workers)
    try:
        for connection in busy:
            connection.send(waiting.pop())
        while busy:
            ready = wait(busy)
            for connection in [one for one in busy if one in ready]:
                reply = connection.recv()
                if isinstance(reply, str):
                    raise UsageError(f"no levels of {task.id} could be made: {reply}.")
                if waiting:
                    connection.send(waiting.pop())  # before the parts are written, lest the process waits for that
                else:
                    busy.remove(connection)
                yield reply
    except (EOFError, ConnectionError) as error:
        raise UsageError(
            f"a process that makes levels of {task.id} was killed, perhaps for want of memory: what is done is kept, "
            "and the same command goes on."
        ) from error
    finally:
        for connection, process in workers.items():
            process.terminate()
            process.join()
            connection.close()


def _open_workers(task: Task, seed: int, number: int) -> dict[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, BaseProcess] = {}
    with hidden_main(), _deaf():
        for _ in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, task, seed), daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed
            workers[ours] = process
    return workers


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes started meanwhile never hear Ctrl-C: what it does is their owner's business."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can ask for that
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection: Connection, task: Task, seed: int) -> None:
    """Answers each part's number with `(number, levels)`, or with what went wrong."""
    try:
        env = create(task)
        while True:
            part = connection.recv()
            connection.send((part, make_levels(env, task, seed, part * PART)))
    except (EOFError, ConnectionError):
        pass  # the owner is dead
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
