"""Damaged input through ``mitoyolo convert``: each case converts with a full account, or is
refused in one line."""
