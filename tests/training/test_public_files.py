"""Files in the forms in which they are published: to rows in two commands, the second out of the first one's message."""

import csv
import random
import re
import shlex
import subprocess

import pytest
from conftest import WORDS

import BERT_main_aggressive as script
from training.run.data import read_tables
from training.texts.refusal import TableError

COUNT = 240
AIRLINE = ("tweet_id,airline_sentiment,airline_sentiment_confidence,negativereason,negativereason_confidence,airline,"
           "airline_sentiment_gold,name,negativereason_gold,retweet_count,text,tweet_coord,tweet_created,"
           "tweet_location,user_timezone").split(",")
ENGLISH = [word for line in WORDS.values() for word in line.split()]


def english(row, chance):
    return " ".join([*chance.choices(ENGLISH, k=chance.randint(3, 12)), str(row)]) + ("" if row % 7 else ', he said: "no", and\nleft')


def chinese(row, chance):
    return "".join(chance.choices("味道很好送餐太慢房间干净服务态度差下次还来不推荐", k=chance.randint(6, 30))) + f"，{row}"


def reviews(path, encoding="utf-8"):
    """ChnSentiCorp_htl_all.csv, waimai_10k.csv: label,review."""
    chance = random.Random(0)
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerow(("label", "review"))
        csv.writer(file).writerows((int(row < 80), chinese(row, chance)) for row in range(COUNT))
    return path


def workbook(path):
    from openpyxl import Workbook
    chance, book = random.Random(0), Workbook()
    for row in [("label", "review")] + [(int(row < 80), chinese(row, chance)) for row in range(COUNT)]:
        book.active.append(row)
    book.save(path)
    return path


def airline_tweets(path):
    """Tweets.csv: fifteen columns, most of them half empty."""
    chance = random.Random(0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, AIRLINE)
        table.writeheader()
        for row in range(COUNT):
            label = chance.choice(["negative", "negative", "neutral", "positive"])
            table.writerow({"tweet_id": 570306133677760513 + row, "airline_sentiment": label, "retweet_count": row % 3,
                            "airline_sentiment_confidence": round(chance.uniform(0.3, 1), 4), "name": f"user{row // 2}",
                            "negativereason": "Late Flight" if label == "negative" else "",
                            "airline": chance.choice(["United", "Delta", "Virgin America"]),
                            "text": "@VirginAmerica " + english(row, chance),
                            "tweet_created": f"2015-02-24 11:35:{row % 60:02} -0800",
                            "user_timezone": chance.choice(["", "Eastern Time (US & Canada)"])})
    return path


def sms(path):
    """SMSSpamCollection: no ending, no header, tabs, quotes that mean nothing."""
    chance = random.Random(0)
    lines = [f"{chance.choice(['ham', 'ham', 'spam'])}\t{english(row, chance)}".replace("\n", " ")
             for row in range(COUNT)]
    lines[30], lines[90] = 'ham\t"Gimme a few was < minutes ago', 'spam\tcall now" he said'
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def news(path, header):
    """AG news: every cell quoted, the classes 1 to 4; Kaggle's has a header, the original has none."""
    chance = random.Random(0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("Class Index", "Title", "Description")] * header + [
            (1 + row % 4, english(row, chance)[:25], english(row, chance) * 2) for row in range(COUNT)])
    return path


def banking(path):
    """bank77: text,category with many classes."""
    chance = random.Random(0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(("text", "category"))
        csv.writer(file).writerows((english(row, chance), f"card_{row % 20}") for row in range(COUNT))
    return path


def tweet_eval(folder):
    """TweetEval: a folder of texts and labels, line by line."""
    chance = random.Random(0)
    folder.mkdir()
    texts = [english(row, chance).replace("\n", " ") for row in range(COUNT)]
    (folder / "train_text.txt").write_text("\n".join(texts) + "\n", "utf-8")
    (folder / "train_labels.txt").write_text("".join(f"{row % 3}\n" for row in range(COUNT)), "utf-8")
    (folder / "mapping.txt").write_text("0\tnegative\n1\tneutral\n2\tpositive\n", "utf-8")
    return folder


FILES = {
    "ChnSentiCorp": (lambda folder: reviews(folder / "ChnSentiCorp_htl_all.csv"), 2, 1),
    "waimai in GBK": (lambda folder: reviews(folder / "waimai_10k.csv", "gbk"), 2, 1),
    "waimai as xlsx": (lambda folder: workbook(folder / "waimai_10k.xlsx"), 2, 1),
    "airline tweets": (lambda folder: airline_tweets(folder / "Tweets.csv"), 3, 2),
    "SMSSpamCollection": (lambda folder: sms(folder / "SMSSpamCollection"), 2, 2),
    "AG news of Kaggle": (lambda folder: news(folder / "train.csv", True), 4, 2),
    "AG news": (lambda folder: news(folder / "train.csv", False), 4, 2),
    "bank77": (lambda folder: banking(folder / "train.csv"), 20, 1),
    "TweetEval": (lambda folder: tweet_eval(folder / "sentiment"), 3, 2),
}


def read(*arguments):
    return read_tables(script.settings_from(list(arguments)))[2]


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_published_is_read_in_two_commands_at_most(tmp_path, name, monkeypatch):
    make, classes, commands = FILES[name]
    path = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    try:
        table, used = read(f"--TRAIN_PATH={path}"), 1
    except TableError as error:
        table, used = read(*second_command(str(error), path, tmp_path)), 2
    assert (len(table), len(set(table.labels)), used) == (COUNT, classes, commands)
    assert sum(map(len, table.texts)) / COUNT > 10       # the texts, and not another column


def second_command(message, path, folder):
    """The arguments that the message tells: options for the file, or those behind the command for a folder, once run."""
    if path.is_dir():
        make_table, train = re.search(r"a table of them: (.*)", message)[1].split(" && python BERT_main_aggressive.py ")
        subprocess.run(make_table, shell=True, check=True, cwd=folder)
        return shlex.split(train)
    return [f"--TRAIN_PATH={path}", *shlex.split(re.search(r"(--[A-Z].*)", message)[1])]
