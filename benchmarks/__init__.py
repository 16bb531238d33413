"""Benchmarks: the same work done by livesync-tui and by its peers, on servers of their own."""
