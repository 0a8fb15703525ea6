from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sweep.data.movielens
from sweep.cache import cache_directory
from sweep.config import DatasetConfig, SyntheticConfig
from sweep.data.datasets import (
    Structure,
    _pick,
    describe,
    load_dataset,
    long_tailed,
    plant,
    synthetic,
)
from sweep.data.interactions import Interactions, from_columns, write_interactions
from sweep.errors import DataError

CSV = """user,note,film,stars,when
007,"a, b",Alien,4,10
7,"two
lines",Brazil,3.5,20
007,,Alien,1,30
"""


def config_of(path: Path, **changes: Any) -> DatasetConfig:
    columns = {"query": "user", "candidate": "film", "label": "stars", "timestamp": "when"}
    return DatasetConfig.model_validate({"name": str(path)} | columns | changes)


def load(config: DatasetConfig, cache: Path = Path("unused")) -> Interactions:
    return load_dataset(config, cache, lambda _: None)


@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_csv_file_gives_its_rows_in_order_with_ids_as_text(tmp_path: Path, bom: str) -> None:
    path = tmp_path / "ratings.CSV"
    path.write_text(bom + CSV, encoding="utf-8")
    data = load(config_of(path))
    assert data.queries[data.query_ids].tolist() == ["007", "7", "007"]
    assert data.candidates[data.candidate_ids].tolist() == ["Alien", "Brazil", "Alien"]
    assert data.labels.tolist() == [4, 3.5, 1]
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [10, 20, 30]
    assert (data.name, data.repeated_pairs, data.n_catalogue) == (str(path), 1, 2)


def test_words_that_look_like_missing_values_are_ids_in_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("user,film,stars\nNA,nan,1\nnull,None,2\n")
    data = load(config_of(path, timestamp=None))
    assert data.queries.tolist() == ["NA", "null"]
    assert data.candidates.tolist() == ["None", "nan"]
    assert data.timestamps is None


def test_a_parquet_file_gives_its_rows_in_order(tmp_path: Path) -> None:
    path = tmp_path / "ratings.parquet"
    frame = pd.DataFrame(
        {
            "user": [7, 10, 7],
            "film": pd.Categorical(["b", "a", "a"]),
            "stars": [1, 2, 3],
            "when": pd.to_datetime([0, 1, 2], unit="s"),
            "unread": [[1], [2], [3]],
        }
    )
    frame.to_parquet(path)
    data = load(config_of(path))
    assert data.queries[data.query_ids].tolist() == ["7", "10", "7"]
    assert data.candidates[data.candidate_ids].tolist() == ["b", "a", "a"]
    assert data.labels.tolist() == [1, 2, 3]
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_may_say_which_rows_are_for_what(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ratings{suffix}"
    frame = pd.DataFrame(
        {"user": [1, 2, 1], "film": ["a", "b", "b"], "stars": [1, 2, 3], "when": [1, 2, 3]}
    )
    frame["side"] = ["test", "train", "validation"]
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    data = load(config_of(path, split="side"))
    assert data.parts is not None
    assert data.parts.tolist() == [2, 0, 1]
    assert load(config_of(path)).parts is None
    with pytest.raises(DataError, match=r"no column 'sides'.*did you mean 'side'"):
        load(config_of(path, split="sides"))


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(CSV)
    before = load(config_of(path), tmp_path)
    path.write_text(CSV.replace("Alien,4", "Alien,5"))
    assert load(config_of(path), tmp_path).labels[0] == 5
    assert before.labels[0] == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"user,film,stars,when\n", "no rows"),
        (b"user,film,star,when\n1,a,2,3\n", r"no column 'stars'; .*did you mean 'star'"),
        (b"user;film;stars;when\n1;a;2;3\n", "is the separator a comma"),
        (b"user,film,stars,when,user\n1,a,2,3,4\n", "2 columns are named 'user'"),
        (b"user,film,stars,when\n1,a,2,3\n2,b,3\n", "Expected 4 columns, got 3"),
        (b"user,film,stars,when\n1,a,2,3\n2,b,3,4,5\n", "Expected 4 columns, got 5"),
        (b"user,film,stars,when\n1,a,2,3\n2,b,good,4\n", "labels: row 2 is 'good'"),
        (b"user,film,stars,when\n1,a,2,3\n2,b,,4\n", "labels: row 2 is ''"),
        (b"user,film,stars,when\n1,a,2,3\n2,b,inf,4\n", "labels: row 2 is 'inf'"),
        (b"user,film,stars,when\n1,a,2,3\n,b,3,4\n", "query ids: row 2 is ''"),
        (b"user,film,stars,when\n1,a,2,3\n1,b,3,4\n", "a single query, '1'"),
        (b"user,film,stars,when\n1,a,2,3\n2,b,3,4.5\n", "timestamps: row 2 is '4.5'"),
        (b"user,film,stars,when\n1,\xe9,2,3\n2,b,3,4\n", "UTF-?8"),
        (b"user,film,stars,wh\xe9n\n1,a,2,3\n2,b,3,4\n", "not UTF-8"),
        (b"user,film,stars,when\n" + b"1,a,2,3\n" * 9999 + b"2,\xff,3,4\n", "UTF-?8"),
    ],
    ids=str,
)
def test_a_broken_csv_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load(config_of(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_no_file_and_a_folder_are_told_apart(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ratings{suffix}"
    with pytest.raises(DataError, match="no such file"):
        load(config_of(path))
    path.mkdir()
    with pytest.raises(DataError, match="is a folder"):
        load(config_of(path))


def test_a_broken_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ratings.parquet"
    frame = pd.DataFrame({"user": [1, 2], "film": ["a", "b"], "stars": [1, 2], "when": [3, 4]})
    frame.to_parquet(path)
    whole = path.read_bytes()
    for content in (b"", b"user,film,stars\n", whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"ratings\.parquet: cannot be read as a Parquet file"):
            load(config_of(path))
    frame.rename(columns={"film": "movie"}).to_parquet(path)
    with pytest.raises(DataError, match="no column 'film'; there are: 'user', 'movie'"):
        load(config_of(path))
    frame.assign(stars=["good", "bad"]).to_parquet(path)
    with pytest.raises(DataError, match="labels: row 1 is 'good'"):
        load(config_of(path))
    frame.assign(user=[1, float("nan")]).to_parquet(path)
    with pytest.raises(DataError, match="query ids: row 2 has no id"):
        load(config_of(path))
    frame.head(0).to_parquet(path)
    with pytest.raises(DataError, match="no rows"):
        load(config_of(path))


SMALL = SyntheticConfig(queries=40, candidates=30, interactions=405, noise=0.25, seed=3)


def test_synthetic_has_the_counts_that_were_asked_for() -> None:
    data = synthetic(SMALL).interactions
    assert (len(data), data.n_queries, data.n_candidates) == (405, 40, 30)
    rows = np.bincount(data.query_ids)
    assert sorted(set(rows.tolist())) == [10, 11]
    assert data.repeated_pairs == 0
    assert data.n_catalogue == 30


def test_synthetic_is_a_function_of_its_settings() -> None:
    same = load(DatasetConfig(name="synthetic", synthetic=SMALL))
    assert same.fingerprint == synthetic(SMALL).interactions.fingerprint
    other = synthetic(SMALL.model_copy(update={"seed": 4})).interactions
    assert other.fingerprint != same.fingerprint
    assert len(load(DatasetConfig(name="synthetic"))) == SyntheticConfig().interactions


def test_the_planted_labels_are_right_to_the_noise() -> None:
    planted = synthetic(
        SyntheticConfig(queries=200, candidates=100, interactions=10_000, noise=0.5)
    )
    assert planted.expected.min() >= 1
    assert planted.expected.max() <= 5
    # 10,000 draws of N(0, 0.5²): their root mean square is 0.5 to within 4 · 0.5 / √20,000.
    assert planted.noise_floor == pytest.approx(0.5, abs=0.0142)
    exact = synthetic(SMALL.model_copy(update={"noise": 0.0}))
    assert exact.noise_floor == 0
    assert np.array_equal(exact.interactions.labels, exact.expected)
    assert exact.expected.std() > 0.5


def test_the_planted_favourites_are_picked_most() -> None:
    planted = synthetic(SyntheticConfig(queries=300, candidates=200, interactions=12_000))
    best = planted.best(40)
    assert best.shape == (300, 40)
    for query in (0, 299):
        order = sorted(range(200), key=lambda j: -planted.preferences[query, j])
        assert best[query].tolist() == order[:40]
    picks = planted.interactions
    favourite = np.zeros((300, 200), bool)
    favourite[np.arange(300)[:, None], best] = True
    # By chance a fifth of the picks would be among the best fifth of the candidates.
    assert favourite[picks.query_ids, picks.candidate_ids].mean() > 0.6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interactions": 39}, "each query takes between 1 and all 30"),
        ({"interactions": 1201}, "ask for 40 to 1,200"),
        ({"queries": 10**6, "candidates": 10**6}, "more than 1,000,000,000 pairs"),
    ],
    ids=str,
)
def test_an_impossible_synthetic_dataset_is_refused(
    changes: Mapping[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        synthetic(SMALL.model_copy(update=changes))
    if "pairs" not in message:
        with pytest.raises(DataError, match=message):
            long_tailed(SMALL.model_copy(update=changes))


@pytest.mark.parametrize("shape", ["uniform", "long-tailed"])
def test_every_pair_can_be_asked_for(shape: str) -> None:
    config = SMALL.model_copy(update={"interactions": 1200, "shape": shape})
    data = load(DatasetConfig(name="synthetic", synthetic=config))
    assert len(data) == 1200
    assert data.repeated_pairs == 0


# As MovieLens 25M, of whose queries and candidates it has one in 125.
LONG = SyntheticConfig(
    shape="long-tailed", queries=1_300, candidates=472, interactions=200_001, noise=0.5, seed=5
)


def share_of_the_largest(counts: np.ndarray, fraction: float) -> float:
    return float(np.sort(counts)[::-1][: round(fraction * len(counts))].sum() / counts.sum())


def test_long_tailed_data_has_the_counts_that_were_asked_for() -> None:
    data = long_tailed(LONG)
    assert (len(data), data.n_queries, data.n_candidates) == (200_001, 1_300, 472)
    assert data.repeated_pairs == 0
    assert np.array_equal(np.bincount(data.query_ids), plant(LONG).rows)
    assert np.bincount(data.query_ids).min() >= 20
    assert data.timestamps is not None
    assert np.array_equal(data.timestamps, np.arange(200_001))
    assert sorted(set(data.labels.tolist())) == [stars / 2 for stars in range(1, 11)]


def test_a_few_queries_and_a_few_candidates_have_most_of_the_rows() -> None:
    # A catalogue large enough that the favourites are not exhausted by every query.
    config = LONG.model_copy(update={"candidates": 5_000, "queries": 5_000})
    data = long_tailed(config)
    of_queries = np.bincount(data.query_ids, minlength=5_000)
    of_candidates = np.bincount(data.candidate_ids, minlength=5_000)
    assert 0.05 < share_of_the_largest(of_queries, 0.01) < 0.25
    assert 0.3 < share_of_the_largest(of_candidates, 0.01) < 0.65
    assert share_of_the_largest(of_candidates, 0.2) > 0.9
    assert np.median(of_candidates) < of_candidates.mean() / 5
    assert np.median(of_queries) < of_queries.mean() / 1.5


def test_long_tailed_data_is_a_function_of_its_settings_and_a_study_can_ask_for_it() -> None:
    same = load(DatasetConfig(name="synthetic", synthetic=LONG))
    assert same.fingerprint == long_tailed(LONG).fingerprint
    other = long_tailed(LONG.model_copy(update={"seed": 6}))
    assert other.fingerprint != same.fingerprint


def test_labels_and_picks_of_long_tailed_data_follow_the_planted_affinity() -> None:
    planted, data = plant(LONG), long_tailed(LONG)
    affinity = planted.affinity(data.query_ids, data.candidate_ids)
    errors = data.labels - np.clip(3 + affinity, 0.5, 5)
    # The noise of 0.5 and a rounding to halves, 0.5 / √12; less where the clipping takes some.
    assert 0.4 < np.sqrt(np.mean(errors**2)) < np.hypot(0.5, 0.5 / 12**0.5)
    assert np.corrcoef(affinity, data.labels)[0, 1] > 0.85
    # Of all pairs the mean affinity is 0; a third of them are picked.
    assert affinity.mean() > 0.15
    met = np.bincount(data.candidate_ids, minlength=LONG.candidates)
    ranks = [values.argsort().argsort() for values in (planted.popularity, met)]
    assert np.corrcoef(*ranks)[0, 1] > 0.8


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_picks_are_plackett_luce_whether_met_in_turn_or_drawn_at_once(rows: int) -> None:
    # Of 100 candidates up to 2 are met in turn, and 3 are drawn at once.
    n, size = 30_000, 100
    rng = np.random.default_rng(0)
    planted = Structure(
        query_factors=np.tile(rng.standard_normal((1, 4), dtype=np.float32), (n, 1)),
        candidate_factors=rng.standard_normal((size, 4), dtype=np.float32),
        popularity=np.linspace(0.1, 3, size) ** 2,
        rows=np.full(n, rows),
    )
    affinity = planted.affinity(np.zeros(size, int), np.arange(size))
    weights = planted.popularity / (1 + np.exp(-2 * affinity))
    p = weights / weights.sum()
    expected = p.copy()
    if rows > 1:
        both = p[:, None] * p / (1 - p[:, None]) * (1 - np.eye(size))  # first, second
        expected += both.sum(axis=0)
    if rows > 2:
        left = 1 - p[:, None] - p
        for third in range(size):
            thirds = both * p[third] / left
            thirds[third] = thirds[:, third] = 0
            expected[third] += thirds.sum()
    assert expected.sum() == pytest.approx(rows)
    found = np.bincount(_pick(planted, np.arange(n), rng), minlength=size) / n
    deviations = (found - expected) / np.sqrt(expected * (1 - expected) / n)
    assert np.abs(deviations).max() < 4.5
    assert np.mean(deviations**2) < 1.6


def test_a_long_tailed_dataset_may_have_more_pairs_than_can_be_listed() -> None:
    config = SyntheticConfig(
        shape="long-tailed", queries=50_000, candidates=1_000_000, interactions=50_000
    )
    assert len(long_tailed(config)) == 50_000


def test_movielens_is_prepared_once_for_each_choice_of_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def prepare(version: str, columns: Mapping[str, str], *_: object) -> Interactions:
        calls.append((version, columns))
        return from_columns(["a", "b"], ["x", "y"], [1, len(calls)], [3, 4], f"movielens/{version}")

    monkeypatch.setattr(sweep.data.movielens, "load_movielens", prepare)
    defaults = {
        "query": "user_id",
        "candidate": "movie_title",
        "label": "user_rating",
        "timestamp": "timestamp",
    }
    config = DatasetConfig(name="movielens/100k")
    first, second = load(config, tmp_path), load(config, tmp_path)
    assert first.fingerprint == second.fingerprint
    assert calls == [("100k", defaults)]
    by_id = load(DatasetConfig(name="movielens/100k", candidate="movie_id"), tmp_path)
    assert by_id.fingerprint != first.fingerprint
    assert calls[1:] == [("100k", defaults | {"candidate": "movie_id"})]
    assert load(config, tmp_path).fingerprint == first.fingerprint

    said: list[str] = []
    for path in (tmp_path / "datasets").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    load_dataset(config, tmp_path, said.append)
    assert len(calls) == 3
    assert "is damaged; preparing it again" in said[0]


def test_description_counts_what_is_there() -> None:
    data = from_columns(
        ["a", "a", "b", "a"], ["x", "y", "x", "x"], [1, 2, 3, 6], [40, 10, 20, 30], "n"
    )
    described = describe(replace(data, catalogue_counts=np.array([1, 2], np.int32)))
    assert json.loads(json.dumps(described)) == described
    assert (
        described.pop("fingerprint")
        == replace(data, catalogue_counts=np.array([1, 2], np.int32)).fingerprint
    )
    assert described == {
        "name": "n",
        "interactions": 4,
        "queries": 2,
        "candidates": 2,
        "catalogue_rows": 3,
        "repeated_pairs": 1,
        "density": 0.75,
        "labels": {"min": 1.0, "mean": 3.0, "max": 6.0, "std": pytest.approx(3.5**0.5)},
        "timestamps": {"first": 10, "last": 40},
    }
    assert describe(replace(data, timestamps=None))["timestamps"] is None


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.setenv("SWEEP_CACHE", "relative")
    monkeypatch.chdir(tmp_path)
    assert cache_directory() == tmp_path / "relative"
    monkeypatch.delenv("SWEEP_CACHE")
    assert cache_directory().name == "sweep"
    assert cache_directory().is_absolute()


def test_synthetic_and_prepared_data_need_neither_tensorflow_nor_pandas(tmp_path: Path) -> None:
    write_interactions(synthetic(SMALL).interactions, tmp_path / "prepared.npz")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sweep.config import DatasetConfig\n"
        "from sweep.data.datasets import load_dataset\n"
        "from sweep.data.interactions import load_interactions\n"
        "load_dataset(DatasetConfig(name='synthetic'), Path('unused'), print)\n"
        "load_interactions(Path(sys.argv[1]))\n"
        "print(sorted({'tensorflow', 'tensorflow_datasets', 'pandas'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "prepared.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
