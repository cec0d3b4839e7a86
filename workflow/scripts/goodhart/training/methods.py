"""Offline methods by name: a value of the key `methods`, and the loss of TRL's DPOTrainer that it stands for."""

METHODS = {"dpo": "sigmoid"}
