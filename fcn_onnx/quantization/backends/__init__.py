"""Libraries that write the int8 graph."""
