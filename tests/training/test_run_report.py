"""The page of a run: right figures, nothing loaded, nothing run, and pleasant to read in a real browser."""

import base64
import contextlib
import csv
import fcntl
import html.parser
import json
import math
import os
import re
import select
import shutil
import subprocess
import time
import warnings
from types import SimpleNamespace

import numpy
import pytest
from conftest import leave_out_pictures
from sklearn.metrics import accuracy_score, f1_score

from training.report import page as run_page
from training.report.page import harmless
from training.report.scores import (calibration, calibration_error, chance_calibration_error, class_scores, confusions,
                                    length_bands, macro_f1_interval, most_confidently_wrong, scores, shown_matrix,
                                    wilson)
from training.texts.splitting import Overlap
from training.texts.tables import Table


def write_run_report(folder, *, history, best_epoch, probabilities, labels, names, validation, lengths, baseline,
                     shared, warning, constants, facts):
    """The page of a run whose data are these."""
    data = SimpleNamespace(names=names, labels=labels, validation=validation, validation_lengths=lambda: lengths,
                           baseline=baseline, overlap=shared, warning=warning)
    return run_page.write_run_report(folder, data, history, {"epoch": best_epoch, "probabilities": probabilities},
                                     constants, facts)

NAMES = ["Irrelevant", "Negative", "Neutral", "Positive"]
HOSTILE_NAMES = ["<script>window.ran = 1</script>", "日本語 😀", "عربي", "$x_1$ \"quoted\" 'name' & more", "w" * 300]
HOSTILE_TEXTS = ["<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>",
                 "=HYPERLINK(\"http://a.example\")", "שלום עולם, מה שלומך?", "😀 👩‍👩‍👧 🇩🇪", "w" * 3000,
                 "two\nlines, \"quoted\"", "a lone \ud800 surrogate", "\x00\x07"]


# A run, made up

def run(rows=240, names=NAMES, epochs=5, seed=0, texts=None, **changes):
    """The arguments of write_run_report for a model that is right three times in four."""
    random = numpy.random.default_rng(seed)
    labels = random.integers(len(names), size=rows)
    sure = random.normal(size=(rows, len(names)))
    sure[numpy.arange(rows), labels] += numpy.where(random.random(rows) < 0.75, 4.0, 0.0)
    probabilities = numpy.exp(sure) / numpy.exp(sure).sum(axis=1, keepdims=True)
    predictions = probabilities.argmax(axis=1)
    figures = {"val_acc": accuracy_score(labels, predictions),
               "val_macro_f1": f1_score(labels, predictions, average="macro", zero_division=0)}
    history = [{"epoch": epoch, "train_loss": 1.4 / epoch, "val_loss": 0.7 + 0.6 / epoch,
                "lr": 5e-5 * (epochs - epoch) / epochs, "seconds": 30.0, "samples_per_second": 71.0, **figures}
               for epoch in range(1, epochs + 1)]
    texts = [f"text number {row}" for row in range(rows)] if texts is None else (texts * rows)[:rows]
    largest = int(numpy.bincount(labels).argmax())
    baseline = SimpleNamespace(loss=1.3713, accuracy=float((labels == largest).mean()), largest_class=names[largest],
                               linear_model="LinearSVC over TF-IDF", linear_accuracy=0.676, linear_macro_f1=0.693)
    return dict(history=history, best_epoch=min(4, epochs), probabilities=probabilities.astype(numpy.float32),
                labels=labels, names=names, baseline=baseline, shared=Overlap(0.0, None), warning="",
                validation=Table("posts.csv", texts, [names[label] for label in labels],
                                 lines=list(range(2, rows + 2))),
                lengths=random.integers(5, 64, size=rows), constants={"MAX_LENGTH": 64, "VAL_PATH": "", "SEED": 42},
                facts={"encoder": "a small one", "device": "cpu", "label_names": names,
                       "versions": {"torch": "2.13.0"}}) | changes


def hostile_run():
    """Forty classes with names in many scripts, texts that would like to run, a class without rows, a loss of NaN."""
    names = HOSTILE_NAMES + [f"class {number}" for number in range(35)]
    made = run(rows=400, names=names, texts=HOSTILE_TEXTS)
    made["labels"] = numpy.where(made["labels"] == 7, 6, made["labels"])
    made["history"][2] |= {"val_loss": math.nan, "train_loss": math.inf}
    return made


def written(folder, **changes):
    """The page of such a run as text."""
    return write_run_report(folder, **run(**changes)).read_text("utf-8")


@pytest.fixture
def without_pictures(monkeypatch):
    leave_out_pictures(monkeypatch)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """The path of the page of the run above, for tests that only read it."""
    return write_run_report(tmp_path_factory.mktemp("ordinary"), **run())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return write_run_report(tmp_path_factory.mktemp("hostile"), **hostile_run())


@pytest.fixture(params=["ordinary", "hostile"])
def page(request):
    return request.getfixturevalue(request.param)


def saved_rows(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def words(page):
    """What a reader sees: without tags, entities resolved, spaces joined."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


# The figures

def test_the_interval_of_8_of_10_is_that_of_wilson():
    # by hand, z² = 3.8415: middle (0.8 + 0.1921) / 1.3841 = 0.7167, half 1.96 √(0.016 + 0.0096) / 1.3841 = 0.2266
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_an_interval_stays_between_0_and_1_and_of_no_rows_there_is_none():
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert all(map(math.isnan, wilson(0, 0)))


def test_the_calibration_error_of_four_rows_is_that_worked_out_by_hand():
    confidence, right = numpy.array([0.95, 0.95, 0.75, 0.65]), numpy.array([True, False, True, True])
    # two rows 0.95 sure and half right: 0.45 apart; one 0.25 apart; one 0.35 apart: (2 · 0.45 + 0.25 + 0.35) / 4
    assert calibration_error(calibration(confidence, right)) == pytest.approx(0.375)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    bins = calibration(numpy.array([0.5, 0.5001, 1.0]), numpy.array([True] * 3))
    assert [(round(one["low"], 1), one["rows"]) for one in bins] == [(0.4, 1), (0.5, 1), (0.9, 1)]


def test_a_calibrated_model_shows_more_than_the_chance_error_once_in_twenty():
    random = numpy.random.default_rng(1)
    confidence = random.uniform(0.3, 1, size=300)
    limit = chance_calibration_error(confidence)
    errors = [calibration_error(calibration(confidence, random.random(300) < confidence)) for _ in range(400)]
    assert 0.02 < numpy.mean(numpy.array(errors) > limit) < 0.09


def test_the_interval_of_macro_f1_is_that_of_drawing_the_rows_anew():
    made = run(rows=150)
    labels, predictions = made["labels"], made["probabilities"].argmax(axis=1)
    random = numpy.random.default_rng(5)
    draws = [random.integers(150, size=150) for _ in range(400)]
    spread = numpy.std([f1_score(labels[draw], predictions[draw], average="macro") for draw in draws])
    middle = f1_score(labels, predictions, average="macro")
    matrix = numpy.zeros((4, 4), dtype=int)
    numpy.add.at(matrix, (labels, predictions), 1)
    assert macro_f1_interval(matrix) == pytest.approx((middle - 1.96 * spread, middle + 1.96 * spread), abs=0.01)


def test_without_an_error_the_bootstrap_claims_no_interval():
    assert all(map(math.isnan, macro_f1_interval(numpy.diag([5, 6, 7]))))


def test_the_scores_of_a_class_are_those_worked_out_by_hand():
    first, second = class_scores(numpy.array([[6, 2], [1, 3]]), ["a", "b"])
    assert (first["precision"], first["recall"]) == pytest.approx((6 / 7, 6 / 8))
    assert first["f1"] == pytest.approx(12 / 15)
    low, high = wilson(6, 9)                                        # 6 hits in 9 rows that are a or said to be
    assert first["f1_interval"] == pytest.approx([2 * low / (1 + low), 2 * high / (1 + high)])
    assert second["f1_always"] == pytest.approx(2 * 4 / (12 + 4))   # precision 4/12, recall 1


def test_a_matrix_of_200_classes_is_cut_to_the_20_largest_and_loses_no_row():
    made = run(rows=3000, names=[f"class {number}" for number in range(200)])
    matrix = numpy.zeros((200, 200), dtype=int)
    numpy.add.at(matrix, (made["labels"], made["probabilities"].argmax(axis=1)), 1)
    shown = shown_matrix(matrix, made["names"], 20)
    assert len(shown["names"]) == 20 and shown["others"] == 180 and len(shown["lines"]) == 21
    assert sum(cell["count"] for line in shown["lines"] for cell in line["cells"]) == 3000
    smallest = min(line["rows"] for line in shown["lines"][:20])
    assert sorted(matrix.sum(axis=1))[-20] == smallest


def test_the_commonest_errors_come_first_and_right_answers_are_none():
    matrix = numpy.array([[50, 3, 0], [9, 40, 0], [0, 1, 30]])
    assert confusions(matrix, ["a", "b", "c"], 2) == [("b", "a", 9, 49), ("a", "b", 3, 53)]


def test_bands_of_length_hold_every_row_once_and_about_equally_many():
    lengths = numpy.random.default_rng(0).integers(3, 300, size=600)
    bands = length_bands(lengths, lengths < 100, lengths > 0)
    assert [band["rows"] for band in bands] == pytest.approx([100] * 6, abs=5)
    assert sum(band["rows"] for band in bands) == 600
    assert all(below["high"] < above["low"] for below, above in zip(bands, bands[1:]))
    assert bands[0]["accuracy"] == 1 and bands[-1]["accuracy"] == 0


def test_texts_of_one_length_are_one_band():
    assert len(length_bands(numpy.array([7] * 9), numpy.array([True] * 9), numpy.array([True] * 9))) == 1


# The errors and their table

def test_the_surest_errors_come_first():
    confidence = numpy.array([0.9, 0.99, 0.6, numpy.nan, 0.95])
    right = numpy.array([False, True, False, False, False])
    assert most_confidently_wrong(confidence, right, 2) == [4, 0]


def test_the_csv_names_line_text_labels_and_probability_of_each_error(ordinary):
    made = run()
    rows = saved_rows(ordinary.with_name("confidently_wrong.csv"))
    predictions = made["probabilities"].argmax(axis=1)
    assert len(rows) == min(50, (predictions != made["labels"]).sum())
    assert list(rows[0]) == ["line", "text", "label", "predicted", "probability", "corrected"]
    for one in rows:
        row = made["validation"].lines.index(int(one["line"]))
        assert one["text"] == made["validation"].texts[row] and one["corrected"] == ""
        assert one["label"] == NAMES[made["labels"][row]] != one["predicted"] == NAMES[predictions[row]]
        assert float(one["probability"]) == pytest.approx(made["probabilities"][row].max(), abs=1e-4)
    assert [one["probability"] for one in rows] == sorted((one["probability"] for one in rows), reverse=True)


def test_no_cell_of_the_csv_is_a_formula_and_texts_survive_otherwise():
    assert harmless("=1+1") == "'=1+1" and harmless("@sum") == "'@sum" and harmless("- no") == "'- no"
    assert harmless("-1") == "-1"                       # a label
    assert harmless("a\n\"b\", c") == "a\n\"b\", c"


def test_the_page_holds_the_same_csv(page):
    link = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download="confidently_wrong.csv"',
                     page.read_text("utf-8"))[1]
    assert base64.b64decode(link) == page.with_name("confidently_wrong.csv").read_bytes()


@pytest.mark.usefixtures("without_pictures")
def test_texts_of_a_megabyte_are_cut_in_the_page_and_whole_in_the_csv(tmp_path):
    long = "many words " * 100_000
    page = written(tmp_path, texts=[long.strip()])
    assert len(page) < 500_000 and "1,099,999 characters" in words(page) and "too large to lie inside" in words(page)
    csv.field_size_limit(10_000_000)
    assert saved_rows(tmp_path / "confidently_wrong.csv")[0]["text"] == long.strip()


# The page

class Reader(html.parser.HTMLParser):
    """Checks that every element is closed in turn; collects ids and whatever an element refers to."""
    VOID = {"meta", "link", "img", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.references, self.ids, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [value for name, value in attributes
                            if name in ("src", "href", "srcset", "action", "data", "poster", "background")]
        self.ids += [value for name, value in attributes if name == "id"]
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_refers_to_nothing_but_itself_and_the_csv_beside_it(page):
    reader = read(page.read_text("utf-8"))
    for reference in reader.references:
        assert (reference.startswith("data:") or reference == "confidently_wrong.csv"
                or reference[0] == "#" and reference[1:] in reader.ids)
    assert "script" not in reader.tags and "iframe" not in reader.tags


def test_html_in_texts_and_names_is_shown_and_not_run(hostile):
    page = hostile.read_text("utf-8")
    assert "<script" not in page and "onerror='" not in page
    assert "&lt;script&gt;window.ran = 1&lt;/script&gt;" in page


def test_texts_find_their_own_direction(hostile):
    assert '<td class="text" dir="auto">שלום' in hostile.read_text("utf-8")


def test_the_first_words_are_the_scores_beside_their_baselines(ordinary):
    made, text = run(), words(ordinary.read_text("utf-8"))
    first = text[:text.index("Learning curves")]
    accuracy, right = made["history"][3]["val_acc"], round(240 * made["history"][3]["val_acc"])
    assert f"Accuracy {accuracy:.3f}, macro-F1 {made['history'][3]['val_macro_f1']:.3f}" in first
    assert f"{right} of 240 validation texts" in first
    assert "{:.3f} to {:.3f}".format(*wilson(right, 240)) in first
    assert re.search(r"LinearSVC over TF-IDF 0\.676 0\.\d+ to 0\.\d+ 0\.693", first)
    assert f"always {made['baseline'].largest_class} {made['baseline'].accuracy:.3f}" in first


def test_always_saying_one_class_gets_the_macro_f1_of_sklearn():
    made = run()
    largest = NAMES.index(made["baseline"].largest_class)
    wanted = f1_score(made["labels"], numpy.full(240, largest), average="macro", zero_division=0)
    line = scores(numpy.diag(numpy.bincount(made["labels"])), made["baseline"],
                             int((made["labels"] == largest).sum()))[2]
    assert line["macro_f1"] == pytest.approx(wanted)


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("linear, said", [(0.2, "lies below the interval"), (0.82, "can be chance"),
                                          (0.99, "does worse than counting words")])
def test_the_first_words_say_what_the_difference_to_the_linear_model_is_worth(tmp_path, linear, said):
    made = run()
    made["baseline"].linear_accuracy = linear
    assert said in words(write_run_report(tmp_path, **made).read_text("utf-8"))


@pytest.mark.usefixtures("without_pictures")
def test_guessing_the_leak_the_constants_and_the_machine_are_told(tmp_path):
    text = words(written(tmp_path, shared=Overlap(0.05, 0.5), warning="inflated: 50% of validation stands in training"))
    for said in ("a loss of 1.371", "12 of 240 (5.0 %) stand in training", "120 rows (50.0 %)",
                 "To be read beside these scores: inflated: 50% of validation stands in training", "SEED 42", "VAL_PATH empty",
                 "torch 2.13.0", "encoder a small one", "processor"):
        assert said in text, said
    assert "label names" not in text


@pytest.mark.usefixtures("without_pictures")
def test_classes_without_rows_and_classes_never_said_are_named(tmp_path):
    made = run(rows=60)
    made["labels"] = numpy.where(made["labels"] == 2, 1, made["labels"])
    made["probabilities"][:, 0] = 0
    made["baseline"].largest_class = "Negative"
    text = words(write_run_report(tmp_path, **made).read_text("utf-8"))
    assert re.search(r"nothing is known about it: Neutral *\.", text)
    assert re.search(r"Never said by the model: Irrelevant *\.", text)


def unlearnt():
    made = run()
    made["probabilities"][:] = numpy.nan
    made["history"] = [epoch | {"train_loss": math.nan, "val_loss": math.nan} for epoch in made["history"]]
    return made


def perfect():
    made = run()
    made["labels"] = made["probabilities"].argmax(axis=1)
    return made


@pytest.mark.parametrize("made", [
    run(epochs=1), run(rows=1), run(names=["no", "yes"]), run(rows=500, names=[str(number) for number in range(200)]),
    run(epochs=200), run(history=[{"epoch": 1}], best_epoch=1), perfect(), unlearnt(), hostile_run()],
    ids=["one epoch", "one row", "two classes", "200 classes", "200 epochs", "figures missing", "no error", "NaN",
         "hostile"])
def test_any_run_has_its_page_without_a_warning(tmp_path, made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")      # matplotlib warns of letters that it cannot draw
        page = write_run_report(tmp_path, **made)
    read(page.read_text("utf-8"))
    text = words(page.read_text("utf-8"))
    assert " nan" not in text and " inf " not in text


def test_epochs_whose_loss_is_no_number_are_named(ordinary, hostile):
    assert "The loss of epoch 3 is no number" in words(hostile.read_text("utf-8"))
    assert "is no number" not in words(ordinary.read_text("utf-8"))


@pytest.mark.usefixtures("without_pictures")
def test_an_unbounded_loss_of_guessing_is_told(tmp_path):
    made = run()
    made["baseline"].loss = math.inf        # a class of validation that training lacks
    assert "costs a loss of ∞" in words(write_run_report(tmp_path, **made).read_text("utf-8"))


def test_the_same_run_gives_the_same_page(tmp_path, ordinary):
    again = written(tmp_path)
    assert again.replace(str(tmp_path), "").replace(tmp_path.name, "") == \
        ordinary.read_text("utf-8").replace(str(ordinary.parent), "").replace(ordinary.parent.name, "")


def test_a_page_that_fails_leaves_the_last_one_whole(tmp_path):
    page = written(tmp_path)
    made = run()
    made["baseline"].linear_accuracy = "broken"
    with pytest.raises(TypeError):
        write_run_report(tmp_path, **made)
    assert (tmp_path / "report.html").read_text("utf-8") == page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confidently_wrong.csv", "report.html"]


# In a browser

@contextlib.contextmanager
def chromium(profile):
    """A headless Chromium without network: gives ask(method, session, **parameters) and the events seen so far."""
    command = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if command is None:
        pytest.skip("no chromium or google-chrome on the PATH")
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (*os.pipe(), *os.pipe())]
    read_there, write_here, read_here, write_there = ends
    process = subprocess.Popen(         # it takes orders on descriptor 3 and answers on 4
        ["bash", "-c", f'exec "$@" 3<&{read_there} 4>&{write_there}', "bash", command, "--headless", "--no-sandbox",
         "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
         "--disable-component-update", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={profile}"], pass_fds=(read_there, write_there), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    events, numbers, rest = [], iter(range(1, 10_000)), bytearray()

    def next_message(until):
        while b"\0" not in rest:
            ready, _, _ = select.select([read_here], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            rest.extend(os.read(read_here, 1 << 20))
        text, _, behind = bytes(rest).partition(b"\0")
        rest[:] = behind
        return json.loads(text)

    def ask(method, session=None, wait_for=None, **parameters):
        """The answer, and with wait_for: after the event of this name has come as well."""
        number, until, answer = next(numbers), time.monotonic() + 60, None
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(write_here, json.dumps(message).encode() + b"\0")
        already = len(events)
        while answer is None or wait_for and not any(event["method"] == wait_for for event in events[already:]):
            message = next_message(until)
            if message.get("id") == number:
                assert "result" in message, message
                answer = message["result"]
            elif "method" in message:
                events.append(message)
        return answer

    try:
        yield ask, events
        ask("Browser.close")
    finally:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for end in ends:
            os.close(end)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def look_at(browser, path, width, picture=None):
    """Open a page at a width in pixels; what is wrong with it, as a list of words, and a function to evaluate in it."""
    ask, events = browser
    target = ask("Target.createTarget", url="about:blank")["targetId"]
    session = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Log", "Runtime"):
        ask(f"{domain}.enable", session)
    ask("Emulation.setDeviceMetricsOverride", session, width=width, height=800, deviceScaleFactor=1,
        mobile=width < 600)
    ask("Page.navigate", session, wait_for="Page.loadEventFired", url=path.as_uri())

    def evaluate(expression):
        return ask("Runtime.evaluate", session, expression=expression, returnByValue=True)["result"].get("value")

    height = evaluate("document.documentElement.scrollHeight")
    if picture:
        ask("Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600)
        shot = ask("Page.captureScreenshot", session)["data"]
        picture.write_bytes(base64.b64decode(shot))
    found, own = [], [event for event in events if event.get("sessionId") == session]
    for event in own:
        parameters = event["params"]
        if event["method"] == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith("data:") and url != path.as_uri():
                found.append(f"asks for {url}")
        elif event["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            found.append(f"console: {parameters.get('entry', parameters)}")
    wide = evaluate("document.documentElement.scrollWidth")
    if wide > width or evaluate("window.innerWidth") != width:
        found.append(f"scrolls sideways: {wide} px")
    if not evaluate("[...document.images].every(image => image.naturalWidth > 0)"):
        found.append("a picture is broken")
    if evaluate("window.ran"):
        found.append("a text was run as a script")
    return found, evaluate


@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_the_page_without_network_complaint_or_sideways_scrolling(browser, page, width, tmp_path):
    found, evaluate = look_at(browser, page, width, picture=tmp_path / f"{width}.png")
    assert found == []
    assert evaluate("document.images.length") == 3
    assert evaluate("document.querySelector('h1').getBoundingClientRect().top") < 150
    assert evaluate("document.querySelector('.scores').getBoundingClientRect().bottom") < 800    # the first screen
    assert evaluate("document.querySelector('.wrong').scrollWidth") <= width    # the texts are read without scrolling


@pytest.mark.parametrize("planted, complaint", [
    ('<img src="http://elsewhere.example/picture.png">', "asks for http"),
    ("<script>window.ran = 1</script>", "run as a script"),
    ("<script>missing()</script>", "console"),
    ('<div style="width: 2000px">wide</div>', "scrolls sideways")])
def test_the_browser_would_see_what_must_not_be(browser, ordinary, tmp_path, planted, complaint):
    page = re.sub("<meta http-equiv[^>]*>", "", ordinary.read_text("utf-8")).replace("</main>", planted + "</main>")
    (tmp_path / "planted.html").write_text(page, "utf-8")
    found, _ = look_at(browser, tmp_path / "planted.html", 360)
    assert any(complaint in one for one in found), found


def test_the_browser_itself_stops_what_might_be_planted(browser, ordinary, tmp_path):
    planted = "<script>window.ran = 1</script><img src='http://elsewhere.example/picture.png'>"
    page = ordinary.read_text("utf-8").replace("</main>", planted + "</main>")
    (tmp_path / "planted.html").write_text(page, "utf-8")
    found, evaluate = look_at(browser, tmp_path / "planted.html", 1200)
    assert not evaluate("window.ran")
    assert any("Content Security Policy" in one for one in found)


def test_the_browser_saves_the_csv_from_inside_the_page(browser, ordinary, tmp_path):
    ask, _ = browser
    ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    _, evaluate = look_at(browser, ordinary, 1200)
    evaluate("document.querySelector('a[download]').click()")
    saved, until = tmp_path / "confidently_wrong.csv", time.monotonic() + 20
    while not saved.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert saved.read_bytes() == ordinary.with_name("confidently_wrong.csv").read_bytes()
