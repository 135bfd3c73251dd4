"""Images make statistics of activations, and those a table of ranges."""
