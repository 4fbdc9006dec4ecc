"""Learn how a damped pendulum moves, with nothing but the standard library.

A pendulum with a motor is integrated with RK4. From noisy observations a linear model
`next = A [angle, speed] + b torque + c` is fitted by least squares, and then has to predict
trajectories it has never seen: one step ahead, and all the way from the first state alone.
The no-model baseline says that nothing changes.

Settings: SEED, TRAJECTORIES.
"""

import math
import random
import time

from worldflux_output import Output, setting

GRAVITY, LENGTH, DAMPING = 9.81, 1.0, 0.3  # m/s2, m, 1/s
STEP_SECONDS = 0.02
STEPS = 200  # of one trajectory: 4 s, about two swings
HELD_OUT = 60
SENSOR_NOISE = 0.005  # rad and rad/s
FEATURES = 4  # angle, speed, torque, 1


def acceleration(angle, speed, torque):
    return -GRAVITY / LENGTH * math.sin(angle) - DAMPING * speed + torque


def rk4(angle, speed, torque, dt=STEP_SECONDS):
    """One step of the real pendulum under a constant torque."""
    v1, a1 = speed, acceleration(angle, speed, torque)
    v2 = speed + dt / 2 * a1
    a2 = acceleration(angle + dt / 2 * v1, v2, torque)
    v3 = speed + dt / 2 * a2
    a3 = acceleration(angle + dt / 2 * v2, v3, torque)
    v4 = speed + dt * a3
    a4 = acceleration(angle + dt * v3, v4, torque)
    return (
        angle + dt / 6 * (v1 + 2 * v2 + 2 * v3 + v4),
        speed + dt / 6 * (a1 + 2 * a2 + 2 * a3 + a4),
    )


def simulate(rng):
    """One trajectory: STEPS + 1 states (angle, speed) and the STEPS torques between them."""
    state = (rng.uniform(-0.7, 0.7), rng.uniform(-1.0, 1.0))
    states, torques, torque = [state], [], 0.0
    for step in range(STEPS):
        if step % 10 == 0:
            torque = rng.uniform(-1.0, 1.0)
        state = rk4(*state, torque)
        states.append(state)
        torques.append(torque)
    return states, torques


class LeastSquares:
    """Normal equations that grow by one trajectory at a time."""

    def __init__(self):
        self.gram = [[0.0] * FEATURES for _ in range(FEATURES)]
        self.moment = [[0.0, 0.0] for _ in range(FEATURES)]

    def add(self, states, torques):
        for (angle, speed), torque, following in zip(states, torques, states[1:]):
            row = (angle, speed, torque, 1.0)
            for i, left in enumerate(row):
                gram = self.gram[i]
                for j in range(FEATURES):
                    gram[j] += left * row[j]
                self.moment[i][0] += left * following[0]
                self.moment[i][1] += left * following[1]

    def solve(self):
        """Coefficients of the next angle and of the next speed, by Gauss-Jordan with pivoting."""
        table = [gram + moment for gram, moment in zip(self.gram, self.moment)]
        for column in range(FEATURES):
            pivot = max(range(column, FEATURES), key=lambda row: abs(table[row][column]))
            table[column], table[pivot] = table[pivot], table[column]
            table[column] = [value / table[column][column] for value in table[column]]
            for row in range(FEATURES):
                if row != column:
                    factor = table[row][column]
                    table[row] = [a - factor * b for a, b in zip(table[row], table[column])]
        return [row[FEATURES] for row in table], [row[FEATURES + 1] for row in table]


def predict(model, state, torque):
    row = (*state, torque, 1.0)
    return tuple(sum(weight * value for weight, value in zip(weights, row)) for weights in model)


def rmse(errors):
    return math.sqrt(sum(errors) / len(errors))


def squared_error(guess, truth):
    return ((guess[0] - truth[0]) ** 2 + (guess[1] - truth[1]) ** 2) / 2


def evaluate(model, trajectories):
    """RMSE over angle (rad) and speed (rad/s) of the model and of "nothing changes"."""
    one_step, one_step_still, rollout, rollout_still = [], [], [], []
    for states, torques in trajectories:
        imagined = states[0]
        for state, torque, truth in zip(states, torques, states[1:]):
            imagined = predict(model, imagined, torque)
            one_step.append(squared_error(predict(model, state, torque), truth))
            one_step_still.append(squared_error(state, truth))
            rollout.append(squared_error(imagined, truth))
            rollout_still.append(squared_error(states[0], truth))
    return {
        "one_step_rmse": rmse(one_step),
        "one_step_rmse_no_change": rmse(one_step_still),
        "rollout_rmse": rmse(rollout),
        "rollout_rmse_no_change": rmse(rollout_still),
    }


def swing_of(model):
    """Frequency (Hz) and damping (1/s) of the pendulum that the fitted matrix describes."""
    (a, b, *_), (c, d, *_) = model
    determinant, half_trace = a * d - b * c, (a + d) / 2
    radians = math.atan2(math.sqrt(max(0.0, determinant - half_trace**2)), half_trace)
    return radians / STEP_SECONDS / (2 * math.pi), -math.log(determinant) / STEP_SECONDS


def main():
    seed = setting("SEED", 7, minimum=0)
    count = setting("TRAJECTORIES", 240, minimum=1)
    output = Output()
    started = time.monotonic()
    rng = random.Random(seed)
    held_out = [simulate(rng) for _ in range(HELD_OUT)]
    fit, checkpoints = LeastSquares(), {2**i for i in range(20)} | {count}
    scores = {}
    for done in range(1, count + 1):
        states, torques = simulate(rng)
        observed = [tuple(value + rng.gauss(0.0, SENSOR_NOISE) for value in state) for state in states]
        fit.add(observed, torques)
        if done in checkpoints:
            scores = evaluate(fit.solve(), held_out)
            output.curve(done, one_step_rmse=scores["one_step_rmse"], rollout_rmse=scores["rollout_rmse"])
            print("{:5d} trajectories  one step {one_step_rmse:.5f}  rollout {rollout_rmse:.5f}".format(done, **scores), flush=True)
        output.progress(done, count)
    model = fit.solve()
    frequency, damping = swing_of(model)
    output.json(
        "model.json",
        {
            "features": ["angle", "speed", "torque", "one"],
            "next_angle": model[0],
            "next_speed": model[1],
            "step_seconds": STEP_SECONDS,
        },
    )
    output.metrics(
        {
            **scores,
            "one_step_skill": 1 - (scores["one_step_rmse"] / scores["one_step_rmse_no_change"]) ** 2,
            "rollout_skill": 1 - (scores["rollout_rmse"] / scores["rollout_rmse_no_change"]) ** 2,
            "fitted_frequency_hz": frequency,
            "fitted_damping_per_second": damping,
            "train_transitions": count * STEPS,
            "held_out_transitions": HELD_OUT * STEPS,
            "seed": seed,
        }
    )
    print(
        f"rollout error {scores['rollout_rmse']:.4f}, with no model {scores['rollout_rmse_no_change']:.4f}; "
        f"swings at {frequency:.4f} Hz; {time.monotonic() - started:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
