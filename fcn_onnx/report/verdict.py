"""What a report comes to, in a sentence or two: the gates, what int8 cost, how sure that is, and what it bought."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fcn_onnx.report.document import Candidate, Check, Document, Gate, OneSided, Outcome

MAX_DROP = "max_drop"

GATES: Mapping[str, Callable[[float], str]] = {
    MAX_DROP: lambda x: f"{x:g} % relative allowed",
    "min_agreement": lambda x: f"label agreement of {100 * x:g} % wanted",
    "min_speedup": lambda x: f"speed-up of {x:g}× wanted",
    "max_latency": lambda x: f"p50 of {x:g} ms allowed",
    "max_size": lambda x: f"{x:g} MB allowed",
}
"""What each gate is, from its bound."""

FOUND: Mapping[str, Callable[[float], str]] = {
    MAX_DROP: lambda x: f"{x:.2f} % lost",
    "min_agreement": lambda x: f"{100 * x:.2f} %",
    "min_speedup": lambda x: f"{x:.2f}×",
    "max_latency": lambda x: f"{x:.1f} ms",
    "max_size": lambda x: f"{x:.1f} MB",
}
"""How what was measured is written."""


def verdict(document: Document, candidate: Candidate) -> str:
    """All of it, of one candidate."""
    delta, gate = candidate.delta, candidate.gate
    bought = f"{delta.speedup:.2f}× the speed, {delta.size_ratio:.2f}× smaller"
    if document.fp32.pixel_accuracy is None:
        finding = f"Without truth there is no score; {_agreement(candidate)}."
    elif delta.miou_relative_percent is None:
        finding = "No verdict: the fp32 model scores no mIoU to lose."
    else:
        finding = _finding(document, candidate)
    return f"{judgement(gate, document.images)}{finding} {bought}."


def cannot_tell(document: Document, candidate: Candidate) -> str | None:
    """Why these images do not decide what int8 costs; None where they do.

    There is no interval, or it reaches from what `--max-drop` allows to what it does not. Without `--confident` the
    exit code follows the point estimate all the same. Without truth there is nothing to decide.
    """
    if document.fp32.pixel_accuracy is None:
        return None
    if candidate.delta.miou_ci95 is None:
        return f"{document.images} images are too few for an interval"
    for check in candidate.gate.checks:
        if check.gate == MAX_DROP and not check.certain:
            return f"the interval reaches to both sides of the {check.bound:g} % that is allowed"
    return None


def _agreement(candidate: Candidate) -> str:
    """The share of labels that are fp32's."""
    said = f"{100 * candidate.delta.label_agreement:.2f} % of int8's labels are fp32's"
    ends = candidate.delta.label_agreement_ci95
    return said if ends is None else f"{said}, 95 % interval {100 * ends[0]:.2f} … {100 * ends[1]:.2f} %"


def judgement(gate: Gate, images: int) -> str:
    """Whether the gates are met, and what each allows; nothing where there is none."""
    if gate.outcome is None:
        return ""
    unsure = not gate.confident and not all(check.certain for check in gate.checks)
    by = " by the point estimate" if unsure else ""
    return f"{gate.outcome.upper()}{by} ({'; '.join(said_of(check, gate, images) for check in gate.checks)}). "


def said_of(check: Check, gate: Gate, images: int, *, whole: bool = False) -> str:
    """One gate: its bound, and, where that is not plain from the rest, what was found and what it comes to.

    Args:
        images: that it was measured on.
        whole: nothing else stands beside it.
    """
    bound = GATES[check.gate](check.bound)
    if check.outcome is Outcome.UNDECIDED:
        return f"{bound}: undecided, {_more(check, images)}"
    if check.gate == MAX_DROP and len(gate.checks) == 1 and not whole:
        return bound  # the rest of the verdict is about this
    found = "cannot be computed" if check.value is None else FOUND[check.gate](check.value)
    return f"{bound}: {found}, {check.outcome}"


def _more(check: Check, images: int) -> str:
    """What would decide."""
    if check.ci95 is None:
        return "there is no interval"
    if check.images_to_decide is None:
        return "what was measured is the bound itself"
    return f"cannot tell on {images:,} images; about {check.images_to_decide:,} would"


def _finding(document: Document, candidate: Candidate) -> str:
    """What the change of the mIoU is, and whether the images tell it from none."""
    delta, unsure = candidate.delta, cannot_tell(document, candidate)
    miou = 100 * (delta.miou or 0)
    said = f"mIoU {miou:+.2f} points ({delta.miou_relative_percent:+.2f} % relative)"
    finding = ""
    if delta.miou_ci95:
        low, high = (100 * x for x in delta.miou_ci95)
        said += f", 95 % interval {low:+.2f} … {high:+.2f} points on {document.images} images"
        finding = "Int8 loses accuracy" if high < 0 else "Int8 scores higher" if low > 0 else "No significant loss"
    if unsure:
        finding = f"Cannot tell, {unsure}"
    if candidate.one_sided_classes:
        before = f"{finding}. " if unsure else ""
        return before + _one_sided(candidate.one_sided_classes, miou)
    return f"{finding}: {said}."


def _one_sided(found: OneSided, miou: float) -> str:
    """Why the change of the mIoU is not one of quality, and what it is over the classes that compare."""
    names = ", ".join(f"{name} ({model})" for name, model in found.predicted_by.items())
    return (
        f"The two mIoUs are over different classes: no truth holds {names}, which only one model predicts. "
        f"Over the {found.common_classes} classes that both score, mIoU changes by "
        f"{100 * found.miou_common_classes:+.2f} points (as the protocol counts, {miou:+.2f})."
    )
