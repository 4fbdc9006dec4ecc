"""One picture: what happened, what the model imagined, and how the error grows with the distance.

Drawn with Pillow alone at twice the size and scaled down, which gives smooth lines without a plotting library.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cartpole import CONTROL_SECONDS
from score import CONTEXT, HORIZON

SCALE = 2
PANEL = (560, 350)
MARGIN = {"left": 62, "right": 16, "top": 62, "bottom": 46}
INK, GRID, SHADE = "#222222", "#dddddd", "#f1f1f1"
REAL, MODEL = "#222222", "#d1495b"
BASELINES = {"constant": "#8a8a8a", "linear": "#2e86ab", "mean": "#b8a13a"}


def prediction_plot(path, imagined, happened, model_score, baselines):
    """Write the PNG. `imagined` is [HORIZON, window, 4] and `happened` [CONTEXT + HORIZON, window, 4], in real units."""
    error = ((imagined - happened[CONTEXT:])[..., :3] ** 2).mean(axis=(0, 2))
    ranked = np.argsort(error)
    # Not the nicest windows: the one in the middle, and one that only a tenth is worse than.
    typical, hard = ranked[len(ranked) // 2], ranked[len(ranked) * 9 // 10]
    sheet = Image.new("RGB", (2 * PANEL[0] * SCALE, 2 * PANEL[1] * SCALE), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (title, window, channel) in enumerate(
        [
            ("cart position (m), a typical window", typical, 0),
            ("pole up (cos angle), the same window", typical, 2),
            ("pole up (cos angle), a hard window", hard, 2),
        ]
    ):
        _trajectory(draw, place, title, happened[:, window, channel], imagined[:, window, channel])
    curves = {f"{name} baseline": (score.by_step, BASELINES[name]) for name, score in baselines.items()}
    _errors(draw, 3, {"model": (model_score.by_step, MODEL)} | curves)
    sheet.resize((2 * PANEL[0], 2 * PANEL[1]), Image.Resampling.LANCZOS).save(path)


def _trajectory(draw, place, title, happened, imagined):
    seconds = (np.arange(CONTEXT + HORIZON) - CONTEXT + 1) * CONTROL_SECONDS
    both = np.concatenate([happened, imagined])
    panel = Panel(draw, place, title, "seconds after the last look", (seconds[0], seconds[-1]), (both.min(), both.max()))
    panel.shade(seconds[0], 0.0)
    panel.axes()
    panel.line(seconds, happened, REAL)
    panel.line(seconds[CONTEXT:], imagined, MODEL)
    panel.legend({"what happened": REAL, "imagined": MODEL})


def _errors(draw, place, curves):
    seconds = np.arange(1, HORIZON + 1) * CONTROL_SECONDS
    highest = max(values.max() for values, _ in curves.values())
    title = "held-out error (1 = deviation of the data)"
    panel = Panel(draw, place, title, "seconds after the last look", (0.0, seconds[-1]), (0.0, highest))
    panel.axes()
    for values, colour in curves.values():
        panel.line(seconds, values, colour)
    panel.legend({name: colour for name, (_, colour) in curves.items()})


class Panel:
    """One of the four charts: maps data to pixels and draws axes, lines and a legend."""

    def __init__(self, draw, place, title, label, xs, ys):
        self.draw = draw
        left, top = place % 2 * PANEL[0], place // 2 * PANEL[1]
        self.box = (
            left + MARGIN["left"],
            top + MARGIN["top"],
            left + PANEL[0] - MARGIN["right"],
            top + PANEL[1] - MARGIN["bottom"],
        )
        room = 0.06 * max(ys[1] - ys[0], 1e-9)
        self.xs, self.ys = xs, (ys[0] - room, ys[1] + room)
        self._text((left + MARGIN["left"], top + 12), title, 15)
        self._text(((self.box[0] + self.box[2]) / 2, self.box[3] + 24), label, 12, anchor="ma")

    def _pixel(self, x, y):
        left, top, right, bottom = self.box
        across = (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        up = (y - self.ys[0]) / (self.ys[1] - self.ys[0])
        return (left + across * (right - left)) * SCALE, (bottom - up * (bottom - top)) * SCALE

    def _text(self, place, text, size, anchor="la", colour=INK):
        font = ImageFont.load_default(size * SCALE)
        self.draw.text((place[0] * SCALE, place[1] * SCALE), text, colour, font, anchor=anchor)

    def shade(self, start, end):
        """Grey the time in which the model was allowed to look."""
        (left, _), (right, _) = self._pixel(start, 0), self._pixel(end, 0)
        self.draw.rectangle((left, self.box[1] * SCALE, right, self.box[3] * SCALE), SHADE)

    def axes(self):
        for x in _ticks(*self.xs):
            pixel = self._pixel(x, 0)[0]
            self.draw.line((pixel, self.box[1] * SCALE, pixel, self.box[3] * SCALE), GRID, SCALE)
            self._text((pixel / SCALE, self.box[3] + 6), f"{x:g}", 12, anchor="ma")
        for y in _ticks(*self.ys):
            pixel = self._pixel(0, y)[1]
            self.draw.line((self.box[0] * SCALE, pixel, self.box[2] * SCALE, pixel), GRID, SCALE)
            self._text((self.box[0] - 8, pixel / SCALE), f"{y:g}", 12, anchor="rm")

    def line(self, xs, ys, colour):
        points = [self._pixel(x, y) for x, y in zip(xs, ys)]
        self.draw.line(points, colour, round(2.2 * SCALE), joint="curve")

    def legend(self, names):
        """In a row between title and chart, where it hides nothing."""
        left, middle = self.box[0], self.box[1] - 14
        for name, colour in names.items():
            self.draw.line([edge * SCALE for edge in (left, middle, left + 18, middle)], colour, 3 * SCALE)
            self._text((left + 23, middle), name, 12, anchor="lm")
            left += 23 + ImageFont.load_default(12).getlength(name) + 16


def _ticks(low, high):
    """About five round values inside the range."""
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    return [round(tick, 10) + 0.0 for tick in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]
