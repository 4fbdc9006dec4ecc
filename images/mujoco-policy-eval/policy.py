"""The policy under evaluation: swing up by energy, catch and hold with LQR."""

import numpy as np

from cartpole import SwingUp

STATE_COST = np.diag([2.0, 10.0, 0.2, 0.2])
CONTROL_COST = np.array([[1.0]])


class SwingUpAndBalance:
    """Knows the nominal cart-pole only; what an episode changes about it, the policy has to survive."""

    # Of the cost-to-go: below it the linear model is trusted. Above, the pole still gets its energy first.
    CATCH_BELOW = 60.0

    def __init__(self, nominal):
        self._swing_up = SwingUp(nominal.model)
        self.gain, self.cost_to_go = lqr(*linearised_upright(nominal))

    def control(self, state):
        state = np.array([state[0], _wrapped(state[1]), state[2], state[3]])
        if state @ self.cost_to_go @ state < self.CATCH_BELOW:
            return float(np.clip(-(self.gain @ state)[0], -1.0, 1.0))
        return self._swing_up.control(state)


def linearised_upright(cartpole, nudge=1e-4):
    """A and B of `next = A state + B control` over one control interval, by central differences around upright."""

    def after(state, control):
        cartpole.reset(state)
        cartpole.step(control)
        return cartpole.state

    columns = [(after(way, 0.0) - after(-way, 0.0)) / (2 * nudge) for way in nudge * np.eye(4)]
    pushed = (after(np.zeros(4), nudge) - after(np.zeros(4), -nudge)) / (2 * nudge)
    return np.column_stack(columns), pushed[:, None]


def lqr(a, b):
    """Gain and cost-to-go of the infinite-horizon regulator, by iterating the Riccati equation to its fixed point."""
    cost = STATE_COST
    for _ in range(10_000):
        gain = np.linalg.solve(CONTROL_COST + b.T @ cost @ b, b.T @ cost @ a)
        following = STATE_COST + a.T @ cost @ (a - b @ gain)
        if np.abs(following - cost).max() < 1e-9 * np.abs(following).max():
            return gain, following
        cost = following
    raise ArithmeticError("the Riccati iteration does not settle: the system cannot be stabilised")


def _wrapped(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi
