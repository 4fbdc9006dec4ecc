"""What a run leaves behind for the operator: metrics, curve, progress, artifacts.

Everything lies below one folder, `$WORLDFLUX_OUTPUT_DIR` (default `/worldflux/output`):

- `metrics.json`   one flat object, name -> finite number; written once, at the end
- `metrics.jsonl`  the curve, one `{"step": n, "name": "loss", "value": x}` a line, appended as it goes
- `progress.json`  `{"percent", "step", "etaSeconds"}`, replaced atomically while the run works
- anything else    an artifact

Standard library only, so that every image can carry it.
"""

import json
import math
import numbers
import os
import signal
import sys
import time
from pathlib import Path

# Wall-clock numbers never enter metrics.json, so one seed gives one file. Nine digits are more than any
# of these computations deserve, and fewer than the noise that a different summation order would show.
SIGNIFICANT_DIGITS = 9
SECONDS_BETWEEN_PROGRESS = 0.5


class Output:
    """The output folder of one run."""

    def __init__(self):
        # As process 1 of a container Python would not even notice a SIGTERM, and a cancelled run would hold
        # its hardware until the grace period is over.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        self.root = Path(os.environ.get("WORLDFLUX_OUTPUT_DIR", "/worldflux/output"))
        self.root.mkdir(parents=True, exist_ok=True)
        self._curve = (self.root / "metrics.jsonl").open("w", encoding="utf-8")
        self._started = time.monotonic()
        self._progress_written = -math.inf

    def path(self, relative):
        """A file below the output folder; its parent folder exists afterwards."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def curve(self, step, **values):
        """Append one point to each named curve. Raises ValueError for a number that is not finite."""
        for name, value in values.items():
            line = {"step": step, "name": name, "value": _number(name, value)}
            self._curve.write(json.dumps(line) + "\n")
        # A run that is killed half-way keeps the curve it had.
        self._curve.flush()

    def progress(self, done, total):
        """Say that `done` of `total` steps are behind us; the remaining time is extrapolated."""
        now = time.monotonic()
        if done < total and now - self._progress_written < SECONDS_BETWEEN_PROGRESS:
            return
        self._progress_written = now
        remaining = (now - self._started) * (total - done) / done if done else None
        record = {"percent": round(100 * done / total, 1), "step": done}
        if remaining is not None:
            record["etaSeconds"] = round(remaining)
        self.json("progress.json", record)

    def metrics(self, values):
        """Write metrics.json. Raises ValueError for a number that is not finite."""
        self.json("metrics.json", {name: _number(name, values[name]) for name in sorted(values)})

    def json(self, relative, value):
        """Write one JSON file so that a reader sees either the old one or the whole new one."""
        path = self.path(relative)
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        unfinished.replace(path)


def setting(name, default, minimum):
    """A whole number from the environment; ends the process with a sentence when it is not one."""
    text = os.environ.get(name, "")
    if text == "":
        return default
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or value < minimum:
        sys.exit(f"{name} must be a whole number of at least {minimum}, not {text!r}")
    return value


def _number(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} is not a number: {value!r}")
    if isinstance(value, numbers.Integral):
        return int(value)
    if not math.isfinite(value):
        raise ValueError(f"{name} is not finite: {value!r}")
    return float(f"{float(value):.{SIGNIFICANT_DIGITS}g}")
