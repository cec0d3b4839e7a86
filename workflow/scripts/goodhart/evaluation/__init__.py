"""Evaluation of a policy: responses and verified answers; new measures go into probes.py."""
