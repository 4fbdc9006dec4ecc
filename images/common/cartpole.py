"""The MuJoCo cart-pole that two of the workloads share: the simulation, and a swing-up by energy."""

from pathlib import Path

import mujoco
import numpy as np

CONTROL_SECONDS = 0.04
GEAR = 12.0  # newtons at full control, as in cartpole.xml
RAIL_METRES = 1.8


class Cartpole:
    """State is (cart position m, pole angle rad from upright, cart speed m/s, pole speed rad/s)."""

    def __init__(self, pole_mass_scale=1.0):
        self.model = mujoco.MjModel.from_xml_path(str(Path(__file__).with_name("cartpole.xml")))
        pole = self.model.body("pole").id
        self.model.body_mass[pole] *= pole_mass_scale
        self.model.body_inertia[pole] *= pole_mass_scale
        self.data = mujoco.MjData(self.model)
        self._substeps = round(CONTROL_SECONDS / self.model.opt.timestep)

    def reset(self, state):
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = state[:2], state[2:]
        mujoco.mj_forward(self.model, self.data)

    def step(self, control, shove_newtons=0.0):
        """Hold one control (-1..1), and a sideways force on the pole's body, for CONTROL_SECONDS."""
        self.data.ctrl[0] = np.clip(control, -1.0, 1.0)
        self.data.xfrc_applied[self.model.body("pole").id, 0] = shove_newtons
        for _ in range(self._substeps):
            mujoco.mj_step(self.model, self.data)

    @property
    def state(self):
        return np.concatenate([self.data.qpos, self.data.qvel])

    def reward(self, control):
        """0..1: the pole up, the cart near the middle, little force."""
        x, angle, _, _ = self.state
        return (1 + np.cos(angle)) / 2 * (1 - 0.3 * min(1.0, abs(x) / RAIL_METRES)) * (1 - 0.1 * min(1.0, control**2))


class SwingUp:
    """Pump energy into the pole until it has as much as standing upright takes.

    A cart acceleration `a` changes the pole's energy at a rate of `-mass * reach * a * cos(angle) * pole speed`.
    So `a` follows the sign that gives energy while some is missing and takes it when there is too much, plus a
    pull back to the middle of the rail.
    """

    PUMP, CENTRE, BRAKE = 5.0, 2.0, 1.0

    def __init__(self, model):
        pole, cart = model.body("pole"), model.body("cart")
        self.mass = pole.mass[0]
        self.total_mass = self.mass + cart.mass[0]
        self.reach = pole.ipos[2]
        self.inertia = pole.inertia[0] + self.mass * self.reach**2
        self.gravity = -model.opt.gravity[2]

    def energy(self, state):
        """Of the pole about its hinge, in units of what falling from upright to level gives; 1 is upright and still."""
        _, angle, _, turn = state
        upright = self.mass * self.gravity * self.reach
        return (self.inertia * turn**2 / 2 + upright * np.cos(angle)) / upright

    def control(self, state):
        x, angle, speed, turn = state
        missing = 1.0 - self.energy(state)
        wanted = -self.PUMP * missing * turn * np.cos(angle) - self.CENTRE * x - self.BRAKE * speed
        return float(np.clip(self.total_mass * wanted / GEAR, -1.0, 1.0))
