"""Evaluate a cart-pole policy in MuJoCo, episode by episode.

Two groups of two tasks: `balance` starts near upright, `swing_up` hangs; each once as the policy knows the
system, and once disturbed (shoves; a pole of unknown mass). An episode succeeds when the pole is up and the cart on its rail
for the whole last second.

Writes `episodes.jsonl` (one record an episode, `success` a boolean) and `eval_info.json` (the summary in
the form LeRobot's evaluation writes: `per_task`, `per_group`, `overall`).

Settings: SEED, EPISODES (of each task).
"""

import json
import time
from collections import defaultdict

import numpy as np

from cartpole import CONTROL_SECONDS, RAIL_METRES, Cartpole
from policy import SwingUpAndBalance
from worldflux_output import Output, setting

EPISODE_STEPS = round(10.0 / CONTROL_SECONDS)
HOLD_STEPS = round(1.0 / CONTROL_SECONDS)
UPRIGHT_RADIANS = 0.2

TASKS = [
    ("balance", 0, "as known"),
    ("balance", 1, "shoved"),
    ("swing_up", 0, "as known"),
    ("swing_up", 1, "unknown pole mass"),
]


def initial_state(group, rng):
    if group == "balance":
        return rng.uniform([-0.5, -0.35, -0.3, -0.5], [0.5, 0.35, 0.3, 0.5])
    return rng.uniform([-0.5, np.pi - 0.4, -0.3, -0.5], [0.5, np.pi + 0.4, 0.3, 0.5])


def shoves(rng):
    """A sideways force (N) for each step: five pushes of 0.2 s."""
    force = np.zeros(EPISODE_STEPS)
    for start in rng.choice(EPISODE_STEPS - HOLD_STEPS, size=5, replace=False):
        force[start : start + 5] = rng.uniform(-4.5, 4.5)
    return force


def run_episode(policy, group, task, seed):
    rng = np.random.default_rng(seed)
    start = initial_state(group, rng)
    force = shoves(rng) if (group, task) == ("balance", 1) else np.zeros(EPISODE_STEPS)
    mass_scale = rng.uniform(0.4, 3.0) if (group, task) == ("swing_up", 1) else 1.0
    cartpole = Cartpole(mass_scale)
    cartpole.reset(start)
    rewards, held = [], 0
    for step in range(EPISODE_STEPS):
        control = policy.control(cartpole.state)
        cartpole.step(control, force[step])
        rewards.append(cartpole.reward(control))
        x, angle, _, _ = cartpole.state
        up = np.cos(angle) > np.cos(UPRIGHT_RADIANS) and abs(x) < RAIL_METRES
        held = held + 1 if up else 0
    return {
        "task_group": group,
        "task_id": task,
        "seed": seed,
        "success": held >= HOLD_STEPS,
        "sum_reward": round(float(np.sum(rewards)), 6),
        "max_reward": round(float(np.max(rewards)), 6),
        "steps": EPISODE_STEPS,
        "held_upright_seconds": round(held * CONTROL_SECONDS, 6),
    }


def aggregate(episodes):
    return {
        "avg_sum_reward": float(np.mean([episode["sum_reward"] for episode in episodes])),
        "avg_max_reward": float(np.mean([episode["max_reward"] for episode in episodes])),
        "pc_success": 100 * float(np.mean([episode["success"] for episode in episodes])),
        "n_episodes": len(episodes),
        "video_paths": [],
    }


def eval_info(episodes, seconds):
    """The summary as LeRobot writes it. `pc_success` is in percent; `eval_s` is wall-clock time."""
    tasks, groups = defaultdict(list), defaultdict(list)
    for episode in episodes:
        tasks[episode["task_group"], episode["task_id"]].append(episode)
        groups[episode["task_group"]].append(episode)
    return {
        "per_task": [
            {
                "task_group": group,
                "task_id": task,
                "metrics": {
                    "sum_rewards": [episode["sum_reward"] for episode in found],
                    "max_rewards": [episode["max_reward"] for episode in found],
                    "successes": [episode["success"] for episode in found],
                    "video_paths": [],
                },
            }
            for (group, task), found in tasks.items()
        ],
        "per_group": {group: aggregate(found) for group, found in groups.items()},
        "overall": aggregate(episodes) | {"eval_s": seconds, "eval_ep_s": seconds / len(episodes)},
    }


def main():
    seed = setting("SEED", 7, minimum=0)
    per_task = setting("EPISODES", 20, minimum=1)
    output = Output()
    started = time.perf_counter()
    policy = SwingUpAndBalance(Cartpole())
    total = per_task * len(TASKS)
    # One seed for each episode, all different and all from SEED, so that any episode can be replayed alone.
    seeds = np.random.default_rng(seed).choice(2**31, size=total, replace=False).tolist()
    episodes = []
    with output.path("episodes.jsonl").open("w", encoding="utf-8") as records:
        for group, task, meaning in TASKS:
            for _ in range(per_task):
                episode = {"episode": len(episodes)} | run_episode(policy, group, task, seeds[len(episodes)])
                records.write(json.dumps(episode) + "\n")
                episodes.append(episode)
                output.curve(
                    episode["episode"],
                    sum_reward=episode["sum_reward"],
                    pc_success=100 * np.mean([one["success"] for one in episodes]),
                )
                output.progress(len(episodes), total)
            won = sum(episode["success"] for episode in episodes[-per_task:])
            print(f"{group}/{task} ({meaning}): {won} of {per_task} succeed", flush=True)
    info = eval_info(episodes, time.perf_counter() - started)
    output.json("eval_info.json", info)
    metrics = {name: info["overall"][name] for name in ("pc_success", "avg_sum_reward", "avg_max_reward", "n_episodes")}
    for group, found in info["per_group"].items():
        metrics[f"{group}_pc_success"] = found["pc_success"]
        metrics[f"{group}_avg_sum_reward"] = found["avg_sum_reward"]
    output.metrics(metrics | {"successes": sum(one["success"] for one in episodes), "seed": seed})
    print(f"{metrics['pc_success']:.1f} % of {total} episodes succeed; {info['overall']['eval_s']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
