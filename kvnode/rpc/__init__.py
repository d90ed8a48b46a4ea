"""The gRPC edge: services, links to peers, and the translation between messages and core values."""
