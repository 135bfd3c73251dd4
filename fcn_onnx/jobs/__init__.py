"""How long work is done and kept: many items through one function, here or in processes, and what is done already."""
