"""The protocol without I/O: values and bytes in, values and bytes out.

Nothing here reads a clock, opens a socket or a file, starts a thread or draws a random number; a
test enforces it. The same code runs in a node, in the model tests and in a simulator.
"""
