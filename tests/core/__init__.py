"""The core alone: no clock, no disk, no network."""
