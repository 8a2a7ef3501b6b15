"""validation texts (exact or near-exact) stand in the training set, so its score is inflated

What it is
    The validation rows were also trained on: split after copies were made (augmentation, oversampling, retweets), one
    file read twice, a validation file whose rows come from the training file.

How it shows
    The validation score follows the training score and is higher than it will ever be on new texts.

How it is found
    Each validation row is looked for among the training rows: the same tokens, and the nearest row by TF-IDF (cosine
    0.9 or more is a near-copy). How many copies training rows have among themselves tells copied validation rows from
    data that is full of copies. With a sample of the training rows, the shares are worked out from its size.

Wrong
    validation_rows = rows[:100]

Right
    from sklearn.model_selection import train_test_split
    different = sorted(set(rows))
    rows, validation_rows = train_test_split(different, test_size=0.3, random_state=0)

Not to be confused with
    The 2 to 5 % of equal short texts that an honest random split of real data has. Texts made equal by truncation, or
    by unknown tokens: rows that are full of these are left out.
"""

import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact

from diagnosis.faults import text_truncated, text_unknown
from diagnosis.record.arithmetic import percent, rounded
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import SEED, contents, nearest_similarity, token_matrix

GROUP = "data"
EFFECT = "misleads"
CAUSED_BY = ()
NO_TRIAL = "the run learns as it is; it is the validation rows that are wrong"

NEAR = 0.9                  # cosine of TF-IDF lines: a word or two of a tweet changed
NOTE, WARNING = 0.05, 0.10  # share of the validation rows found in training
ERROR = 0.20                # of the LONG ones: from here on the score is wrong, whatever the reason
COPIED = 0.10               # the same, beyond what training rows find among themselves
ENOUGH = 50                 # validation rows
QUERIES = 1000              # rows looked up of each set
MOST_ROWS = 8000            # training rows in which they are looked for
OFTEN, LONG = 3, 6          # where exact copies are compared: at most so often in both sets; at least so many tokens
CHANCE = 0.001              # of Fisher's test between the two
UNKNOWN = 0.1               # share of a row's tokens from which on equal tokens are not equal texts


@dataclass
class Copies:
    """How many of the rows looked up have a copy among the (other) known training rows."""
    looked_up: int
    exact: int      # not counted for training rows
    near: int       # the exact ones among them
    long: int = 0   # rows looked up that are long enough not to be said twice by chance; not counted for training rows
    long_near: int = 0


def check(record):
    training, validation = record.training, record.validation
    if validation is None or not validation.examples:
        return NotMeasured("no validation examples are known")
    if not training.examples:
        return NotMeasured("the training examples are not known")
    rows = contents(training.examples + validation.examples)
    rows, others = rows[:len(training.examples)], rows[len(training.examples):]
    known = 1.0 if training.complete or not training.rows else min(1.0, len(rows) / training.rows)
    if text_truncated.leaves_scraps(record):
        return NotMeasured("truncation leaves a few tokens of each text (text-truncated), which makes texts equal")
    with_text = sum(map(bool, others))
    rows, others = (_told_apart(some, text_unknown.unknown_id(record)) for some in (rows, others))
    if 2 * len(others) < with_text:
        return NotMeasured("most validation rows are full of unknown tokens (text-unknown), which makes texts equal")
    if len(others) < ENOUGH or len(rows) < ENOUGH:
        return NotMeasured(f"{len(rows)} training and {len(others)} validation rows with text are too few")

    same_rows = training.complete and validation.complete and sorted(rows) == sorted(others)
    if len(rows) > MOST_ROWS:
        known *= MOST_ROWS / len(rows)
        rows = random.Random(SEED).sample(rows, MOST_ROWS)
    held, own = _copies(rows, others)
    exact, near, own_near = (min(1.0, count / known) for count in
                             (held.exact / held.looked_up, held.near / held.looked_up, own.near / own.looked_up))
    copied = same_rows or _exceeds(held, own, known) or _exceeds(*_exact_copies(rows, others), known)
    if near < NOTE and not copied:
        if 5 / held.looked_up / known > WARNING:
            return NotMeasured(f"{len(rows)} of {training.rows} training rows are known: too few to meet copies")
        return None
    if known < 1 and held.near < 5:
        return NotMeasured(f"{held.near} copies in {percent(known)} of the training rows are too few to judge by")
    torn = held.long >= ENOUGH and held.long_near / held.long / known >= ERROR
    level = "error" if copied or torn else "warning" if near >= WARNING else "note"
    evidence = {"validation_rows": held.looked_up, "exact_copies": held.exact, "copies_or_near_copies": held.near,
                "exact_share": rounded(exact), "near_share": rounded(near), "near_means_cosine_from": NEAR,
                "training_rows_with_copies_share": rounded(own_near), "known_share_of_training": rounded(known)}
    if known < 1:
        evidence["lower_bound_of_near_share"] = rounded(held.near / held.looked_up)
        evidence["shares_are"] = "estimated from the known training rows"
        title = (f"{held.near} of {held.looked_up} validation texts stand in the {percent(known)} of the training rows "
                 f"that were read (word for word: {held.exact})")
    else:
        title = f"{percent(near)} of the validation texts stand in the training set (word for word: {percent(exact)})"
    return Finding(
        level, title, evidence,
        "On these rows the score shows what was learned by heart"
        + ("." if copied else ", since the data is full of copies that a split by row tears apart."),
        "Take copies out before splitting, or split by their source (StratifiedGroupKFold by tweet, author or "
        "document), and drop validation rows that occur in training.",
        validation.made or training.made)


def _told_apart(rows, unknown):
    """The rows whose tokens tell one text from another."""
    return [row for row in rows if row and row.count(unknown) <= UNKNOWN * len(row)]


def _exceeds(held, own, known):
    """Validation rows have copies in training far more often than training rows have, beyond chance."""
    clear = fisher_exact([[held.near, held.looked_up - held.near], [own.near, own.looked_up - own.near]],
                         alternative="greater").pvalue < CHANCE
    share, usual = (copies.near / max(1, copies.looked_up) / known for copies in (held, own))
    return clear and min(1, share) - usual >= COPIED


def _exact_copies(rows, others):
    """The same for exact copies only, without texts that are said again and again ("thank you"): these fill a sample
    with chance. A text's length, and its number in both sets together, tell nothing of the way they were split.
    """
    times, in_training = Counter(rows + others), Counter(rows)
    rare, other_rare = ([row for row in some if times[row] <= OFTEN and len(row) >= LONG] for some in (rows, others))
    held = sum(row in in_training for row in other_rare)
    own = sum(in_training[row] > 1 for row in rare)
    return Copies(len(other_rare), held, held), Copies(len(rare), own, own)


def _copies(rows, others):
    """Copies of validation rows among the training rows, and of training rows among the other training rows."""
    generator = np.random.default_rng(SEED)
    others = [others[place] for place in sorted(generator.permutation(len(others))[:QUERIES])]
    own = sorted(generator.permutation(len(rows))[:QUERIES])
    matrix, vectorizer = token_matrix(rows)
    similarity = nearest_similarity(token_matrix(others, vectorizer)[0], matrix)
    among_own = nearest_similarity(matrix[own], matrix, itself=True)
    known = set(rows)
    exact = np.array([row in known for row in others])
    near, long = exact | (similarity >= NEAR), np.array([len(row) >= LONG for row in others])
    return (Copies(len(others), int(exact.sum()), int(near.sum()), int(long.sum()), int((near & long).sum())),
            Copies(len(own), 0, int((among_own >= NEAR).sum())))
