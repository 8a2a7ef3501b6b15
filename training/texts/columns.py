"""Which columns of a table hold the texts and the labels, where they are not called what was asked for.

Guessed by name (English and Chinese) and by looks: texts are long and differ, labels are few and repeat. A guess beyond
doubt is taken and said; any other is the hint of the message.
"""

import re
import shlex
from collections import Counter
from dataclasses import dataclass

from training.texts.reading import cell_text
from training.texts.refusal import TableError, listed, quoted

TEXT_NAMES = set("text texts sentence sentences review reviews content contents tweet tweets comment comments message sms "
                 "post posts body document utterance question query description sentence1 文本 内容 评论 句子 正文 评价 "
                 "微博 留言 标题".split())
LABEL_NAMES = set("label labels sentiment class classes category categories target polarity intent emotion topic stars "
                  "rating label_text 标签 类别 情感 分类 类型 情绪 意图 极性 星级".split())
# of columns that tell something about a label or a text, such as airline_sentiment_confidence and review_id
BESIDE = set("confidence score probability prob id ids count gold index date time url link user author length".split())

DEFAULTS = {"TEXT_COLUMN": "text", "LABEL_COLUMN": "label"}
FEWEST_ROWS = 10            # by whose looks a guess can be beyond doubt, and a first row a header
LONGEST_NAME = 40           # characters of a column's name in a header


@dataclass
class Looks:
    """What the first rows hold in a column."""
    filled: float           # share of the rows
    length: float           # characters of a value on average
    distinct: int           # different values
    differing: float        # these, as a share of the values
    labels: bool            # whether all can be names of classes: no decimals, no long texts
    words: bool             # whether most hold letters, and are no addresses


def looks(values):
    filled = [value for value in values if value]
    if not filled:
        return Looks(0, 0, 0, 0, False, False)
    distinct = len(set(filled))
    decimals = any(re.fullmatch(r"-?\d+\.\d*[1-9]\d*", value) for value in filled)
    words = sum(bool(re.search(r"[^\W\d_]", value)) and not re.match(r"\w+://", value) for value in filled)
    return Looks(len(filled) / len(values), sum(map(len, filled)) / len(filled), distinct, distinct / len(filled),
                 not decimals and max(map(len, filled)) <= 100, words > len(filled) / 2)


def named(column, names):
    """3 where a column bears one of the names, 2 where the name is a word of its own, else 1."""
    words = re.findall(r"[a-z0-9]+|[^\W\da-z_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower())
    if column.strip().lower() in names:
        return 3
    return 2 if names & set(words) and not BESIDE & set(words) else 1


def guess_columns(columns, examples, text=None):
    """(column of the texts, unless it is known, column of the labels), each None where nothing looks like it."""
    columns = [column for column in columns if column]      # pandas writes its row numbers below no name
    seen = {column: looks([cell_text(row.get(column)) for row in examples]) for column in columns}

    def as_text(column):
        look = seen[column]
        return look.length * look.differing * look.filled * named(column, TEXT_NAMES) if look.words else 0

    def as_label(column):
        look = seen[column]
        if column == text or not look.labels or look.filled < 0.5 or look.distinct > max(2, 0.5 * len(examples)):
            return 0
        repeats = 1 - look.differing if look.distinct > 1 else 0.1      # a sorted file may begin with one class
        return repeats * look.filled * named(column, LABEL_NAMES)

    if text is None:
        text = max(filter(as_text, columns), key=as_text, default=None)
    return text, max(filter(as_label, columns), key=as_label, default=None)


def choose_columns(source, wanted):
    """({constant: column}, what to say of it) of a Source, for the columns asked for.

    Args:
        wanted: {constant that names a column: its value}, TEXT_COLUMN among them.

    Raises:
        TableError: a column is missing or there twice; the message has the command that names the right ones. Of JSON
            whose first part alone was seen a missing one is told when all is read.
    """
    columns = [name.strip() for name in source.header]
    if not columns:
        return wanted, ""       # an empty or broken file, which is told when it is read
    for column in wanted.values():
        if columns.count(column) > 1:
            raise TableError(f"{source.shown} has more than one column {quoted(column)}")
    missing = [constant for constant, column in wanted.items() if column not in columns]
    if not missing:
        return wanted, ""
    free = [column for column in columns if column not in wanted.values()]
    known_text = wanted["TEXT_COLUMN"] if "TEXT_COLUMN" not in missing else None
    guess = dict(zip(DEFAULTS, guess_columns(free, source.examples, known_text)))
    guess |= {constant: column for constant, column in wanted.items() if constant not in missing}
    in_other_case = {constant: [name for name in free if name.lower() == wanted[constant].lower()]
                     for constant in missing}
    if all(len(names) == 1 for names in in_other_case.values()):
        chosen = wanted | {constant: name for constant, (name,) in in_other_case.items()}
    elif beyond_doubt(source, columns, wanted, missing, guess):
        chosen = wanted | {constant: guess[constant] for constant in missing}
    else:
        chosen = None
    if chosen:
        return chosen, ", ".join(f"{constant.removesuffix('_COLUMN').lower()}s from the column "
                                 f"{quoted(chosen[constant])} (there is no {quoted(wanted[constant])})"
                                 for constant in missing)
    if source.format.kind in ("json", "list") and not source.whole:
        return wanted, ""
    raise TableError(missing_told(source, columns, wanted, missing, guess))


def beyond_doubt(source, columns, wanted, missing, guess):
    """Whether there are two columns, one of long texts that differ, one of short labels that repeat, and the user named
    none of them otherwise."""
    if len(columns) > 2 or source.column_names or header_below(source, wanted) \
            or first_row_above(columns, source.examples, guess):
        return False
    if any(wanted[constant] != DEFAULTS.get(constant) for constant in missing):
        return False
    if "LABEL_COLUMN" not in wanted and columns == [guess["TEXT_COLUMN"]]:
        return True
    if len(source.examples) < FEWEST_ROWS or None in guess.values() or len(columns) < 2:
        return False
    text, label = (looks([cell_text(row.get(guess[constant])) for row in source.examples]) for constant in DEFAULTS)
    told = named(guess["TEXT_COLUMN"], TEXT_NAMES) == 3 and named(guess["LABEL_COLUMN"], LABEL_NAMES) == 3
    return text.length > label.length and text.distinct > label.distinct and label.differing < 0.5 \
        and (text.differing > 0.5 or told)


def first_row_above(columns, examples, guess):
    """Whether what was read as a header looks like a row: its label stands below too, or a cell is a text or number."""
    label = guess["LABEL_COLUMN"]
    if any(named(column, TEXT_NAMES | LABEL_NAMES) == 3 for column in columns):
        return False
    if label is not None and label in {cell_text(row.get(label)) for row in examples}:
        return True
    return any(len(column) > LONGEST_NAME or re.fullmatch(r"-?\d+(\.\d+)?", column) for column in columns)


def missing_told(source, columns, wanted, missing, guess):
    """The message for missing columns: which there are, an example row, the constants that name the right ones."""
    told = f"{source.shown} has no column {quoted(wanted[missing[0]])}; it has {listed(columns, 120)}"
    row = next(iter(source.examples), None)
    if row and len(columns) > 1:
        cells = [quoted(cell_text(row.get(column)), 24) for column in columns[:12]]
        told += f" (such as {', '.join(cells)[:90]})"
    if source.column_names:
        return f"{told} by COLUMN_NAMES"
    below = header_below(source, wanted)
    if below:
        return f"{told}; its header seems to be row {below}: remove what stands above it"
    if source.format.kind in ("delimited", "xlsx") and first_row_above(columns, source.examples, guess):
        names = {guess[constant]: wanted[constant] for constant in DEFAULTS if constant in wanted and guess[constant]}
        if len(columns) <= 20:
            given = ",".join(names.get(column, f"column_{place}") for place, column in enumerate(columns, start=1))
            return f"{told}; its first line is a row and no header: --COLUMN_NAMES={shlex.quote(given)}"
        return f"{told}; its first line is a row and no header: name the columns with COLUMN_NAMES"
    if len(columns) < len(wanted):
        return f"{told}, and {len(wanted)} columns are needed; name them with {' and '.join(missing)}"
    hints = [f"--{constant}={shlex.quote(guess[constant])}" for constant in missing
             if guess.get(constant) is not None and len(guess[constant]) <= 60 and guess[constant].isprintable()]
    if len(hints) < len(missing):
        others = ", ".join(constant for constant in missing if not any(f"--{constant}=" in hint for hint in hints))
        hints.append(f"name it with {others}" if not hints else f"and {others}, which names the other")
    header = "; if its first line is no header, name the columns with COLUMN_NAMES" \
        if source.format.kind == "delimited" and len(hints) and not hints[0].startswith("--") else ""
    return f"{told}; {' '.join(hints)}{header}"


def header_below(source, wanted):
    """The number of the row, of the first few, whose cells are the columns asked for; 0 where there is none."""
    for number, row in enumerate(source.examples[:10], start=2):
        cells = {cell_text(value).lower() for value in row.values()}
        if {column.lower() for column in wanted.values()} <= cells \
                or len(cells & (TEXT_NAMES | LABEL_NAMES)) >= len(wanted):
            return number
    return 0


def refuse_header_as_row(table, column_names):
    """Refuse a Table whose columns were named by the user although its first line names them: its cells are names of
    columns, or it alone has its label, a word without blanks beside another."""
    text, label, rows = table.texts[0], table.labels[0], Counter(table.labels)
    given = {name.strip().lower() for name in column_names}
    names = label.lower() in given | LABEL_NAMES, text.lower() in given | TEXT_NAMES
    short = len(text) <= LONGEST_NAME and not re.search(r"\s", text)
    others = [count for name, count in rows.items() if name != label]
    alone = rows[label] == 1 and sum(others) >= FEWEST_ROWS and min(others) > 1
    if all(names) or short and rows[label] == 1 and (names[0] or alone):
        raise TableError(f"{table.path}: its first line ({quoted(label)}, {quoted(text)}) is a header, which would be "
                         f"trained on as a row; leave COLUMN_NAMES empty and name the columns as it does: "
                         f"--TEXT_COLUMN={shlex.quote(text[:60])} --LABEL_COLUMN={shlex.quote(label[:60])}")
