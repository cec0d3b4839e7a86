"""Offline methods: each value of the config key `methods`, and its `loss_type` of TRL's DPOTrainer."""

METHODS = {"dpo": "sigmoid"}
