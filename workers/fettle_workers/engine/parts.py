"""What the graders inside a multi grader are to training: parts of a weighted sum, or witnesses beside the reward."""

from __future__ import annotations

from fettle_graders.formula import parse_formula
from fettle_graders.spec import GraderSpec, MultiSpec


def grader_weights(grader: GraderSpec | None) -> dict[str, float] | None:
    """The weights of a multi grader that adds up at least two others; see `advantage.balanced_rewards`."""
    weights = parse_formula(grader.calculate_output).weights() if isinstance(grader, MultiSpec) else None
    return weights if weights is not None and len(weights) >= 2 else None


def watched_graders(grader: GraderSpec | None) -> list[str]:
    """The graders that the formula does not read: training cannot please them, so what they say is a second opinion."""
    if not isinstance(grader, MultiSpec):
        return []
    read = parse_formula(grader.calculate_output).variables
    return sorted(grader.graders.keys() - read)
