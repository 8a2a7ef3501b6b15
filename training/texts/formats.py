"""Which format a table has: decided once per file, from its name and its first part.

find_format() asks three questions in this order: of which kind (by ending and first bytes), in which encoding, and for
a delimited one what stands between the cells and whether quotes are more than characters. What the ending does not say
already is noted for the line about rows. A further file format is a line in ENDINGS and its rows in reading.py.
"""

import codecs
import csv
import io
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from training.texts.refusal import STANDARD_INPUT, TableError, quoted, shown_path

ENDINGS = {".csv": "delimited", ".tsv": "delimited", ".jsonl": "json", ".ndjson": "json", ".json": "json",
           ".xlsx": "xlsx", ".parquet": "parquet"}
OTHER_ENDINGS = "; .txt and others where their lines hold tabs, semicolons or commas"
DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars"}      # name as the screen says it
QUOTINGS = {"double": csv.QUOTE_MINIMAL, "none": csv.QUOTE_NONE}       # what QUOTING can be, beside empty

ROWS_LOOKED_AT = 1000       # of the first part
FEWEST_FULL_ROWS = 0.9      # share of the lines that must have all cells, for a delimiter or for quotes as characters

# First bytes that say what a file is, whatever its name, with the way out where it cannot be read.
FOREIGN = {b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as .xlsx or as CSV UTF-8",
           b"PK\x03\x04": "a zip archive, as .xlsx is one too; unpack it, or give it the ending .xlsx",
           b"\x1f\x8b": "gzipped; give it the ending .gz",
           b"PAR1": "a Parquet file; give it the ending .parquet",
           b"version https://git-lfs": "a Git LFS pointer and not the table; git lfs pull fetches it",
           b"<!DOCTYPE html": "a web page and no table; download the file itself",
           b"<!doctype html": "a web page and no table; download the file itself",
           b"<html": "a web page and no table; download the file itself"}

BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# What a file that is not UTF-8 may be in, for charset-normalizer to choose from; by the name that iconv knows.
ENCODINGS = {"gb18030": "GB18030", "big5": "BIG5", "euc_kr": "EUC-KR", "shift_jis": "SHIFT_JIS", "euc_jp": "EUC-JP",
             "cp1252": "WINDOWS-1252", "cp1251": "WINDOWS-1251", "koi8_r": "KOI8-R", "cp1250": "WINDOWS-1250",
             "cp1253": "WINDOWS-1253", "cp1254": "WINDOWS-1254", "cp1255": "WINDOWS-1255", "cp1256": "WINDOWS-1256"}
# Shares of a Chinese text's characters: those that GB2312's first level and punctuation have, and those of its second
# half (by sound: from shang to zuo), where EUC-KR has no Hangul.
COMMON_CHINESE, SURELY_CHINESE, BEYOND_HANGUL = 0.9, 0.95, 0.05
# What Western European texts hold beyond ASCII; without the letters of Windows-1252 that are others' in its neighbours.
WESTERN = frozenset("àâäáãåæçéèêëíìîïñóòôöõøœúùûüßÀÂÄÁÃÅÆÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØŒÚÙÛÜ“”‘’„‚–—…€£°«»¡¿·®©™\xa0")


@dataclass
class Beginning:
    """The first part of a file, unzipped."""
    head: bytes
    whole: bool                 # nothing follows it
    beyond: bytes = b""         # where it is all ASCII, a later piece that is not


@dataclass
class Format:
    kind: str                           # delimited, json, list (JSON), xlsx or parquet
    encoding: str = "utf-8-sig"
    delimiter: str = ","                # of delimited; also of what is written from .xlsx and .parquet
    quoting: int = csv.QUOTE_MINIMAL    # of the csv module
    skipped: int = 0                    # lines above the header
    said: list[str] = field(default_factory=list)       # what the ending does not say, for the screen
    likely: str = ""                    # the encoding that a file which is not UTF-8 may have

    @property
    def counts(self):
        """What the numbers of its rows count: the lines of a file, or where those say nothing its rows."""
        return "row" if self.kind in ("list", "xlsx", "parquet") else "line"


def find_format(path, beginning, wanted, column_names=(), encoding="", quoting=""):
    """The Format of a table, by its Beginning.

    Args:
        wanted: the columns that will be asked for.
        encoding, quoting: as the user named them; empty: recognised.

    Raises:
        TableError: no known format.
    """
    ending = ending_of(path)
    kind = ENDINGS.get(ending, "text")
    if kind not in ("xlsx", "parquet"):
        for begins, what in FOREIGN.items():
            if beginning.head.startswith(begins):
                raise TableError(f"{shown_path(path)} is {what}")
    else:
        return Format(kind)
    found = find_encoding(beginning, encoding)
    text = first_text(beginning, found.encoding)
    begins = text.lstrip("\ufeff \t\r\n")[:200]
    if kind in ("json", "text"):
        if re.match(r"\[\s*(\{|\]\s*$)", begins):
            found.kind = "list"
        elif kind == "json" or re.match(r'\{\s*"', begins):
            found.kind = "json"
            refuse_one_object(path, text, ending)
        if found.kind != "delimited":
            found.said += ["one JSON list"] if found.kind == "list" else []
            return found
    lines = whole_lines(text, beginning.whole)
    own = "\t" if ending in (".tsv", ".tab", ".txt") else ","
    found.delimiter = find_delimiter(found, lines, own, wanted, column_names, known=kind == "delimited")
    if not found.delimiter and not text.strip():
        raise TableError(f"{shown_path(path)} is empty")
    if not found.delimiter:
        raise TableError(f"{shown_path(path)}: the ending says no known format; known are {', '.join(ENDINGS)}, each "
                         f"also with .gz{OTHER_ENDINGS}")
    if found.delimiter != own:
        found.said.append(f"separated by {DELIMITERS.get(found.delimiter, quoted(found.delimiter))}")
    found.quoting = QUOTINGS[quoting] if quoting else find_quoting(lines[found.skipped:], found.delimiter)
    if found.quoting == csv.QUOTE_NONE:
        found.said.append("quotes read as characters")
    return found


def ending_of(path):
    """The ending of a table's name without .gz, in small letters; standard input is CSV."""
    if path == STANDARD_INPUT:
        return ".csv"
    path = Path(path)
    return (Path(path.stem) if is_gzipped(path) else path).suffix.lower()


def is_gzipped(path):
    return Path(path).suffix.lower() == ".gz"


def first_text(beginning, encoding):
    return codecs.getincrementaldecoder(encoding)("replace").decode(beginning.head, beginning.whole)


def whole_lines(text, whole):
    """The lines of a text; the last one only where nothing is cut from it."""
    lines = list(io.StringIO(text, newline=""))
    return lines if whole or len(lines) == 1 else lines[:-1]


def refuse_one_object(path, text, ending):
    """A .json that is one object over several lines has rows nowhere: pandas' columns, or a list below a key."""
    if ending == ".json" and re.match(r"\{\s*[\r\n]|\{\s*\"[^\"]*\"\s*:\s*[\[{]", text.lstrip("\ufeff \t\r\n")):
        raise TableError(f"{shown_path(path)} is one JSON object; a table is one object a line or a list of them, as "
                         "pandas writes with to_json(path, orient=\"records\", lines=True)")


# Encoding

def find_encoding(beginning, named=""):
    """A Format with the encoding: the one named, a byte order mark's, UTF-8 where it fits, GB18030 where that does."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS if beginning.head.startswith(mark)), "")
    if named:
        try:
            codec = codecs.lookup(named)
            if not codec._is_text_encoding:
                raise LookupError
        except (LookupError, ValueError):
            raise TableError(f"ENCODING is {quoted(named)}, which Python does not know; utf-8, gb18030, utf-16 and "
                             "cp1252 are some that it does") from None
        marked = marked if codec.name.startswith("utf") else ""
        return _encoded(marked or ("utf-8-sig" if codec.name == "utf-8" else codec.name))
    if marked:
        return _encoded(marked)
    content = beginning.head + beginning.beyond
    if b"\0" not in content and decodes(content, "utf-8"):
        return Format("delimited")
    lines = content.split(b"\n")
    if not beginning.whole and len(lines) > 1:
        lines.pop()         # may be cut within a character
    if b"\0" not in content:
        content = b"\n".join(line for line in lines if not line.isascii()) or content
    likely = likely_encoding(content)
    return _encoded(likely) if likely == "gb18030" else Format("delimited", likely=likely)


def _encoded(name):
    return Format("delimited", name, said=[] if name == "utf-8-sig" else [shown_encoding(name)])


def shown_encoding(name):
    return "UTF-8" if name == "utf-8-sig" else ENCODINGS.get(name, name.upper())


def decodes(content, encoding):
    """Whether bytes that may be cut within a character can be read so."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(content)
        return True
    except UnicodeDecodeError:
        return False


def likely_encoding(content):
    """The encoding that charset-normalizer finds likeliest in bytes that are not UTF-8, '' for none."""
    from charset_normalizer import from_bytes       # here: few files need it
    if b"\0" in content:       # ASCII characters' first or second byte in UTF-16, and few others'
        first, second = content[::2].count(0), content[1::2].count(0)
        return "" if 10 * min(first, second) > max(first, second) else "utf-16-be" if first > second else "utf-16-le"
    common, late = chinese_shares(content)
    if common >= SURELY_CHINESE and late >= BEYOND_HANGUL:
        return "gb18030"
    choice = [name for name in ENCODINGS if name != "gb18030" or common >= COMMON_CHINESE]
    best = from_bytes(content, cp_isolation=choice).best()
    if best and best.encoding in ("cp1250", "cp1254") and {
            character for character in content.decode("cp1252", "replace") if not character.isascii()} <= WESTERN:
        return "cp1252"
    return best.encoding if best else ""


def chinese_shares(content):
    """Of the characters beyond ASCII that bytes have as GB18030 the shares that are everyday Chinese, and those of them
    that are no Hangul in EUC-KR; (0, 0) for what is not GB18030. Western bytes can pass for rare characters."""
    if not decodes(content, "gb18030"):
        return 0.0, 0.0
    text = codecs.getincrementaldecoder("gb18030")().decode(content)
    pairs = [character.encode("gb18030") for character in text if not character.isascii()]
    common = [pair for pair in pairs if len(pair) == 2 and 0xa1 <= pair[0] <= 0xd7 and pair[1] >= 0xa1]
    late = sum(pair[0] > 0xc8 for pair in common)
    return len(common) / max(len(pairs), 1), late / max(len(pairs), 1)


def way_to_utf8(path, likely):
    """What to do with a file that is not in the encoding it was read as."""
    if not likely:
        return "save it as UTF-8, or name its encoding with ENCODING"
    name = ENCODINGS.get(likely, likely.upper())
    if path == STANDARD_INPUT:
        return f"it is likely {name}, which ENCODING={likely} reads"
    source = shlex.quote(str(path))
    iconv = f"iconv -f {name} -t UTF-8"
    convert = f"gzip -dc {source} | {iconv}" if is_gzipped(path) else f"{iconv} {source}"
    return f"it is likely {name}: --ENCODING={likely} reads it so, or convert it: {convert} > utf8.csv"


# Delimiter

def find_delimiter(found, lines, own, wanted, column_names, known):
    """What stands between the cells, '' where nothing does; found.skipped is set where Excel's first line says it.

    Args:
        own: the delimiter that goes with the ending.
        known: whether the ending is that of a delimited file, which may have a single column.
    """
    first = next(iter(lines), "")
    told = re.fullmatch(r'"?sep=(.)"?,?[\r\n]*', first, re.IGNORECASE)
    if told:
        found.skipped = 1
        found.said.append("its first line, sep=, skipped")
        return told[1]
    first = next((line for line in lines if line.strip()), "")
    header = [name.strip() for row in islice(csv.reader([first], delimiter=own), 1) for name in row]
    if not column_names and any(column in header for column in wanted):
        return own
    try:
        sniffed = csv.Sniffer().sniff("".join(lines[:50])[:10_000], delimiters="".join(DELIMITERS)).delimiter
    except csv.Error:
        sniffed = own
    for delimiter in ("\t", own, sniffed, *DELIMITERS):     # texts seldom hold tabs, often commas
        if fits(lines, delimiter, len(column_names)):
            return delimiter
    return own if known else ""


def fits(lines, delimiter, count=0):
    """Whether the first rows have so many cells each, or as many as the first one, and more than one."""
    for quoting in QUOTINGS.values():
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting)
        try:
            sizes = [len(row) for row in islice(reader, ROWS_LOOKED_AT) if row]
        except csv.Error:       # a cell beyond the csv module's limit
            continue
        expected = count or (sizes[0] if sizes else 0)
        if expected > 1 and max(sizes) <= expected and sizes.count(expected) >= FEWEST_FULL_ROWS * len(sizes):
            return True
    return False


# Quotes

def find_quoting(lines, delimiter):
    """Whether cells stand in double quotes or quotes are characters: by whether they balance.

    Only a tab is a delimiter that a text without quotes can do without, so only there an open quote means that none
    has a meaning. Quotes that balance by chance and swallow rows are told by the rows between.
    """
    lines = [line for line in lines if line.strip()]
    if not any('"' in line for line in lines):
        return csv.QUOTE_MINIMAL
    cells = [line.rstrip("\r\n").split(delimiter) for line in lines]
    columns = len(cells[0])
    full = sum(len(row) == columns for row in cells)
    if columns < 2 or full < FEWEST_FULL_ROWS * len(cells) or any(len(row) > columns for row in cells):
        return csv.QUOTE_MINIMAL
    spans, balanced = [], True          # of rows over several lines, as (first, behind the last) line
    reader, begun = csv.reader(lines, delimiter=delimiter, strict=True), 0
    try:
        for row in reader:
            if reader.line_num - begun > 1 and any(delimiter in cell for cell in row):
                spans.append((begun, reader.line_num))
            begun = reader.line_num
    except csv.Error:
        balanced = False
    swallowed = any(rows_again(cells, *span, columns) for span in spans)
    return csv.QUOTE_NONE if swallowed or not balanced and delimiter == "\t" else csv.QUOTE_MINIMAL


def rows_again(cells, begin, end, columns):
    """Whether the lines within one quoted cell are rows themselves: a column has in them what it has elsewhere."""
    within, outside = cells[begin:end], cells[:begin] + cells[end:]
    if any(len(row) != columns for row in within):
        return False
    for column in range(columns):
        known = Counter(row[column] for row in outside if len(row) == columns)
        if all(known[row[column]] > 1 for row in within):
            return True
    return False
