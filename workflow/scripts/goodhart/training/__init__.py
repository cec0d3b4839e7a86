"""Training with TRL, and pretraining of the embedded policy.

`methods.METHODS` lists the losses of the offline methods; `guarded` has the trainer of reward models, `online` the
online loss.
"""
