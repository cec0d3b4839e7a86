"""Estimators and statistics on the tables of a study, without models: a new one is a pure function in a module named
after its idea, and a new column of the run table is a line of `runs.run_rows`.
"""
