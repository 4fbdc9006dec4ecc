"""Experience from the real simulation: what a sensor sees, what was done, what it paid."""

from dataclasses import dataclass

import numpy as np

from cartpole import Cartpole, SwingUp

# No speeds: whoever predicts has to infer them from how the positions change.
OBSERVED = ("cart position", "sin pole angle", "cos pole angle")
SENSOR_NOISE = 0.003


@dataclass
class Experience:
    """Arrays of shape [episode, step, ...]; `actions[:, t]` is what led from step t to step t + 1."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray


def collect(rng, episodes, steps):
    """Half of the episodes under smooth random control, half under a swing-up with random control mixed in."""
    cartpole = Cartpole()
    swing_up = SwingUp(cartpole.model)
    observations = np.empty((episodes, steps, len(OBSERVED)))
    actions, rewards = np.empty((episodes, steps, 1)), np.empty((episodes, steps, 1))
    for episode in range(episodes):
        cartpole.reset(rng.uniform([-0.8, -np.pi, -0.5, -3.0], [0.8, np.pi, 0.5, 3.0]))
        scripted, wander = episode % 2 == 1, 0.0
        for step in range(steps):
            wander = 0.85 * wander + 0.35 * rng.normal()
            x, angle, _, _ = cartpole.state
            control = np.clip(swing_up.control(cartpole.state) + 0.5 * wander if scripted else wander, -1, 1)
            observations[episode, step] = x, np.sin(angle), np.cos(angle)
            actions[episode, step] = control
            rewards[episode, step] = cartpole.reward(control)
            cartpole.step(control)
    observations += SENSOR_NOISE * rng.normal(size=observations.shape)
    return Experience(observations, actions, rewards)
