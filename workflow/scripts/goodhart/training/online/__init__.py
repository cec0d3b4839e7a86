"""Online training against the reward ensemble: equations in `loss`, updates and runs in `loop`.

A new penalty or advantage or a new reward objective is a pure function of `loss`.
"""
