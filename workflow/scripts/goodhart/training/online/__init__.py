"""Online training against the reward ensemble: equations in `loss`, updates and runs in `loop`.

A new penalty or advantage is a pure function of `loss`, a new reward objective one of `objectives`.
"""
