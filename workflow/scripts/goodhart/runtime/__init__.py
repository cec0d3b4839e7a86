"""What every process needs whatever it computes: batches, several processes, signals, seeds, threads, progress, NaNs.

A newcomer adds a module here only if it knows nothing of models, files or the command line.
"""
