"""Verifiers of answers, which define the true reward: one file per verifier, registered in registry.py."""
