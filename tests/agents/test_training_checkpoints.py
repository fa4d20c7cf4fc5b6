import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from agents.training import checkpoints
from envs.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


class Pair(NamedTuple):
    first: Any
    second: Any


def same(a, b):
    """Whether two trees are equal in structure, in the type of every leaf, and in every bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if type(x) in (int, float, bool):
            assert type(x) is type(y)
            assert repr(x) == repr(y)
            continue
        assert isinstance(x, jax.Array) == isinstance(y, jax.Array)
        assert isinstance(x, np.generic) == isinstance(y, np.generic)
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


DTYPES = ["bool", "int8", "int32", "int64", "uint8", "uint32", "float16", "float32", "float64", "complex64", "bfloat16"]


@st.composite
def arrays(draw):
    dtype = np.dtype(ml_dtypes.bfloat16) if (name := draw(st.sampled_from(DTYPES))) == "bfloat16" else np.dtype(name)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    array = (raw % 2 if dtype.kind == "b" else raw).view(dtype).reshape(shape).copy()
    return array.T if draw(st.booleans()) else array  # a transposed array is not contiguous


LEAVES = st.one_of(
    arrays(),
    arrays().filter(lambda x: x.dtype.itemsize < 8).map(jnp.asarray),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.booleans(),
    st.just(None),
    st.integers(0, 9).map(jax.random.key),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.text(max_size=5), inner, max_size=3),
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(tree=TREES)
def test_any_tree_comes_back(tmp_path, tree):
    path = checkpoints.save(tmp_path, 3, tree, {"step": 3})
    same(checkpoints.load(path, tree)[0], tree)


def example():
    return {
        "params": Pair(jnp.arange(6, dtype=jnp.float32).reshape(2, 3), jnp.ones((), jnp.bfloat16)),
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 2),
        "empty": np.zeros((0, 3), np.float64),
        "flag": np.True_,
        "big_endian": np.arange(3, dtype=">i4"),
        "count": 7,
    }


def test_every_kind_of_leaf_and_the_notes(tmp_path):
    tree, meta = example(), {"update": 4, "curve": [0.1, None], "text": 'a "quoted" "sha256":"text"'}
    path = checkpoints.save(tmp_path, 12345, tree, meta)
    assert path.name == "checkpoint-000000012345.safetensors"
    assert path.stat().st_mode & 0o777 == tmp_path.stat().st_mode & 0o666
    loaded, notes = checkpoints.load(path, tree)
    assert notes == meta == checkpoints.read_meta(path)
    big_endian, loaded_native = tree.pop("big_endian"), loaded.pop("big_endian")
    np.testing.assert_array_equal(big_endian, loaded_native)
    same(loaded, tree)
    np.testing.assert_array_equal(jax.random.bits(loaded["keys"][1]), jax.random.bits(tree["keys"][1]))
    assert loaded["empty"].flags.writeable


def test_abstract_templates_give_what_was_saved(tmp_path):
    tree = {"device": jnp.arange(3), "host": np.arange(2.0), "key": jax.random.key(0), "count": 1}
    path = checkpoints.save(tmp_path, 0, tree, {})
    abstract = {
        "device": jax.ShapeDtypeStruct((3,), jnp.int32),
        "host": jax.ShapeDtypeStruct((2,), np.dtype("float64")),
        "key": jax.eval_shape(lambda: jax.random.key(0)),
        "count": 0,
    }
    same(checkpoints.load(path, abstract)[0], tree)
    free = {"device": ..., "host": ..., "key": jax.random.key(9), "count": ...}
    same(checkpoints.load(path, free)[0], tree)


def test_a_template_decides_where_a_leaf_is_placed(tmp_path):
    path = checkpoints.save(tmp_path, 0, [np.arange(3, dtype=np.int32), jnp.arange(3)], {})
    same(
        checkpoints.load(path, [jnp.zeros(3, jnp.int32), np.zeros(3, np.int32)])[0],
        [jnp.arange(3), np.arange(3, dtype=np.int32)],
    )
    committed = jax.device_put(jnp.zeros(3, jnp.int32), jax.devices()[0])
    loaded = checkpoints.load(path, [jnp.zeros(3, jnp.int32), committed])[0]
    assert [leaf.committed for leaf in loaded] == [False, True]


def test_a_loaded_state_compiles_nothing_anew(tmp_path):
    traces = []

    @jax.jit
    def step(state):
        traces.append(1)
        return {"weak": state["weak"] * 1.0, "x": state["x"] + 1}

    state = step({"weak": jnp.asarray(0.3), "x": jnp.zeros((2,), jnp.bfloat16)})
    path = checkpoints.save(tmp_path, 0, state, {})
    loaded = checkpoints.load(path, state)[0]
    assert loaded["weak"].weak_type
    same(loaded, state)
    step(loaded)
    assert len(traces) == 1
    weak = jnp.broadcast_to(jnp.asarray(0.3), (2, 0))
    assert checkpoints.load(checkpoints.save(tmp_path, 1, weak, {}), weak)[0].weak_type


def test_part_of_a_tree(tmp_path):
    path = checkpoints.save(tmp_path, 0, {"agent": Pair({"w": jnp.ones(2)}, 3), "agents": 4}, {})
    assert checkpoints.load_part(path, "['agent'].second", 0) == 3
    same(checkpoints.load_part(path, "['agent'].first", {"w": jnp.zeros(2)}), {"w": jnp.ones(2)})
    with pytest.raises(UsageError, match="has no \"\\['agent'\\]\\.first\\['b'\\]\""):
        checkpoints.load_part(path, "['agent'].first", {"b": jnp.zeros(2)})
    with pytest.raises(UsageError, match="no place here"):
        checkpoints.load_part(path, "['agent']", Pair({}, 0))


@pytest.mark.parametrize(
    ("like", "sentence"),
    [
        ({"a": jnp.zeros((2, 2)), "b": 0}, r"holds \"\['a'\]\" as float32 \[2, 3\], but float32 \[2, 2\] is needed"),
        ({"a": jnp.zeros((2, 3), jnp.int32), "b": 0}, r"as float32 \[2, 3\], but int32 \[2, 3\]"),
        ({"a": jnp.zeros((2, 3)), "b": 0.0}, r"as int, but float is needed"),
        ({"a": jnp.zeros((2, 3)), "b": np.int64(0)}, r"as int, but int64 \[\]"),
        ({"a": jnp.zeros((2, 3)), "b": 0, "c": 0}, r"has no \"\['c'\]\""),
        ({"a": jnp.zeros((2, 3))}, r"holds \"\['b'\]\", which has no place here"),
        ({"a": jax.random.split(jax.random.key(0), 2), "b": 0}, r"key<fry> \[2\] is needed"),
    ],
)
def test_another_tree_is_refused(tmp_path, like, sentence):
    path = checkpoints.save(tmp_path, 0, {"a": jnp.zeros((2, 3)), "b": 1}, {})
    with pytest.raises(UsageError, match=sentence) as error:
        checkpoints.load(path, like)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "leaf", ["text", np.array(["text"]), np.array([object()]), np.zeros(2, "c16"), np.zeros(2, "M8[s]")]
)
def test_only_numbers_are_saved(tmp_path, leaf):
    with pytest.raises(TypeError, match="'x'"):
        checkpoints.save(tmp_path, 0, {"x": leaf}, {})
    assert list(tmp_path.iterdir()) == []


def test_truncation_anywhere_is_refused(tmp_path):
    tree = {"a": np.arange(50.0), "b": 1}
    path = checkpoints.save(tmp_path, 0, tree, {"note": "x"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError):
            checkpoints.load(path, tree)
    path.write_bytes(whole + b"\0")
    with pytest.raises(UsageError):
        checkpoints.load(path, tree)
    path.write_bytes(whole)
    same(checkpoints.load(path, tree)[0], tree)


def test_a_changed_byte_anywhere_is_refused(tmp_path):
    tree = {"a": np.arange(20.0), "b": 1}
    path = checkpoints.save(tmp_path, 0, tree, {"note": "x"})
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for at in range(len(whole)):
        altered = bytearray(whole)
        altered[at] ^= int(random.integers(1, 256))
        path.write_bytes(altered)
        with pytest.raises(UsageError):
            checkpoints.read_meta(path)


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_foreign_files_are_refused_and_never_run(tmp_path):
    trap = tmp_path / "trapped"
    foreign = {
        "pickle": pickle.dumps(Trap(trap)),
        "random": np.random.default_rng(0).bytes(5000),
        "huge header": b"\xff" * 100,
        "empty": b"",
    }
    for content in foreign.values():
        path = tmp_path / "checkpoint-000000000001.safetensors"
        path.write_bytes(content)
        with pytest.raises(UsageError, match="is not a checkpoint"):
            checkpoints.load(path, {})
    model = tmp_path / "model.safetensors"
    save_file({"w": np.ones(3)}, model, {"format": "pt"})
    with pytest.raises(UsageError, match="is not a checkpoint"):
        checkpoints.load(model, {})
    with pytest.raises(UsageError, match="Is a directory"):
        checkpoints.load(tmp_path, {})
    with pytest.raises(UsageError, match="No such file"):
        checkpoints.load(tmp_path / "nothing", {})
    pickled_array = tmp_path / "pickled.npy"
    np.save(pickled_array, np.array([Trap(trap)], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="is not a checkpoint"):
        checkpoints.load(pickled_array, {})
    assert not trap.exists()


def test_another_format_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", "auxin checkpoint 9")
    path = checkpoints.save(tmp_path, 0, {}, {})
    monkeypatch.undo()
    with pytest.raises(UsageError, match="'auxin checkpoint 9', but this version reads 'auxin checkpoint 1'"):
        checkpoints.load(path, {})


def steps(folder):
    return [int(path.stem.split("-")[1]) for path in sorted(folder.glob("checkpoint-*.safetensors"))]


def test_the_last_k_are_kept_and_the_best(tmp_path):
    checkpoints.save_best(tmp_path, {"x": 1}, {"score": 0.5})
    for step in range(5):
        checkpoints.save(tmp_path, step * 10, {"x": step}, {}, keep=2)
    assert steps(tmp_path) == [30, 40]
    checkpoints.save_best(tmp_path, {"x": 2}, {"score": 0.7})
    assert checkpoints.read_meta(checkpoints.best(tmp_path)) == {"score": 0.7}
    assert checkpoints.load(checkpoints.latest(tmp_path), {"x": 0}) == ({"x": 4}, {})


def test_the_newest_sound_file_is_taken_and_none_is_lost(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    assert checkpoints.best(tmp_path) is None
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, {"x": step}, {})
    checkpoints.save_best(tmp_path, {"x": 9}, {})
    for name in ("checkpoint-000000000003.safetensors", "best.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    (tmp_path / "checkpoint-notes.txt").write_text("not ours")
    warnings: list[str] = []
    assert checkpoints.latest(tmp_path, warnings.append).name == "checkpoint-000000000002.safetensors"
    assert checkpoints.best(tmp_path, warnings.append) is None
    assert ["checkpoint-000000000003" in warnings[0], "best" in warnings[1], len(warnings)] == [True, True, 2]
    assert steps(tmp_path) == [1, 2, 3]
    checkpoints.save(tmp_path, 2, {"x": 22}, {}, keep=1)  # the damaged file of a later step must not push this one out
    assert steps(tmp_path) == [2, 3]
    assert checkpoints.load(checkpoints.latest(tmp_path, warnings.append), {"x": 0})[0] == {"x": 22}


def test_leftovers_are_ignored_and_removed(tmp_path):
    (tmp_path / "writing.tmp").mkdir()
    (tmp_path / "writing.tmp" / "checkpoint-000000000009.safetensors").write_bytes(b"half a file")
    assert checkpoints.latest(tmp_path) is None
    checkpoints.save(tmp_path, 1, {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000000001.safetensors"]


def test_a_failed_write_leaves_the_file_before(tmp_path, monkeypatch):
    path = checkpoints.save(tmp_path, 1, {"x": 1}, {})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(tmp_path, 1, {"x": 2}, {})
    assert checkpoints.load(path, {"x": 0})[0] == {"x": 1}


SAVER = textwrap.dedent(
    """
    import sys
    import numpy as np
    from agents.training import checkpoints

    folder, step = sys.argv[1], int(sys.argv[2])
    while True:
        step += 1
        tree = {"step": step, "x": np.full(300_000, step, np.int64)}
        checkpoints.save(folder, step, tree, {"step": step}, keep=2)
        checkpoints.save_best(folder, tree, {"step": step})
        print(step, flush=True)
    """
)


def kill_savers(folder, kills, seed):
    """Kills a process that saves in a loop; each time the folder must hold a state that was saved whole."""
    random = np.random.default_rng(seed)
    reached = 0
    for _ in range(kills):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder), str(reached)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert saver.stdout.readline() == f"{reached + 1}\n"
            time.sleep(random.uniform(0, 0.15))
        finally:
            saver.send_signal(signal.SIGKILL)
        announced = [reached + 1, *map(int, saver.stdout.read().split())]
        saver.stdout.close()
        assert saver.wait() == -signal.SIGKILL
        warnings: list[str] = []
        path = checkpoints.latest(folder, warnings.append)
        tree, meta = checkpoints.load(path, {"step": 0, "x": np.zeros(300_000, np.int64)})
        assert warnings == []
        assert tree["step"] == meta["step"] == int(path.stem.split("-")[1])
        assert (tree["x"] == meta["step"]).all()
        assert announced[-1] <= meta["step"] <= announced[-1] + 1
        best = checkpoints.load(checkpoints.best(folder, warnings.append), {"step": ..., "x": ...})[0]
        assert (best["x"] == best["step"]).all()
        assert warnings == []
        reached = meta["step"]
    checkpoints.save(folder, reached + 1, {}, {}, keep=1)
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors",
        f"checkpoint-{reached + 1:012d}.safetensors",
    ]


def test_kill_9_leaves_a_whole_state(tmp_path):
    kill_savers(tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_kill_9_leaves_a_whole_state_every_time(tmp_path):
    kill_savers(tmp_path, kills=15, seed=1)
