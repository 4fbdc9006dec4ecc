"""Collect real MuJoCo trajectories, learn a latent world model of them, and see how far it can imagine.

The model sees a cart-pole's positions (no speeds) for a few steps and then imagines the following second from
the actions alone. It is scored on episodes that it was never trained on, against three predictors without a
model: the last observation stays, the last movement goes on, and the mean of the training data.

Settings: SEED, EPOCHS, TRAIN_EPISODES, HELD_OUT_EPISODES.
"""

import sys
import time

import numpy as np

from collect import collect
from plot import prediction_plot
from score import CONTEXT, HORIZON, REPORTED_HORIZONS, Scaling, Score, imagine, windows, without_model
from world_model import Adam, WorldModel
from worldflux_output import Output, setting

WINDOW = CONTEXT + HORIZON
EPISODE_STEPS = 4 * WINDOW
BATCH = 64
UPDATES_PER_EPOCH = 50
RATE = 4e-3


def batches(rng, experience, scaling):
    """Endless random windows of the training episodes, as [time, batch, feature]."""
    observations, actions, targets = scaling.apply(experience)
    episodes, steps = observations.shape[:2]
    while True:
        episode = rng.integers(episodes, size=BATCH)[None, :]
        step = rng.integers(steps - WINDOW + 1, size=BATCH)[None, :] + np.arange(WINDOW)[:, None]
        yield observations[episode, step], actions[episode, step], targets[episode, step]


def train(model, epochs, data, each_epoch):
    """The loss of the last epoch. The rate falls to zero along a cosine; the last weights are the ones kept."""
    adam, updates, mean_loss = Adam(model.parameters), epochs * UPDATES_PER_EPOCH, float("nan")
    for epoch in range(1, epochs + 1):
        losses = []
        for _ in range(UPDATES_PER_EPOCH):
            rate = RATE * (1 + np.cos(np.pi * adam.steps / updates)) / 2
            loss, gradients = model.loss(*next(data), CONTEXT)
            adam.step(gradients, rate)
            losses.append(loss)
        mean_loss = float(np.mean(losses))
        if not np.isfinite(mean_loss):
            sys.exit(f"training diverged in epoch {epoch}: the loss is {mean_loss}")
        each_epoch(epoch, mean_loss)
    return mean_loss


def summary(model_score, baselines):
    """The scores as flat metrics. Skill is the share of the best baseline's squared error that the model removes."""
    best = min(baselines.values(), key=lambda score: score.observation)
    metrics = {
        "held_out_rmse": model_score.observation,
        "held_out_reward_rmse": model_score.reward,
        "held_out_skill": 1 - (model_score.observation / best.observation) ** 2,
    }
    for name, score in baselines.items():
        metrics[f"held_out_rmse_{name}_baseline"] = score.observation
        metrics[f"held_out_reward_rmse_{name}_baseline"] = score.reward
    for ahead in REPORTED_HORIZONS:
        metrics[f"held_out_rmse_step_{ahead:02d}"] = model_score.by_step[ahead - 1]
        for name in ("constant", "linear"):
            metrics[f"held_out_rmse_step_{ahead:02d}_{name}_baseline"] = baselines[name].by_step[ahead - 1]
    return metrics


def main():
    seed = setting("SEED", 7, minimum=0)
    epochs = setting("EPOCHS", 50, minimum=1)
    train_episodes = setting("TRAIN_EPISODES", 240, minimum=2)
    held_out_episodes = setting("HELD_OUT_EPISODES", 48, minimum=2)
    output = Output()
    output.progress(0, epochs)
    started = time.monotonic()
    # Each purpose draws from its own stream: more training episodes do not change the held-out ones.
    train_rng, held_out_rng, model_rng, batch_rng = (np.random.default_rng([seed, purpose]) for purpose in range(4))
    experience = collect(train_rng, train_episodes, EPISODE_STEPS)
    held_out_experience = collect(held_out_rng, held_out_episodes, EPISODE_STEPS)
    print(
        f"collected {train_episodes} episodes to train on and {held_out_episodes} to be tested on, "
        f"{EPISODE_STEPS} steps each, in {time.monotonic() - started:.1f} s",
        flush=True,
    )

    scaling = Scaling(experience)
    observations, actions, targets = windows(held_out_experience, scaling)
    model = WorldModel(observations.shape[2], actions.shape[2], targets.shape[2], model_rng)

    def each_epoch(epoch, loss):
        # Only reported: nothing is chosen by it, so the held-out episodes stay held out.
        held_out_rmse = Score.of(imagine(model, observations, actions), targets).observation
        output.curve(epoch, loss=loss, held_out_rmse=held_out_rmse)
        output.progress(epoch, epochs)
        if epoch % 5 == 0 or epoch == epochs:
            spent = time.monotonic() - started
            print(f"epoch {epoch:3d}  loss {loss:.4f}  held-out rmse {held_out_rmse:.4f}  {spent:.0f} s", flush=True)

    loss = train(model, epochs, batches(batch_rng, experience, scaling), each_epoch)

    imagined = imagine(model, observations, actions)
    model_score, baselines = Score.of(imagined, targets), without_model(targets, scaling)
    np.savez(
        output.path("checkpoint/world_model.npz"),
        **model.parameters,
        scaling_mean=scaling.mean,
        scaling_deviation=scaling.deviation,
    )
    prediction_plot(
        output.path("prediction.png"), scaling.restore(imagined), scaling.restore(targets), model_score, baselines
    )
    metrics = summary(model_score, baselines)
    output.metrics(
        metrics
        | {
            "train_loss": loss,
            "train_transitions": train_episodes * (EPISODE_STEPS - 1),
            "held_out_windows": targets.shape[1],
            "context_steps": CONTEXT,
            "horizon_steps": HORIZON,
            "updates": epochs * UPDATES_PER_EPOCH,
            "parameters": model.size(),
            "seed": seed,
        }
    )
    scores = ", ".join(f"{name} {score.observation:.3f}" for name, score in baselines.items())
    print(
        f"held-out error over {HORIZON} imagined steps: model {model_score.observation:.3f}; without a model: {scores}",
        flush=True,
    )


if __name__ == "__main__":
    main()
