"""The families of broad motion: key poses, order, speed and variety, from `families.yaml`."""

import functools
from typing import Any, Literal, NamedTuple

from tpifu.sources.synthetic.key_pose import Pose
from tpifu.sources.synthetic.poses import ARMS, read_pose, read_yaml

HELD_OUT = ("throw", "climb", "yoga")
"""Families that `data.unseen` excludes from training."""

_FEET = ("left_foot", "right_foot")


class Key(NamedTuple):
    """A key pose and the contacts that support it."""

    pose: Pose
    contacts: tuple[str, ...] = _FEET
    """Joints that settling brings to the limb's radius above the floor. Empty: in flight."""
    pitch: float = 0.0
    """Forward tilt of the whole body, degrees: 90 is lying face down, -90 lying on the back."""
    spin: float = 0.0
    """Roll of the whole body to its left about the long axis, degrees."""
    balance: bool = True
    """Whether settling moves the centre of mass above the contacts."""
    lift: float = 0.0
    """Height of the lowest point of the body above the floor, metres."""


class Family(NamedTuple):
    """A family of motions; angles in degrees."""

    keys: tuple[Key, ...]
    order: Literal["cycle", "free"] = "free"
    """cycle: the keys in order, repeated; free: keys in random order."""
    speed: tuple[float, float] = (110.0, 260.0)
    """Range of the mean speed of the fastest joint between two keys, degrees per second."""
    pause: float = 0.25
    """Longest pause in a pose, seconds."""
    spread: float = 1.0
    """Scale of the random differences from a key."""
    arms: float = 0.35
    """Share of poses with arms drawn from ARMS or at random."""
    legs: float = 0.0
    """Share of poses with one leg from another key of the family."""
    turn: float = 25.0
    """Standard deviation of the change of heading between poses."""
    tumble: float = 0.0
    """Standard deviation of a rotation of the whole body about a random axis; a nonzero value
    disables settling."""


@functools.cache
def families() -> dict[str, Family]:
    """Families by name. The keys of `medley` and `free` are those of all other families except
    HELD_OUT."""
    content = read_yaml("families.yaml")
    known = dict(ARMS)
    for name, item in content["poses"].items():
        known[name] = read_pose(item, known)
    content["poses"] = known
    found = {}
    for name, table in content["families"].items():
        keys = _gait(**table["gait"]) if "gait" in table else _keys(content, name)
        options = {option: table[option] for option in Family._fields[1:] if option in table}
        found[name] = Family(keys, **options)
    mixed = tuple(key for name in found if name not in HELD_OUT for key in found[name].keys)
    found["medley"] = Family(mixed, speed=(120, 260), arms=0.3)
    found["free"] = Family(mixed, speed=(140, 320), spread=1.6, arms=0.6, legs=0.6, tumble=35.0)
    return found


def _keys(content: dict[str, Any], name: str) -> tuple[Key, ...]:
    table = content["families"][name]
    keys = []
    for item in table["keys"]:
        if isinstance(item, str):
            other, index = item.split()
            keys.append(_keys(content, other)[int(index)])
        else:
            keys.append(_key(content, table.get("all", {}), item))
    return tuple(keys)


def _key(content: dict[str, Any], shared: dict[str, Any], item: dict[str, Any]) -> Key:
    """The key of one item; `shared` is the family's `all`."""
    entries = {**shared, **item}
    entries["use"] = f"{shared.get('use', '')} {item.get('use', '')}"
    options = {name: entries.pop(name) for name in Key._fields if name in entries}
    if "contacts" in options:
        joints = [content["joints"].get(joint, [joint]) for joint in options["contacts"].split()]
        options["contacts"] = tuple(joint for group in joints for joint in group)
    return Key(read_pose(entries, content["poses"]), **options)


# The left leg in six phases of two steps, from foot contact on: flexion of hip and knee, pointing
# of the ankle, lift of the toes.
_GAIT = (
    (24, 4, -3, 0),
    (14, 16, 5, 0),
    (0, 10, -8, 0),
    (-20, 14, 0, 25),
    (-4, 55, 14, 10),
    (24, 42, -3, 0),
)


def _gait(stride: float, reach: float, high: float, crouch: int, arms: float) -> tuple[Key, ...]:
    """Two steps, `stride` metres in total. `high` scales the flexion of hips and knees, `reach`
    that of the hips, `arms` the arm swing; `crouch` bends both legs, degrees."""
    keys = []
    for phase in range(6):
        pose: Pose = {
            "place": (0, 0, 0, stride / 6),
            "pelvis": (3 + crouch / 4, 0, 0),
            "trunk": (3 + crouch / 3, 0, 0),
        }
        legs = {"left": _GAIT[phase], "right": _GAIT[(phase + 3) % 6]}
        for side, (hip, knee, point, toes) in legs.items():
            pose |= {
                f"{side}_hip": (reach * high * hip + crouch, 3, 6),
                f"{side}_knee": (high * knee + 1.9 * crouch,),
                f"{side}_ankle": (point - crouch, 0, toes),
                f"{side}_shoulder": (-arms * hip, 14, 10),
                f"{side}_elbow": (18 + 25 * (high - 1),),
            }
        support: tuple[str, ...] = ("left_foot",) if phase < 3 else ("right_foot",)
        # While walking, the other foot is still on the floor when one lands.
        keys.append(Key(pose, _FEET if phase % 3 == 0 and high < 1.5 else support))
    return tuple(keys)
