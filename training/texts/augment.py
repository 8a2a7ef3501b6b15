"""Training texts changed a little, drawn afresh in each epoch.

    reverse     the words in reverse order
    delete      each word left out with the chance WORDS_CHANGED
    swap        pairs of words change places, WORDS_CHANGED of the words
    synonyms    WORDS_CHANGED of the words replaced by another of their line in a list of synonyms

delete, swap and synonyms are those of Wei and Zou 2019 (EDA), with their share of 0.1 for small data sets.
"""

import random
import re
from pathlib import Path

from training.texts.refusal import TableError

WORDS_CHANGED = 0.1
WORD = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)      # a word between its punctuation
NO_BLANKS = re.compile("[\u3040-\u30ff\u3400-\u9fff]")  # Chinese and Japanese: a character is taken for a word


def augmented(texts, ways, share, synonyms, seed, epoch):
    """The texts, so many of them (a share) changed in one of the ways each; the same for the same seed and epoch."""
    chance = random.Random(f"{seed} {epoch}")
    return [CHANGES[chance.choice(ways)](text, chance, synonyms) if chance.random() < share else text for text in texts]


def read_synonyms(path):
    """Word -> the words that can stand for it, from a text file of lines of words separated by commas; # begins a comment.

    Raises:
        TableError: the file cannot be read, or holds no line of at least two words.
    """
    synonyms = {}
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"SYNONYMS_PATH {path}: {getattr(error, 'strerror', None) or 'is not UTF-8'}") from error
    for line in lines:
        words = [word.strip().casefold() for word in line.partition("#")[0].split(",") if word.strip()]
        for word in words:
            others = synonyms.setdefault(word, [])
            others += [other for other in words if other != word and other not in others]
    if not any(synonyms.values()):
        raise TableError(f"SYNONYMS_PATH {path}: no line holds two words; write words that can stand for one another in "
                         "one line, with commas between them")
    return {word: others for word, others in synonyms.items() if others}


def words_of(text):
    """(words, what stands between them)."""
    return (list(text), "") if NO_BLANKS.search(text) else (text.split(), " ")


def reverse(text, chance, synonyms):
    words, between = words_of(text)
    return between.join(reversed(words))


def delete(text, chance, synonyms):
    words, between = words_of(text)
    return between.join([word for word in words if chance.random() >= WORDS_CHANGED]).strip() or text


def swap(text, chance, synonyms):
    words, between = words_of(text)
    for _ in range(_count(words) if len(words) > 1 else 0):
        left, right = chance.sample(range(len(words)), 2)
        words[left], words[right] = words[right], words[left]
    return between.join(words)


def replace_by_synonyms(text, chance, synonyms):
    words = text.split()
    known = [place for place, word in enumerate(words) if WORD.match(word)[2].casefold() in synonyms]
    for place in chance.sample(known, min(len(known), _count(words))):
        before, word, behind = WORD.match(words[place]).groups()
        words[place] = before + chance.choice(synonyms[word.casefold()]) + behind
    return " ".join(words)


def _count(words):
    return max(1, round(WORDS_CHANGED * len(words)))


CHANGES = {"reverse": reverse, "delete": delete, "swap": swap, "synonyms": replace_by_synonyms}
