"""``mitoyolo benchmark``: models, data sets and seeds compared, beside what others published."""
