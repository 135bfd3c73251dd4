"""The gates as JUnit XML, which CI systems show as tests."""

from __future__ import annotations

from xml.etree import ElementTree

from fcn_onnx.jobs.text import one_line
from fcn_onnx.report.document import Candidate, Check, Document, Outcome
from fcn_onnx.report.verdict import said_of, verdict

SUITE = "fcn-onnx validate"


def to_junit(document: Document) -> str:
    """A test suite for each candidate: a case for the run, whose output is the verdict, and one for each gate.

    A gate that is not met is a failure, and so is one that is undecided (type `undecided`), as neither is a release
    that passed. Names of files are escaped, control characters too, which XML cannot hold.
    """
    root = ElementTree.Element("testsuites", name=SUITE)
    for name, candidate in document.candidates.items():
        _suite(root, document, name, candidate)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(root: ElementTree.Element, document: Document, name: str, candidate: Candidate) -> None:
    checks = candidate.gate.checks
    missed = sum(check.outcome is not Outcome.PASSED for check in checks)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=f"{SUITE}: {one_line(name)}",
        tests=str(1 + len(checks)),
        failures=str(missed),
        errors="0",
        skipped="0",
    )
    seconds = document.timing.loading_seconds + document.timing.session_seconds + document.timing.scoring_seconds
    run = ElementTree.SubElement(suite, "testcase", classname=SUITE, name="run", time=f"{seconds:.3f}")
    ElementTree.SubElement(run, "system-out").text = one_line(verdict(document, candidate))
    for check in checks:
        _case(suite, check, candidate, document.images)


def _case(suite: ElementTree.Element, check: Check, candidate: Candidate, images: int) -> None:
    flag = "--" + check.gate.replace("_", "-")
    case = ElementTree.SubElement(suite, "testcase", classname=SUITE, name=f"{flag} {check.bound:g}", time="0")
    if check.outcome is Outcome.PASSED:
        return
    said = one_line(said_of(check, candidate.gate, images, whole=True))
    kind = "undecided" if check.outcome is Outcome.UNDECIDED else "gate"
    failure = ElementTree.SubElement(case, "failure", message=said, type=kind)
    failure.text = f"{flag}: {said} ({one_line(candidate.int8.path)})"
