"""Base models, adapters, reward ensembles and tokenisation; requirements for a new model are in admission.py."""
