"""Evaluation of a policy: sampled responses, verified answers and measures; add new measures to probes.py."""
