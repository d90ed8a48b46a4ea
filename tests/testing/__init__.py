"""The kit that users test their own programs with, and the clients against real nodes."""
