"""Judges of what a cluster did, shared by the simulator and by the nemesis on real processes."""
