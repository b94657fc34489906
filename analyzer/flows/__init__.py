"""From the tracker's facts to one row a flow: facts → verdicts → COLUMNS → tables."""
