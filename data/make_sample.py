"""Write sample.csv: invented short posts about invented products, in four classes.

    python data/make_sample.py

Standard library only; the same file byte for byte on each run (checked with Python 3.9, 3.11 and 3.13). What is said
stands in sample_products.txt, how it is said in sample_frames.txt and sample_synonyms.txt; all of it was written here.

What came out: 2,500 rows: 699 Positive (28.0 %), 741 Negative (29.6 %), 605 Neutral (24.2 %), 455 Irrelevant (18.2 %);
100 of them (4 %) with a wrong label on purpose. The most similar two posts have a TF-IDF cosine of 0.73; for 99 % of
the posts the nearest other is at 0.62 or less. Accuracy in 5-fold cross-validation: largest class 0.30, nearest
neighbour over TF-IDF 0.60, LinearSVC over TF-IDF 0.67. On a tenth set aside, LinearSVC has 0.71 and all-MiniLM-L6-v2
0.79, fine-tuned for 3 of 4 planned epochs.
"""
import collections
import csv
import pathlib
import random
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE / "sample.csv"

SEED = 20
ROWS = {"Positive": 700, "Negative": 750, "Neutral": 600, "Irrelevant": 450}
TURNS = 0.33               # share of the posts whose class lies in the order of common words, not in words of its own
SYNONYM = 0.7              # chance that a word of sample_synonyms.txt is put in other words
NOISE = 0.04               # share of the rows that get a wrong label on purpose
MAX_OVERLAP = 0.5          # of two posts that share more of their words than this, the later one is dropped,
MAX_CONTAINED = 0.65       # and likewise if one of the two holds more than this of the other
MAX_TRIES = 100_000        # candidates before we admit that the lists are too short for so many rows

# How people type: chances per post.
OPENER, CLOSER, TAG, EMOJI = 0.22, 0.16, 0.13, 0.10
SHORTEN, TYPO, STRETCH, SHOUT = 0.30, 0.12, 0.15, 0.03

# The names are made up as products, yet each is an ordinary word or could be a name: Irrelevant posts use them so.
BRANDS = {
    "bird": ["Kestrel", "Plover", "Dunlin", "Rook", "Bittern"],
    "person": ["Larkin", "Hollis", "Tamsin", "Marlow"],
    "plant": ["Bramble", "Thistle", "Sorrel", "Tansy"],
    "place": ["Saltmere", "Ashcombe", "Windlesea", "Brackwater"],
    "pet": ["Pippin", "Bosun", "Tuppence", "Mabel"],
}
ALL_BRANDS = {brand.lower() for brands in BRANDS.values() for brand in brands}

# words that do not count when two posts are compared
GLUE = set("""a an and are at but by for from had has have i i'm i've in is it it's its me mine my of on our s that the
              this to was with you""".split())

STRETCHED = {"so": "sooo", "no": "nooo", "love": "looove", "never": "neverrr", "not": "nottt", "please": "pleeease"}
SHORT_FORMS = [("you", "u"), ("because", "bc"), ("without", "w/o"), ("with", "w/"), ("and", "&"), ("really", "rly"),
               ("please", "pls"), ("people", "ppl"), ("though", "tho"), ("are", "r"), ("before", "b4"), ("two", "2"),
               ("I'm", "im"), ("don't", "dont"), ("can't", "cant"), ("it's", "its"), ("isn't", "isnt")]
# Most of them occur in every class, so that an emoji gives little away.
EMOJIS = {"Positive": "😊👍🔥😂🙃🤷😅", "Negative": "😡👎🔥😂🙃🤷😅",
          "Neutral": "🤔👀📦😂🤷😅", "Irrelevant": "😊😂🙃😭☕🔥🤷😅"}
# A post that is one question: it gets its question mark most of the time.
QUESTION = re.compile(r"(how|who|where|which|what|does|do|did|is|has|can|could|would|any|was)\b[^.:?!]+$")

# the words that agree with the product
AGREEING = "this", "it", "obj", "is", "was", "has", "does", "goes"
SINGULAR = dict(zip(AGREEING, ("this", "it", "it", "is", "was", "has", "does", "goes")))
PLURAL = dict(zip(AGREEING, ("these", "they", "them", "are", "were", "have", "do", "go")))


class Deck:
    """Deals the cards in random order and shuffles again when all are out, so that each is used equally often."""

    def __init__(self, cards, rng):
        self.cards, self.rng, self.left, self.latest = list(cards), rng, [], None

    def deal(self):
        if not self.left:
            self.left = self.rng.sample(self.cards, len(self.cards))
            if self.left[-1] == self.latest:    # never the same card twice in a row: it may be the same post
                self.left.reverse()
        self.latest = self.left.pop()
        return self.latest


def read_sections(path):
    """{heading: [line, ...]} of a text file; comments start with "# ", for "#{brand}" is a line like any other."""
    sections = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("# ") and line != "#":
            lines.append(line)
    return sections


class Product:
    """One kind of product: its names and the decks of what can be said about it."""

    def __init__(self, heading, lines, rng):
        self.plural = ", plural" in heading
        self.nouns = Deck(heading.replace(", plural", "").split(" / "), rng)
        marks = {"good": "+ ", "bad": "- ", "fact": "= ", "task": "? "}
        self.decks = {slot: Deck([line[2:] for line in lines if line.startswith(mark)], rng)
                      for slot, mark in marks.items()}
        aspects = next(line for line in lines if line.startswith("aspects:"))
        self.decks["aspect"] = Deck(aspects.removeprefix("aspects: ").split(", "), rng)


class Writer:
    """Fills frames: every {slot} becomes a word of the chosen product, or the next card of the list of that name."""

    def __init__(self, rng):
        self.rng = rng
        products = read_sections(HERE / "sample_products.txt")
        self.products = Deck([Product(heading, lines, rng) for heading, lines in products.items()], rng)
        self.lists = {name: Deck(lines, rng) for name, lines in read_sections(HERE / "sample_frames.txt").items()}
        lines = (HERE / "sample_synonyms.txt").read_text(encoding="utf-8").splitlines()
        sets = [line.split(" / ") for line in lines if line and not line.startswith("#")]
        self.synonyms = {words[0]: words[1:] for words in sets}
        longest_first = sorted(self.synonyms, key=len, reverse=True)
        self.synonym_pattern = re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b")
        self.brands = Deck([(kind, brand) for kind, brands in BRANDS.items() for brand in brands], rng)

    def write(self, frame):
        """The post that this frame gives, about one product of one brand."""
        product = self.products.deal()
        kind, brand = self.brands.deal()
        thing = product.nouns.deal()
        words = dict(PLURAL if product.plural else SINGULAR)
        words["brand"] = brand
        words["brand2"] = next(other for _, other in iter(self.brands.deal, None) if other != brand)
        words["thing"], words["name"] = thing, f"{brand} {thing}"
        words["thing1"] = thing.split()[-1]    # one word, for a hashtag
        words["product"] = self.product_phrase(brand, thing)
        words["a_thing"] = f"a pair of {thing}" if product.plural else f"a {thing}"
        self.about = words, product, kind
        text = self.reword(self.more(frame))
        # chosen words may have broken "a" and "an"
        text = re.sub(r"\ba (?=[aeiouAEIO](?!ne\b|ni|se))", "an ", text)
        return re.sub(r"\ban (?=[b-df-gj-np-tv-z])", "a ", text)

    def more(self, frame):
        """Further words about the product of the latest post."""
        return self.fill(frame, *self.about)

    def reword(self, text):
        """Some of the words replaced by words that mean about the same."""
        def other(match):
            return self.rng.choice(self.synonyms[match[0]]) if self.rng.random() < SYNONYM else match[0]
        return self.synonym_pattern.sub(other, text)

    def product_phrase(self, brand, thing):
        pattern = self.rng.choice(["my {brand} {thing}", "the {brand} {thing}", "our {brand} {thing}", "the {brand}",
                                   "my {thing} from {brand}", "the {thing} by {brand}", "the {thing}", "my {brand}"])
        return pattern.format(brand=brand, thing=thing)

    def fill(self, text, words, product, kind):
        """The text without slots; what fills a slot may have slots of its own."""
        while match := re.search(r"{(\S+?)}", text):
            slot = match[1]
            if slot in words:
                value = words[slot]
            elif slot == "aspect_is":
                value = f"the {product.decks['aspect'].deal()} is"
            else:
                value = self.deck(slot, product, kind).deal()
            if slot in ("aspect", "who", "day", "price"):
                words[slot] = value    # a post that names them twice means the same one
            text = text[:match.start()] + value + text[match.end():]
        return re.sub(r"([!?])[.,]", r"\1", text)

    def deck(self, slot, product, kind):
        """The deck of a slot; {day2} is another {day}, unless there is a list of that name."""
        decks = self.lists | product.decks | {"named": self.lists[f"named {kind}"]}
        return decks.get(slot) or decks[slot.removesuffix("2")]


def sentence_case(text):
    """A capital at the start of each sentence, a full stop at the end."""
    text = re.sub(r"(^|[.!?] +)(\"?[a-z])", lambda match: match[1] + match[2].upper(), text)
    return text if text[-1] in ".!?" else text + "."


def typo(text, rng):
    """Two neighbouring letters swapped inside one of the longer words."""
    words = list(re.finditer(r"[a-z]{5,}", text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    return text[:at] + text[at + 1] + text[at] + text[at + 2:]


def stretch(text, rng):
    """One word drawn out: "so" becomes "sooo"."""
    word, longer = rng.choice(list(STRETCHED.items()))
    return re.sub(rf"\b{word}\b", longer, text, count=1)


def shout(text, rng):
    """One word in capitals."""
    words = text.split(" ")
    at = rng.randrange(len(words))
    return " ".join(words[:at] + [words[at].upper()] + words[at + 1:])


def type_like_someone(text, label, writer):
    """The same words as one of many people would type them."""
    rng = writer.rng
    if QUESTION.match(text):
        text += rng.choice(["?", "?", "??", ""])
    elif text[-1] not in ".!?":
        text += rng.choice([".", ".", ".", "", "", "!", "!!", "..."])
    if rng.random() < OPENER:
        text = writer.more("{opener}") + " " + text
    if rng.random() < CLOSER:
        text += (" " if text[-1] in ".!?" else ". ") + writer.more("{closer}")
    manner = rng.choice(["careful", "careful", "plain", "lower", "lower", "commas"])
    if manner == "careful":
        text = sentence_case(text)
    elif manner == "plain":
        text = text[0].upper() + text[1:]
    elif manner == "lower":
        text = text.lower()
    elif manner == "commas":
        text = re.sub(r"(?<=\w)\. ", ", ", text).lower()
    if manner != "careful":
        text = type_carelessly(text, rng)
    if rng.random() < TAG:
        text += " " + writer.more("{tag}").lower()
    if rng.random() < EMOJI:
        text += " " + rng.choice(EMOJIS[label])
    return text


def type_carelessly(text, rng):
    """Short forms, slips and emphasis, each now and then."""
    if rng.random() < SHORTEN:
        for long, short in rng.sample(SHORT_FORMS, 8):
            text = re.sub(rf"\b{long}\b", short, text)
    for chance, change in ((TYPO, typo), (STRETCH, stretch), (SHOUT, shout)):
        if rng.random() < chance:
            text = change(text, rng)
    return text


class Accepted:
    """The posts so far, by word, to find out quickly whether a new one is too close to one of them."""

    def __init__(self):
        self.sizes, self.posts_with = [], collections.defaultdict(list)

    def add(self, text):
        """Take the post and return True, unless it shares too many words with an earlier one."""
        words = content_words(text)
        shared = collections.Counter(post for word in words for post in self.posts_with[word])
        if any(self.too_close(n, len(words), self.sizes[post]) for post, n in shared.items()):
            return False
        for word in words:
            self.posts_with[word].append(len(self.sizes))
        self.sizes.append(len(words))
        return True

    @staticmethod
    def too_close(shared, size, other_size):
        return shared > MAX_OVERLAP * (size * other_size) ** 0.5 or shared > MAX_CONTAINED * min(size, other_size)


def content_words(text):
    """The words that carry the post: not the glue, nor the brand, which is easily exchanged."""
    return set(re.findall(r"[a-z0-9']+", text.lower())) - GLUE - ALL_BRANDS


def make_posts(writer):
    """[(text, label)] with no two near-copies."""
    posts, accepted = [], Accepted()
    tries = 0
    for label, wanted in ROWS.items():
        found = 0
        while found < wanted:
            tries += 1
            if tries > MAX_TRIES:
                sys.exit(f"error: only {found} of {wanted} {label} posts; the lists are too short")
            frames = f"{label} turns" if writer.rng.random() < TURNS else label
            thought = writer.write(writer.lists[frames].deal())
            if accepted.add(thought):
                posts.append((type_like_someone(thought, label, writer), label))
                found += 1
    return posts, tries


def add_noise(posts, rng):
    """Give some posts a wrong label, as people who label in a hurry do."""
    wrong = set(rng.sample(range(len(posts)), round(NOISE * len(posts))))
    return [(text, rng.choice([other for other in ROWS if other != label]) if at in wrong else label)
            for at, (text, label) in enumerate(posts)]


def main():
    rng = random.Random(SEED)
    posts, tries = make_posts(Writer(rng))
    rng.shuffle(posts)
    rows = add_noise(posts, rng)
    with OUTPUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    counts = collections.Counter(label for _, label in rows)
    print(f"rows    {len(rows):,} of {tries:,} candidates; the others were too close to one of these")
    print("labels  " + ", ".join(f"{label} {counts[label]}" for label in ROWS))
    print(f"noise   {sum(a != b for (_, a), (_, b) in zip(posts, rows))} labels are wrong on purpose")
    print(f"file    {OUTPUT.name}")


if __name__ == "__main__":
    main()
