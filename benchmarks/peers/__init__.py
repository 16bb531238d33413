"""livesync-tui and what it is measured against."""
