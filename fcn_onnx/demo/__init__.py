"""Synthetic street scenes with exact truth, written as a COCO data set: what the demo and the tests run on."""
