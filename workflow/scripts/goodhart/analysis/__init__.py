"""Estimators and statistics computed from the tables of a study; no model is loaded.

A new estimator is a pure function in a module named after its idea; a new column of the run table is a line of
`runs.run_rows`.
"""
