"""How far a prediction is from what happened: the model and three predictors without a model.

All errors are in units of the training data's standard deviation, each channel in its own, so that
predicting the mean scores about 1.
"""

from dataclasses import dataclass

import numpy as np

CONTEXT = 8  # steps that a predictor may look at
HORIZON = 25  # steps that it then predicts: one second
REPORTED_HORIZONS = (1, 5, 10, 25)


class Scaling:
    """Zero mean and unit deviation, from the training data alone. Targets are the observation and the reward."""

    def __init__(self, experience):
        values = np.concatenate([experience.observations, experience.rewards], axis=2).reshape(-1, 4)
        self.mean, self.deviation = values.mean(axis=0), values.std(axis=0)

    def apply(self, experience):
        """Observations, actions and targets as float32, still [episode, step, feature]."""
        values = np.concatenate([experience.observations, experience.rewards], axis=2)
        targets = ((values - self.mean) / self.deviation).astype(np.float32)
        return targets[..., :3], experience.actions.astype(np.float32), targets

    def restore(self, targets):
        return targets * self.deviation + self.mean


def windows(experience, scaling):
    """Every window of CONTEXT + HORIZON steps that does not overlap another, as [time, window, feature]."""
    length = CONTEXT + HORIZON
    cut = []
    for values in scaling.apply(experience):
        episodes, steps, features = values.shape
        count = steps // length
        cut.append(values[:, : count * length].reshape(episodes * count, length, features).swapaxes(0, 1))
    return cut


@dataclass
class Score:
    """RMSE of the imagined steps, over everything and for each step ahead."""

    observation: float
    reward: float
    by_step: np.ndarray

    @classmethod
    def of(cls, predicted, targets):
        squared = (predicted - targets[CONTEXT:]) ** 2
        return cls(
            observation=float(np.sqrt(squared[..., :3].mean())),
            reward=float(np.sqrt(squared[..., 3].mean())),
            by_step=np.sqrt(squared[..., :3].mean(axis=(1, 2))),
        )


def imagine(model, observations, actions):
    """What the model expects after its context; it is given no later observation."""
    predicted, _ = model.forward(observations, actions, CONTEXT)
    return predicted[CONTEXT:]


def without_model(targets, scaling):
    """The scores of the predictors that know no dynamics, by name."""
    last = targets[CONTEXT - 1]
    stays = np.broadcast_to(last, targets[CONTEXT:].shape)
    return {
        "constant": Score.of(stays, targets),
        "linear": Score.of(_movement_goes_on(targets, scaling), targets),
        "mean": Score.of(np.zeros_like(targets[CONTEXT:]), targets),
    }


def _movement_goes_on(targets, scaling):
    """Cart and pole keep the speed of their last observed step; the angle is continued as an angle."""
    position, sine, cosine, _ = np.moveaxis(scaling.restore(targets[CONTEXT - 2 : CONTEXT]), -1, 0)
    angle = np.arctan2(sine, cosine)
    turn = (angle[1] - angle[0] + np.pi) % (2 * np.pi) - np.pi
    ahead = np.arange(1, HORIZON + 1)[:, None]
    angles = angle[1] + ahead * turn
    positions = position[1] + ahead * (position[1] - position[0])
    moved = np.stack([positions, np.sin(angles), np.cos(angles)], axis=-1)
    observations = (moved - scaling.mean[:3]) / scaling.deviation[:3]
    reward = np.broadcast_to(targets[CONTEXT - 1, :, 3:], (HORIZON, *targets.shape[1:2], 1))
    return np.concatenate([observations, reward], axis=-1)
