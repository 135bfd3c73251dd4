"""Campaigns: many bad days, one after the other, counted. `make campaigns` runs them; see `__main__`."""
