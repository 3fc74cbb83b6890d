"""Street scenes with masks, rendered here: clean daylight, and rain at dusk and night.

A miniature of learning from a rendered world, where labels cost nothing, for a street at night.
Both domains draw from one distribution of scenes, so that they differ in look and in nothing else.

A scene is painted by numbers. `compose` draws a street in meters, as polygons each with a role, and
the camera sees them from far to near. `Scene.numbers` holds, per point, the polygon seen there. The
mask looks up its role's class, a `Look` looks up its role's colors: an image and its mask cannot
disagree, and a scene has the same mask under every look.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from keras_i2i.data.domain import Domain
from keras_i2i.data.examples import IGNORED, Examples

HEIGHT, WIDTH = 96, 128
TRAIN_SIZE, VALIDATION_SIZE, TEST_SIZE = 1000, 100, 200

# Names, order and colors as in Cityscapes (Cordts et al., 2016, https://arxiv.org/abs/1604.01685).
CLASS_COLORS = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "pole": (153, 153, 153),
    "vegetation": (107, 142, 35),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "car": (0, 0, 142),
}
CLASS_NAMES = tuple(CLASS_COLORS)

# What a polygon can be, and its class. The hood is the camera's own car: it counts for nothing.
ROLES = {
    "sky": "sky",
    "skyline": "building",
    "facade": "building",
    "roof": "building",
    "window": "building",
    "shop": "building",
    "awning": "building",
    "door": "building",
    "treeline": "vegetation",
    "leaves": "vegetation",
    "trunk": "vegetation",
    "sidewalk": "sidewalk",
    "joint": "sidewalk",
    "curb": "sidewalk",
    "shaded sidewalk": "sidewalk",
    "road": "road",
    "patch": "road",
    "shaded road": "road",
    "car shadow": "road",
    "marking": "road",
    "body": "car",
    "glass": "car",
    "tire": "car",
    "bumper": "car",
    "plate": "car",
    "headlight": "car",
    "taillight": "car",
    "parked light": "car",
    "skin": "person",
    "hair": "person",
    "coat": "person",
    "trousers": "person",
    "pole": "pole",
    "lamp": "pole",
    "hood": None,
}
_ROLE_NUMBERS = {role: number for number, role in enumerate(ROLES)}
_ROLE_CLASSES = np.array(
    [IGNORED if name is None else CLASS_NAMES.index(name) for name in ROLES.values()], np.uint8
)

# Scenes are drawn this many times larger. Odd, so that a pixel has a point in its middle.
_SUPERSAMPLING = 3
# Meters: nothing is drawn nearer, and no street is longer.
_NEAR, _FAR = 1.2, 150.0
# Meters: up to here houses have windows; so wide is the parking lane.
_DETAILED, _PARKING = 50.0, 2.3
# Corners of a round thing.
_CIRCLE = [(math.cos(math.tau * i / 12), math.sin(math.tau * i / 12)) for i in range(12)]
# A look knows this many tints of each role.
_TINTS = 60


class Part(NamedTuple):
    """One polygon of a scene.

    Attributes:
        role: a key of `ROLES`.
        outline: x, y, x, y, ... in points of the supersampled image.
        depth: meters from the camera.
        tint: in [0, 1), picks one of the colors that a look has for the role.
        shade: factor on that color, for the direction a surface faces.
    """

    role: str
    outline: Sequence[int]
    depth: float
    tint: float
    shade: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """What can be seen and where, but not how it looks.

    Attributes:
        parts: from far to near; the first is the sky and fills the image.
        horizon: its row, in pixels.
    """

    parts: tuple[Part, ...]
    horizon: float

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """The part seen at each point: int32, (3 x height, 3 x width), positions in `parts`."""
        canvas = Image.new("I", (WIDTH * _SUPERSAMPLING, HEIGHT * _SUPERSAMPLING))
        draw = ImageDraw.Draw(canvas)
        for number, part in enumerate(self.parts[1:], start=1):
            draw.polygon(part.outline, fill=number)
        return np.asarray(canvas)

    @functools.cached_property
    def roles(self) -> np.ndarray:
        """The role of each part, as its position in `ROLES`."""
        return np.array([_ROLE_NUMBERS[part.role] for part in self.parts])

    def mask(self) -> np.ndarray:
        """Returns the class in the middle of each pixel: uint8 (height, width), or `IGNORED`."""
        middle = _SUPERSAMPLING // 2
        middles = self.numbers[middle::_SUPERSAMPLING, middle::_SUPERSAMPLING]
        return _ROLE_CLASSES[self.roles][middles]


# ------------------------------------------------------------------------------------------ scenes

# A polygon in meters, with its role, tint and shade.
_Polygon = tuple[str, list[tuple[float, float, float]], float, float]


def compose(random: np.random.Generator) -> Scene:
    """Draws a street: its camera, bend, houses, trees, lamps, cars and persons."""
    return _Street(random).scene()


class _Street:
    """Builds a scene in meters: x to the right, y up from the ground, z ahead of the camera."""

    def __init__(self, random: np.random.Generator):
        self.random, self.uniform = random, random.uniform
        uniform = random.uniform
        # One drives on the right; x = 0 is the middle of the road.
        self.camera_x, self.camera_y = uniform(1.0, 2.2), uniform(1.25, 2.1)
        self.focal = uniform(92, 118)
        self.center = WIDTH / 2 + uniform(-8, 8)
        self.horizon = HEIGHT * uniform(0.36, 0.52)
        # x moves by bend z². Most streets are nearly straight.
        self.bend = 2.2e-3 * uniform(-1, 1) ** 3
        self.parking = {side: uniform() < 0.5 for side in (-1, 1)}
        self.curb = {s: s * (uniform(3.4, 4.2) + _PARKING * self.parking[s]) for s in (-1, 1)}
        self.walk = uniform(2.2, 4.5)
        self.tallness = uniform(5, 17)
        self.greenness = uniform()
        self.sunny_side = -1 if uniform() < 0.5 else 1
        # What stands in the street, each with the z of its far end.
        self.things: list[tuple[float, list[_Polygon]]] = []

    def scene(self) -> Scene:
        """Fills the street and looks at it."""
        polygons = self._skyline() + self._ground()
        for side in (-1, 1):
            self._line_with_houses(side)
            self._line_with_trees(side)
            self._line_with_lamps(side)
            self._people(side)
        self._traffic()
        for _, thing in sorted(self.things, key=lambda thing: -thing[0]):
            polygons += thing
        if self.uniform() < 0.4:
            polygons.append(self._hood())
        sky = Part("sky", (), _FAR, 0.0, 1.0)
        return Scene((sky, *self._project(polygons)), self.horizon)

    def _project(self, polygons: list[_Polygon]) -> list[Part]:
        """Returns what the camera sees, all points projected at once."""
        points = itertools.chain.from_iterable(outline for _, outline, _, _ in polygons)
        coordinates = np.fromiter(itertools.chain.from_iterable(points), float)
        x, y, z = coordinates.reshape(-1, 3).T
        u = self.center + self.focal * (x - self.camera_x + self.bend * z * z) / z
        v = self.horizon + self.focal * (self.camera_y - y) / z
        points = np.floor(np.stack([u, v], axis=1) * _SUPERSAMPLING).astype(int)
        ends = np.cumsum([len(polygon[1]) for polygon in polygons])
        starts = np.concatenate([[0], ends[:-1]])
        low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
        canvas = np.array([WIDTH, HEIGHT]) * _SUPERSAMPLING
        seen = ((high >= 0) & (low < canvas)).all(axis=1)
        depths = (np.minimum.reduceat(z, starts) + np.maximum.reduceat(z, starts)) / 2
        outlines, depths = points.ravel().tolist(), depths.tolist()
        return [
            Part(role, outlines[2 * starts[i] : 2 * ends[i]], depths[i], tint, shade)
            for i, (role, _, tint, shade) in enumerate(polygons)
            if seen[i]
        ]

    # The ground, and what is behind everything.

    def _skyline(self) -> list[_Polygon]:
        uniform = self.uniform
        polygons, x = [], -170.0
        while x < 170:
            width, height = uniform(8, 26), uniform(4, 12 + self.tallness)
            wall = _wall(x, x + width, -2, height, _FAR)
            polygons.append(("skyline", wall, uniform(), uniform(0.9, 1.1)))
            x += width
        for _ in range(int(14 * self.greenness)):
            x, radius = uniform(-70, 70) - self.bend * _FAR**2, uniform(4, 8)
            polygons.append(("treeline", self._blob(x, radius / 2, _FAR, radius), uniform(), 1.0))
        return polygons

    def _ground(self) -> list[_Polygon]:
        """The road and its markings, between sidewalks that reach to the sides of the image."""
        uniform, tint = self.uniform, self.uniform()
        polygons = [("sidewalk", _floor(-400, 400, _NEAR, _FAR), tint, 1.0)]
        # The houses whose fronts lie in shade keep the sun off the ground before them, too.
        side = -self.sunny_side
        shadow = uniform(1, 9) if uniform() < 0.45 else 0.0
        edge = self.curb[side] + side * (self.walk - shadow)
        if shadow:
            polygons.append(("shaded sidewalk", self._band(edge, side * 60), tint, 1.0))
        z, tile = uniform(_NEAR, 3), uniform(1.6, 3)
        while z < 28:
            for curb, outer in ((c, c + s * self.walk) for s, c in self.curb.items()):
                joint = _floor(curb, outer, z, z + 0.07 + z / 120)
                polygons.append(("joint", joint, tint, 1.0))
            z += tile
        for s, curb in self.curb.items():
            polygons.append(("curb", self._band(curb, curb + s * 0.25), tint, 1.0))
        polygons.append(("road", self._band(*self.curb.values()), tint, 1.0))
        for _ in range(self.random.integers(4)):
            x, z = uniform(self.curb[-1], self.curb[1] - 2), uniform(3, 30)
            patch = _floor(x, x + uniform(0.8, 2), z, z + uniform(1.5, 6))
            polygons.append(("patch", patch, uniform(), 1.0))
        if shadow > self.walk:
            polygons.append(("shaded road", self._band(edge, self.curb[side]), tint, 1.0))
        return polygons + [("marking", marking, 0.0, 1.0) for marking in self._markings()]

    def _markings(self) -> list:
        uniform = self.uniform
        if uniform() < 0.25:
            markings = [self._band(x - 0.07, x + 0.07) for x in (-0.15, 0.15)]
        else:
            dash, gap = uniform(2, 4), uniform(3, 6)
            starts = np.arange(uniform(_NEAR, 8), 90, dash + gap).tolist()
            markings = [_floor(-0.08, 0.08, z, z + dash) for z in starts]
        for side, curb in self.curb.items():
            if self.parking[side] or uniform() < 0.5:
                x = curb - side * (_PARKING if self.parking[side] else 0.35)
                markings.append(self._band(x - 0.07, x + 0.07))
        if uniform() < 0.3:
            z = uniform(7, 18)
            for x in np.arange(self.curb[-1] + 0.4, self.curb[1] - 0.6, 1.0).tolist():
                markings.append(_floor(x, x + 0.5, z, z + 3))
            for _ in range(self.random.integers(3)):
                self._person(uniform(self.curb[-1], self.curb[1]), z + uniform(0.5, 2.5))
        return markings

    def _band(self, left, right) -> list:
        """Ground along the whole street, in steps fine enough for its bend."""
        zs = [_NEAR * (_FAR / _NEAR) ** (i / 23) for i in range(24)]
        return [(left, 0, z) for z in zs] + [(right, 0, z) for z in reversed(zs)]

    def _hood(self) -> _Polygon:
        """The camera's own car, at the lower rim of the image, whatever the bend."""
        z, meters = 2.0, 2.0 / self.focal
        middle = self.camera_x - self.bend * z * z + (WIDTH / 2 - self.center) * meters
        bottom = self.camera_y - (HEIGHT + 1 - self.horizon) * meters
        wide, high = self.uniform(50, 62) * meters, self.uniform(4, 8) * meters
        turns = [math.pi * i / 16 for i in range(17)]
        arch = [(middle + wide * math.cos(t), bottom + high * math.sin(t) ** 0.6, z) for t in turns]
        return "hood", arch, self.uniform(), 1.0

    # Along the street.

    def _line_with_houses(self, side):
        uniform = self.uniform
        z = uniform(-8, 2)
        while z < 125:
            near, far = max(z, _NEAR), z + uniform(8, 20)
            front = self.curb[side] + side * (self.walk + uniform(0, 0.6))
            if far > 4:
                park = uniform() < 0.08 + 0.3 * self.greenness
                (self._park if park else self._house)(side, front, near, far)
            z = far + (uniform(1.5, 6) if uniform() < 0.3 else 0)

    def _park(self, side, front, near, far):
        uniform, height = self.uniform, self.uniform(0.8, 1.6)
        hedge = [
            ("leaves", _wall(front, front + side * 12, 0, height, near), uniform(), 0.75),
            ("leaves", _side(front, near, far, 0, height), uniform(), 0.95),
        ]
        self.things.append((far, hedge))
        for _ in range(self.random.integers(1, 4)):
            self._tree(front + side * uniform(2, 8), uniform(near + 2, far), uniform(5, 10))

    def _house(self, side, front, near, far):
        uniform, tint, back = self.uniform, self.uniform(), front + side * 12
        storey = uniform(2.8, 3.5)
        storeys = max(1, round(self.tallness * uniform(0.6, 1.4) / storey))
        height = storey * storeys + 0.7
        # Seen are a wall along the street and one across it. The sun lights one of them.
        along, across = (1.06, 0.84) if side == self.sunny_side else (0.8, 0.98)
        thing = [
            ("facade", _wall(front, back, 0, height, near), tint, across),
            ("facade", _side(front, near, far, 0, height), tint, along),
        ]
        if uniform() < 0.45:
            ridge, top = (front + back) / 2, height + uniform(1.8, 4)
            gable = [(front, height, near), (ridge, top, near), (back, height, near)]
            eaves = front - side * 0.4
            slope = [(eaves, height, near), (eaves, height, far), (ridge, top, far)]
            thing.append(("facade", gable, tint, across))
            thing.append(("roof", [*slope, (ridge, top, near)], uniform(), along))
        else:
            cornice = _side(front, near, far, height - 0.35, height)
            thing.append(("facade", cornice, tint, 0.75 * along))
        if near < _DETAILED:
            end = min(far, _DETAILED)
            thing += self._openings(lambda a, y: (front, y, a), near, end, storeys, storey, along)
            outward = sorted((front, back))
            thing += self._openings(lambda a, y: (a, y, near), *outward, storeys, storey, across)
        self.things.append((far, thing))

    def _openings(self, place, start, end, storeys, storey, shade) -> list[_Polygon]:
        """What is in a wall; `place` finds the point that far along it and that high."""
        uniform, polygons = self.uniform, []
        columns = max(1, int((end - start) / uniform(2.4, 3.6)))
        step = (end - start) / columns
        half, sill, top = step * uniform(0.2, 0.34), uniform(0.25, 0.35), uniform(0.75, 0.85)
        shops = storeys > 1 and uniform() < 0.5
        awning = uniform() if shops and uniform() < 0.6 else None

        def rectangle(left, right, low, high):
            return [place(left, low), place(right, low), place(right, high), place(left, high)]

        for column in range(columns):
            middle = start + (column + 0.5) * step
            door = not shops and uniform() < 0.25
            if shops:
                glass = rectangle(middle - 0.44 * step, middle + 0.44 * step, 0.4, 0.72 * storey)
                polygons.append(("shop", glass, uniform(), shade))
            elif door:
                leaf = rectangle(middle - 0.5, middle + 0.5, 0, 2.1)
                polygons.append(("door", leaf, uniform(), shade))
            for floor in range(1 if shops or door else 0, storeys):
                low, high = (floor + sill) * storey, (floor + top) * storey
                window = rectangle(middle - half, middle + half, low, high)
                polygons.append(("window", window, uniform(), shade))
        if awning is not None:
            board = rectangle(start, end, 0.74 * storey, 0.95 * storey)
            polygons.append(("awning", board, awning, shade))
        return polygons

    def _line_with_trees(self, side):
        uniform = self.uniform
        if uniform() > 0.25 + 0.6 * self.greenness:
            return
        z, distance, height = uniform(4, 14), uniform(7, 16), uniform(4.5, 8)
        while z < 80:
            self._tree(self.curb[side] + side * 0.8, z, height * uniform(0.85, 1.15))
            z += distance * uniform(0.8, 1.2)

    def _tree(self, x, z, height):
        uniform = self.uniform
        crown, spread = 0.66 * height, 0.24 * height
        thing = [("trunk", _wall(x - 0.17, x + 0.17, 0, crown, z), uniform(), 1.0)]
        tint = uniform()
        # Dark leaves below, light ones above.
        for shade in (0.75, 0.75, 0.9, 0.9, 1.0, 1.0, 1.15)[: 7 if z < 45 else 3]:
            lift = (shade - 0.9) * height * 0.7
            middle, radius = x + uniform(-0.8, 0.8) * spread, spread * uniform(0.6, 0.95)
            blob = self._blob(middle, crown + lift, z, radius)
            thing.append(("leaves", blob, tint, shade * uniform(0.95, 1.05)))
        self.things.append((z, thing))

    def _blob(self, x, y, z, radius) -> list:
        """A ragged disk."""
        jagged = self.random.uniform(0.8, 1.1, len(_CIRCLE)).tolist()
        return [
            (x + radius * r * cos, y + radius * r * sin, z)
            for (cos, sin), r in zip(_CIRCLE, jagged, strict=True)
        ]

    def _line_with_lamps(self, side):
        uniform = self.uniform
        if uniform() < 0.15:
            return
        z, distance, height = uniform(5, 18), uniform(12, 24), uniform(4.5, 7.5)
        x, tint, reach = self.curb[side] + side * 0.5, uniform(), uniform(0.8, 2)
        while z < 75:
            tip = x - side * reach
            lamp = [
                ("pole", _wall(x - 0.13, x + 0.13, 0, height, z), tint, 1.0),
                ("pole", _wall(x, tip, height - 0.16, height, z), tint, 1.0),
                ("lamp", _wall(tip - 0.35, tip + 0.35, height - 0.32, height, z), tint, 1.0),
            ]
            self.things.append((z, lamp))
            z += distance
        for _ in range(self.random.integers(4)):
            z, top = uniform(6, 40), uniform(2.2, 3.4)
            post = _wall(x - 0.1, x + 0.1, 0, top, z)
            self.things.append((z, [("pole", post, uniform(), 1.0)]))

    def _people(self, side):
        uniform = self.uniform
        for _ in range(self.random.poisson(1.6)):
            z = uniform(5, 22)
            for _ in range(self.random.integers(1, 3)):
                x = self.curb[side] + side * uniform(0.4, self.walk - 0.4)
                self._person(x, z + uniform(-0.5, 0.5))

    def _person(self, x, z):
        uniform = self.uniform
        m = uniform(1.5, 1.9) / 1.75
        coat, legs, skin, stride = uniform(), uniform(), uniform(), uniform(0.05, 0.3)
        swing = uniform(0.05, 0.2)

        def shape(*points):
            return [(x + across * m, up * m, z) for across, up in points]

        def limb(side, top, hand):
            """A leg or an arm, from the trunk down and outward."""
            return shape(*((side * across, up) for across, up in (*top, *hand)))

        def disk(middle, radius):
            return shape(*((radius * cos, middle + radius * sin) for cos, sin in _CIRCLE))

        hip, foot = ((0.2, 0.9), (-0.02, 0.9)), ((stride - 0.08, 0), (stride + 0.1, 0))
        shoulder = ((0.22, 1.42), (0.1, 1.3))
        hand = ((0.3 + swing, 0.8), (0.42 + swing, 0.85))
        torso = shape((-0.24, 1.46), (0.24, 1.46), (0.22, 0.8), (-0.22, 0.8))
        thing = [
            ("trousers", limb(-1, hip, foot), legs, 0.85),
            ("trousers", limb(1, hip, foot), legs, 1.0),
            ("coat", limb(-1, shoulder, hand), coat, 0.8),
            ("coat", limb(1, shoulder, hand), coat, 0.9),
            ("coat", torso, coat, 1.0),
            ("hair", disk(1.63, 0.14), uniform(), 1.0),
            ("skin", disk(1.57, 0.11), skin, 1.0),
        ]
        self.things.append((z, thing))

    def _traffic(self):
        uniform = self.uniform
        lane = {side: abs(self.curb[side]) - _PARKING * self.parking[side] for side in (-1, 1)}
        if uniform() < 0.7:
            z = uniform(6, 30)
            for _ in range(self.random.integers(1, 4)):
                self._car(lane[1] / 2 + uniform(-0.2, 0.2), z, lights="taillight")
                z += uniform(8, 20)
        if uniform() < 0.75:
            z = uniform(5, 25)
            for _ in range(self.random.integers(1, 5)):
                self._car(-lane[-1] / 2 + uniform(-0.2, 0.2), z, lights="headlight")
                z += uniform(8, 22)
        for side, parking in self.parking.items():
            z = uniform(3.5, 9)
            while parking and z < 70:
                if uniform() < 0.7:
                    self._car(self.curb[side] - side * 1.15, z, lights="parked light")
                z += uniform(5.2, 6.5)

    def _car(self, x, z, lights):
        """A car seen from behind, or from the front if its lights are headlights."""
        uniform, tint, wide, narrow = self.uniform, self.uniform(), 0.9, 0.74
        front = lights == "headlight"
        if uniform() < 0.2:  # A van.
            length, deck, top = uniform(4.6, 5.2), 1.0, uniform(1.8, 2.1)
            start, stop = 0.15, length - 0.2
        else:
            length, deck, top = uniform(3.9, 4.6), uniform(0.82, 0.95), uniform(1.4, 1.55)
            start = uniform(0.8, 1.3) if front else uniform(0.1, 0.7)
            stop = length - (0.3 if front else 1.1)
        # The side that faces the camera.
        facing = 1 if x < self.camera_x else -1
        sun = 1.05 if facing == -self.sunny_side else 0.8

        def side(*points):
            return [(x + facing * half, y, z + ahead) for half, y, ahead in points]

        def across(half, y, ahead, far_half, far_y, far_ahead):
            near, far = z + ahead, z + far_ahead
            edge = [(x - half, y, near), (x + half, y, near)]
            return [*edge, (x + far_half, far_y, far), (x - far_half, far_y, far)]

        def corner(middle, half, low, high, ahead=0.0):
            return _wall(x + middle - half, x + middle + half, low, high, z + ahead)

        def wheel(axle):
            return side(*((wide, 0.33 + 0.33 * sin, axle + 0.33 * cos) for cos, sin in _CIRCLE))

        # The body's side, then the cabin's and its window.
        low = side((wide, 0.28, 0), (wide, deck, 0), (wide, deck, length), (wide, 0.28, length))
        high = side((wide, deck, start), (narrow, top, start + 0.3))
        high += side((narrow, top, stop - 0.5), (wide, deck, stop))
        pane = side((wide, deck + 0.02, start + 0.4), (narrow, top - 0.1, start + 0.5))
        pane += side((narrow, top - 0.1, stop - 0.6), (wide, deck + 0.02, stop - 0.35))
        thing = [
            ("car shadow", _floor(x - 1.05, x + 1.05, z - 0.25, z + length), 0.0, 1.0),
            ("tire", corner(-0.76, 0.14, 0, 0.4, ahead=0.4), 0.0, 1.0),
            ("tire", corner(0.76, 0.14, 0, 0.4, ahead=0.4), 0.0, 1.0),
            ("body", low, tint, sun),
            ("body", high, tint, sun),
            ("glass", pane, uniform(), sun),
            ("tire", wheel(length - 0.8), 0.0, 1.0),
            ("tire", wheel(0.75), 0.0, 1.0),
            # From above: windshield, roof and deck.
            ("body", across(wide, deck, start, narrow, top, start + 0.3), tint, 0.95),
            (
                "glass",
                across(0.8, deck + 0.06, start, 0.66, top - 0.1, start + 0.25),
                uniform(),
                1.0,
            ),
            ("body", across(narrow, top, start + 0.3, narrow, top, stop - 0.5), tint, 1.15),
            ("body", across(wide, deck, 0, wide, deck, start), tint, 1.12),
            # The end that faces the camera.
            ("body", corner(0, wide, 0.28, deck), tint, 0.92),
            ("bumper", corner(0, wide, 0.25, 0.42), 0.0, 1.0),
            ("plate", corner(0, 0.24, 0.44, 0.56), 0.0, 1.0),
            (lights, corner(-0.69, 0.17, deck - 0.26, deck - 0.07), 0.0, 1.0),
            (lights, corner(0.69, 0.17, deck - 0.26, deck - 0.07), 0.0, 1.0),
        ]
        self.things.append((z + length / 2, thing))


def _floor(left, right, near, far, height=0.0) -> list:
    return [(left, height, near), (right, height, near), (right, height, far), (left, height, far)]


def _wall(left, right, low, high, z) -> list:
    """An upright rectangle across the street."""
    return [(left, low, z), (right, low, z), (right, high, z), (left, high, z)]


def _side(x, near, far, low, high) -> list:
    """An upright rectangle along the street."""
    return [(x, low, near), (x, low, far), (x, high, far), (x, high, near)]


# ------------------------------------------------------------------------------------------- looks


class Layers(NamedTuple):
    """A scene in a look's colors, before light and weather.

    All are float32, shape (height, width, 3) or (height, width, 1).

    Attributes:
        color: in [0, 255], surfaces under even light, paler with distance.
        light: in [0, 255], what shines by itself; else 0.
        sky: the share of each pixel that is sky.
        road: the share that is road.
        horizon: its row.
    """

    color: np.ndarray
    light: np.ndarray
    sky: np.ndarray
    road: np.ndarray
    horizon: float


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """How scenes look.

    Attributes:
        colors: for each role its possible colors, in hexadecimal digits.
        lights: for roles that may shine: the share that does, and in which colors.
        haze: the color of far away.
        visibility: meters after which 1/e of a color is left.
        finish: light and weather; takes layers and a random generator, returns float32 (height,
            width, 3) in about [0, 255].
    """

    colors: Mapping[str, str]
    lights: Mapping[str, tuple[float, str]]
    haze: str
    visibility: float
    finish: Callable[[Layers, np.random.Generator], np.ndarray]

    def paint(self, scene: Scene, random: np.random.Generator) -> np.ndarray:
        """Returns the scene in this look: uint8 (height, width, 3)."""
        image = self.finish(self._layers(scene), random)
        return np.clip(np.round(image), 0, 255).astype(np.uint8)

    def _layers(self, scene: Scene) -> Layers:
        parts, roles = scene.parts, scene.roles
        tints = np.array([part.tint for part in parts])
        shades = np.array([[part.shade] for part in parts])
        near = np.exp(-np.array([[part.depth] for part in parts]) / self.visibility)
        entries = (tints * _TINTS).astype(int)
        haze = _rgb(self.haze)
        colors = haze + near * (self._color_table[roles, entries] * shades - haze)
        lights = self._light_table[roles, entries]
        sky = roles == _ROLE_NUMBERS["sky"]
        road = _ROLE_CLASSES[roles] == CLASS_NAMES.index("road")
        color, sky = _looked_up(colors, sky, scene.numbers)
        light, road = _looked_up(lights, road, scene.numbers)
        return Layers(color, light, sky, road, scene.horizon)

    @functools.cached_property
    def _color_table(self) -> np.ndarray:
        """The color of each role and tint: (roles, tints, 3)."""
        return np.stack([_spread(self.colors[role], _TINTS) for role in ROLES])

    @functools.cached_property
    def _light_table(self) -> np.ndarray:
        table = np.zeros((len(ROLES), _TINTS, 3))
        for role, (share, colors) in self.lights.items():
            shining = round(share * _TINTS)
            table[_ROLE_NUMBERS[role], :shining] = _spread(colors, shining)
        return table


def _looked_up(
    colors: np.ndarray, chosen: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean color in each pixel, and the share that is of the chosen parts.

    Both at once, four bytes to a point, for speed.
    """
    table = np.clip(np.round(np.column_stack([colors, 255 * chosen])), 0, 255).astype(np.uint8)
    points = table.view(np.uint32)[:, 0][numbers]
    image = Image.frombuffer("RGBX", points.shape[::-1], points, "raw", "RGBX", 0, 1)
    pixels = np.asarray(image.reduce(_SUPERSAMPLING)).astype(np.float32)
    return pixels[..., :3], pixels[..., 3:] / 255


def _rgb(digits: str) -> np.ndarray:
    """Returns colors written in hexadecimal as float32 (n, 3)."""
    return np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 3).astype(np.float32)


def _spread(digits: str, count: int) -> np.ndarray:
    """Returns `count` colors, each of the given equally often."""
    colors = _rgb(digits)
    return colors[np.arange(count) * len(colors) // count]


def _cloudy(random: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise in about [-1, 1] with so many (rows, columns) of bumps: (height, width, 1)."""
    coarse = Image.fromarray(random.integers(0, 256, cells, dtype=np.uint8))
    smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return smooth[..., np.newaxis].astype(np.float32) / 127.5 - 1


def _blurred(image: np.ndarray, radius: float | tuple[float, float]) -> np.ndarray:
    """Blurs an image in [0, 255]; as uint8, for sums of integers are the same everywhere."""
    pixels = Image.fromarray(np.clip(np.round(image), 0, 255).astype(np.uint8))
    return np.asarray(pixels.filter(ImageFilter.GaussianBlur(radius))).astype(np.float32)


def _noise(random: np.random.Generator, channels: int) -> np.ndarray:
    return random.standard_normal((HEIGHT, WIDTH, channels), dtype=np.float32)


def _over_sky(layers: Layers, top: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Returns `color` with a sky that goes from `top` at the upper rim to `low` at the horizon."""
    height = np.clip(np.arange(HEIGHT, dtype=np.float32) / layers.horizon, 0, 1)
    gradient = top + (low - top) * height[:, np.newaxis, np.newaxis]
    return layers.color + layers.sky * (gradient - layers.color)


def _daylight(layers: Layers, random: np.random.Generator) -> np.ndarray:
    blue = random.random(dtype=np.float32)
    top = _rgb("5b93d6") * blue + _rgb("9db4c8") * (1 - blue)
    image = _over_sky(layers, top, _rgb("dfe9f0"))
    clouds = _cloudy(random, (6, 4)) + 0.5 * _cloudy(random, (14, 10))
    clouds = np.clip(1.2 * clouds + random.uniform(-0.6, 0.5), 0, 0.9)
    image += layers.sky * clouds * (250 - image)
    image *= 1 + (1 - layers.sky) * (0.03 * _cloudy(random, (24, 32)) + 0.02 * _noise(random, 1))
    return image * random.uniform(0.93, 1.07) + 1.5 * _noise(random, 3)


def _rainy_night(layers: Layers, random: np.random.Generator) -> np.ndarray:
    """Dusk or night: lamps, windows and cars glow, and the wet road mirrors them."""
    uniform = random.uniform
    dusk = uniform()
    top = _rgb("3a5a9c") * dusk + _rgb("1a2a5c") * (1 - dusk)
    low = _rgb("8a90b6") * dusk + _rgb("625a86") * (1 - dusk)
    image = _over_sky(layers, top, low)
    image += layers.sky * np.clip(_cloudy(random, (6, 4)), 0, 1) * 14
    # The camera's own headlights reach the road and what stands beside it.
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)[..., np.newaxis]
    distance = ((columns - WIDTH / 2) / 46) ** 2 + ((rows - layers.horizon - 22) / 20) ** 2
    beam = np.exp(-distance) * (1 - layers.sky) * uniform(0.2, 0.5)
    halo = 0.4 * _blurred(layers.light, 6)
    image *= uniform(1.0, 1.4) + beam * _rgb("fff2d8") / 255 + halo / 90
    # A mirror image in rough water is drawn out towards the camera.
    ripples = 1 + 0.5 * _cloudy(random, (48, 12))
    mirrored = np.roll(_blurred(np.minimum(2 * layers.light, 255), (1, 11)), 14, axis=0)
    image += layers.road * ripples * mirrored * uniform(0.6, 1.3)
    image += 0.85 * layers.light + 0.5 * _blurred(layers.light, 1.5) + halo
    # What the camera adds: rain before the lens, blur and noise.
    image = _blurred(image, uniform(0.3, 0.7))
    return image + _rain(random) + uniform(3, 6) * _noise(random, 3)


def _rain(random: np.random.Generator) -> np.ndarray:
    """Slanted streaks of light: float32 (height, width, 1)."""
    drops = Image.new("L", (WIDTH * 2, HEIGHT * 2))
    draw = ImageDraw.Draw(drops)
    slant, count = random.uniform(-0.35, 0.35), random.integers(40, 140)
    starts = random.integers(0, (2 * WIDTH, 2 * HEIGHT), (count, 2)).tolist()
    for (x, y), length in zip(starts, random.integers(8, 26, count).tolist(), strict=True):
        draw.line([x, y, x + int(slant * length), y + length], fill=4 * length)
    return np.asarray(drops.reduce(2))[..., np.newaxis].astype(np.float32) * 0.8


DAYLIGHT = Look(
    colors={
        "sky": "a9c4de",
        "skyline": "a7a49c b4aca0 9aa0a4",
        "facade": "d9c7a5 b5674a c98f5f e3d9c6 9c5a45 cfae7d b9b0a2 d8b9a0 8f8577 c2b6a0",
        "roof": "8a4a38 6e4038 5d5a5a 9b5b40",
        "window": "46586b 5b7186 8fa9bd 3a4652 6f8aa0",
        "shop": "3f4c57 5f7482 7a8d98",
        "awning": "b3362f 2f6b4a 2d5c93 d9b13b",
        "door": "5b3a26 2f4538 3b4a63",
        "treeline": "6f8f5c 7d9a62",
        "leaves": "4f7d34 5d8a3a 6d9440 44702f 7c9a3e",
        "trunk": "5e4732 6b5440",
        "sidewalk": "bdb6aa c6beb4 b3ada6",
        "joint": "a29b90 aaa298 989289",
        "curb": "d6d1c8",
        "shaded sidewalk": "8e8b8c 959294 878587",
        "road": "75757a 6b6c70 7f7d7c",
        "patch": "66666b 808084",
        "shaded road": "55575e 4f5158 5d5e63",
        "car shadow": "37383c",
        "marking": "ecebe4",
        "body": "c6282c e8e8e8 2c2f36 1f4f9c aeb4ba 8a9097 d8c64a 2f6e57 f2f2f0 7c2330",
        "glass": "27313b 3a4a58 51646f",
        "tire": "1c1c1e",
        "bumper": "2e2f33",
        "plate": "efefe6",
        "headlight": "f4f6ee",
        "taillight": "d0201e",
        "parked light": "c98a80",
        "skin": "e0ac8a b97f5c 8a5a3c f0c4a4",
        "hair": "2a1d14 5a3b22 9b7a4a 151515",
        "coat": "d23f3a 2f5fb0 e6c23a 3a8a5c e9e4da 6b3f7a e27b2d",
        "trousers": "2b3a55 3c3c40 6b5a44 22262e",
        "pole": "5a6064 4c5558 70767a",
        "lamp": "43484c",
        "hood": "30343a 5a1f22 24364f 6f7377",
    },
    lights={},
    haze="c8d6e2",
    visibility=190.0,
    finish=_daylight,
)

NIGHT = Look(
    colors={
        "sky": "445064",
        "skyline": "52535e 5a5860 4b525f",
        "facade": "666462 594241 67524c 676c6d 5d4142 5d5750 55585d 696561 5b5355 5d5d60",
        "roof": "3e2928 352628 343035 42302c",
        "window": "222b39 293443 3f4c5b 212935 2f3a46",
        "shop": "222934 2d3743 343c47",
        "awning": "602328 323631 203c50 5c5338",
        "door": "2b201e 1c2425 232735",
        "treeline": "37513c 3e5841",
        "leaves": "294b28 2d4f2a 37572f 26492d 3f5d34",
        "trunk": "2d2420 352b26",
        "sidewalk": "727175 79777c 6b6b71",
        "joint": "5f5d62 656368 58575d",
        "curb": "898890",
        "shaded sidewalk": "62626b 696771 5c5d67",
        "road": "43464e 3d4047 4b4d52",
        "patch": "3a3b42 4c4e55",
        "shaded road": "373b44 33363f 3f414a",
        "car shadow": "1e1f25",
        "marking": "9d9da2",
        "body": "611a21 6d5d64 383c44 142644 495365 51565f 66623e 364a38 636f6e 573b46",
        "glass": "141a23 1a232d 26303a",
        "tire": "0d0e10",
        "bumper": "17181d",
        "plate": "929391",
        "headlight": "fffbe8",
        "taillight": "ff3020",
        "parked light": "6f4746",
        "skin": "856a5b 77594c 584035 735e54",
        "hair": "181313 281d17 463829 171416",
        "coat": "6b2c31 32365b 635e3d 3a543c 656f69 52425b 6a4032",
        "trousers": "1b2234 21232c 352f2b 201f26",
        "pole": "33383e 33393e 393d43",
        "lamp": "ffe0a0",
        "hood": "191c21 281419 1d1c27 30343d",
    },
    lights={
        "window": (0.4, "e8b45c f0c878 c88a3c a8c0d8 705028"),
        "shop": (0.75, "f4d890 e0e8f0 e0a860 98d0c8"),
        "headlight": (1.0, "fff4d8"),
        "taillight": (1.0, "f02818"),
        "lamp": (1.0, "ffd890 fff0d0 ffc070"),
    },
    haze="45486a",
    visibility=130.0,
    finish=_rainy_night,
)

# ----------------------------------------------------------------------------------------- domains


def render(look: Look, count: int, seed: int) -> Examples:
    """Renders `count` scenes with their masks.

    Args:
        look: `DAYLIGHT` or `NIGHT`.
        count: number of images; more leave the first as they are.
        seed: decides on the scenes, which are the same for every look, and on the weather. The
            same seed gives the same images, bit for bit, as long as Pillow's rasterizer stays the
            same.

    Returns:
        Examples with images of shape (count, 96, 128, 3) and masks (count, 96, 128).
    """
    images = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    masks = np.empty((count, HEIGHT, WIDTH), np.uint8)
    for i in range(count):
        random = np.random.default_rng((seed, i))
        scene = compose(random)
        images[i], masks[i] = look.paint(scene, random), scene.mask()
    return Examples(images, masks)


@functools.cache
def _rendered(look: Look, count: int, seed: int) -> Examples:
    examples = render(look, count, seed)
    # They are kept for the next call, which must get the same.
    examples.images.setflags(write=False)
    examples.labels.setflags(write=False)
    return examples


def _domain(name: str, look: Look, train_seed: int, test_seed: int) -> Domain:
    def read(split, data_dir) -> Examples:
        del data_dir  # Rendered, not read.
        if split == "train":
            return _rendered(look, TRAIN_SIZE + VALIDATION_SIZE, train_seed)
        return _rendered(look, TEST_SIZE, test_seed)

    return Domain(
        name=name,
        class_names=CLASS_NAMES,
        image_shape=(HEIGHT, WIDTH, 3),
        read=read,
        validation_size=VALIDATION_SIZE,
        has_masks=True,
        palette=tuple(CLASS_COLORS.values()),
    )


# Four seeds, so that no scene is in two splits or in both domains.
RENDERED_STREETS = _domain("rendered_streets", DAYLIGHT, train_seed=0, test_seed=1)
NIGHT_STREETS = _domain("night_streets", NIGHT, train_seed=2, test_seed=3)
