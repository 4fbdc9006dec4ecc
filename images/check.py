"""Run workloads twice each and hold them to what images/README.md says of them.

    python3 images/check.py [cpu] [mujoco] [dreamer-style-light] [mujoco-policy-eval]

The Python that runs this needs the packages of the workloads it runs; `cpu` needs none.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGES = Path(__file__).resolve().parent


def run(name, folder):
    """One run into `folder`; the seconds it took."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(IMAGES / "common"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "WORLDFLUX_OUTPUT_DIR": str(folder),
        "OPENBLAS_NUM_THREADS": "1",
        "MUJOCO_GL": "disabled",
    }
    started = time.monotonic()
    subprocess.run([sys.executable, IMAGES / name / "main.py"], env=environment, check=True, timeout=600)
    return time.monotonic() - started


def cpu(found, _folder):
    assert found["rollout_rmse"] < found["rollout_rmse_no_change"] / 10
    assert found["one_step_rmse"] < found["one_step_rmse_no_change"] / 10
    # What physics says of small swings: sqrt(g / l - (damping / 2)^2) / 2 pi. Larger ones are slower.
    assert 0.96 < found["fitted_frequency_hz"] / (math.sqrt(9.81 - 0.15**2) / (2 * math.pi)) < 1.0


def mujoco(found, folder):
    import numpy as np

    assert found["steps"] == found["pendulum_steps"] + found["drop_steps"]
    assert 0 < found["pendulum_energy_drift_max"] < 1e-4
    assert found["drop_energy_lost_j"] > 0 and found["drop_contacts_max"] > 0
    assert found["drop_bodies_through_floor"] == 0 and found["drop_kinetic_energy_final_j"] < 0.1
    with np.load(folder / "trajectory.npz") as trajectory:
        assert len(trajectory["pendulum_time"]) == len(trajectory["pendulum_qpos"]) > 100


def dreamer_style_light(found, folder):
    import numpy as np

    for baseline in ("constant", "linear", "mean"):
        assert found["held_out_rmse"] < found[f"held_out_rmse_{baseline}_baseline"] / 2, baseline
    with np.load(folder / "checkpoint/world_model.npz") as checkpoint:
        assert all(np.isfinite(checkpoint[name]).all() for name in checkpoint)
    assert (folder / "prediction.png").read_bytes().startswith(b"\x89PNG\r\n")
    gradients_are_right()


def gradients_are_right():
    """The gradients that are written out by hand, against differences of the loss, in double precision."""
    sys.path.insert(0, str(IMAGES / "dreamer-style-light"))
    import numpy as np
    from world_model import WorldModel

    rng = np.random.default_rng(0)
    model = WorldModel(3, 1, 4, rng, np.float64)
    batch = [rng.normal(size=(9, 5, features)) for features in (3, 1, 4)]
    _, gradients = model.loss(*batch, 4)
    nudge = 1e-6
    for name, parameter in model.parameters.items():
        for _ in range(5):
            place = tuple(rng.integers(size) for size in parameter.shape)
            kept, losses = parameter[place], []
            for moved in (kept + nudge, kept - nudge):
                parameter[place] = moved
                losses.append(model.loss(*batch, 4)[0])
            parameter[place] = kept
            slope = (losses[0] - losses[1]) / (2 * nudge)
            assert abs(slope - gradients[name][place]) < 1e-7 + 1e-4 * abs(slope), (name, place)


def mujoco_policy_eval(found, folder):
    episodes = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    info = json.loads((folder / "eval_info.json").read_text())
    assert all(isinstance(episode["success"], bool) for episode in episodes)
    assert len({episode["seed"] for episode in episodes}) == len(episodes) == info["overall"]["n_episodes"]
    won = sum(episode["success"] for episode in episodes)
    assert won == found["successes"] == sum(sum(task["metrics"]["successes"]) for task in info["per_task"])
    assert math.isclose(info["overall"]["pc_success"], 100 * won / len(episodes))
    assert sum(group["n_episodes"] for group in info["per_group"].values()) == len(episodes)
    # A policy that always wins, or never, would not show whether success is measured.
    assert 0 < won < len(episodes)


CHECKS = {
    "cpu": cpu,
    "mujoco": mujoco,
    "dreamer-style-light": dreamer_style_light,
    "mujoco-policy-eval": mujoco_policy_eval,
}


def check(name):
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / which for which in ("first", "second")]
        seconds = [run(name, folder) for folder in folders]
        for file in ("metrics.json", "metrics.jsonl"):
            first, second = ((folder / file).read_bytes() for folder in folders)
            assert first == second, f"{file} differs between two runs with one seed"
        found = json.loads((folders[0] / "metrics.json").read_text())
        assert found and all(type(value) in (int, float) and math.isfinite(value) for value in found.values())
        for line in (folders[0] / "metrics.jsonl").read_text().splitlines():
            assert set(json.loads(line)) == {"step", "name", "value"}, line
        assert json.loads((folders[0] / "progress.json").read_text())["percent"] == 100
        CHECKS[name](found, folders[0])
    print(f"{name}: ok, {seconds[0]:.1f} s and {seconds[1]:.1f} s", flush=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or CHECKS:
        check(wanted)
