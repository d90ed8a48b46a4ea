"""Benches: one file per question. Each prints the machine, the commit and ratios of one run."""
