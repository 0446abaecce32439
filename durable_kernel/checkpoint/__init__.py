"""Snapshots of the namespace: a cache of what re-execution would build, never the truth."""
