"""Log, state store, memtable and data directory, and the engine over them."""
