"""Training with TRL, and pretraining of the embedded policy.

`methods.METHODS` lists the losses of the offline methods; `reward` trains reward models; `online` has the online loss.
"""
