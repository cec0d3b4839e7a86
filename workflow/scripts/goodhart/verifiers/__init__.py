"""Verifiers of answers, the true reward: one file a verifier, registered in registry.py."""
