"""Datasets: kept bit for bit, refused when altered, checked against an environment, counted, joined, Minari's."""

import json
import os
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from envs.contract import Array, Box, Discrete, EnvSpec, MultiDiscrete
from envs.errors import UsageError
from replay import dataset
from replay.dataset import Dataset

SPEC = EnvSpec(
    "Toy-v0",
    "toys 1",
    obs={"place": Array((2,), "float32"), "parts": (Array((), "int32"), Array((3, 1), "uint8"))},
    action=Box((-1.0, 0.0), (1.0, 2.0)),
    extras={"cost": Array((), "float32")},
)


def made(lasts=(0, 1, 0, 0, 1, 0), ends=(), seed=0, **facts) -> Dataset:
    """A dataset of `SPEC`, its rewards 1, 2, 3 ...; episodes end where `lasts`, and by termination where in `ends`."""
    random, n = np.random.default_rng(seed), len(lasts)

    def obs():
        parts = (random.integers(0, 9, n).astype(np.int32), random.integers(0, 9, (n, 3, 1)).astype(np.uint8))
        return {"place": random.normal(size=(n, 2)).astype(np.float32), "parts": parts}

    return Dataset(
        obs=obs(),
        action=random.uniform((-1, 0), (1, 2), (n, 2)).astype(np.float32),
        reward=1 + np.arange(n, dtype=np.float32),
        discount=np.array([0.0 if i in ends else 1.0 for i in range(n)], np.float32),
        last=np.array(lasts, bool),
        next_obs=obs(),
        extras={"cost": random.random(n).astype(np.float32)},
        facts={"env": "Toy-v0", "env_options": {}, **facts},
    )


def same(one, other) -> None:
    """Asserts that two trees have the same structure, dtypes and bits."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        one, other = list(one.values()), list(other.values())
    if isinstance(one, tuple | list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    else:
        assert one == other


# ------------------------------------------------------------------------------------------------------------ FILES

DTYPES = st.sampled_from(["float32", "float64", "float16", "int8", "int32", "int64", "uint8", "bool"])
NAMES = st.text(max_size=6)


@st.composite
def trees(draw, n: int):
    """Nested dicts and tuples of arrays `[n, ...]`, under any names."""
    leaf = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, st.tuples(st.just(n), st.integers(0, 3))))
    return draw(
        st.recursive(
            leaf,
            lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
            max_leaves=6,
        )
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(1, 5))
def test_what_was_saved_comes_back_bit_for_bit(data, n, tmp_path_factory):
    obs, extras = data.draw(trees(n)), data.draw(st.dictionaries(NAMES, trees(n), max_size=2))
    facts = data.draw(st.dictionaries(NAMES, st.none() | st.integers() | NAMES | st.lists(st.booleans())))
    facts.pop("streams", None)
    one = made((0,) * n)._replace(obs=obs, next_obs=obs, extras=extras, facts=facts)
    folder = dataset.save(one, tmp_path_factory.mktemp("data"))
    other = dataset.load(folder)
    same(tuple(one), tuple(other))
    assert dataset.digest(one) == dataset.digest(other)


def test_a_dataset_takes_the_place_of_the_one_before(tmp_path):
    dataset.save(made(seed=1), tmp_path)
    dataset.save(made(seed=2), tmp_path)
    same(tuple(dataset.load(tmp_path)), tuple(made(seed=2)))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("stop", [1, 2])
def test_a_save_that_was_killed_leaves_the_dataset_of_before_or_none(tmp_path, monkeypatch, stop):
    """Killed before either of the two moves that give files their names."""
    moves = []

    def dies(source, target, replace=os.replace):
        moves.append(target)
        if len(moves) == stop:
            raise SystemExit
        replace(source, target)

    dataset.save(made(seed=1), tmp_path / "old")
    monkeypatch.setattr(os, "replace", dies)
    for name in ("old", "new"):
        moves.clear()
        with pytest.raises(SystemExit):
            dataset.save(made(seed=2), tmp_path / name)
    same(tuple(dataset.load(tmp_path / "old")), tuple(made(seed=1)))
    with pytest.raises(UsageError, match=r"holds no dataset: .*old"):
        dataset.load(tmp_path / "new")


def data_file(folder):
    (path,) = folder.glob("data-*.npz")
    return path


def flip(folder):
    path = data_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(folder):
    path = data_file(folder)
    path.write_bytes(path.read_bytes()[:-10])


def note(folder, **changes):
    path = folder / dataset.NOTES
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def other_shape(folder):
    notes = json.loads((folder / dataset.NOTES).read_text())
    note(folder, arrays={**notes["arrays"], "reward": ["<f4", [7]]})


DAMAGE = {
    "a flipped bit": (flip, "was altered: the SHA-256 of data-"),
    "cut short": (cut, "was altered"),
    "no data": (lambda folder: data_file(folder).unlink(), "cannot be read: data-.*: No such file"),
    "no notes": (lambda folder: (folder / dataset.NOTES).unlink(), "holds no dataset"),
    "notes that are no JSON": (lambda folder: (folder / dataset.NOTES).write_text("{"), "cannot be read as the notes"),
    "another format": (lambda folder: note(folder, format="auxin dataset 9"), "is not of the format 'auxin dataset 1'"),
    "notes without a checksum": (lambda folder: note(folder, sha256=None), "lacks 'sha256'"),
    "another shape": (other_shape, "holds arrays of other shapes"),
    "a file elsewhere": (lambda folder: note(folder, file="../data.npz"), "names a file outside its folder"),
    "streams of another length": (lambda folder: note(folder, facts={"streams": [5]}), "streams of the dataset have 5"),
    "parts that are not there": (
        lambda folder: note(folder, structure={"obs": "none"}),
        "no dataset that this version",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_dataset_is_refused_in_one_sentence(tmp_path, damage):
    folder = dataset.save(made(), tmp_path / "data")
    harm, sentence = DAMAGE[damage]
    harm(folder)
    with pytest.raises(UsageError, match=sentence) as caught:
        dataset.load(folder)
    assert "\n" not in str(caught.value)


class Harm:
    """An object whose pickle makes a file where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_ever_unpickled(tmp_path):
    folder = dataset.save(made(), tmp_path / "data")
    path, trap = data_file(folder), tmp_path / "trap"
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    evil = tmp_path / "evil.npy"
    np.save(evil, np.array([Harm(trap)] * 6, object), allow_pickle=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**members, "reward.npy": evil.read_bytes()}.items():
            file.writestr(name, content)
    note(folder, sha256=dataset._sha256(path))
    with pytest.raises(UsageError, match="holds no dataset that this version can read"):
        dataset.load(folder)
    assert not trap.exists()


def test_what_a_file_cannot_hold_is_refused_before_it_is_written(tmp_path):
    mistakes = {
        "holds numbers and booleans alone, and extras.'cost'. is <U1": made()._replace(
            extras={"cost": np.array(["a"] * 6)}
        ),
        "the same number of transitions": made()._replace(reward=np.zeros(5, np.float32)),
        "this one is empty": made(()),
        "facts of a dataset are plain JSON": made(number=np.float32(1)),
        "streams of the dataset have 7": made(streams=[3, 4]),
    }
    for sentence, data in mistakes.items():
        with pytest.raises(UsageError, match=sentence):
            dataset.save(data, tmp_path / "data")
    assert not list(tmp_path.rglob("dataset.json"))


# ------------------------------------------------------------------------------------------------------------ CHECK


def test_a_fitting_dataset_passes():
    dataset.check(made(ends=(1,)), SPEC)
    dataset.check(made()._replace(extras={}), SPEC)
    dataset.check(made()._replace(extras={"cost": np.zeros(6, np.float32), "more": np.zeros(6)}), SPEC)


def nan(data):
    data.obs["place"][2, 1] = np.nan
    return data


MISFITS = {
    "another environment": (made(env="Walker-v0"), "was made in Walker-v0, and the environment is Toy-v0"),
    "another shape": (made()._replace(action=np.zeros((6, 3), np.float32)), r"float32 \[6, 3\], and Toy-v0 has .*6, 2"),
    "another dtype": (made()._replace(reward=np.zeros(6)), r"reward of the dataset is float64 \[6\]"),
    "other parts": (made()._replace(obs={"place": np.zeros((6, 2), np.float32)}), "obs of the dataset is not made of"),
    "an extra of another shape": (
        made()._replace(extras={"cost": np.zeros((6, 1), np.float32)}),
        r"extras\['cost'\] of the dataset is float32 \[6, 1\]",
    ),
    "an observation not finite": (nan(made()), r"obs\['place'\] of the dataset has values that are not finite"),
    "a reward not finite": (made()._replace(reward=np.full(6, np.inf, np.float32)), "reward of the .* not finite"),
    "a discount between": (
        made()._replace(discount=np.full(6, 0.99, np.float32)),
        "0 at a termination and 1 elsewhere",
    ),
    "a termination within": (made(ends=(0,)), "terminates without being marked as over"),
    "an action beyond": (made()._replace(action=np.full((6, 2), 1.1, np.float32)), "lie outside those of Toy-v0"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_misfit_is_one_sentence(misfit):
    data, sentence = MISFITS[misfit]
    with pytest.raises(UsageError, match=sentence) as caught:
        dataset.check(data, SPEC)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("action", [Discrete(3), MultiDiscrete((3, 2))])
def test_choices_must_be_among_the_actions(action):
    spec = EnvSpec("Toy-v0", "toys 1", SPEC.obs, action)
    most = np.asarray(action.n) - 1
    data = made()._replace(action=np.broadcast_to(most, (6, *np.shape(most))).astype(np.int32))
    dataset.check(data, spec)
    for wrong in (data.action + 1, data.action * 0 - 1):
        with pytest.raises(UsageError, match="lie outside"):
            dataset.check(data._replace(action=wrong.astype(np.int32)), spec)


# ------------------------------------------------------------------------------------------------- COUNT AND JOIN


def test_statistics_count_whole_episodes_alone():
    found = dataset.statistics(made())  # rewards 1 2 | 3 4 5 | 6, the last cut off
    assert found == {
        "transitions": 6,
        "episodes": 2,
        "return_mean": 7.5,
        "return_std": 4.5,
        "return_min": 3.0,
        "return_max": 12.0,
        "length_mean": 2.5,
    }
    # A stream that is cut off within an episode: 1 2 | 3 (cut) and then 4 5 | 6.
    found = dataset.statistics(made(streams=[3, 3]))
    assert (found["episodes"], found["return_min"], found["return_max"]) == (2, 3.0, 9.0)
    nothing = dataset.statistics(made((0, 0)))
    assert nothing["episodes"] == 0
    assert np.isnan(nothing["return_mean"])


def test_joined_datasets_keep_their_streams_and_their_facts():
    one, other = made(seed=1, streams=[2, 4], kind="medium"), made((0, 0, 1), seed=2, kind="expert")
    both = dataset.concatenate([one, other])
    assert both.facts["streams"] == [2, 4, 3]
    assert [part["kind"] for part in both.facts["parts"]] == ["medium", "expert"]
    same(both.obs["parts"][1], np.concatenate([one.obs["parts"][1], other.obs["parts"][1]]))
    returns = [dataset.statistics(each)["episodes"] for each in (one, other, both)]
    assert returns[0] + returns[1] == returns[2]


def test_datasets_that_do_not_belong_together_are_not_joined():
    for other, sentence in (
        (made(env="Walker-v0"), "env is Walker-v0 and Toy-v0|env is Toy-v0 and Walker-v0"),
        (made(env_options={"easy": True}), "env_options is"),
        (made()._replace(extras={}), "different names, shapes or dtypes"),
        (made()._replace(reward=np.zeros(6)), "different names, shapes or dtypes"),
    ):
        with pytest.raises(UsageError, match=sentence):
            dataset.concatenate([made(), other])
    with pytest.raises(UsageError, match="no datasets to join"):
        dataset.concatenate([])


def test_a_digest_tells_data_apart_but_not_how_they_came_about():
    assert dataset.digest(made(kind="medium")) == dataset.digest(made(kind="expert"))
    assert dataset.digest(made()) != dataset.digest(made(seed=1))
    assert dataset.digest(made()) != dataset.digest(made(streams=[2, 4]))


# ------------------------------------------------------------------------------------------------------------ MINARI


@pytest.fixture(scope="module")
def minari_dataset(tmp_path_factory):
    """A small dataset in Minari's format: an episode that terminates, one that is truncated, one that is cut off."""
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    patch = pytest.MonkeyPatch()
    patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("minari")))
    obs = spaces.Dict({"place": spaces.Box(-9, 9, (2,), np.float64), "kind": spaces.Discrete(4)})
    action = spaces.Box(-1, 1, (1, 2), np.float32)
    random, buffers = np.random.default_rng(0), []
    for index, (length, terminated, truncated) in enumerate([(3, True, False), (2, False, True), (4, False, False)]):
        places = random.normal(size=(length + 1, 2))
        kinds = random.integers(0, 4, length + 1)
        buffers.append(
            EpisodeBuffer(
                id=index,
                observations={"place": list(places), "kind": list(kinds)},
                actions=list(random.uniform(-1.2, 1.2, (length, 1, 2)).astype(np.float32)),
                rewards=list(1.0 + np.arange(length)),
                terminations=[False] * (length - 1) + [terminated],
                truncations=[False] * (length - 1) + [truncated],
                infos=None,
            )
        )
    name = "toy/tiny-v0"
    minari.create_dataset_from_buffers(
        name, buffers, observation_space=obs, action_space=action, algorithm_name="none", author="Nobody",
        author_email="nobody@example.org", code_permalink="https://example.org",
    )  # fmt: skip
    yield name, minari.load_dataset(name)
    patch.undo()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_minaris_format_is_read(minari_dataset):
    name, theirs = minari_dataset
    ours = dataset.read(f"minari:{name}")
    spec = EnvSpec(
        "Any-v0", "", {"place": Array((2,), "float32"), "kind": Array((), "int32")}, Box((-1.0, -1.0), (1.0, 1.0))
    )
    dataset.check(ours, spec)
    episodes = list(theirs.iterate_episodes())
    first = episodes[0]
    np.testing.assert_array_equal(ours.obs["place"][:3], first.observations["place"][:-1].astype(np.float32))
    np.testing.assert_array_equal(ours.next_obs["kind"][:3], first.observations["kind"][1:])
    np.testing.assert_array_equal(ours.action[:3], np.clip(first.actions.reshape(3, 2), -1, 1))
    assert np.abs(first.actions).max() > 1
    np.testing.assert_array_equal(ours.discount, [1, 1, 0, 1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(ours.last, [0, 0, 1, 0, 1, 0, 0, 0, 0])
    found = dataset.statistics(ours)
    assert (found["episodes"], found["return_max"]) == (2, 6.0)
    assert ours.facts["kind"] == name
    assert ours.facts["provenance"]["author"] == "Nobody"


def test_minaris_datasets_are_found_by_folder_too_and_can_be_kept_as_ours(minari_dataset, tmp_path):
    name, _ = minari_dataset
    one = dataset.read(f"minari:{name}")
    folder = os.path.join(os.environ["MINARI_DATASETS_PATH"], name)
    for source in (folder, os.path.join(folder, "data")):
        assert dataset.digest(dataset.from_minari(source)) == dataset.digest(one)
    same(tuple(dataset.load(dataset.save(one, tmp_path))), tuple(one))


def test_a_dataset_that_minari_does_not_have_is_one_sentence(minari_dataset):
    for name in ("toy/tinny-v0", "no such name"):
        with pytest.raises(UsageError, match=r"no dataset .* of Minari on this machine.*toy/tiny-v0") as caught:
            dataset.read(f"minari:{name}")
        assert "\n" not in str(caught.value)


def test_without_minari_a_sentence_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(UsageError, match=r"minari is not installed: pip install 'auxin\[offline\]'"):
        dataset.read("minari:toy/tiny-v0")
