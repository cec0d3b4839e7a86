"""What every process needs: batches, several processes, signals, seeds, threads, progress, NaNs.

Add a module here only if it does not depend on models, files or the command line.
"""
