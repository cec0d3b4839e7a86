"""Online training against the reward ensemble: equations in `loss`, an update in `loop`, a whole run in `adapt`.

A new objective, penalty or advantage is a pure function of `loss`.
"""
