"""Training with TRL, and pretraining of the embedded policy.

An offline method is a loss of `methods.METHODS`; `reward` trains the reward models; `online` has the online loss.
"""
