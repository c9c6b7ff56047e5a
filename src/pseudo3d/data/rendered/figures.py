"""Little people and the rooms they move in, drawn with anti-aliased edges."""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]

SUPER = 3  # drawn this many times larger, then averaged down: smooth edges

# Columns of a pose array (T, 12). Angles in degrees from straight down, positive towards the right
# of the picture; "a" is the limb at the left of the picture, "b" the one at the right.
ARM_A, FORE_A, ARM_B, FORE_B = 0, 1, 2, 3
THIGH_A, SHIN_A, THIGH_B, SHIN_B = 4, 5, 6, 7
LEAN, SPIN, SCALE, SHIFT = 8, 9, 10, 11  # share of the height for the last two
NEUTRAL = np.array([-14, -8, 14, 8, -7, -3, 7, 3, 0, 0, 1, 0], dtype=np.float64)

# Rows of a joint array (T, 16, 2).
_HIP, _NECK, _HEAD, _HAIR = 0, 1, 2, 3
_ARMS = ((4, 5, 6), (7, 8, 9))  # shoulder, elbow, hand
_LEGS = ((10, 11, 12), (13, 14, 15))  # hip, knee, ankle


@dataclass(frozen=True, kw_only=True)
class Person:
    """One figure: build and colors; lengths are shares of the body height."""

    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color
    long_sleeves: bool
    head: float  # radius
    girth: float  # width of a limb
    shoulder: float  # half the width
    hip: float  # half the width
    torso: float
    leg: float  # hip to ankle
    arm: float  # shoulder to wrist


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where one clip takes place: a picture larger than the frame, and the figure's spot in it."""

    background: np.ndarray  # (H, W, 3) uint8, `margin` pixels larger on each side
    margin: int
    height: float  # of the figure, share of the frame
    x: float  # of the feet, share of the frame
    ground: float  # of the feet, share of the frame
    stool: float | None = None  # side the sitter faces, +1 right or -1 left; None draws no stool


def _hsv(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _shade(color: Color, factor: float) -> Color:
    red, green, blue = (max(0, min(255, round(v * factor))) for v in color)
    return red, green, blue


def make_person(rng: np.random.Generator) -> Person:
    """Draw a person: build, skin, hair and clothes."""
    shirt = float(rng.uniform())
    trousers = shirt + rng.uniform(0.25, 0.75)
    return Person(
        skin=_hsv(rng.uniform(0.04, 0.09), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.98)),
        hair=_hsv(rng.uniform(0.02, 0.12), rng.uniform(0.2, 0.7), rng.uniform(0.1, 0.6)),
        shirt=_hsv(shirt, rng.uniform(0.55, 0.95), rng.uniform(0.6, 0.95)),
        trousers=_hsv(trousers, rng.uniform(0.3, 0.8), rng.uniform(0.25, 0.6)),
        shoes=_hsv(rng.uniform(), 0.3, rng.uniform(0.1, 0.35)),
        long_sleeves=bool(rng.uniform() < 0.5),
        head=rng.uniform(0.088, 0.108),
        girth=rng.uniform(0.060, 0.085),
        shoulder=rng.uniform(0.095, 0.13),
        hip=rng.uniform(0.05, 0.075),
        torso=rng.uniform(0.27, 0.31),
        leg=rng.uniform(0.41, 0.46),
        arm=rng.uniform(0.34, 0.39),
    )


def make_background(rng: np.random.Generator, side: int) -> np.ndarray:
    """Paint one backdrop, uint8 (side, side, 3): a gradient, a room, blobs, or a texture."""
    hue, value = rng.uniform(), rng.choice([rng.uniform(0.15, 0.35), rng.uniform(0.7, 0.95)])
    first = np.array(_hsv(hue, rng.uniform(0, 0.3), value), dtype=np.float32)
    second = np.array(_hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0, 0.3), value * 0.8))
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    kind = rng.integers(4)
    if kind == 0:  # gradient in any direction
        angle = rng.uniform(0, 2 * np.pi)
        mix = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5) + 0.5
    elif kind == 1:  # wall and floor
        mix = np.where(y > rng.uniform(0.6, 0.85), 1.0, 0.3 * x)
    elif kind == 2:  # blobs
        mix = np.zeros_like(x)
        for cx, cy, r in rng.uniform((0, 0, 0.05), (1, 1, 0.2), size=(6, 3)):
            mix = np.maximum(mix, np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r**2))
    else:  # soft texture
        grain = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8))
        mix = np.asarray(grain.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    mix = np.clip(mix, 0, 1)[..., None]
    painted: np.ndarray = np.rint(first * (1 - mix) + second * mix).astype(np.uint8)
    return painted


def _along(start: np.ndarray, degrees: np.ndarray, length: float) -> np.ndarray:
    """Point `length` away from `start` (T, 2) under an angle from straight down."""
    rad = np.deg2rad(degrees)
    return start + length * np.stack([np.sin(rad), np.cos(rad)], axis=1)


def joints(person: Person, pose: np.ndarray) -> np.ndarray:
    """Turn poses (T, 12) into joints (T, 16, 2): x and y in body heights, feet at the origin."""
    out = np.zeros((len(pose), 16, 2))
    up = 180.0 + pose[:, LEAN]
    hip = out[:, _HIP]
    out[:, _NECK] = _along(hip, up, person.torso)
    out[:, _HEAD] = _along(out[:, _NECK], up, person.head * 1.3)
    out[:, _HAIR] = _along(out[:, _HEAD], up, person.head * 0.35)
    for side, (top, middle, end), column in zip((-1, 1), _ARMS, (ARM_A, ARM_B), strict=True):
        out[:, top] = _along(_along(hip, up, person.torso * 0.92), up - 90 * side, person.shoulder)
        out[:, middle] = _along(out[:, top], pose[:, column], person.arm * 0.5)
        out[:, end] = _along(out[:, middle], pose[:, column + 1], person.arm * 0.5)
    for side, (top, middle, end), column in zip((-1, 1), _LEGS, (THIGH_A, THIGH_B), strict=True):
        out[:, top] = hip + np.array([side * person.hip, 0.0])
        out[:, middle] = _along(out[:, top], pose[:, column], person.leg * 0.52)
        out[:, end] = _along(out[:, middle], pose[:, column + 1], person.leg * 0.48)
    feet = out[:, [_LEGS[0][2], _LEGS[1][2]]]
    out -= np.stack([feet[..., 0].mean(1), feet[..., 1].max(1)], axis=1)[:, None]
    return _spun(out, np.deg2rad(pose[:, SPIN]))


def _spun(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate the whole body in the picture plane about its middle, clockwise for positive."""
    pivot = np.array([0.0, -0.5])
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = np.moveaxis(points - pivot, 2, 0)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=2) + pivot


def _dot(draw: ImageDraw.ImageDraw, center: np.ndarray, radius: float, color: Color) -> None:
    x, y = float(center[0]), float(center[1])
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _limb(draw: ImageDraw.ImageDraw, ends: np.ndarray, width: float, color: Color) -> None:
    draw.line([(float(x), float(y)) for x, y in ends], fill=color, width=max(1, round(width)))
    for end in ends:
        _dot(draw, end, width / 2, color)


def _draw_person(
    draw: ImageDraw.ImageDraw, person: Person, points: np.ndarray, height: float
) -> None:
    """Draw one figure; points (16, 2) and `height` in pixels of the enlarged canvas."""
    width, sleeve = person.girth * height, _shade(person.shirt, 0.78)
    for (top, middle, end), light in zip(_LEGS, (0.85, 1.0), strict=True):
        _limb(draw, points[[top, middle, end]], width * 1.15, _shade(person.trousers, light))
        _dot(draw, points[end], width * 0.68, person.shoes)
    sides = (_ARMS[0][0], _ARMS[1][0], _LEGS[1][0], _LEGS[0][0])
    draw.polygon([(float(x), float(y)) for x, y in points[list(sides)]], fill=person.shirt)
    for a, b in zip(sides, (*sides[1:], sides[0]), strict=True):
        _limb(draw, points[[a, b]], width, person.shirt)
    _limb(draw, points[[_NECK, _HEAD]], width * 0.8, _shade(person.skin, 0.85))
    radius = person.head * height
    _dot(draw, points[_HAIR], radius, person.hair)
    _dot(draw, points[_HEAD], radius * 0.88, person.skin)
    for top, middle, end in _ARMS:
        fore = sleeve if person.long_sleeves else person.skin
        _limb(draw, points[[middle, end]], width * 0.85, fore)
        _limb(draw, points[[top, middle]], width, sleeve)
        _dot(draw, points[end], width * 0.62, person.skin)


def _backdrop(person: Person, scene: Scene) -> Image.Image:
    """The scene without the person, enlarged; a stool stands where the sitter needs it."""
    size = scene.background.shape[0] * SUPER
    canvas = Image.fromarray(scene.background).resize((size, size), Image.Resampling.BILINEAR)
    if scene.stool is None:
        return canvas
    draw = ImageDraw.Draw(canvas)
    unit = (scene.background.shape[0] - 2 * scene.margin) * SUPER
    height = scene.height * unit
    x = scene.margin * SUPER + scene.x * unit - scene.stool * person.leg * 0.52 * height
    floor = scene.margin * SUPER + scene.ground * unit
    seat, half, color = floor - person.leg * 0.44 * height, 0.11 * height, (96, 66, 44)
    draw.rectangle((x - half, seat, x + half, seat + 0.035 * height), fill=color)
    for foot in (-0.8, 0.8):
        left = x + foot * half - 0.014 * height
        draw.rectangle((left, seat, left + 0.028 * height, floor), fill=color)
    return canvas


def draw_frames(person: Person, scene: Scene, pose: np.ndarray, shake: np.ndarray) -> np.ndarray:
    """Draw every pose of a clip.

    Args:
        shake: (T, 2) shift of the camera, pixels of the frame, below the scene's margin.
    Shape:
        pose (T, 12), columns as named at the top of this file -> uint8 (T, side, side, 3)
    """
    side = scene.background.shape[0] - 2 * scene.margin
    unit = side * SUPER
    height = scene.height * unit * pose[:, SCALE]
    backdrop = _backdrop(person, scene)
    foot = np.array([scene.x, scene.ground]) * unit + np.zeros((len(pose), 2))
    foot[:, 1] -= pose[:, SHIFT] * scene.height * unit
    corner = np.rint((scene.margin + shake) * SUPER)
    points = joints(person, pose) * height[:, None, None]
    points += (foot + scene.margin * SUPER - corner)[:, None]
    frames = np.empty((len(pose), side, side, 3), dtype=np.uint8)
    for t, (x, y) in enumerate(corner.astype(int).tolist()):
        canvas = backdrop.crop((x, y, x + unit, y + unit))
        _draw_person(ImageDraw.Draw(canvas), person, points[t], float(height[t]))
        frames[t] = np.asarray(canvas.reduce(SUPER))
    return frames
