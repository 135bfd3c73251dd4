"""The rows and the verdict that the terminal, the Markdown and the HTML report share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]
Row = tuple[str, str, str, str]
ABSENT = "–"
FLOAT_NODES_SHOWN = 6


def summary_rows(report: Report) -> list[Row]:
    """(what, fp32, int8, change) for each measure; fractions are shown in percent, changes in percentage points."""
    a, b, delta = report["fp32"], report["int8"], report["delta"]
    speedup = f"{delta['speedup']:.2f}×{interval(delta['speedup_ci95'], 1, '×', signed=False)}"
    agreement = interval(delta.get("label_agreement_ci95"), 100, " %", signed=False).strip()
    return [
        ("mIoU", percent(a["miou"]), percent(b["miou"]), change(delta["miou"], delta["miou_ci95"])),
        (
            "pixel accuracy",
            percent(a["pixel_accuracy"]),
            percent(b["pixel_accuracy"]),
            change(delta["pixel_accuracy"], delta.get("pixel_accuracy_ci95")),
        ),
        *(
            [("mean class accuracy", percent(a["mean_accuracy"]), percent(b["mean_accuracy"]), "")]
            if a["mean_accuracy"] is not None
            else []
        ),
        ("label agreement", "", percent(delta["label_agreement"]), agreement),
        *(
            (f"latency {key}", _ms(a["latency_ms"][key]), _ms(b["latency_ms"][key]), note)
            for key, note in (("p50", speedup), ("p90", ""), ("p99", ""), ("mean", ""))
        ),
        (
            "size",
            megabytes(a["size_bytes"]),
            megabytes(b["size_bytes"]),
            f"{delta['size_ratio']:.2f}× smaller",
        ),
    ]


def protocol_line(report: Report) -> str:
    """The protocol, and the size that images were shown at where that is not the protocol's."""
    shown = report.get("shown", {"resize": "", "protocol_resize": ""})
    told = (
        ""
        if shown["resize"] == shown["protocol_resize"]
        else f" Shown at {shown['resize']}, the one size that the models take, not at {shown['protocol_resize']}."
    )
    return f"{report['protocol']}: {report['protocol_description']}.{told}"


def per_class_rows(report: Report) -> list[Row]:
    """(class, fp32 IoU, int8 IoU, change with its interval) in label order; empty under a protocol without classes."""
    a, b, delta = report["fp32"]["per_class_iou"], report["int8"]["per_class_iou"], report["delta"]
    if a is None or b is None:
        return []
    intervals = delta["per_class_iou_ci95"]
    return [
        (name, percent(a[name]), percent(b[name]), change(delta["per_class_iou"][name], (intervals or {}).get(name)))
        for name in report["classes"]
    ]


def coverage_line(report: Report) -> str | None:
    """What of the int8 model onnxruntime really runs in int8, and what not; None where it is no int8 model."""
    found = report["coverage"]
    if found is None:
        return None
    share = "" if found["int8_macs_share"] is None else f", {100 * found['int8_macs_share']:.2f} % of the MACs"
    rounded = [f"{name}: {oddity}" for name, oddity in found.get("rounded_nodes", {}).items()]
    rest = "; ".join(filter(None, [*rounded, _in_fp32(found)]))
    return f"{found['int8_convs']} of {found['convs']} convolutions run in int8{share}" + (f" ({rest})" if rest else "")


def _in_fp32(coverage: Report) -> str:
    """What multiplies in fp32, the costliest first."""
    if "float_nodes" not in coverage:  # an older report names convolutions only
        return "; ".join(f"{name}: {reason}" for name, reason in coverage["float_convs"].items())
    nodes = sorted(coverage["float_nodes"].items(), key=lambda item: -(item[1]["macs_share"] or 0))
    shown = [
        f"{name}, {node['op_type']}, {percent(node['macs_share'])}: {node['reason']}"
        for name, node in nodes[:FLOAT_NODES_SHOWN]
    ]
    rest = len(nodes) - len(shown)
    return "; ".join([*shown, f"and {rest} more"] if rest else shown)


def verdict(report: Report) -> str:
    """One sentence or two: what int8 cost, how sure that is, and what it bought."""
    delta, gate = report["delta"], report["gate"]
    bought = f"{delta['speedup']:.2f}× the speed, {delta['size_ratio']:.2f}× smaller"
    if delta["miou_relative_percent"] is None:
        return f"No verdict: the fp32 model scores no mIoU to lose. {bought}."
    text = f"{_finding(report)} {bought}."
    if gate["passed"] is None:
        return text
    allowed = f"{gate['max_drop_percent']:g} % relative allowed"
    by = " by the point estimate" if cannot_tell(report) else ""
    return f"{'PASSED' if gate['passed'] else 'FAILED'}{by} ({allowed}). {text}"


def cannot_tell(report: Report) -> str | None:
    """Why these images do not decide what int8 costs; None where they do.

    There is no interval, or it reaches from what `--max-drop` allows to what it does not. The exit code follows the
    point estimate all the same.
    """
    gate = report["gate"]
    if report["delta"]["miou_ci95"] is None:
        return f"{report['images']} images are too few for an interval"
    if gate.get("certain") is False:
        return f"the interval reaches to both sides of the {gate['max_drop_percent']:g} % that is allowed"
    return None


def _finding(report: Report) -> str:
    """What the change of the mIoU is, and whether the images tell it from none."""
    delta, unsure = report["delta"], cannot_tell(report)
    said = f"mIoU {100 * delta['miou']:+.2f} points ({delta['miou_relative_percent']:+.2f} % relative)"
    if bounds := delta["miou_ci95"]:
        low, high = (100 * x for x in bounds)
        said += f", 95 % interval {low:+.2f} … {high:+.2f} points on {report['images']} images"
        finding = "Int8 loses accuracy" if high < 0 else "Int8 scores higher" if low > 0 else "No significant loss"
    if unsure:
        finding = f"Cannot tell, {unsure}"
    if one_sided := report["one_sided_classes"]:
        before = f"{finding}. " if unsure else ""
        return before + _one_sided(one_sided, 100 * delta["miou"])
    return f"{finding}: {said}."


def _one_sided(found: Mapping[str, Any], miou: float) -> str:
    """Why the change of the mIoU is not one of quality, and what it is over the classes that compare."""
    names = ", ".join(f"{name} ({model})" for name, model in found["predicted_by"].items())
    return (
        f"The two mIoUs are over different classes: no truth holds {names}, which only one model predicts. "
        f"Over the {found['common_classes']} classes that both score, mIoU changes by "
        f"{100 * found['miou_common_classes']:+.2f} points (as the protocol counts, {miou:+.2f})."
    )


def percent(fraction: float | None) -> str:
    """0.2061 → 20.61 %."""
    return ABSENT if fraction is None else f"{100 * fraction:.2f} %"


def points(fraction: float | None) -> str:
    """−0.0012 → −0.12 percentage points."""
    return ABSENT if fraction is None else f"{100 * fraction:+.2f}"


def megabytes(size_bytes: int) -> str:
    """Decimal megabytes."""
    return f"{size_bytes / 1e6:.1f} MB"


def _ms(value: float) -> str:
    return f"{value:.1f} ms"


def change(fraction: float | None, bounds: Sequence[float] | None) -> str:
    """A change in percentage points and, where there is one, its interval."""
    return points(fraction) + ("" if fraction is None else interval(bounds, 100, "", signed=True))


def interval(bounds: Sequence[float] | None, factor: float, unit: str, *, signed: bool) -> str:
    """` (low … high)`, each times `factor`, to stand behind a value; nothing where there is no interval."""
    if bounds is None:
        return ""
    low, high = (factor * x for x in bounds)
    return f" ({low:+.2f} … {high:+.2f}{unit})" if signed else f" ({low:.2f} … {high:.2f}{unit})"
