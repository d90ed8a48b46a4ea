"""Real kvnode processes on this machine, with links between them that can be broken on purpose."""
