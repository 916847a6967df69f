"""The register of kinds of attack, and how their parameters are drawn."""

import random

KINDS = {}  # name: (function, extension, encoders that it needs)
FULL_SHARE = 0.03  # of the draws are at full strength


def attack(name, extension, needs=()):
    """Registers a function of a Draw that returns the bytes of one file."""
    def register(function):
        assert name not in KINDS
        KINDS[name] = function, extension, needs
        return function
    return register


class Draw:
    """The parameters of one file: everything comes from the seed. reach: how far sizes go between the least (0)
    and the greatest (1), on the scale of their logarithms; full: always to the greatest."""

    def __init__(self, seed, bases, reach=1.0, full=False):
        self.random = random.Random(seed)
        self.full = full or (reach == 1 and self.random.random() < FULL_SHARE)
        self.reach = reach
        self.bases = bases
        self.said = {}  # what was drawn, for the report

    def size(self, name, low, high):
        """Log-uniform between low and high; high at full strength."""
        exponent = 1 if self.full else self.random.random() * self.reach
        n = round(low * (high / low) ** exponent)
        self.said[name] = n
        return n

    def pick(self, name, choices):
        """One of them; at full strength the first, half of the times."""
        value = choices[0] if self.full and self.random.random() < 0.5 else self.random.choice(choices)
        self.said[name] = value if isinstance(value, (int, str)) else repr(value)
        return value

    def word(self, n):
        return bytes(self.random.choices(b"abcdefghijklmnopqrstuvwxyz", k=n))
