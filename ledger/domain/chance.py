"""What counts of correct answers show: better than chance, no better, or too few images to tell.

Exact binomial tails, summed in logarithms. Chance is the share of correct answers of a network that pays no attention
to the image: one in the number of classes, or the share of the largest class where that is larger.
"""

import math

CLEARLY = 0.001
"""Largest probability, under chance, at which figures count as better than chance."""
DOUBT = 0.05
"""Probability below which a count would be a rare accident."""


def at_least(correct: int, images: int, share: float) -> float:
    """Return the probability of so many correct answers or more, each being correct with probability ``share``."""
    return math.exp(log_at_least(correct, images, share))


def at_most(correct: int, images: int, share: float) -> float:
    """Return the probability of so many correct answers or fewer, each being correct with probability ``share``."""
    return math.exp(log_at_least(images - correct, images, 1 - share))


def log_at_least(correct: int, images: int, share: float) -> float:
    """Return the natural logarithm of :func:`at_least`; minus infinity where it is impossible."""
    if correct <= 0:
        return 0.0
    if correct > images or share <= 0:
        return -math.inf
    if share >= 1:
        return 0.0
    terms = [
        math.lgamma(images + 1)
        - math.lgamma(k + 1)
        - math.lgamma(images - k + 1)
        + k * math.log(share)
        + (images - k) * math.log1p(-share)
        for k in range(correct, images + 1)
    ]
    largest = max(terms)
    return min(0.0, largest + math.log(math.fsum(math.exp(term - largest) for term in terms)))


def most_hidden(images: int, *, rare: float = DOUBT) -> float:
    """Return the largest share of correct answers that may hide behind none among so many images.

    Args:
        images: Number of images, none of which was answered correctly.
        rare: Probability of the accident that is ruled out.

    Returns:
        The exact upper confidence limit, between 0 and 1; 1 without images.
    """
    return 1.0 - rare ** (1 / images) if images > 0 else 1.0


def halfway(chance: float) -> float:
    """Return the share halfway between chance and always correct, which a network that was trained well exceeds."""
    return chance + (1 - chance) / 2


def is_clearly_better(correct: int, images: int, chance: float) -> bool:
    """Whether so many correct answers are hardly an accident."""
    return at_least(correct, images, chance) <= CLEARLY


def is_about_chance(correct: int, images: int, chance: float, *, rare: float = DOUBT) -> bool:
    """Whether the images suffice to say that the answers are no better than chance, or hardly.

    They do not differ from chance by more than an accident would explain, and a network that is correct
    :func:`halfway` would hardly do so badly.

    Args:
        correct: Number of correct answers.
        images: Number of images.
        chance: Share of correct answers by chance.
        rare: Probability of both accidents below which they are ruled out.
    """
    by_chance = at_least(correct, images, chance) > rare
    return images > 0 and by_chance and at_most(correct, images, halfway(chance)) <= rare


def was_known(correct: int, images: int, classes: int) -> bool:
    """Whether a class was recognised at all: there is something that could be forgotten.

    With too few images to tell, one correct answer counts as knowledge, and none of any number does not.

    Args:
        correct: Images of the class that were recognised.
        images: Images of the class that were looked at.
        classes: Number of the model's classes.
    """
    if not images:
        return True
    return correct > 0 and not is_about_chance(correct, images, 1 / max(classes, 1))
