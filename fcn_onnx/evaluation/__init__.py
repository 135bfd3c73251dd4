"""Two models and labelled images make counts, scores and comparisons under a named protocol."""
