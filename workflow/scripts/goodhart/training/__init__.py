"""Training with TRL, and pretraining of the embedded policy.

An offline method is a loss of `offline.LOSSES`; `reward` trains the reward models; `online` has the online loss.
"""
