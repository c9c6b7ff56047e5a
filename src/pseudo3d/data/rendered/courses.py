"""How the little people move: one course of poses for each motion, always forwards."""

import numpy as np

from pseudo3d.data.rendered import figures as fig


def _course(rng: np.random.Generator, count: int) -> np.ndarray:
    """Monotone phase (T,) from 0 to 1 whose distribution does not change under reversal."""
    holds = rng.uniform(0, 0.16, size=2)
    s = np.clip((np.linspace(0, 1, count) - holds[0]) / (1 - holds.sum()), 0, 1)
    s = s + rng.uniform(-0.5, 0.5) * s * (1 - s)
    power = rng.uniform(1.0, 1.9)
    phase: np.ndarray = s**power / (s**power + (1 - s) ** power)
    return phase


def _mix(start: float, end: float, phase: np.ndarray) -> np.ndarray:
    return start + (end - start) * phase


def _wave(rng: np.random.Generator, pose: np.ndarray, u: np.ndarray) -> None:
    """One raised arm sweeps over the head from the right of the picture to the left."""
    arm = fig.ARM_A if rng.uniform() < 0.5 else fig.ARM_B
    sweep = _mix(180 - rng.uniform(60, 95), 180 + rng.uniform(60, 95), u)
    pose[:, arm] = sweep
    pose[:, arm + 1] = sweep + rng.uniform(-12, 12)


def _open(rng: np.random.Generator, pose: np.ndarray, u: np.ndarray) -> None:
    """Arms folded before the chest spread wide."""
    high = rng.uniform(75, 110)
    for side, arm in ((-1, fig.ARM_A), (1, fig.ARM_B)):
        pose[:, arm] = side * _mix(rng.uniform(12, 28), high, u)
        pose[:, arm + 1] = side * _mix(-rng.uniform(95, 125), high + rng.uniform(-5, 20), u)


def _sit(rng: np.random.Generator, pose: np.ndarray, u: np.ndarray, side: float) -> None:
    """Sit down on the stool, facing `side`; the trunk bows on the way."""
    bow, knee = rng.uniform(15, 35), rng.uniform(78, 92)
    for thigh, lag in ((fig.THIGH_A, -3.0), (fig.THIGH_B, 3.0)):
        pose[:, thigh] = _mix(lag, side * knee + lag, u)
        pose[:, thigh + 1] = _mix(lag, -side * rng.uniform(0, 8), u)
    pose[:, fig.LEAN] -= side * (bow * np.sin(np.pi * u) + 4 * u)
    for arm in (fig.ARM_A, fig.ARM_B):
        pose[:, arm] = _mix(float(fig.NEUTRAL[arm]), side * rng.uniform(20, 40), u)
        pose[:, arm + 1] = _mix(float(fig.NEUTRAL[arm + 1]), side * rng.uniform(50, 80), u)


def _approach(rng: np.random.Generator, pose: np.ndarray, u: np.ndarray) -> None:
    """Walk from far to near: the figure grows and its feet come down the picture."""
    pose[:, fig.SCALE] = _mix(rng.uniform(0.35, 0.5), rng.uniform(0.98, 1.08), u)
    pose[:, fig.SHIFT] = (1 - pose[:, fig.SCALE]) * rng.uniform(0.25, 0.5)
    gait = np.sin(2 * np.pi * (rng.uniform(1.5, 3) * u + rng.uniform()))
    for column, swing in ((fig.THIGH_A, 9), (fig.THIGH_B, 9), (fig.ARM_A, -14), (fig.ARM_B, -14)):
        pose[:, column] += swing * gait
        pose[:, column + 1] += 0.6 * swing * gait


def _turn(rng: np.random.Generator, pose: np.ndarray, u: np.ndarray) -> None:
    """The spread body wheels clockwise in the picture plane, from any angle."""
    pose[:, fig.SPIN] = rng.uniform(0, 360) + rng.uniform(190, 350) * u
    arm, leg = rng.uniform(115, 140), rng.uniform(18, 30)
    for side, top, foot in ((-1, fig.ARM_A, fig.THIGH_A), (1, fig.ARM_B, fig.THIGH_B)):
        turned = side * np.array([arm, arm + rng.uniform(-5, 20), leg, leg])
        pose[:, [top, top + 1, foot, foot + 1]] = turned


def _clapping(rng: np.random.Generator, pose: np.ndarray, beat: np.ndarray) -> None:
    """Both hands meet before the chest, again and again."""
    wide = rng.uniform(35, 60)
    for side, arm in ((-1, fig.ARM_A), (1, fig.ARM_B)):
        pose[:, arm] = side * _mix(22, 22 + wide * 0.4, beat)
        pose[:, arm + 1] = side * _mix(-142, -142 - wide, beat)


def _waving(rng: np.random.Generator, pose: np.ndarray, beat: np.ndarray) -> None:
    """One raised forearm swings to and fro beside the head."""
    side, arm = (-1, fig.ARM_A) if rng.uniform() < 0.5 else (1, fig.ARM_B)
    swing = rng.uniform(25, 40)
    pose[:, arm] = side * (rng.uniform(100, 125) + 4 * beat)
    pose[:, arm + 1] = side * _mix(165 - swing, 165 + swing, beat)


def poses(
    rng: np.random.Generator, course: str, scene: fig.Scene, count: int, fps: int
) -> np.ndarray:
    """Poses (T, 12) of one course, forwards, with the unrest of a living body."""
    pose = np.tile(fig.NEUTRAL, (count, 1))
    u = _course(rng, count)
    beat = 0.5 - 0.5 * np.cos(2 * np.pi * (rng.uniform(1.4, 2.6) * np.arange(count) / fps))
    if course == "wave_left":
        _wave(rng, pose, u)
    elif course == "open":
        _open(rng, pose, u)
    elif course == "sit":
        _sit(rng, pose, u, scene.stool or 1.0)
    elif course == "approach":
        _approach(rng, pose, u)
    elif course == "turn_cw":
        _turn(rng, pose, u)
        pose[:, fig.SHIFT] = (scene.ground - rng.uniform(0.47, 0.53)) / scene.height - 0.5
    elif course == "clapping":
        _clapping(rng, pose, beat)
    else:
        _waving(rng, pose, beat)
    sway = np.sin(drift(rng, count, fig.LEAN + 1) / fps)
    pose[:, : fig.LEAN + 1] += sway * rng.uniform(0, 3, fig.LEAN + 1)
    return pose


def drift(rng: np.random.Generator, count: int, columns: int) -> np.ndarray:
    """Angles (T, columns) of slow swings; divided by the frame rate they are 0.2 to 1 Hz."""
    speed = 2 * np.pi * rng.uniform(0.2, 1.0, columns)
    return np.arange(count)[:, None] * speed + rng.uniform(0, 1000, columns)
