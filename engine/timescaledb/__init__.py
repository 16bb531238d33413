"""TimescaleDB: what a source has of it, read from its catalog, and the scripts that make it on a target.

Values (``installation``, ``hypertable``, ``aggregate``, ``job``, ``chunk``, ``refill``) hold what readers
(``read_…``) found. Scripts (``hypertable_scripts``, ``columnstore_script``, ``aggregate_script``,
``policy_scripts``) are made of values alone, so that comparing the target with itself says that nothing is
left to do.
"""
