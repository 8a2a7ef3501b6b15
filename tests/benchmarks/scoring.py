"""How fast a table is scored: the same texts, the same encoder, by this script and by two libraries, in alternation.

    OMP_NUM_THREADS=1 python tests/benchmarks/scoring.py runs/mine/best posts.csv
    python tests/benchmarks/scoring.py runs/mine/best posts.csv.gz --COLUMN_NAMES=id,entity,label,text --rows=1000

`script` is what `python BERT_model_aggressive.py runs/mine/best posts.csv` computes of the texts, `script, exact` the
same with --EXACT=True, where that differs. `pipeline` is transformers' pipeline("text-classification", batch_size=64)
with texts cut at the classifier's length; it reads only a folder trained with HEAD=linear on a pooler. `encode` is
sentence-transformers' way to the same encoder's vectors, without a head: less work; it is left out where the package is
missing. Texts are as the table has them, some of them equal. All compute in the precision that the script chooses.

Seconds are those of the processor where torch has one thread on a CPU, as in throughput.py. Agreement is with the
script in float32: the share of labels, and the largest difference of a label's probability.
"""

import argparse
import contextlib
import importlib.util
import statistics
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import torch
import transformers
from throughput import clock, clock_name, set_up

from BERT_model_aggressive import BertSentimentClassifier
from training.encoder.finding import EncoderError, quiet_transformers
from training.encoder.hub_format import same_class
from training.precision import choose_precision
from training.predicting import mixed_probabilities
from training.scoring import open_to_score
from training.texts.reading import cell_text, stream_rows
from training.texts.refusal import TableError

PIPELINE_BATCH = 64


def script_way(model, precision):
    """A function from texts to (labels, their probabilities)."""
    def score(texts):
        probabilities = mixed_probabilities(model, precision, texts)
        return [model.label_names[best] for best in probabilities.argmax(axis=1)], probabilities.max(axis=1)
    return score


def pipeline_way(model, folder, precision):
    """The same by transformers' pipeline."""
    with quiet_transformers():
        pipeline = transformers.pipeline("text-classification", str(folder), device=precision.device)

    def score(texts):
        with precision.autocast():
            answers = pipeline(texts, batch_size=PIPELINE_BATCH, truncation=True, max_length=model.max_length)
        return [one["label"] for one in answers], [one["score"] for one in answers]
    return score


def encode_way(model, folder, precision):
    """The encoder's vectors by sentence-transformers; there are no labels."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    with quiet_transformers():
        transformer = Transformer(str(folder), max_seq_length=model.max_length)
        width = model.encoder.config.hidden_size
        encoder = SentenceTransformer(modules=[transformer, Pooling(width)], device=precision.device.type)

    def score(texts):
        with precision.autocast():
            encoder.encode(texts, show_progress_bar=False)
        return None, None
    return score


def ways_of(model, folder, precision):
    ways = {"script": script_way(model, precision)}
    if precision.dtype is not None:
        ways["script, exact"] = script_way(model, choose_precision(False))
    if same_class(model):
        ways["pipeline"] = pipeline_way(model, folder, precision)
    else:
        print("pipeline is left out: it reads only a linear head on a pooler", file=sys.stderr)
    if importlib.util.find_spec("sentence_transformers"):
        ways["encode"] = encode_way(model, folder, precision)
    else:
        print("encode is left out: sentence-transformers is not here", file=sys.stderr)
    return ways


def compare(ways, texts, rounds, device):
    """({way: seconds of each round}, {way: what it answers})."""
    seconds, answers = {way: [] for way in ways}, {}
    for number in range(rounds):
        for way in (list(ways) if number % 2 == 0 else reversed(ways)):
            set_up(way)
            ways[way](texts[:PIPELINE_BATCH])       # what is made ready in a first batch does not count
            began = clock(device)
            answers[way] = ways[way](texts)
            seconds[way].append(clock(device) - began)
            print(f"round {number + 1}  {way:<16}{seconds[way][-1]:>9.3f} s", file=sys.stderr, flush=True)
    return seconds, answers


def agreement(answers, exact):
    """Two cells of the table: labels alike, and the largest difference of a probability; empty without answers."""
    if answers[0] is None:
        return "", ""
    alike = sum(one == other for one, other in zip(answers[0], exact[0])) / len(exact[0])
    return f"{alike:.2%}", f"{max(abs(one - other) for one, other in zip(answers[1], exact[1])):.1g}"


def table(seconds, answers, texts, exact):
    """Lines of the table; exact: the answers in float32."""
    lines = ["| | rows/s | the script is so many times as fast | labels alike | probabilities within |",
             "| --- | --- | --- | --- | --- |"]
    for way, rounds in seconds.items():
        ratios = [one / own for one, own in zip(rounds, seconds["script"])]
        ratio = "" if way == "script" else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        alike, within = agreement(answers[way], exact)
        lines.append(f"| {way} | {len(texts) / statistics.median(rounds):,.1f} | {ratio} | {alike} | {within} |")
    return lines


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="a saved classifier")
    parser.add_argument("table", help="a table with the column text")
    parser.add_argument("--COLUMN_NAMES", default="", help="the columns of a file without header line")
    parser.add_argument("--rows", type=int, default=1000, help="rows with text scored in each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way")
    options = parser.parse_args(arguments)
    precision = choose_precision(True)
    try:
        model = BertSentimentClassifier.from_pretrained(options.folder).to(precision.device)
        source, column, *_ = open_to_score(options.table, ("text", ""), options.COLUMN_NAMES.split(",")
                                           if options.COLUMN_NAMES else ())
        texts = [text for _, values, _ in stream_rows(source) if values and (text := cell_text(values.get(column)))]
    except (EncoderError, TableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    texts = texts[::max(1, len(texts) // options.rows)][:options.rows]      # from all of the table
    model.run_end_to_end()
    model.temperature = 1.0     # transformers knows none
    with contextlib.redirect_stdout(sys.stderr):
        ways = ways_of(model, options.folder, precision)
        seconds, answers = compare(ways, texts, options.rounds, precision.device)
        lines = table(seconds, answers, texts, answers.get("script, exact", answers["script"]))
    print("\n".join(lines))
    print(f"\n{len(texts):,} texts, {len(set(texts)):,} different; at most {model.max_length} tokens; median of "
          f"{options.rounds} rounds (lowest to highest), {clock_name(precision.device)}; {precision.name}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
