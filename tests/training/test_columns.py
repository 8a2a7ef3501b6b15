"""Columns are found, or named rightly: by name, by looks, and never the header trained on as a row."""

import json
import re
import shlex

import pytest
from conftest import posts, write_csv

from training.texts.columns import guess_columns
from training.texts.refusal import TableError
from training.texts.tables import read_table

REVIEWS = [(str(number % 2), f"酒店房间第{number}号，{'很好' if number % 2 else '太差'}，{'服务员态度好' * (number % 4 + 1)}")
           for number in range(40)]
TWEETS = [(f"5703{number:06}", ["negative", "neutral", "positive"][number % 3], f"0.{6000 + number * 7}",
           ["", "Late Flight", "Lost Luggage"][number % 3], ["United", "Delta"][number % 2], f"user{number}",
           f"@airline {text}, thanks", f"2015-02-24 11:{number % 60:02}:00") for number, (text,
               _) in enumerate(posts(60))]
TWEET_COLUMNS = ("tweet_id", "airline_sentiment", "airline_sentiment_confidence", "negativereason", "airline", "name",
                 "content", "tweet_created")
NEWS = [(str(number % 4 + 1), f"Title {number} of the day", f"Reuters - {text}, and more of the same, as it was told")
        for number, (text, _) in enumerate(posts(60))]


def refusal(path, **arguments):
    with pytest.raises(TableError) as refused:
        read_table(path, **arguments)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    return str(refused.value)


def arguments_of(told):
    """The options that a message names, as read_table takes them."""
    options = dict(part.removeprefix("--").split("=", 1) for part in shlex.split(re.search(r"(--[A-Z].*)", told)[1]))
    arguments = {name.lower(): value for name, value in options.items()}
    if "column_names" in arguments:
        arguments["column_names"] = arguments["column_names"].split(",")
    return arguments


# A guess beyond doubt is taken, and said

def test_the_other_one_of_two_columns_is_the_text(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", REVIEWS, ("label", "review")))
    assert table.texts == [text for _, text in REVIEWS] and set(table.labels) == {"0", "1"}
    assert table.chosen == "texts from the column 'review' (there is no 'text')"


@pytest.mark.parametrize("names", [("content", "sentiment"), ("评论", "标签"), ("文本", "类别"), ("Tweet", "Class"), ("a",
    "b")])
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_two_columns_of_other_names_are_told_apart_by_their_looks(tmp_path, names, ending):
    rows = posts(40)
    path = write_csv(tmp_path / "t.csv", rows, names)
    if ending == ".jsonl":
        path = tmp_path / "t.jsonl"
        path.write_text("".join(json.dumps(dict(zip(names, row))) + "\n" for row in rows), "utf-8")
    table = read_table(path)
    assert list(zip(table.texts, table.labels)) == rows
    assert f"'{names[0]}'" in table.chosen and f"'{names[1]}'" in table.chosen


def test_names_in_other_case_are_the_ones_asked_for(tmp_path):
    rows = [(number, *row, "web") for number, row in enumerate(posts(40))]
    table = read_table(write_csv(tmp_path / "t.csv", rows, ("ID", "Text", "LABEL", "Source")), group_column="id")
    assert table.texts == [row[1] for row in rows] and table.labels == [row[2] for row in rows]
    assert "texts from the column 'Text'" in table.chosen and "groups from the column 'ID'" in table.chosen


def test_few_texts_that_repeat_are_taken_by_names_that_are_known(tmp_path):
    rows = [(f"the lamp {what}", label) for what, label in (("works", "good"), ("broke", "bad"), ("is dear",
        "bad"))] * 20
    assert read_table(write_csv(tmp_path / "t.csv", rows, ("review", "sentiment"))).texts[0] == "the lamp works"
    assert "--TEXT_COLUMN=a --LABEL_COLUMN=b" in refusal(write_csv(tmp_path / "t.csv", rows, ("a", "b")))


@pytest.mark.parametrize("above", ["Export of 2024,\n", "a title, of two words\n,\n"])
def test_a_header_below_a_title_is_found(tmp_path, above):
    path = write_csv(tmp_path / "t.csv", posts(40))
    path.write_text(above + path.read_text("utf-8"), "utf-8")
    assert "its header seems to be row" in refusal(path)


def test_a_row_of_nothing_above_the_header_is_no_header(tmp_path):
    path = write_csv(tmp_path / "t.csv", posts(40))
    path.write_text(",\n\n" + path.read_text("utf-8"), "utf-8")
    assert len(read_table(path)) == 40


def test_what_the_user_named_is_never_guessed(tmp_path):
    told = refusal(write_csv(tmp_path / "t.csv", REVIEWS, ("label", "review")), text_column="reviews")
    assert "no column 'reviews'; it has label, review" in told and told.endswith("--TEXT_COLUMN=review")


@pytest.mark.parametrize("rows", [REVIEWS[:9], [(str(number), f"{number}") for number in range(40)],
                                  [("0", "same text")] * 40])
def test_where_looks_leave_a_doubt_nothing_is_taken(tmp_path, rows):
    assert "has no column 'text'; it has label, review" in refusal(write_csv(tmp_path / "t.csv", rows, ("label",
        "review")))


# Otherwise the message is the way out

@pytest.mark.parametrize("header, rows, options", [
    (TWEET_COLUMNS, TWEETS, {"text_column": "content", "label_column": "airline_sentiment"}),
    (("Class Index", "Title", "Description"), NEWS, {"text_column": "Description", "label_column": "Class Index"}),
    (("id", "评论", "情感"), [(number, text, label) for number, (label, text) in enumerate(REVIEWS)],
     {"text_column": "评论", "label_column": "情感"}),
    (("text", "category", "source"), [(text, label, "web") for text, label in posts(40)], {"label_column": "category"}),
    (("user name", "the review", "stars given"), [(f"u{n}", text, label) for n, (text, label) in enumerate(posts(40))],
     {"text_column": "the review", "label_column": "stars given"})])
def test_the_message_names_the_options_with_which_the_table_is_read(tmp_path, header, rows, options):
    path = write_csv(tmp_path / "t.csv", rows, header)
    told = refusal(path)
    assert f"; it has {', '.join(header)[:120]}" in told and "(such as '" in told and "header" not in told
    assert arguments_of(told) == options
    table = read_table(path, **options)
    assert len(table) == len(rows) and len(set(table.labels)) <= 4


def test_a_message_on_json_says_nothing_of_header_lines(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"id": n, "body": text, "mood": label}) + "\n"
                            for n, (text, label) in enumerate(posts(40))), "utf-8")
    told = refusal(path)
    assert "header" not in told and "COLUMN_NAMES" not in told
    assert arguments_of(told) == {"text_column": "body", "label_column": "mood"}
    assert "COLUMN_NAMES has no effect" in refusal(path, column_names=["id", "text", "label"])


@pytest.mark.parametrize("name, separator, rows, names", [
    ("t.csv", ",", [(label, text) for text, label in posts(40)], "label,text"),
    ("t.csv", ",", [tuple(f'"{cell}"' for cell in row) for row in NEWS], "label,column_2,text"),
    ("SMSSpamCollection", "\t", [("spam" if n % 4 == 1 else "ham", f"Go until {text}, it is {n}...")
                                 for n, (text, _) in enumerate(posts(40))], "label,text")])
def test_a_file_without_header_gets_the_names_of_its_columns(tmp_path, name, separator, rows, names):
    path = tmp_path / name
    path.write_text("".join(separator.join(row) + "\n" for row in rows), "utf-8")
    told = refusal(path)
    assert told.endswith(f"its first line is a row and no header: --COLUMN_NAMES={names}")
    assert len(read_table(path, **arguments_of(told))) == len(rows)


def test_a_sorted_file_whose_first_rows_are_of_one_class_is_guessed_by_name(tmp_path):
    rows = [(f"{text} {number}", f"intent {number // 30}", "x") for number in range(77 * 30)
            for text in ["how do I top up"]]
    told = refusal(write_csv(tmp_path / "t.csv", rows, ("query", "category", "source")))
    assert arguments_of(told) == {"text_column": "query", "label_column": "category"}


def test_a_missing_group_column_is_named(tmp_path):
    told = refusal(write_csv(tmp_path / "t.csv", posts(40)), group_column="author")
    assert "no column 'author'; it has text, label" in told


def test_numbers_addresses_and_empty_columns_are_no_texts_and_decimals_no_labels():
    rows = [{"id": str(number), "link": f"https://example.org/a/long/address/{number}", "note": "",
        "said": f"well {number} it is",
             "score": f"0.{number}1", "mood": str(number % 2)} for number in range(40)]
    assert guess_columns(list(rows[0]), rows) == ("said", "mood")
    assert guess_columns(["id", "note"], rows)[0] is None


# A header is never trained on

@pytest.mark.parametrize("header, names", [(("label", "review"), ["label", "text"]), (("label", "text"), ["label",
    "text"]),
                                           (("polarity", "utterance"), ["label", "text"]), (("标签", "评论"), ["label",
                                               "text"])])
def test_a_header_that_column_names_make_a_row_is_refused(tmp_path, header, names):
    told = refusal(write_csv(tmp_path / "t.csv", REVIEWS, header), column_names=names)
    assert "is a header, which would be trained on as a row" in told
    assert arguments_of(told) == {"text_column": header[1], "label_column": header[0]}


def test_a_first_row_of_a_rare_class_is_a_row(tmp_path):
    table = read_table(write_csv(tmp_path / "t.csv", [("9", "a text of some words"), *REVIEWS], None),
        column_names=["label", "text"])
    assert len(table) == 41
