"""Where blocks and state live: a log and a state store, over LMDB or in memory.

Write path: a round's blocks are appended to the *log* and synced; only then are they visible. The
state they lead to is kept in a *memtable* and written, now and then, as a *checkpoint*, which says
which arrival number it covers. After a crash the log behind the checkpoint is replayed.

Log and state are two LMDB environments because LMDB has one writer each, and a checkpoint must
not hold up a commit.
"""
