"""A running node: commit rounds, replication loops, wiring, start and stop."""
