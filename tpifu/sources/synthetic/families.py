"""The families of broad motion: key poses, order, speed and variety."""

from typing import Literal, NamedTuple

from tpifu.sources.synthetic.broad_key import Key
from tpifu.sources.synthetic.floor_poses import (
    BEAR,
    COMMANDO,
    CRAB,
    CRAWL,
    FOURS,
    INVERTED,
    KNEEL,
    LIE_BACK,
    LIE_FRONT,
    LIE_SIDE,
    ROLL_LONG,
    ROLL_OVER,
    SIT,
)
from tpifu.sources.synthetic.standing_poses import (
    BEND,
    CHAIR,
    CLIMB,
    DANCE,
    HANDS_DOWN,
    JUMP,
    KICK,
    LEAP,
    LUNGE,
    PUNCHES,
    SQUATS,
    STAND,
    THROW,
    TUCKED,
    WIDE,
    YOGA,
    gait,
)


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
    """Share of poses with arms from ARMS or at random."""
    legs: float = 0.0
    """Share of poses with one leg from another key of the family."""
    turn: float = 25.0
    """Standard deviation of the change of heading between poses."""
    tumble: float = 0.0
    """Standard deviation of a rotation of the whole body about a random axis; not 0 disables
    settling."""


# fmt: off
PRONE_UP = (LIE_FRONT[1], LIE_FRONT[4], FOURS[0], KNEEL[6], STAND[0], KNEEL[6], FOURS[0],
    LIE_FRONT[0])
SUPINE_UP = (LIE_BACK[0], LIE_BACK[7], SIT[4], KNEEL[6], BEND[4], STAND[0], SQUATS[1], SIT[4],
    LIE_BACK[3])
SIDE_UP = (LIE_SIDE[0], SIT[7], FOURS[0], HANDS_DOWN[5], BEND[0], STAND[0], KNEEL[0], KNEEL[1],
    SIT[7])


FAMILIES: dict[str, Family] = {
    "stand": Family(STAND, arms=0.6, legs=0.4, turn=40),
    "walk": Family(gait(1.4, 1.0, 1.0, 0, 1.0), "cycle", (150, 260), 0, 0.6, 0.15, turn=12),
    "run": Family(gait(2.6, 1.5, 1.7, 8, 1.6), "cycle", (350, 520), 0, 0.8, 0.1, turn=8),
    "sneak": Family(gait(1.0, 1.2, 1.3, 28, 0.6), "cycle", (90, 200), 0.3, 1.0, 0.4, turn=20),
    "bend": Family(BEND, arms=0.3),
    "hands_down": Family(HANDS_DOWN, arms=0, turn=15),
    "squat": Family(SQUATS, arms=0.5, legs=0.3),
    "kneel": Family(KNEEL, arms=0.5),
    "sit": Family(SIT, arms=0.15, legs=0.3),
    "chair": Family(CHAIR, arms=0.5, legs=0.4, turn=10),
    "crawl": Family(CRAWL, "cycle", (110, 220), 0.1, 0.8, 0, turn=12),
    "bear": Family(BEAR, "cycle", (110, 220), 0.1, 0.8, 0, turn=12),
    "commando": Family(COMMANDO, "cycle", (90, 180), 0.2, 0.8, 0, turn=8),
    "fours": Family(FOURS, arms=0),
    "crab": Family(CRAB, arms=0, legs=0.2, turn=10),
    "lie_back": Family(LIE_BACK, arms=0.4, legs=0.5, turn=10),
    "lie_front": Family(LIE_FRONT, arms=0.1, legs=0.4, turn=10),
    "lie_side": Family(LIE_SIDE, arms=0.2, legs=0.3, turn=5),
    "roll": Family(ROLL_LONG, "cycle", (120, 220), 0.15, 1.0, 0.2, turn=5),
    "somersault": Family(ROLL_OVER, "cycle", (200, 350), 0.1, 0.8, 0, turn=5),
    "get_up_prone": Family(PRONE_UP, "cycle", (100, 200), 0.3, 1.0, 0.1, turn=12),
    "get_up_supine": Family(SUPINE_UP, "cycle", (100, 200), 0.3, 1.0, 0.1, turn=12),
    "get_up_side": Family(SIDE_UP, "cycle", (100, 200), 0.3, 1.0, 0.1, turn=12),
    "punch": Family(PUNCHES, speed=(250, 500), pause=0.15, arms=0.05),
    "kick": Family(KICK, speed=(220, 450), pause=0.15, arms=0.3),
    "lunge": Family(LUNGE, arms=0.5),
    "jump": Family(JUMP, "cycle", (250, 400), 0.05, 1.0, 0.25),
    "leap": Family(LEAP, "cycle", (250, 400), 0.05, 1.0, 0.25),
    "tuck": Family(TUCKED, "cycle", (250, 400), 0.05, 1.0, 0.25),
    "wide": Family(WIDE, arms=0.5, legs=0.4),
    "dance": Family(DANCE, speed=(160, 360), pause=0.1, arms=0.85, turn=50),
    "inverted": Family(INVERTED, speed=(120, 260), arms=0, legs=0.3, turn=15),
    "throw": Family(THROW, speed=(180, 420), arms=0.1),
    "climb": Family(CLIMB, arms=0.2, turn=8),
    "yoga": Family(YOGA, speed=(70, 160), pause=0.6, arms=0.3, turn=10),
}
"""Families by name."""
HELD_OUT = ("throw", "climb", "yoga")
"""Families that `data.unseen` excludes from training."""

_MIXED = tuple(key for name in FAMILIES if name not in HELD_OUT for key in FAMILIES[name].keys)
FAMILIES |= {
    "medley": Family(_MIXED, speed=(120, 260), arms=0.3),
    "free": Family(_MIXED, speed=(140, 320), spread=1.6, arms=0.6, legs=0.6, tumble=35.0),
}
