"""Banks of levels: the same whoever makes them, refused when they are not what they should be, divided by content."""

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import save_file

from envs.errors import UsageError
from envs.minigrid import bank, build
from envs.minigrid.bank import PART
from envs.minigrid.convert import level_of
from envs.minigrid.farama import create
from envs.minigrid.levels import Level
from envs.minigrid.tasks import TASKS

ROOMS = TASKS["MiniGrid-DoorKey-8x8-v0"]
TINY = ROOMS._replace(size=(3, 2))  # for levels made up here


def workers() -> list[psutil.Process]:
    """The processes that make levels: children of this one that have loaded NumPy."""
    return [child for child in psutil.Process().children() if "numpy" in libraries(child.pid)]


def libraries(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three parts of DoorKey-8x8 by two processes, what was told meanwhile, and the libraries of the two."""
    root, told, loaded = tmp_path_factory.mktemp("banks"), [], []

    def watch(done, total):
        told.append((done, total))
        loaded.extend(libraries(worker.pid) for worker in workers() if done == PART)

    build.build(ROOMS, root, levels=2 * PART + 1, processes=2, watch=watch)
    return root, told, loaded


@pytest.fixture
def copied(made, tmp_path):
    """A copy of that bank, to be damaged: the folder of banks, and the bank's own."""
    shutil.copytree(made[0], tmp_path / "banks")
    return tmp_path / "banks", bank.home(ROOMS, tmp_path / "banks", 0)


def made_up(kinds: np.ndarray) -> Level:
    """A level of TINY for each number, the same for the same number."""
    kinds = kinds.astype(np.uint16)
    zero = np.zeros(len(kinds), np.uint8)
    return Level(
        cells=np.arange(6, dtype=np.uint16) + 7 * kinds[:, None],
        position=zero.astype(np.uint16) + 3,
        direction=zero + 1,
        mission=np.tile(np.arange(20, dtype=np.uint8), (len(kinds), 1)),
        target=np.tile(np.array([65535, 5], np.uint16), (len(kinds), 1)),
    )


def write(root: Path, levels: Level, task=TINY, seed=0, version="3.2.0"):
    for part in range(len(levels.position) // PART):
        rows = Level(*(array[part * PART : (part + 1) * PART] for array in levels))
        bank.write_part(bank.part_path(bank.home(task, root, seed), part), task, seed, part * PART, rows, version)


def contents(level: Level) -> list[bytes]:
    return [b"".join(array[i].tobytes() for array in level) for i in range(len(level.position))]


# MAKING


def test_a_level_is_where_farama_stands_after_a_reset_with_its_seed(made):
    levels = bank.read(ROOMS, made[0]).levels
    for index in (0, 1, 57, PART, 3 * PART - 1):
        env = create(ROOMS)
        env.reset(seed=bank.level_seed(0, index))
        expected = level_of(env, ROOMS)
        for array, value in zip(levels, expected, strict=True):
            assert array.dtype == value.dtype
            np.testing.assert_array_equal(array[index], value)


def test_seeds_of_levels_never_change():
    assert (bank.level_seed(0, 0), bank.level_seed(3, 7)) == (15793235383387715774, 9565533078676835473)
    assert len({bank.level_seed(seed, index) for seed in range(30) for index in range(30)}) == 900


def test_levels_are_rounded_up_to_whole_parts_and_counted_as_they_come(made):
    assert made[1] == [(0, 300), (100, 300), (200, 300), (300, 300)]
    assert sorted(path.name for path in bank.home(ROOMS, made[0], 0).iterdir()) == [
        f"part-0000{part}.safetensors" for part in range(3)
    ]


def test_processes_that_make_levels_import_no_jax(made):
    assert jax.__name__ in sys.modules  # here, but not there
    assert "jaxlib" in libraries(os.getpid())
    assert made[2]
    assert not any("jaxlib" in loaded for loaded in made[2])


def test_an_interrupted_build_goes_on_to_the_same_files(made, tmp_path):
    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.build(ROOMS, tmp_path, levels=3 * PART, processes=1, watch=interrupt)
    where, whole = bank.home(ROOMS, tmp_path, 0), bank.home(ROOMS, made[0], 0)
    assert not workers()
    (first,) = where.iterdir()
    assert bank.read(ROOMS, tmp_path).count == PART
    bank.part_path(where, 1).write_bytes(first.read_bytes()[:-1])  # as if it had been killed while writing
    told = []
    build.build(ROOMS, tmp_path, levels=3 * PART, processes=1, watch=lambda *counts: told.append(counts))
    assert told == [(100, 300), (200, 300), (300, 300)]
    assert {path.name: path.read_bytes() for path in where.iterdir()} == {
        path.name: path.read_bytes() for path in whole.iterdir()
    }


def test_a_whole_bank_is_not_made_again(copied):
    before = {path: path.stat().st_mtime_ns for path in copied[1].iterdir()}
    assert build.build(ROOMS, copied[0], levels=250) == copied[1]
    assert {path: path.stat().st_mtime_ns for path in copied[1].iterdir()} == before


def test_a_generator_that_fails_is_one_sentence(tmp_path):
    broken = ROOMS._replace(rooms=(2, 3))  # Farama has no rooms below size 4
    with pytest.raises(UsageError, match="no levels of MiniGrid-DoorKey-8x8-v0 could be made: AssertionError"):
        build.build(broken, tmp_path, levels=1, processes=1)


def test_a_process_that_is_killed_is_one_sentence(tmp_path):
    def kill(done, total):
        for worker in workers():
            worker.kill()

    with pytest.raises(UsageError, match=r"was killed.*the same command goes on"):
        build.build(ROOMS, tmp_path, levels=4 * PART, processes=1, watch=kill)
    assert bank.read(ROOMS, tmp_path).count in (PART, 2 * PART)  # a second part may have been on its way


def test_builds_are_refused_before_any_process_starts(copied, tmp_path, monkeypatch):
    root = copied[0]
    monkeypatch.setattr(build, "_made", None)
    with pytest.raises(UsageError, match="Playground-v0 does not run on the device"):
        build.build(TASKS["MiniGrid-Playground-v0"], root)
    with pytest.raises(UsageError, match="300 x 5 cells, but no side may exceed 255"):
        build.build(ROOMS._replace(size=(300, 5)), root)
    monkeypatch.setattr(build, "version", lambda name: "3.0.0")
    with pytest.raises(UsageError, match=r"was made by minigrid 3\.[1-9].* but 3\.0\.0 is installed"):
        build.build(ROOMS, root)

    def absent(name):
        raise build.PackageNotFoundError(name)

    monkeypatch.setattr(build, "version", absent)
    with pytest.raises(UsageError, match=r"minigrid is not installed: pip install 'auxin\[minigrid\]'"):
        build.build(ROOMS, root)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"part-00000.safetensors cannot be written: Not a directory\."):
        write(tmp_path / "file", made_up(np.arange(PART)))


# READING


def test_banks_are_kept_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("AUXIN_CACHE", str(tmp_path))
    write(None, made_up(np.arange(PART)), seed=4)
    assert (tmp_path / "banks" / ROOMS.id / "seed-4" / "part-00000.safetensors").exists()
    assert bank.read(TINY, seed=4).count == PART
    monkeypatch.delenv("AUXIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert bank.home(TINY, None, 0) == tmp_path / "xdg" / "auxin" / "banks" / ROOMS.id / "seed-0"


def test_what_is_read_is_what_was_written(tmp_path):
    levels = made_up(np.arange(3 * PART))
    write(tmp_path, levels)
    found = bank.read(TINY, tmp_path)
    for array, expected in zip(found.levels, levels, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    assert (found.task, found.seed, found.version, found.folder) == (TINY.id, 0, "3.2.0", bank.home(TINY, tmp_path, 0))
    assert (found.count, found.distinct, found.width, found.height) == (300, 300, 3, 2)
    assert found.bytes == sum(path.stat().st_size for path in found.folder.iterdir())


def test_a_bank_ends_before_the_first_part_that_is_missing(tmp_path):
    write(tmp_path, made_up(np.arange(3 * PART)))
    bank.part_path(bank.home(TINY, tmp_path, 0), 1).unlink()
    assert bank.read(TINY, tmp_path).count == PART


def test_the_first_levels_alone(tmp_path):
    write(tmp_path / "long", made_up(np.arange(3 * PART)))
    write(tmp_path / "short", made_up(np.arange(2 * PART)))
    bank.part_path(bank.home(TINY, tmp_path / "long", 0), 2).write_bytes(b"")  # which need not be read
    found = bank.read(TINY, tmp_path / "long", levels=150)
    assert found.count == 150
    np.testing.assert_array_equal(found.levels.cells, made_up(np.arange(150)).cells)
    whole = bank.read(TINY, tmp_path / "long", levels=200)
    assert whole.hash == bank.read(TINY, tmp_path / "short").hash != found.hash


def test_the_hash_of_a_bank_never_changes(tmp_path):
    write(tmp_path, made_up(np.arange(PART)))
    assert bank.read(TINY, tmp_path).hash == "2adb34e7de96fbc393f373698b0917faccbb7e50c15a002981ef2b9e87f9ccd5"


@settings(max_examples=60, deadline=None)
@given(
    field=st.sampled_from(Level._fields), row=st.integers(0, PART - 1), at=st.integers(0, 999), bit=st.integers(0, 7)
)
def test_the_hash_and_a_level_s_digest_change_with_any_bit(field, row, at, bit):
    levels = made_up(np.zeros(PART))
    other = levels._replace(**{field: getattr(levels, field).copy()})
    raw = getattr(other, field)[row : row + 1].view(np.uint8).reshape(-1)
    raw[at % raw.size] ^= 1 << bit
    assert bank._hash(TINY, levels) != bank._hash(TINY, other)
    changed = bank._digests(levels) != bank._digests(other)
    assert np.flatnonzero(changed).tolist() == [row]


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint16, st.tuples(st.integers(1, 8), st.integers(1, 80))))
def test_cells_are_packed_without_loss(cells):
    palette, index = bank.pack_cells(cells)
    assert palette.dtype == np.uint16
    assert index.dtype == (np.uint8 if len(set(cells.flat)) <= 256 else np.uint16)
    np.testing.assert_array_equal(palette[index], cells)


@pytest.mark.parametrize(("distinct", "kind"), [(256, np.uint8), (257, np.uint16), (65536, np.uint16)])
def test_more_cells_than_a_byte_counts_take_two(distinct, kind):
    cells = np.arange(distinct, dtype=np.uint16)[::-1].reshape(-1, 1)
    palette, index = bank.pack_cells(cells)
    assert index.dtype == kind
    np.testing.assert_array_equal(palette[index], cells)


def test_a_bank_in_memory_is_the_same(tmp_path):
    write(tmp_path, made_up(np.arange(PART)))
    found = bank.read(TINY, tmp_path)
    assembled = bank.assemble(TINY, 0, "none", None, Level(*map(jax.numpy.asarray, found.levels)))
    assert (assembled.count, assembled.hash, assembled.folder) == (PART, found.hash, None)
    assert all(type(array) is np.ndarray for array in bank.split(assembled, "train"))
    np.testing.assert_array_equal(assembled.evaluation, found.evaluation)


# WHAT IS REFUSED


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    root = tmp_path_factory.mktemp("part")
    write(root, made_up(np.arange(PART)))
    path = bank.part_path(bank.home(TINY, root, 0), 0)
    return root, path, path.read_bytes(), bank.read(TINY, root).hash


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_an_altered_byte_is_never_read_as_another_bank(part, data):
    root, path, content, hash = part
    # Half of the time in the header, where there is more that can go wrong.
    end = data.draw(st.sampled_from([8 + int.from_bytes(content[:8], "little"), len(content)]))
    at, flip = data.draw(st.integers(0, end - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    with contextlib.suppress(bank.Damaged):
        assert bank.read(TINY, root).hash == hash  # blanks that fill up the header mean nothing


@pytest.mark.parametrize("length", [0, 5, 100, 1000, -1])
def test_a_truncated_part(part, length):
    root, path, content, _ = part
    path.write_bytes(content[:length])
    with pytest.raises(bank.Damaged, match=r"part-00000.safetensors is damaged.*`auxin bank .*` makes it again\."):
        bank.read(TINY, root)


def test_no_bank_and_too_few_levels(tmp_path):
    with pytest.raises(
        UsageError, match=rf"no bank of {ROOMS.id} in .*: `auxin bank {ROOMS.id} --seed 3 --out .*` makes"
    ):
        bank.read(ROOMS, tmp_path, seed=3)
    write(tmp_path, made_up(np.arange(PART)))
    with pytest.raises(UsageError, match=r"has 100 levels, not 101: `auxin bank .* --levels 101` makes the rest"):
        bank.read(TINY, tmp_path, levels=101)


def test_levels_of_another_task_seed_place_or_size(copied):
    root, where = copied
    other = TASKS["MiniGrid-DoorKey-6x6-v0"]
    shutil.copytree(where.parent, bank.home(other, root, 0).parent)
    with pytest.raises(UsageError, match="its task is MiniGrid-DoorKey-8x8-v0 and not MiniGrid-DoorKey-6x6-v0: remove"):
        bank.read(other, root)
    shutil.copytree(where, bank.home(ROOMS, root, 1))
    with pytest.raises(UsageError, match="its seed is 0 and not 1: remove it"):
        bank.read(ROOMS, root, seed=1)
    with pytest.raises(UsageError, match="its height is 8 and not 9"):
        bank.read(ROOMS._replace(size=(8, 9)), root)
    shutil.copy(bank.part_path(where, 1), bank.part_path(where, 0))
    with pytest.raises(UsageError, match="its first is 100 and not 0"):
        bank.read(ROOMS, root)
    with pytest.raises(UsageError, match="its first is 100 and not 0"):  # nothing that may be of use is overwritten
        build.build(ROOMS, root, levels=PART)


def test_levels_by_two_versions_of_the_generator(tmp_path):
    write(tmp_path, made_up(np.arange(2 * PART)))
    write(tmp_path, made_up(np.arange(PART)), version="3.1.0")
    with pytest.raises(UsageError, match=r"made by minigrid 3\.1\.0 and 3\.2\.0"):
        bank.read(TINY, tmp_path)


def test_another_format(part):
    root, path, content, _ = part
    path.write_bytes(content)
    with safe_open(path, "np") as stored:
        notes = json.loads(stored.metadata()["notes"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
    save_file(tensors, path, {"notes": json.dumps({**notes, "format": "auxin levels 2"})})
    with pytest.raises(
        bank.Damaged, match="is of the format 'auxin levels 2', but this version reads 'auxin levels 1'"
    ):
        bank.read(TINY, root)


def test_tasks_that_have_no_bank(tmp_path):
    with pytest.raises(UsageError, match="does not run on the device, so there are no banks of it"):
        bank.read(TASKS["MiniGrid-Playground-v0"], tmp_path)
    with pytest.raises(UsageError, match="256 x 3 cells, but no side may exceed 255"):
        bank.read(ROOMS._replace(size=(256, 3)), tmp_path)
    with pytest.raises(UsageError, match="no task 'MiniGrid-DorKey-8x8-v0': did you mean MiniGrid-DoorKey-8x8-v0"):
        bank.find_task("MiniGrid-DorKey-8x8-v0")
    assert bank.find_task(ROOMS.id) is ROOMS


# TRAINING AND EVALUATION


def test_training_and_evaluation_share_no_level(made):
    found = bank.read(ROOMS, made[0])
    assert not found.shared
    train, evaluation, everything = (contents(bank.split(found, which)) for which in ("train", "evaluation", "all"))
    assert not set(train) & set(evaluation)
    assert sorted(train + evaluation) == sorted(everything)  # copies stay
    assert len(everything) == 300 > found.distinct == len(set(everything))
    assert 10 < len(evaluation) < 60


def test_what_a_level_is_for_does_not_depend_on_the_others(made):
    found, first = bank.read(ROOMS, made[0]), bank.read(ROOMS, made[0], levels=120)
    np.testing.assert_array_equal(found.evaluation[:120], first.evaluation)


@pytest.mark.parametrize(("name", "distinct"), [("Empty-5x5", 1), ("MemoryS7", 16), ("DoorKey-5x5", 48)])
def test_tasks_with_few_levels_share_them(tmp_path, name, distinct):
    task = TASKS[f"MiniGrid-{name}-v0"]
    env = create(task)
    parts = [build.make_levels(env, task, 0, part * PART) for part in range(10)]
    write(tmp_path, Level(*map(np.concatenate, zip(*parts, strict=True))), task)
    found = bank.read(task, tmp_path)
    assert (found.distinct, found.shared, found.evaluation.any()) == (distinct, True, False)
    for which in ("train", "evaluation"):
        assert bank.split(found, which) is found.levels
    assert bank.read(task, tmp_path, levels=PART).shared  # as a part of the bank already shows


@pytest.mark.parametrize(("number", "enough"), [(1200, 200), (1000, 200), (500, 184), (100, 79)])
def test_how_many_distinct_levels_are_enough(tmp_path, number, enough):
    for distinct in (enough - 1, enough):
        kinds = np.arange(number) % distinct
        kinds[1000:] = distinct + np.arange(len(kinds[1000:]))  # only the first thousand count
        write(tmp_path, made_up(kinds))
        assert bank.read(TINY, tmp_path).shared == (distinct < enough)


def test_another_split_is_refused(made):
    with pytest.raises(UsageError, match="no levels for 'eval': did you mean evaluation"):
        bank.split(bank.read(ROOMS, made[0]), "eval")


def test_twenty_thousand_large_levels_are_digested_at_once():
    draw = np.random.default_rng(0)
    levels = made_up(np.zeros(20_000))._replace(cells=draw.integers(0, 9, (20_000, 625)).astype(np.uint16))
    before = os.times().user
    assert len(np.unique(bank._digests(levels))) == 20_000
    assert os.times().user - before < 2.0
