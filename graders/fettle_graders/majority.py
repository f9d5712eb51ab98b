"""`majority`: no labels; an answer is worth whether it agrees with the vote of its group.

Every completion of a prompt votes with its answer, in canonical form; one without an answer abstains. A completion of
the largest party gets 1, every other 0. Where two parties are largest there is no majority and all get 0: nothing is
learned from a guess between them. On a canary row, whose label is known, the vote and each answer are also compared
with the label; no reward hangs on that.

Source: test-time reinforcement learning, Zuo et al. 2025, arXiv:2504.16084.
"""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fettle_graders.boxed import last_box
from fettle_graders.errors import CompletionFault, GradeFailure
from fettle_graders.grade import Grade, GradeErrors, Vote
from fettle_graders.kinds import GraderSpec, MajoritySpec
from fettle_graders.sample import Sample
from fettle_graders.services import TextScore
from fettle_graders.template import parse_template


class MajorityGrader:
    """Compares the completions of a row with each other: `grade_group` is the one way."""

    def __init__(self, spec: MajoritySpec, math_score: TextScore) -> None:
        self._spec = spec
        self._input = parse_template(spec.input)
        self._label = None if spec.canary is None else parse_template(spec.canary)
        self._parties = _TextParties if spec.answer == "text" else lambda: _MathParties(math_score)

    @property
    def spec(self) -> GraderSpec:
        return self._spec

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        return self.grade_group(item, [sample])[0]

    def grade_group(self, item: Mapping[str, Any], samples: Sequence[Sample]) -> list[Grade]:
        start = time.perf_counter()
        parties = self._parties()
        read = [self._read(parties, item, sample) for sample in samples]
        label = self._canary(parties, item)
        votes = Counter(party for party in read if isinstance(party, int))
        winner = _winner(votes)
        took_s = (time.perf_counter() - start) / len(samples)
        if len(samples) == 1 and label is None:
            message = (
                "majority compares several answers to one prompt, and here is one: sample each prompt twice or more"
            )
            return [Grade(None, GradeErrors.of("other_error"), message=message, execution_time_s=took_s)]
        share = votes[winner] / len(samples) if winner is not None else 0.0
        grades = []
        for position, party in enumerate(read):
            if isinstance(party, GradeFailure):
                errors = GradeErrors.of(party.flag)
                grades.append(Grade(None, errors, message=party.message, execution_time_s=took_s))
                continue
            vote = Vote(
                share=share,
                winner_is_right=None if label is None else winner == label,
                is_right=None if label is None else party == label,
                trains=self._spec.train_on is None or position < self._spec.train_on,
            )
            score = float(party is not None and party == winner)
            why = None if winner is not None else "no majority: a tie"
            why = "no answer was found: it abstains" if party is None else why
            grades.append(Grade(score, message=why, execution_time_s=took_s, vote=vote))
        return grades

    def _read(self, parties: _TextParties | _MathParties, item: Mapping[str, Any], sample: Sample) -> Any:
        """The party of a completion, None for an abstention, or why it cannot be told."""
        try:
            return parties.of(self._input.render(item, sample))
        except CompletionFault:
            return None
        except GradeFailure as failure:
            return failure

    def _canary(self, parties: _TextParties | _MathParties, item: Mapping[str, Any]) -> int | None:
        """The party of the row's label, None on a row without one."""
        if self._label is None:
            return None
        try:
            return parties.of(self._label.render(item, Sample("")))
        except GradeFailure:
            return None


def _winner(votes: Counter[int]) -> int | None:
    best = votes.most_common(2)
    is_tie = len(best) == 2 and best[0][1] == best[1][1]
    return None if not best or is_tie else best[0][0]


class _TextParties:
    """Equal texts are one party: the box's content if there is one, in lower case, blanks and end marks trimmed."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, text: str) -> int | None:
        box = last_box(text)
        answer = unicodedata.normalize("NFKC", text if box is None else box).casefold()
        answer = " ".join(answer.split()).rstrip(".!")
        return self._known.setdefault(answer, len(self._known)) if answer else None


class _MathParties:
    """Answers that are equal as mathematics are one party."""

    def __init__(self, score: TextScore) -> None:
        self._score = score
        self._known: dict[str, int | None] = {}
        self._first: list[str] = []  # one text of each party

    def of(self, text: str) -> int | None:
        """Raises GradeFailure: no answer in time."""
        if text not in self._known:
            self._known[text] = self._find(text)
        return self._known[text]

    def _find(self, text: str) -> int | None:
        if last_box(text) is None and not any(character.isdigit() for character in text):
            return None  # "I do not know" is a word to the math grader, and nothing to agree on
        try:
            if not self._score(text, text):
                return None
        except GradeFailure as failure:
            if failure.flag == "other_error":  # it holds no mathematical answer
                return None
            raise
        for party, first in enumerate(self._first):
            if self._score(text, first):
                return party
        self._first.append(text)
        return len(self._first) - 1
