"""Scoring a table: what stands in it comes out as it was, in order, with the predictions behind it, in bounded memory."""

import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pretended
import pytest
import torch
from conftest import ROOT, on_cuda, posts, write_csv

import BERT_model_aggressive as module
from BERT_model_aggressive import BertSentimentClassifier
from training import precision, scoring
from training.predicting import batches_of, one_ahead
from training.scoring import free_names

CLASSES = ["Irrelevant", "Negative", "Neutral", "Positive"]
ADDED = ["label", "probability", *CLASSES]
SCRIPT = ROOT / "BERT_model_aggressive.py"
AWKWARD = ["love, really", 'it said "no"', "two\nlines", "old\r\nand\rolder", "great 🙂👩‍👩‍👧", "שלום مرحبا \u202e", " blanks ",
           "tab\there", "\u2028 and \x85", "'", "\\", "e\u0301", "x" * 5000]


@pytest.fixture(scope="module")
def folder(tiny_encoder, tmp_path_factory):
    """A saved classifier whose predictions differ from text to text."""
    torch.manual_seed(0)
    model = BertSentimentClassifier(str(tiny_encoder), label_names=CLASSES, head="linear", max_length=32)
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(tmp_path_factory.mktemp("run") / "best")
    return tmp_path_factory.getbasetemp() / "run0" / "best"


@pytest.fixture(scope="module")
def model(folder):
    return BertSentimentClassifier.from_pretrained(folder)


@pytest.fixture
def score(folder, capsys):
    """Score a table in this process: score(table, "--NAME=value", ...) -> (status, output, errors)."""
    def run(table, *options, model_folder=folder):
        status = module.main([str(model_folder), str(table), *options])
        return status, *capsys.readouterr()
    return run


def in_a_process(folder, table, *options, python=sys.executable, **how):
    command = [python, SCRIPT, folder, table, "--EXACT=True", *options]
    return subprocess.run(command, capture_output=True, timeout=120, **how)


def parsed(text, delimiter=","):
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def predicted(model, texts):
    """The added cells that model.predict stands for."""
    labels, probabilities = model.predict([text.strip() for text in texts])
    return [[label, *(f"{share:.4f}" for share in (max(shares), *shares))]
            for label, shares in zip(labels, probabilities.tolist())]


def assert_close(cells, expected):
    """The same labels, and probabilities that differ in the last place at most: batches are padded differently."""
    assert [row[0] for row in cells] == [row[0] for row in expected]
    for row, other in zip(cells, expected):
        assert all(re.fullmatch(r"[01]\.\d{4}", cell) for cell in row[1:])
        assert [float(cell) for cell in row[1:]] == pytest.approx([float(cell) for cell in other[1:]], abs=1.1e-4)


# The table comes out as it went in

@pytest.mark.parametrize("ending, delimiter", [(".csv", ","), (".tsv", "\t"), (".csv.gz", ","), (".tsv.gz", "\t")])
def test_every_cell_comes_out_as_it_was_with_the_predictions_of_the_model_behind_it(
        tmp_path, score, model, ending, delimiter):
    rows = [[str(number), text, f"{text} again"] for number, text in enumerate(AWKWARD)]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([["id", "text", " note "], *rows])
    content = b"\xef\xbb\xbf" + file.getvalue().encode("utf-8")
    (tmp_path / f"t{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    status, output, errors = score(tmp_path / f"t{ending}")
    header, *scored = parsed(output, delimiter)
    assert status == 0 and header == ["id", "text", " note ", *ADDED]
    assert [row[:3] for row in scored] == rows
    assert_close([row[3:] for row in scored], predicted(model, AWKWARD))
    assert re.fullmatch(r"scored 13 of 13 rows \([\d,]+ rows/s\)\n", errors)


@on_cuda
def test_on_cuda_a_table_is_scored_in_fp16_and_with_the_same_labels(device, tmp_path, score, model):
    texts = [text for text, _ in posts(100)]
    status, output, errors = score(write_csv(tmp_path / "t.csv", [[text] for text in texts], ["text"]))
    assert status == 0 and "scored 100 of 100 rows" in errors
    cells, expected = [row[1:] for row in parsed(output)[1:]], predicted(model, texts)
    agreeing = sum(row[0] == wanted[0] for row, wanted in zip(cells, expected))
    assert agreeing >= 97       # two classes may be all but even
    assert [float(row[1]) for row in cells] == pytest.approx([float(row[1]) for row in expected], abs=0.02)


@on_cuda
@pytest.mark.skipif(not pretended.is_here(), reason="a GPU's memory cannot be made short")
def test_a_device_that_does_not_hold_a_batch_is_told_in_one_line(device, tmp_path, score, monkeypatch):
    score_table = module.score_table

    def short_of_memory(*arguments):
        with pretended.memory(more=10_000):
            return score_table(*arguments)

    monkeypatch.setattr(module, "score_table", short_of_memory)
    status, _, errors = score(write_csv(tmp_path / "t.csv", [["love"]] * 50, ["text"]))
    assert (status, errors.splitlines()[-1]) == (
        2, "error: memory does not hold 32 texts of 32 tokens at once; give a smaller --BATCH_SIZE")


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".jsonl.gz"])
def test_json_is_kept_to_the_character_with_keys_added(tmp_path, score, model, ending):
    lines = [json.dumps({"text": text, "n": 1.10}, ensure_ascii=False) for text in AWKWARD]
    lines += ['{"text":"love","big":12345678901234567890123,"e":1E400,"half":"\\ud800","x":null, "x":[1, {"y": "é"}] }']
    content = ("\r\n".join(lines)).encode("utf-8")
    (tmp_path / f"t{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    status, output, _ = score(tmp_path / f"t{ending}")
    scored = [json.loads(line) for line in output.split("\n")[:-1]]
    assert status == 0 and all(line.startswith(was[:-1].rstrip() + ", ") for line, was in zip(output.split("\n"), lines))
    assert [list(row)[-6:] for row in scored] == [ADDED] * len(lines)
    cells = [[row["label"], *(f"{row[name]:.4f}" for name in ADDED[1:])] for row in scored]
    assert_close(cells, predicted(model, [*AWKWARD, "love"]))


def test_standard_input_is_csv_and_the_output_is_utf_8_whatever_the_locale(folder, model):
    content = "text\n" + "".join(f'"{text}"\n' for text in ("love 🙂", "שלום", "two\nlines"))
    done = in_a_process(folder, "-", input=content.encode("utf-8"),
                        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii",
                             "PYTHONWARNINGS": "error::ResourceWarning"})
    header, *scored = parsed(done.stdout.decode("utf-8"))
    assert done.returncode == 0 and header == ["text", *ADDED]
    assert [row[0] for row in scored] == ["love 🙂", "שלום", "two\nlines"]
    assert_close([row[1:] for row in scored], predicted(model, [row[0] for row in scored]))
    assert re.fullmatch(rb"scored 3 of 3 rows \([\d,]+ rows/s\)\n", done.stderr)     # no bar where no terminal is


@pytest.mark.parametrize("chunk", [{"CHUNK_ROWS": 7}, {"CHUNK_CHARACTERS": 100}])
def test_rows_keep_their_order_whatever_the_chunks_and_batches(tmp_path, score, model, monkeypatch, chunk):
    for name, value in chunk.items():
        monkeypatch.setattr(scoring, name, value)
    texts = [text * (number % 5 + 1) for number, (text, _) in enumerate(posts(50))]
    _, output, _ = score(write_csv(tmp_path / "t.csv", [(text,) for text in texts], ["text"]), "--BATCH_SIZE=4")
    scored = parsed(output)[1:]
    assert [row[0] for row in scored] == texts
    assert_close([row[1:] for row in scored], predicted(model, texts))


def test_rows_without_text_get_empty_cells_and_are_counted(tmp_path, score):
    (tmp_path / "t.csv").write_text("id,text\n1,love\n2,  \n3\n\n5,hate\n", "utf-8")
    status, output, errors = score(tmp_path / "t.csv")
    rows = parsed(output)[1:]
    assert [row[:2] for row in rows] == [["1", "love"], ["2", "  "], ["3", ""], ["", ""], ["5", "hate"]]
    assert [row[2:] == [""] * 6 for row in rows] == [False, True, True, True, False]
    assert status == 0 and errors.startswith("scored 2 of 5 rows: 3 without text (")

    (tmp_path / "t.jsonl").write_text('{"text": "love"}\n{"text": null}\n\n{"id": 4}\n{ }\n', "utf-8")
    _, output, errors = score(tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in output.splitlines()]
    nothing = dict.fromkeys(ADDED)
    assert rows[1:] == [{"text": None, **nothing}, nothing, {"id": 4, **nothing}, nothing]
    assert errors.startswith("scored 1 of 5 rows: 4 without text (")


def test_a_column_that_has_an_added_name_is_kept_and_the_added_one_is_told_otherwise(tmp_path, score):
    header = ["label", "text", "Positive", "predicted_label", "note", "note"]
    table = write_csv(tmp_path / "t.csv", [("gold", "love", "p", "q", "one", "two")] * 2, header)
    _, output, errors = score(table)
    names, *rows = parsed(output)
    assert names == [*header, "predicted_predicted_label", "probability", *CLASSES[:3], "predicted_Positive"]
    assert all(row[:6] == ["gold", "love", "p", "q", "one", "two"] and row[6] in CLASSES for row in rows)
    assert errors.count("predicted_predicted_label, predicted_Positive") == 1

    (tmp_path / "t.jsonl").write_text('{"text": "love"}\n' * 9 + '{"text": "hate", "label": "gold"}\n', "utf-8")
    _, output, errors = score(tmp_path / "t.jsonl")      # the name is taken in the last row, so it is in the first
    rows = [json.loads(line) for line in output.splitlines()]
    assert all(row["predicted_label"] in CLASSES for row in rows) and rows[9]["label"] == "gold"
    assert not any("label" in row for row in rows[:9]) and errors.count("predicted_label") == 1


def test_a_class_may_be_called_like_an_added_column():
    assert free_names(["label", "probability", "label", "no"], ["text"]) \
        == ["label", "probability", "predicted_label", "no"]


def test_a_header_without_rows_gives_a_header_without_rows(tmp_path, score):
    (tmp_path / "t.csv").write_text("id,text\n", "utf-8")
    status, output, errors = score(tmp_path / "t.csv")
    assert (status, output) == (0, f"id,text,{','.join(ADDED)}\n")
    assert errors.startswith("scored 0 of 0 rows (")


def test_a_file_without_header_gets_one_and_any_column_can_be_the_text(tmp_path, score, model):
    table = write_csv(tmp_path / "t.csv", [("1", "love"), ("2", "hate")], header=None)
    status, output, _ = score(table, "--COLUMN_NAMES=id, body", "--TEXT_COLUMN=body")
    header, *rows = parsed(output)
    assert status == 0 and header == ["id", "body", *ADDED]
    assert [row[:2] for row in rows] == [["1", "love"], ["2", "hate"]]
    assert_close([row[2:] for row in rows], predicted(model, ["love", "hate"]))


# Files as they come are read as in training

TEXTS = ["love", "hate, and more", "这个很好", "awful; broken"] * 5


@pytest.mark.parametrize("name, encoding, delimiter, said", [
    ("t.csv", "gb18030", ",", "read as: GB18030\n"), ("t.csv", "utf-16", ",", "read as: UTF-16\n"),
    ("t.txt", "utf-16", "\t", "read as: UTF-16\n"), ("t.csv", "utf-8", ";", "read as: separated by semicolons\n")])
def test_any_encoding_and_separator_of_training_is_scored_with_the_same_separator(
        tmp_path, score, model, name, encoding, delimiter, said):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *enumerate(TEXTS)])
    (tmp_path / name).write_bytes(file.getvalue().encode(encoding))
    status, output, errors = score(tmp_path / name)
    header, *rows = parsed(output, delimiter)
    assert status == 0 and header == ["id", "text", *ADDED] and [row[1] for row in rows] == TEXTS
    assert_close([row[2:] for row in rows], predicted(model, TEXTS))
    assert errors.startswith(said)


def test_standard_input_is_looked_at_too(folder, model, python):
    content = "id;text\n" + "".join(f'{number};"{text}"\n' for number, text in enumerate(TEXTS))
    done = in_a_process(folder, "-", input=content.encode("gb18030"), python=python)
    assert done.returncode == 0, done.stderr
    rows = parsed(done.stdout.decode("utf-8"), ";")[1:]
    assert [row[1] for row in rows] == TEXTS
    assert_close([row[2:] for row in rows], predicted(model, TEXTS))
    assert done.stderr.startswith(b"read as: GB18030, separated by semicolons\n")


def test_a_json_list_is_scored_as_json_lines(tmp_path, score, model):
    (tmp_path / "t.json").write_text(json.dumps([{"text": text, "n": [1, 2]} for text in TEXTS], indent=1), "utf-8")
    status, output, _ = score(tmp_path / "t.json")
    rows = [json.loads(line) for line in output.splitlines()]
    assert status == 0 and [row["text"] for row in rows] == TEXTS and all(list(row)[2:] == ADDED for row in rows)
    cells = [[row["label"], *(f"{row[name]:.4f}" for name in ADDED[1:])] for row in rows]
    assert_close(cells, predicted(model, TEXTS))


@pytest.mark.parametrize("ending", [".xlsx", ".parquet"])
def test_a_workbook_and_parquet_are_scored_as_csv(tmp_path, score, model, ending):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip({".xlsx": "openpyxl", ".parquet": "pyarrow"}[ending])
    frame = pandas.DataFrame({"id": range(len(TEXTS)), "text": TEXTS})
    {".xlsx": frame.to_excel, ".parquet": frame.to_parquet}[ending](tmp_path / f"t{ending}", index=False)
    status, output, _ = score(tmp_path / f"t{ending}")
    header, *rows = parsed(output)
    assert status == 0 and header == ["id", "text", *ADDED] and [row[:2] for row in rows] == [
        [str(number), text] for number, text in enumerate(TEXTS)]
    assert_close([row[2:] for row in rows], predicted(model, TEXTS))


def test_a_column_guessed_in_training_is_guessed_in_scoring_and_said(tmp_path, score):
    rows = [(str(number % 2), f"the phone {number} is a phone that I love") for number in range(20)]
    table = write_csv(tmp_path / "t.csv", rows, ["sentiment", "review"])
    status, _, errors = score(table)
    assert status == 0 and "read as: texts from the column 'review' (there is no 'text')" in errors
    table = write_csv(tmp_path / "t.csv", [(*row, number) for number, row in enumerate(rows)], ["stars", "review", "id"])
    status, output, errors = score(table)
    assert (status, output) == (2, "") and errors.endswith("; --TEXT_COLUMN=review\n")


def test_encoding_and_quotes_can_be_named(tmp_path, score):
    (tmp_path / "t.csv").write_bytes('text\n"great café\n'.encode("cp1252"))
    status, output, _ = score(tmp_path / "t.csv", "--ENCODING=cp1252", "--QUOTING=none")
    assert status == 0 and parsed(output)[1][0] == '"great café'


# Fast

def counted_texts(monkeypatch):
    """A list that takes, from now on, the number of texts of each batch that a classifier computes."""
    computed, forward = [], BertSentimentClassifier.forward

    def counting(model, input_ids, *others, **named):
        computed.append(len(input_ids))
        return forward(model, input_ids, *others, **named)

    monkeypatch.setattr(BertSentimentClassifier, "forward", counting)
    return computed


def test_texts_of_the_same_tokens_are_computed_once(tmp_path, score, model, monkeypatch):
    texts = ["love it", "hate it", "Love  IT", "price"] * 200 + ["it is " * 40 + word for word in ("great", "awful")]
    expected, computed = predicted(model, texts), counted_texts(monkeypatch)
    status, output, errors = score(write_csv(tmp_path / "t.csv", [[text] for text in texts], ["text"]))
    assert status == 0 and "scored 802 of 802 rows" in errors
    assert_close([row[1:] for row in parsed(output)[1:]], expected)
    assert sum(computed) == 4 + 1       # the last two are cut alike; "love it" stands in both shares that are tokenized


def test_a_batch_has_so_many_positions_and_a_text_that_is_longer_is_one_of_its_own():
    texts = [("x" * length, ()) for length in (1, 2, 3, 3, 4, 9)]
    assert [[len(ids) for ids, _ in batch] for batch in batches_of(texts, 8)] == [[1, 2], [3, 3], [4], [9]]


def test_the_next_texts_are_tokenized_while_others_are_computed():
    begun = [threading.Event() for _ in range(3)]
    results = one_ahead(lambda number: begun[number].set() or number, range(3))
    for number in range(3):
        assert next(results) == number
        assert number == 2 or begun[number + 1].wait(10)
    assert list(one_ahead(str, [])) == []


def test_in_bfloat16_the_labels_are_those_of_float32_and_exact_asks_for_float32(tmp_path, score, model, monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda: 2.0)
    texts = [text for text, _ in posts(300)]
    table, expected = write_csv(tmp_path / "t.csv", [[text] for text in texts], ["text"]), predicted(model, texts)
    status, output, errors = score(table)
    cells = [row[1:] for row in parsed(output)[1:]]
    assert status == 0 and errors.endswith(" rows/s, bf16)\n")
    shares, wanted = ([[float(cell) for cell in row[1:]] for row in rows] for rows in (cells, expected))
    assert [row[0] for row in cells] == [row[0] for row in expected]
    assert shares != wanted and all(row == pytest.approx(other, abs=0.01) for row, other in zip(shares, wanted))
    status, output, errors = score(table, "--EXACT=True")
    assert status == 0 and errors.endswith(" rows/s)\n")
    assert_close([row[1:] for row in parsed(output)[1:]], expected)


# Memory

MEASURED = """
import sys
sys.path.insert(0, sys.argv[1])
import BERT_model_aggressive
status = BERT_model_aggressive.main(sys.argv[2:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(status, peak, file=sys.stderr)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_memory_does_not_grow_with_the_table(python, folder, tmp_path, ending):
    peaks = []
    for count in (200, 600):
        rows = [(f"love {number}", "n" * 130_000) for number in range(count)]    # 78 MB in the longer one
        table = write_csv(tmp_path / "t.csv", rows, ["text", "note"])
        if ending == ".jsonl":
            table = tmp_path / "t.jsonl"
            table.write_text("".join(json.dumps({"text": text, "note": note}) + "\n" for text, note in rows), "utf-8")
        with open(tmp_path / "scored", "wb") as scored:
            done = subprocess.run([python, "-c", MEASURED, ROOT, folder, table], stdout=scored,
                                  stderr=subprocess.PIPE, text=True, timeout=200)
        status, peak = done.stderr.splitlines()[-1].split()
        with open(tmp_path / "scored", "rb") as scored:
            assert status == "0" and sum(1 for _ in scored) == count + (ending == ".csv")
        peaks.append(int(peak) // 1024)
    assert peaks[1] - peaks[0] < 25, f"{peaks} MB"


# What cannot be done is told in one line

def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, score, posts_csv):
    def refusal(table, *options, **folder):
        status, output, errors = score(table, *options, **folder)
        assert (status, output, errors.count("\n")) == (2, "", 1) and errors.startswith("error: ")
        return errors

    (tmp_path / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    (tmp_path / "t.doc").write_bytes(b"a\nb\n")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "no.jsonl").write_text('{"text": "love"}\n{"text": \n', "utf-8")
    assert "is no saved classifier: it has no classifier.json" in refusal(posts_csv, model_folder=tmp_path)
    assert "gone.csv: no such file" in refusal(tmp_path / "gone.csv")
    assert "is a directory" in refusal(tmp_path)
    assert "has no column 'body'; it has text, label" in refusal(posts_csv, "--TEXT_COLUMN=body")
    assert "known format" in refusal(tmp_path / "t.doc")
    assert "empty.csv is empty" in refusal(tmp_path / "empty.csv")
    assert "no.jsonl, line 2: not JSON" in refusal(tmp_path / "no.jsonl")
    status, output, errors = score(tmp_path / "latin.csv")
    assert status == 2 and re.fullmatch(r"error: .*latin.csv is not UTF-8 \(byte 0xe9 in line 2\); .*\n", errors)


@pytest.mark.parametrize("arguments, told", [
    ([], "required: folder"), (["a", "b", "--TEXT=body"], "--TEXT=body"),
    (["a", "b", "--BATCH_SIZE=many"], "BATCH_SIZE"), (["a", "b", "--BATCH_SIZE=0"], "--BATCH_SIZE=0")])
def test_a_wrong_call_is_told_in_one_line(arguments, told, capsys):
    with pytest.raises(SystemExit) as ended:
        module.main(arguments)
    errors = capsys.readouterr().err
    assert ended.value.code == 2 and told in errors and errors.count("\n") == 1


def test_help_shows_how_to_call_it(capsys):
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0 and "runs/mine/best posts.csv > scored.csv" in capsys.readouterr().out


def begin(python, folder, *options):
    """A process that scores what is written to its standard input, when its first chunk has come out."""
    process = subprocess.Popen([python, SCRIPT, folder, "-", *options], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"text\n" + b"love\n" * 5000)
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"text,label,")
    assert process.stdout.readline().startswith(b"love,")
    return process


def test_a_reader_that_has_had_enough_ends_it_without_a_word(python, folder):
    process = begin(python, folder)
    process.stdout.close()
    _, errors = process.communicate(b"love\n" * 5000, timeout=60)
    assert (process.returncode, errors) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_told_in_one_line(python, folder, tmp_path):
    table = write_csv(tmp_path / "t.csv", [("love",)], ["text"])
    with open("/dev/full", "wb") as full:
        done = subprocess.run([python, SCRIPT, folder, table], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) \
        == (2, b"error: standard output cannot be written: No space left on device\n")


def test_ctrl_c_ends_it_with_one_line(python, folder):
    process = begin(python, folder)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"interrupted: the table written is not whole\n")
