"""A plan, a range table and a backend make an int8 model; the searches for the best one by a score."""
