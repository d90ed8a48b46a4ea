"""What a disk can do to a node, and what kill -9 can: nothing acknowledged is lost, no lie served.

- ``test_order``: the system calls of a running node, by strace: no answer before its sync.
- ``test_power_loss``: what a power cut may leave of a commit, of the log and of a checkpoint.
- ``test_interrupted``: a checkpoint that ends after any of its steps.
- ``test_flipped_bits``: a bit anywhere in log, state or identity.
- ``test_kill``: kill -9 at random moments, ``python -m tests.durability.kill --rounds 300``.
"""
