"""Derived hyperparameters: Appendix C (`appendix_c`) and the levels of beta (`betas`).

A new hyperparameter is a function of `appendix_c`, an entry of its `FORMULAS` and a line of `derive`.
"""
