"""Counts and scores against loops over pixels that follow each protocol's own text."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_onnx.data.labels import LabelSpace
from fcn_onnx.errors import DatasetError, ModelError
from fcn_onnx.evaluation.metrics import ConfusionMetric, ImageMetric


def loop_confusion(truth: np.ndarray, prediction: np.ndarray) -> list[list[int]]:
    matrix = [[0] * 21 for _ in range(21)]
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if 0 <= t < 21:
            matrix[t][p] += 1
    return matrix


def loop_scores(matrix: list[list[int]]) -> tuple[float, float, list[float | None]]:
    ious: list[float | None] = []
    for c in range(21):
        tp = matrix[c][c]
        union = sum(matrix[c]) + sum(row[c] for row in matrix) - tp
        ious.append(tp / union if union else None)
    known = [iou for iou in ious if iou is not None]
    total = sum(map(sum, matrix))
    return sum(known) / len(known), sum(matrix[c][c] for c in range(21)) / total, ious


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 21))
def test_confusion_metric_equals_a_loop_over_pixels(seed: int, images: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    metric = ConfusionMetric()
    rows, total = [], [[0] * 21 for _ in range(21)]
    for _ in range(images):
        truth = rng.integers(0, classes, (7, 9)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.2] = 255
        truth[0, 0] = 0  # something is always scored
        prediction = rng.integers(0, classes, (7, 9)).astype(np.uint8)
        rows.append(metric.count(truth, prediction))
        matrix = loop_confusion(truth, prediction)
        total = [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(total, matrix, strict=True)]
    scores = metric.scores(np.stack(rows))
    miou, accuracy, ious = loop_scores(total)
    assert scores.miou == pytest.approx(miou, rel=1e-14)
    assert scores.pixel_accuracy == accuracy
    assert scores.per_class_iou is not None
    assert [None if math.isnan(x) else x for x in scores.per_class_iou] == ious


def test_confusion_metric_equals_torchvision_reference_arithmetic() -> None:
    """`references/segmentation/utils.py`: acc_global = diag/sum, iu = diag / (rows + columns − diag)."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 21, (40, 50)).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.7, truth, 0).astype(np.uint8)
    metric = ConfusionMetric()
    scores = metric.scores(metric.count(truth, prediction)[None])
    a, b = torch.from_numpy(truth).flatten().long(), torch.from_numpy(prediction).flatten().long()
    h = torch.bincount(21 * a + b, minlength=441).reshape(21, 21).double()
    assert scores.pixel_accuracy == pytest.approx(float(h.diag().sum() / h.sum()), rel=1e-12)
    iu = h.diag() / (h.sum(1) + h.sum(0) - h.diag())
    assert scores.miou == pytest.approx(float(iu.mean()), rel=1e-12)


def loop_image(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """The zoo's notebook: 20 channels against 20 channels, cell by cell."""
    intersection = union = equal = 0
    height, width = prediction.shape
    for c in range(1, 21):
        for y in range(height):
            for x in range(width):
                t, p = bool(truth[c, y, x]), prediction[y, x] == c
                intersection += t and p
                union += t or p
                equal += t == p
    return (intersection / union if union else 1.0), equal / (20 * height * width)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3))
def test_image_metric_equals_a_loop_over_cells(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    metric = ImageMetric()
    rows, expected = [], []
    for _ in range(3):
        truth = rng.random((21, 5, 6)) < density  # overlaps are kept
        prediction = rng.integers(0, 21, (5, 6)).astype(np.uint8)
        rows.append(metric.count(truth, prediction))
        expected.append(loop_image(truth, prediction))
    scores = metric.scores(np.stack(rows))
    assert scores.miou == pytest.approx(np.mean([iou for iou, _ in expected]), rel=1e-14)
    assert scores.pixel_accuracy == pytest.approx(np.mean([acc for _, acc in expected]), rel=1e-14)


@pytest.mark.parametrize("background", [None, 0, 3])
def test_image_metric_leaves_out_the_background_wherever_it_is(background: int | None) -> None:
    rng = np.random.default_rng(2)
    metric = ImageMetric().fitted(LabelSpace(("a", "b", "c", "d", "e"), background))
    truth, prediction = rng.random((5, 6, 7)) < 0.3, rng.integers(0, 5, (6, 7)).astype(np.uint8)
    expected = np.zeros(4, int)
    for label in {0, 1, 2, 3, 4} - {background}:
        for y in range(6):
            for x in range(7):
                right, said = bool(truth[label, y, x]), bool(prediction[y, x] == label)
                expected += [right and said, right or said, right == said, 1]
    assert metric.count(truth, prediction).tolist() == expected.tolist()


def test_image_with_an_empty_union_scores_one() -> None:
    metric = ImageMetric()
    row = metric.count(np.zeros((21, 4, 4), bool), np.zeros((4, 4), np.uint8))
    scores = metric.scores(row[None])
    assert (scores.miou, scores.pixel_accuracy) == (1.0, 1.0)


def test_extra_image_divides_by_n_plus_one() -> None:
    truth = np.zeros((21, 2, 2), bool)
    truth[5] = True
    metric = ImageMetric(extra_images=1)
    row = metric.count(truth, np.full((2, 2), 5, np.uint8))
    assert metric.scores(np.stack([row, row, row])).miou == pytest.approx(3 / 4)


@pytest.mark.parametrize("metric", [ConfusionMetric(), ConfusionMetric(leaves_absent_out=False), ImageMetric(1)])
def test_scores_are_made_of_the_ratios(metric: ConfusionMetric | ImageMetric) -> None:
    rng = np.random.default_rng(0)
    multilabel = isinstance(metric, ImageMetric)
    truths = rng.random((4, 21, 5, 5)) < 0.1 if multilabel else rng.integers(0, 6, (4, 5, 5)).astype(np.uint8)
    rows = np.stack([metric.count(t, rng.integers(0, 6, (5, 5)).astype(np.uint8)) for t in truths])
    scores, ious, accuracy = metric.scores(rows), metric.ious(rows), metric.accuracy(rows)
    values = [float(n) / float(d) for n, d in zip(ious.numerators.sum(0), ious.denominators.sum(0), strict=True) if d]
    divisor = 21 if metric.leaves_absent_out is False else len(values)
    assert scores.miou == pytest.approx(sum(values) / divisor, rel=1e-14)
    assert scores.pixel_accuracy == pytest.approx(accuracy.numerators.sum() / accuracy.denominators.sum(), rel=1e-14)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30))
def test_labels_that_are_no_class_are_refused_and_never_fall_into_another_row(
    seed: int, drawn: int, known: int
) -> None:
    """`drawn` labels against a metric of `known` classes: either a loop's own matrix, or an error; nothing between."""
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, drawn, (2, 5, 6)).astype(np.uint8)
    truth[0, 0] = 255
    metric = ConfusionMetric(known)
    matrix = np.zeros((known, known), int)
    wrong = None
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if p >= known:
            wrong = ModelError
        elif t == 255:
            continue
        elif t >= known:
            wrong = wrong or DatasetError
        else:
            matrix[t, p] += 1
    if wrong is None:
        assert metric.count(truth, prediction).reshape(known, known).tolist() == matrix.tolist()
    else:
        with pytest.raises(wrong, match=f"{known} classes"):
            metric.count(truth, prediction)


def test_the_per_image_metric_refuses_labels_that_are_no_class() -> None:
    with pytest.raises(ModelError, match="21 classes"):
        ImageMetric().count(np.zeros((21, 2, 2), bool), np.full((2, 2), 21, np.uint8))
