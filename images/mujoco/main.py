"""Two physics rollouts, and what a physicist would ask about them.

A frictionless double pendulum shows how much energy the integrator makes up; seven bodies that fall
into a tray show contacts, how deep they go, and whether everything comes to rest.

Settings: SEED, SIM_SECONDS (of each rollout).
"""

import sys
import time
from pathlib import Path

import mujoco
import numpy as np

from worldflux_output import Output, setting

SAMPLE_SECONDS = 0.01  # of the trajectory that is kept
CURVE_SECONDS = 0.1


class Rollout:
    """One model stepped from a given state, sampled into arrays."""

    def __init__(self, scene, name):
        self.name = name
        self.model = mujoco.MjModel.from_xml_path(str(Path(__file__).with_name(scene)))
        self.data = mujoco.MjData(self.model)
        self.samples = {"time": [], "qpos": [], "qvel": [], "energy": [], "contacts": []}

    def run(self, seconds, each_sample):
        """Step for `seconds` of simulated time; ends the process where the simulation became unstable."""
        mujoco.mj_forward(self.model, self.data)
        steps = round(seconds / self.model.opt.timestep)
        every = round(SAMPLE_SECONDS / self.model.opt.timestep)
        for step in range(steps + 1):
            if step % every == 0:
                self._sample()
                each_sample(step // every)
            if step < steps:
                mujoco.mj_step(self.model, self.data)
        unstable = [warning.number for warning in self.data.warning]
        if any(unstable):
            sys.exit(f"{self.name}: MuJoCo warned about an unstable simulation {sum(unstable)} times")
        self.samples = {key: np.array(values) for key, values in self.samples.items()}
        return steps

    def _sample(self):
        # Positions advance before energy is recomputed within a step; this brings the two together.
        mujoco.mj_energyPos(self.model, self.data)
        mujoco.mj_energyVel(self.model, self.data)
        self.samples["time"].append(self.data.time)
        self.samples["qpos"].append(self.data.qpos.copy())
        self.samples["qvel"].append(self.data.qvel.copy())
        self.samples["energy"].append(self.data.energy.copy())
        self.samples["contacts"].append(self.data.ncon)

    def total_energy(self):
        return self.samples["energy"].sum(axis=1)


def pendulum(rng, seconds, output, progress):
    rollout = Rollout("pendulum.xml", "pendulum")
    rollout.data.qpos[:] = rng.uniform(-np.pi, np.pi, rollout.model.nq)
    rollout.data.qvel[:] = rng.uniform(-1, 1, rollout.model.nv)
    steps = rollout.run(seconds, progress)
    total = rollout.total_energy()
    # The zero of potential energy is arbitrary, so the drift is measured against the energy that moves.
    swing = rollout.samples["energy"][:, 1].max()
    drift = (total - total[0]) / swing
    for index in range(0, len(total), round(CURVE_SECONDS / SAMPLE_SECONDS)):
        output.curve(index, pendulum_energy_drift=drift[index])
    return rollout, {
        "pendulum_steps": steps,
        "pendulum_sim_seconds": rollout.data.time,
        "pendulum_kinetic_energy_max_j": swing,
        "pendulum_energy_drift_max": np.abs(drift).max(),
        "pendulum_energy_drift_final": drift[-1],
    }


def drop(rng, seconds, output, progress):
    rollout = Rollout("drop.xml", "drop")
    bodies = rollout.model.njnt
    poses = rollout.data.qpos.reshape(bodies, 7)
    poses[:, :2] += rng.uniform(-0.15, 0.15, (bodies, 2))
    turns = rng.normal(size=(bodies, 4))
    poses[:, 3:] = turns / np.linalg.norm(turns, axis=1, keepdims=True)
    deepest = 0.0

    def each_sample(index):
        nonlocal deepest
        if rollout.data.ncon:
            deepest = max(deepest, -rollout.data.contact.dist.min())
        progress(index)

    steps = rollout.run(seconds, each_sample)
    contacts, energy = rollout.samples["contacts"], rollout.samples["energy"]
    for index in range(0, len(contacts), round(CURVE_SECONDS / SAMPLE_SECONDS)):
        output.curve(index, drop_contacts=contacts[index], drop_kinetic_energy_j=energy[index, 1])
    total = rollout.total_energy()
    heights = rollout.data.qpos.reshape(bodies, 7)[:, 2]
    return rollout, {
        "drop_bodies": bodies,
        "drop_steps": steps,
        "drop_sim_seconds": rollout.data.time,
        "drop_contacts_max": contacts.max(),
        "drop_contacts_mean": contacts.mean(),
        "drop_contacts_final": contacts[-1],
        "drop_penetration_max_m": deepest,
        "drop_energy_lost_j": total[0] - total[-1],
        "drop_kinetic_energy_final_j": energy[-1, 1],
        "drop_bodies_through_floor": int((heights < 0).sum()),
    }


def main():
    seed = setting("SEED", 7, minimum=0)
    seconds = setting("SIM_SECONDS", 20, minimum=1)
    output = Output()
    rng = np.random.default_rng(seed)
    samples = round(seconds / SAMPLE_SECONDS) + 1
    metrics, trajectory, before, wall_all = {}, {}, 0, 0.0
    for scene in (pendulum, drop):
        started = time.perf_counter()
        rollout, found = scene(rng, seconds, output, lambda index: output.progress(before + index + 1, 2 * samples))
        wall = time.perf_counter() - started
        wall_all += wall
        before += samples
        metrics |= found
        trajectory |= {f"{rollout.name}_{key}": values for key, values in rollout.samples.items()}
        print(f"{rollout.name}: {seconds} s simulated in {wall:.2f} s, {seconds / wall:.0f} times real time", flush=True)
    metrics["steps"] = metrics["pendulum_steps"] + metrics["drop_steps"]
    metrics["sim_seconds"] = metrics["pendulum_sim_seconds"] + metrics["drop_sim_seconds"]
    metrics["seed"] = seed
    np.savez_compressed(output.path("trajectory.npz"), **trajectory)
    output.metrics(metrics)
    print(
        f"{metrics['steps']} steps in {wall_all:.2f} s; energy drift {metrics['pendulum_energy_drift_max']:.1e}; "
        f"deepest contact {1000 * metrics['drop_penetration_max_m']:.1f} mm",
        flush=True,
    )


if __name__ == "__main__":
    main()
