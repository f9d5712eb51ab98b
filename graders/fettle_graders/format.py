"""`format`: the share of its rules that an answer keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fettle_graders.boxed import last_box
from fettle_graders.grade import Scored
from fettle_graders.kinds import FormatSpec
from fettle_graders.sample import Sample
from fettle_graders.template import parse_template


def format_score(spec: FormatSpec) -> Callable[[Mapping[str, Any], Sample], Scored]:
    """Every rule weighs the same; the message names those that are broken."""
    read = parse_template(spec.input)
    required, forbidden = map(parse_template, spec.required), map(parse_template, spec.forbidden)
    texts = [(template, True) for template in required] + [(template, False) for template in forbidden]

    def score(item: Mapping[str, Any], sample: Sample) -> Scored:
        text = read.render(item, sample)
        kept = list(_rules(spec, text, sample))
        for template, is_wanted in texts:
            piece = template.render(item, sample)
            kept.append((f"{'required' if is_wanted else 'forbidden'} {piece[:60]!r}", (piece in text) is is_wanted))
        broken = [name for name, is_kept in kept if not is_kept]
        return Scored(1 - len(broken) / len(kept), message=f"broken: {'; '.join(broken)}" if broken else None)

    return score


def _rules(spec: FormatSpec, text: str, sample: Sample) -> Iterator[tuple[str, bool]]:
    if spec.thinking_tags is not None:
        told_apart = bool((sample.output_reasoning or "").strip()) and bool(text.strip())
        yield "thinking_tags", told_apart or _is_tagged(text, *spec.thinking_tags)
    if spec.boxed:
        yield "boxed", bool(last_box(text))
    for unit, count in (("chars", len(text)), ("words", len(text.split()))):
        least, most = getattr(spec, f"min_{unit}"), getattr(spec, f"max_{unit}")
        if least is not None:
            yield f"min_{unit} {least}, found {count}", count >= least
        if most is not None:
            yield f"max_{unit} {most}, found {count}", count <= most


def _is_tagged(text: str, opening: str, closing: str) -> bool:
    if text.count(opening) != 1 or text.count(closing) != 1:
        return False
    before, _, rest = text.partition(opening)
    thinking, closed, answer = rest.partition(closing)
    return not before.strip() and bool(closed and thinking.strip() and answer.strip())
