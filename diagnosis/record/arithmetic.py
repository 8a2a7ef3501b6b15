"""Plain arithmetic on numbers and labels, for every room: no torch, no record."""

import math
import statistics


def median(values):
    """The median of the finite values, None where there are none."""
    values = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(values) if values else None


def share(truths):
    """How much of a list is true, None for an empty one."""
    truths = [bool(truth) for truth in truths]
    return sum(truths) / len(truths) if truths else None


def norm_of(norms):
    """The norm of tensors laid side by side, from their norms."""
    return math.sqrt(sum(norm * norm for norm in norms if norm is not None and math.isfinite(norm)))


def chance_loss(labels):
    """The loss of guessing by class frequency: the entropy of the class shares, in nats."""
    shares = [labels.count(label) / len(labels) for label in set(labels)]
    return -sum(share * math.log(share) for share in shares)


def rounded(value, digits=3):
    """A number as evidence shows it: as many significant digits as were measured well. Lists likewise."""
    if isinstance(value, (list, tuple)):
        return [rounded(element, digits) for element in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) and math.isfinite(value) else value


def a_few(values, count=8):
    """At most count of the values, evenly spread, first and last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(k * (len(values) - 1) / (count - 1))] for k in range(count)]


def percent(share):
    """'35 %' for 0.35, '0.4 %' for 0.004."""
    figure = 100 * share
    return f"{figure:.0f} %" if figure == 0 or figure >= 1 else f"{figure:.1f} %"
