"""A trained model → a SavedModel that takes raw ids, and answers from one."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from sweep.data.batches import TrainingData
from sweep.data.interactions import Interactions
from sweep.errors import ExportError
from sweep.export import require_free_folder
from sweep.quiet import quiet_tensorflow
from sweep.recommender.model import MultiTaskModel, Side

LIST_LENGTH = 100
"""How many candidates `recommend` gives: the longest list that is scored in a study."""

_TEXTS = tf.TensorSpec([None], tf.string)


class Recommender(tf.Module):
    """Both tasks behind raw ids, in TensorFlow operations alone.

    An id that was not in the data is given the mean embedding: the rating and the list of an
    average query or candidate.
    """

    def __init__(
        self, model: MultiTaskModel, interactions: Interactions, data: TrainingData
    ) -> None:
        """Copies the model's present weights.

        Args:
            model: trained.
            interactions: for the vocabularies.
            data: for the pairs of the training rows, which `recommend` leaves out.
        """
        super().__init__(name="recommender")
        self._query_row = _row_lookup(interactions.queries)
        self._candidate_row = _row_lookup(interactions.candidates)
        self._queries = _with_mean_row(model.query_side(tf.range(data.n_queries)))
        self._candidates = _with_mean_row(model.candidate_side(tf.range(data.n_candidates)))
        self._retrieval = _with_mean(model.retrieval_queries(tf.range(data.n_queries)))
        self._model = model
        self._query_texts = tf.Variable(interactions.queries.astype(str), trainable=False)
        self._candidate_texts = tf.Variable(interactions.candidates.astype(str), trainable=False)
        pairs = data.train.query_ids.astype(np.int64) * data.n_candidates + data.train.candidate_ids
        self._seen = tf.Variable(np.unique(pairs), trainable=False)
        self._n_candidates = data.n_candidates
        self._length = min(LIST_LENGTH, data.n_candidates)
        most_seen = int(np.bincount(np.unique(pairs) // data.n_candidates).max())
        self._searched = min(data.n_candidates, self._length + most_seen)
        self._index = tfrs.layers.factorized_top_k.BruteForce(k=self._searched)
        self._index.index(model.candidate_model.embeddings, tf.range(data.n_candidates))

    @tf.function(input_signature=[_TEXTS, _TEXTS])
    def rate(self, query: tf.Tensor, candidate: tf.Tensor) -> dict[str, tf.Tensor]:
        """The predicted label of each pair: texts [n], texts [n] → `rating` float32 [n]."""
        ratings = self._model.predict_ratings(
            self._queries.at(self._query_row.lookup(query)),
            self._candidates.at(self._candidate_row.lookup(candidate)),
        )
        return {"rating": ratings}

    @tf.function(input_signature=[_TEXTS])
    def recommend(self, query: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best candidates that a query has not in its training rows, best first.

        Texts [n] → `candidate` texts [n, k] and `score` float32 [n, k], a dot product, with k of
        100, or all candidates where there are fewer. Where fewer than k are unseen, the rest are
        empty texts with the score -inf.
        """
        rows = self._query_row.lookup(query)
        scores, candidates = self._index(tf.gather(self._retrieval, rows))
        pairs = rows[:, tf.newaxis] * self._n_candidates + tf.cast(candidates, tf.int64)
        place = tf.minimum(
            tf.searchsorted(self._seen, tf.reshape(pairs, [-1])), tf.size(self._seen) - 1
        )
        seen = tf.reshape(tf.gather(self._seen, place), tf.shape(pairs)) == pairs
        best, order = tf.math.top_k(tf.where(seen, -np.inf, scores), k=self._length)
        return self._named(best, tf.gather(candidates, order, batch_dims=1))

    @tf.function(input_signature=[_TEXTS])
    def recommend_all(self, query: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best of all candidates, those of the training rows among them; as `recommend`."""
        queries = tf.gather(self._retrieval, self._query_row.lookup(query))
        scores, candidates = self._index(queries, k=self._length)
        return self._named(scores, candidates)

    @tf.function(input_signature=[])
    def vocabulary(self) -> dict[str, tf.Tensor]:
        """All known ids: `queries` texts [n_queries], `candidates` texts [n_candidates]."""
        return {"queries": self._query_texts.value(), "candidates": self._candidate_texts.value()}

    def _named(self, scores: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        texts = tf.gather(self._candidate_texts, candidates)
        return {"candidate": tf.where(tf.math.is_inf(scores), "", texts), "score": scores}


def _row_lookup(vocabulary: np.ndarray) -> tf.lookup.StaticHashTable:
    size = len(vocabulary)
    rows = tf.lookup.KeyValueTensorInitializer(
        tf.constant(vocabulary.astype(str)), tf.range(size, dtype=tf.int64)
    )
    return tf.lookup.StaticHashTable(rows, default_value=size)


def _with_mean_row(side: Side) -> Side:
    """A tower's answers, each with one more row."""
    return Side(*(None if part is None else _with_mean(part) for part in side))


def _with_mean(part: tf.Tensor) -> tf.Variable:
    """As a variable, with one more row: the mean, for ids that are not known."""
    mean = tf.reduce_mean(part, axis=0, keepdims=True)
    return tf.Variable(tf.concat([part, mean], axis=0), trainable=False)


def write_saved_model(recommender: Recommender, folder: Path, files: dict[str, str]) -> None:
    """Write a SavedModel, whole or not at all.

    Args:
        recommender: what to save; its four functions become signatures.
        folder: must not exist, or be an empty folder.
        files: texts to put beside the model, by file name.

    Raises:
        ExportError: the folder holds something, or cannot be written.
    """
    require_free_folder(folder)
    signatures = {
        name: getattr(recommender, name)
        for name in ("rate", "recommend", "recommend_all", "vocabulary")
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            with quiet_tensorflow():
                tf.saved_model.save(recommender, str(temporary), signatures=signatures)
            for name, text in files.items():
                (temporary / name).write_text(text, encoding="utf-8")
            temporary.chmod(0o755)
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise ExportError(
            f"{folder}: the model cannot be written ({error.strerror or error}); "
            "choose a folder that can be written"
        ) from None


@dataclass(frozen=True)
class Recommendation:
    """One candidate of a list: its raw id and its score (a dot product, not a rating)."""

    candidate: str
    score: float


class LoadedRecommender:
    """A SavedModel written by `write_saved_model`, with its ids checked."""

    def __init__(self, folder: Path) -> None:
        """Loads the model; see `load_recommender`."""
        self._model = tf.saved_model.load(str(folder))
        known = self._model.signatures["vocabulary"]()
        self._queries, self._candidates = (
            [text.decode() for text in known[key].numpy()] for key in ("queries", "candidates")
        )

    def rating(self, query: str, candidate: str) -> float:
        """The predicted rating of one pair.

        Raises:
            ExportError: the model does not know one of the ids.
        """
        _require_known("query", query, self._queries)
        _require_known("candidate", candidate, self._candidates)
        answer = self._model.signatures["rate"](
            query=tf.constant([query]), candidate=tf.constant([candidate])
        )
        return float(answer["rating"][0])

    def recommend(self, query: str, top: int, seen: bool = False) -> list[Recommendation]:
        """The best candidates for a query, best first.

        Args:
            query: raw id.
            top: length of the list, 1 to `LIST_LENGTH`; shorter where candidates run out.
            seen: whether candidates of the query's own training rows may be among them.

        Raises:
            ExportError: the model does not know the query, or `top` is out of range.
        """
        _require_known("query", query, self._queries)
        answer = self._model.signatures["recommend_all" if seen else "recommend"](
            query=tf.constant([query])
        )
        candidates, scores = answer["candidate"][0].numpy(), answer["score"][0].numpy()
        if not 1 <= top <= len(candidates):
            raise ExportError(
                f"a list of {top} cannot be given; this model gives 1 to {len(candidates)}"
            )
        return [
            Recommendation(candidate.decode(), float(score))
            for candidate, score in zip(candidates[:top], scores[:top], strict=True)
            if np.isfinite(score)
        ]


def load_recommender(folder: Path) -> LoadedRecommender:
    """Load an exported model.

    Raises:
        ExportError: the folder is not a model that sweep has written.
    """
    advice = "sweep export STUDY --pick knee --output best.json --model DIR writes one"
    if not (folder / "saved_model.pb").is_file():
        raise ExportError(f"{folder}: no model there (no saved_model.pb); {advice}")
    try:
        return LoadedRecommender(folder)
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ExportError(
            f"{folder}: not a model that sweep has written ({reason}); {advice}"
        ) from None


def _require_known(kind: str, text: str, known: list[str]) -> None:
    if text not in known:
        close = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
        hint = f"; the nearest: {', '.join(map(repr, close))}" if close else ""
        raise ExportError(
            f"{kind} {text!r} is not among the {len(known):,} that the model knows{hint}"
        )
