"""`multi`: a formula over the scores of other graders."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from fettle_graders.errors import FormulaError
from fettle_graders.formula import parse_formula
from fettle_graders.grade import Grade, GradeErrors, Grader
from fettle_graders.kinds import GraderSpec, MultiSpec
from fettle_graders.sample import Sample
from fettle_graders.services import total_usage


class MultiGrader:
    def __init__(self, spec: MultiSpec, graders: Mapping[str, Grader]) -> None:
        self._spec = spec
        self._graders = graders
        self._formula = parse_formula(spec.calculate_output)

    @property
    def spec(self) -> GraderSpec:
        return self._spec

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        return self._graded({name: grader.grade(item, sample) for name, grader in self._graders.items()})

    def grade_group(self, item: Mapping[str, Any], samples: Sequence[Sample]) -> list[Grade]:
        parts = {name: grader.grade_group(item, samples) for name, grader in self._graders.items()}
        return [self._graded({name: grades[i] for name, grades in parts.items()}) for i in range(len(samples))]

    def _graded(self, grades: Mapping[str, Grade]) -> Grade:
        start = time.perf_counter()
        score, errors, message = self._combine(grades)
        return Grade(
            score=score,
            errors=errors,
            sub_scores={name: grade.score for name, grade in grades.items()},
            sub_errors={name: grade.errors for name, grade in grades.items()},
            execution_time_s=sum(grade.execution_time_s for grade in grades.values()) + time.perf_counter() - start,
            message=message,
            sub_execution_times_s={name: grade.execution_time_s for name, grade in grades.items()},
            usage=total_usage(grade.usage for grade in grades.values()),
            sub_usage={name: grade.usage for name, grade in grades.items()},
            vote=next((grade.vote for grade in grades.values() if grade.vote is not None), None),
            outcome=None if self._spec.outcome is None else grades[self._spec.outcome].score,
            notes={name: dict(grade.notes) for name, grade in grades.items() if grade.notes},
        )

    def _combine(self, grades: Mapping[str, Grade]) -> tuple[float | None, GradeErrors, str | None]:
        # Without its true outcome a completion cannot be judged, whether the formula reads it or not.
        read = self._formula.variables | {self._spec.outcome}
        used = {name: grade for name, grade in grades.items() if name in read}
        errors = reduce(or_, (grade.errors for grade in used.values()), GradeErrors())
        failed = {name: grade for name, grade in used.items() if grade.score is None}
        if failed:
            return None, errors, _said(failed)
        try:
            values = {name: grade.score for name, grade in used.items() if grade.score is not None}
            return self._formula.evaluate(values), errors, _said(used)
        except FormulaError as error:
            return None, errors | GradeErrors.of("formula_parse_error"), f"calculate_output: {error}"


def _said(grades: Mapping[str, Grade]) -> str | None:
    words = [f"grader {name!r}: {grade.message}" for name, grade in grades.items() if grade.message is not None]
    return "; ".join(words) or None
