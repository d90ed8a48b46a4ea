"""The fixture, as pytest gets it from an installed kvnode."""

from kvnode.testing.plugin import kvnode_cluster

__all__ = ["kvnode_cluster"]
