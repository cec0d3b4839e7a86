"""Online training against the reward ensemble: equations in `loss`, updates and runs in `loop`.

A new objective, penalty or advantage is a pure function of `loss`.
"""
