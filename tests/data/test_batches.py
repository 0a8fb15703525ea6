"""Cached batches: deduplicated rightly, memory-mapped, and keyed by all that they depend on."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import sweep.data.batches
from sweep.config import SplitConfig, TrainingConfig
from sweep.data.batches import (
    Batch,
    Rows,
    Stage,
    TrainingData,
    deduplicate,
    load_training_data,
    open_training_data,
    rebatch,
)
from sweep.data.interactions import Interactions
from sweep.data.split import split_rows
from sweep.errors import DataError

N = 100


def make_interactions(seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions(
        name="small",
        query_ids=np.r_[np.arange(9), rng.integers(0, 9, N - 9)].astype(np.int32),
        candidate_ids=np.r_[np.arange(7), rng.integers(0, 7, N - 7)].astype(np.int32),
        labels=rng.integers(1, 6, N).astype(np.float32),
        timestamps=rng.integers(0, 50, N),
        queries=np.array([str(i) for i in range(9)]),
        candidates=np.array([str(i) for i in range(7)]),
        catalogue_counts=np.array([1, 2, 1, 1, 3, 1, 1], np.int32),
        parts=np.repeat([0, 1, 2], [70, 10, 20]).astype(np.int8),
    )


def load(
    cache: Path,
    interactions: Interactions | None = None,
    split: SplitConfig | None = None,
    split_seed: int = 42,
    batch_seed: int = 42,
    said: list[str] | None = None,
    stage: Stage = "search",
    **training: object,
) -> TrainingData:
    return load_training_data(
        interactions or make_interactions(),
        split or SplitConfig(),
        split_seed,
        TrainingConfig.model_validate({"batch_size": 32, "reshuffle": False} | training),
        batch_seed,
        cache,
        (said if said is not None else []).append,
        stage,
    )


def triples(query_ids, candidate_ids, labels) -> list[tuple[int, int, float]]:
    return sorted(zip(query_ids.tolist(), candidate_ids.tolist(), labels.tolist(), strict=True))


def test_deduplication_by_hand():
    batch = deduplicate(
        Rows(
            np.array([5, 2, 5, 5], np.int32),
            np.array([1, 1, 0, 1], np.int32),
            np.array([3, 1, 4, 3], np.float32),
        )
    )
    expected = Batch(
        query_ids=[2, 5],
        query_counts=[1, 3],
        query_index=[1, 0, 1, 1],
        candidate_ids=[0, 1],
        candidate_counts=[1, 3],
        candidate_index=[1, 1, 0, 1],
        labels=[3, 1, 4, 3],
    )
    for field in fields(Batch):
        assert getattr(batch, field.name).tolist() == getattr(expected, field.name), field.name
        wanted = np.int32 if field.name.endswith(("ids", "index")) else np.float32
        assert getattr(batch, field.name).dtype == wanted, field.name


def test_fixed_batches_hold_every_training_row_once(tmp_path):
    data = load(tmp_path)
    assert [len(batch.labels) for batch in data.fixed] == [32, 32, 16]
    rows = [
        triple
        for batch in data.fixed
        for triple in triples(
            batch.query_ids[batch.query_index],
            batch.candidate_ids[batch.candidate_index],
            batch.labels,
        )
    ]
    train, test = (
        triples(part.query_ids, part.candidate_ids, part.labels)
        for part in (data.train, data.held_out)
    )
    interactions = make_interactions()
    assert sorted(rows) == train
    assert sorted(train + test) == triples(
        interactions.query_ids, interactions.candidate_ids, interactions.labels
    )


WITH_VALIDATION = SplitConfig(test_fraction=0.2, validation_fraction=0.1)
EVERY_METHOD = pytest.mark.parametrize(
    "split",
    [
        WITH_VALIDATION,
        WITH_VALIDATION.model_copy(update={"method": "time"}),
        SplitConfig(method="column"),
    ],
    ids=lambda split: split.method,
)


def rows_of(part: Rows) -> list[tuple[int, int, float]]:
    return triples(part.query_ids, part.candidate_ids, part.labels)


@EVERY_METHOD
def test_the_search_holds_out_validation_rows_and_the_final_stage_test_rows(tmp_path, split):
    search = load(tmp_path, split=split)
    final = load(tmp_path, split=split, stage="final")
    sides = split_rows(make_interactions(), split, 42)
    assert len(search.held_out) == len(sides.validation)
    assert len(final.held_out) == len(sides.test)
    assert len(final.train) + len(final.held_out) == N
    assert rows_of(final.train) == sorted(rows_of(search.train) + rows_of(search.held_out))


def test_the_test_rows_are_those_of_the_study_without_validation_rows(tmp_path):
    final = load(tmp_path, split=WITH_VALIDATION, stage="final")
    assert rows_of(final.held_out) == rows_of(load(tmp_path).held_out)


def test_without_validation_rows_both_stages_are_one(tmp_path):
    load(tmp_path)
    load(tmp_path, stage="final")
    assert len(list((tmp_path / "batches").iterdir())) == 1


@EVERY_METHOD
def test_test_labels_change_nothing_that_the_search_sees(tmp_path, split):
    interactions = make_interactions()
    test = split_rows(interactions, split, 42).test
    labels = interactions.labels.copy()
    labels[test] = labels[test][::-1] + 7
    changed = replace(interactions, labels=labels)
    before = load(tmp_path, interactions, split)
    after = load(tmp_path, changed, split)
    for part in ("train", "held_out"):
        for field in fields(Rows):
            a, b = (getattr(getattr(data, part), field.name) for data in (before, after))
            np.testing.assert_array_equal(a, b)


def test_copies_in_the_catalogue_are_listed(tmp_path):
    assert load(tmp_path).catalogue.tolist() == [0, 1, 1, 2, 3, 4, 4, 4, 5, 6]


def test_a_second_load_maps_the_files_of_the_first(tmp_path):
    said: list[str] = []
    first, second = load(tmp_path, said=said), load(tmp_path, said=said)
    assert len(said) == 1
    assert isinstance(second.train.labels.base, np.memmap)
    assert isinstance(second.fixed[1].query_index.base.base, np.memmap)
    for a, b in zip(first.fixed, second.fixed, strict=True):
        for field in fields(Batch):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def assert_same(one: TrainingData, other: TrainingData) -> None:
    for part in ("train", "held_out"):
        for field in fields(Rows):
            a, b = (getattr(getattr(data, part), field.name) for data in (one, other))
            np.testing.assert_array_equal(a, b, strict=True)
    for a, b in zip(one.epoch(3, 2), other.epoch(3, 2), strict=True):
        for field in fields(Batch):
            np.testing.assert_array_equal(
                getattr(a, field.name), getattr(b, field.name), strict=True
            )


@pytest.mark.parametrize("reshuffle", [False, True])
def test_files_written_in_small_pieces_are_the_bytes_of_whole_arrays(
    tmp_path, monkeypatch, reshuffle
):
    monkeypatch.setattr(sweep.data.batches, "ROWS_AT_ONCE", 7)
    data, interactions = load(tmp_path, reshuffle=reshuffle), make_interactions()
    sides = split_rows(interactions, SplitConfig(), 42)
    arrays = {}
    for part, rows in (("train", sides.train), ("held_out", sides.test)):
        for field, column in (
            ("query_ids", interactions.query_ids),
            ("candidate_ids", interactions.candidate_ids),
            ("labels", interactions.labels),
        ):
            arrays[f"{part}_{field}"] = column[rows]
    if not reshuffle:
        order = np.random.default_rng(42).permutation(80)
        batches = [
            deduplicate(Rows(*(arrays[f"train_{f.name}"][order[i : i + 32]] for f in fields(Rows))))
            for i in range(0, 80, 32)
        ]
        for field in fields(Batch):
            parts = [getattr(batch, field.name) for batch in batches]
            arrays[f"batch_{field.name}"] = np.concatenate(parts)
            arrays[f"offset_{field.name}"] = np.cumsum([0] + [len(part) for part in parts])
    assert data.stored is not None
    found = {path.stem: path for path in data.stored.folder.iterdir()}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.save(tmp_path / "whole.npy", array)
        assert found[name].read_bytes() == (tmp_path / "whole.npy").read_bytes(), name


@pytest.mark.parametrize("reshuffle", [False, True])
def test_another_process_can_map_the_same_files_without_the_dataset(tmp_path, reshuffle):
    data = load(tmp_path, reshuffle=reshuffle)
    told = pickle.dumps(data.stored)
    assert len(told) < 2000
    there = open_training_data(pickle.loads(told))
    assert isinstance(there.train.labels.base, np.memmap)
    assert_same(there, data)
    assert there.catalogue.tolist() == data.catalogue.tolist()
    assert (there.n_queries, there.n_candidates) == (9, 7)
    assert rebatch(data, TrainingConfig(batch_size=16)).stored is None


@pytest.mark.parametrize("reshuffle", [False, True])
def test_rows_batched_anew_are_what_a_load_would_give(tmp_path, reshuffle):
    training = TrainingConfig(batch_size=16, reshuffle=reshuffle)
    anew = rebatch(load(tmp_path), training)
    assert_same(anew, load(tmp_path, batch_size=16, reshuffle=reshuffle))


def test_an_epoch_takes_rows_in_the_order_of_a_permutation(tmp_path):
    data = load(tmp_path, reshuffle=True)
    order = np.random.default_rng([42, 3, 2]).permutation(80)
    for start, batch in zip(range(0, 80, 32), data.epoch(3, 2), strict=True):
        rows = order[start : start + 32]
        ids = batch.query_ids[batch.query_index]
        assert ids.tolist() == data.train.query_ids[rows].tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"interactions": make_interactions(seed=1)},
        {"split": SplitConfig(test_fraction=0.3)},
        {"split": SplitConfig(validation_fraction=0.2)},
        {"split": SplitConfig(method="time")},
        {"split_seed": 7},
        {"batch_seed": 7},
        {"batch_size": 16},
        {"reshuffle": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_decides_the_batches_is_part_of_the_key(tmp_path, change):
    load(tmp_path)
    load(tmp_path, **change)
    assert len(list((tmp_path / "batches").iterdir())) == 2


def test_what_does_not_decide_the_batches_is_not_part_of_the_key(tmp_path):
    load(tmp_path)
    load(tmp_path, epochs=7, optimizer="adam", retrieval_reduction="sum")
    assert len(list((tmp_path / "batches").iterdir())) == 1


def test_reshuffled_batches_of_any_size_are_drawn_from_one_copy_of_the_rows(tmp_path):
    sizes = [
        [len(batch.labels) for batch in load(tmp_path, batch_size=size, reshuffle=True).epoch(0, 1)]
        for size in (32, 50)
    ]
    assert [size[0] for size in sizes] == [32, 50]
    assert sum(sizes[0]) == sum(sizes[1])
    assert len(list((tmp_path / "batches").iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut short", "missing"])
def test_a_damaged_cache_is_built_again_with_a_word(tmp_path, damage):
    labels = load(tmp_path).train.labels.tolist()
    [folder] = (tmp_path / "batches").iterdir()
    if damage == "missing":
        (folder / "train_labels.npy").unlink()
    else:
        (folder / "train_labels.npy").write_bytes(b"\x93NUMPY")
    said: list[str] = []
    assert load(tmp_path, said=said).train.labels.tolist() == labels
    assert "damaged" in said[0]
    assert load(tmp_path, said=said).train.labels.tolist() == labels
    assert len(said) == 2  # damage and repair; the second time neither


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_variable(tmp_path):
    (tmp_path / "batches").write_text("in the way")
    with pytest.raises(DataError, match="SWEEP_CACHE"):
        load(tmp_path)


def test_nothing_half_written_is_left_when_writing_fails(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(DataError, match="No space left on device"):
        load(tmp_path)
    assert list((tmp_path / "batches").iterdir()) == []
