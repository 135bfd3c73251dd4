"""One change to a graph a file; each works in place and says what it requires and ensures."""
