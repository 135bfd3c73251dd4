"""Reports of schema 1, which was of one candidate, as of schema 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fcn_onnx.errors import ReportError

GATE = ("max_drop_percent", "drop_percent", "passed")


def upgraded(report: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A report of schema 1 as the same of schema 2.

    Raises:
        ReportError: it has not what every report of schema 1 has.
    """
    try:
        digests, gate = dict(report["digests"]), dict(report["gate"])
        models = {name: {**report[name], "digest": digests[name]} for name in ("fp32", "int8")}
        gate |= _judged(gate, report["delta"]["miou_ci95"] is not None)
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError(
            f"{where} is not a report of schema 1: {error!r}", fix="name a report.json that validate wrote"
        ) from error
    return {"confusion": None, **report, **models, "gate": gate, "schema": 2}


def _judged(gate: Mapping[str, Any], has_interval: bool) -> dict[str, Any]:
    """What schema 2 says of a gate beyond schema 1, whose only gate was `--max-drop`, by the point estimate."""
    bound, value, passed = (gate[key] for key in GATE)
    if bound is None:
        return {"outcome": None, "confident": False, "checks": []}
    outcome = "passed" if passed else "failed"
    check = {
        "gate": "max_drop",
        "bound": bound,
        "value": value,
        "ci95": gate.get("drop_percent_ci95"),
        "outcome": outcome,
        "certain": gate.get("certain", has_interval),
        "images_to_decide": None,
    }
    return {"outcome": outcome, "confident": False, "checks": [check]}
