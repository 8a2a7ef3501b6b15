"""The classifier: a pre-trained BERT-family encoder, four ways of freezing it, and a head on its pooled tokens.

    from BERT_model_aggressive import BertSentimentClassifier

    model = BertSentimentClassifier("bert-base-uncased", num_classes=4, freeze_strategy="half")
    print(model.parameter_table())
    model.save_pretrained("runs/mine/best")

    model = BertSentimentClassifier.from_pretrained("runs/mine/best")
    labels, probabilities = model.predict(["great phone", "it broke after a day"])

A whole table is scored from the command line: the same table, with the columns `label`, `probability` (of that label)
and one for each class added. data/README.md lists the formats; - is CSV from standard input.

    python BERT_model_aggressive.py runs/mine/best posts.csv > scored.csv
    python BERT_model_aggressive.py runs/mine/best posts.jsonl.gz --TEXT_COLUMN=body > scored.jsonl
    cat posts.csv | python BERT_model_aggressive.py runs/mine/best - --COLUMN_NAMES=id,text > scored.csv
    python BERT_model_aggressive.py runs/mine/best posts.csv --EXACT=True > scored.csv      float32 on any device
    python BERT_model_aggressive.py --EXPORT=onnx runs/mine/best        writes model.onnx there, for other programs

| strategy | frozen                                             | trainable, bert-base with the BatchNorm head |
| none     | nothing                                            | 110,009,860 |
| embed    | the embeddings                                     |  86,172,676 |
| half     | the embeddings and the first half of the layers    |  43,645,444 |
| full     | the embeddings and the first three quarters        |  22,381,828 |
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from training.encoder.end_to_end import ending_with_first_tokens, try_end_to_end
from training.encoder.finding import (DEFAULT_ENCODER, EncoderError, embedding_modules, encoder_layers, find_encoder,
                                      first_line, load_encoder, quiet_transformers)
from training.encoder.frozen import frozen_bottom, starting_above
from training.encoder.hub_format import own_names, stored_names, whole_config
from training.encoder.pooling import POOLINGS, choose_pooling, mean_end_to_end, mean_of_rows
from training.export import ExportError, export_onnx
from training.files import replaced_together
from training.memory import out_of_memory
from training.predicting import probabilities_of
from training.run.process import compute_quickly
from training.scoring import open_to_score, score_table
from training.texts.formats import QUOTINGS
from training.texts.refusal import TableError

# Share of the encoder's layers that each strategy freezes, from the bottom, rounded down; None: embeddings too stay
# trainable.
FREEZE_STRATEGIES = {"none": None, "embed": 0.0, "half": 0.5, "full": 0.75}

HEADS = ("batchnorm", "linear")
HIDDEN = (512, 256)     # widths of the batchnorm head's hidden layers, as the guide has them

# The files of a saved classifier; the tokenizer's own lie beside them.
WEIGHTS_FILE = "model.safetensors"
CLASSIFIER_FILE = "classifier.json"
ENCODER_CONFIG_FILE = "config.json"


class BertSentimentClassifier(nn.Module):
    """An encoder of the BERT family with a classification head.

    Args:
        model_name: a local folder or a hub name; see find_encoder for where it is looked for.
        num_classes: outputs of the head.
        dropout: probability after each hidden layer of the BatchNorm head; the linear head has none.
        freeze_strategy: one of FREEZE_STRATEGIES.
        head: 'batchnorm' (width -> 512 -> 256 -> classes) or 'linear' (width -> classes).
        pooling: one of POOLINGS, what the head is given of a text; a pooler without use is taken out of the encoder.
        label_names: the classes' names in the order of the outputs; by default '0', '1', ...
        max_length: tokens that predict() keeps of a text.
        second_text_column: what each text is paired with, as its column was called; empty where texts stand alone.
        encoder, tokenizer: a transformers encoder at hand, instead of one loaded by name.

    Raises:
        EncoderError: the encoder cannot be loaded, or its layers cannot be found.
        ValueError: an unknown strategy, head or pooling.
    """

    def __init__(self, model_name=DEFAULT_ENCODER, num_classes=4, dropout=0.3, freeze_strategy="none", head="batchnorm",
                 *, pooling="auto", label_names=None, max_length=128, second_text_column="", encoder=None,
                 tokenizer=None):
        super().__init__()
        _require(freeze_strategy, "freeze strategy", FREEZE_STRATEGIES)
        _require(head, "head", HEADS)
        _require(pooling, "pooling", POOLINGS)
        self.encoder_name, source = model_name, None
        if encoder is None:
            source = find_encoder(model_name)
            self.encoder_name = source.name
            encoder, tokenizer = load_encoder(source)
        self.encoder, self.tokenizer = encoder, tokenizer
        self.pooling, _ = choose_pooling(pooling, encoder, source)
        if self.pooling != "pooler" and getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        self.label_names = list(label_names or map(str, range(num_classes)))
        if len(self.label_names) != num_classes:
            raise ValueError(f"{num_classes} classes, but {len(self.label_names)} label names")
        self.dropout, self.head, self.max_length = dropout, head, max_length
        self.second_text_column = second_text_column
        self.temperature = 1.0          # by which predict() divides the logits: fitted on validation rows in training
        self.first_position = None      # of a text's first token, once run_end_to_end() has found it
        self.bottom_is_still = False    # see hold_bottom_still()
        width = encoder.config.hidden_size
        self.classifier = batchnorm_head(width, num_classes, dropout) if head == "batchnorm" \
            else nn.Linear(width, num_classes)
        self.freeze(freeze_strategy)

    def freeze(self, strategy):
        """Freeze the encoder's bottom as FREEZE_STRATEGIES says, and free all the rest."""
        _require(strategy, "freeze strategy", FREEZE_STRATEGIES)
        self.freeze_strategy = strategy
        self.requires_grad_(True)
        layers = encoder_layers(self.encoder)
        share = FREEZE_STRATEGIES[strategy]
        if share is not None:
            for module in [*embedding_modules(self.encoder), *layers[:int(len(layers) * share)]]:
                module.requires_grad_(False)

    def forward(self, input_ids, attention_mask, layout=None, bottom=None, token_type_ids=None):
        """Logits [rows, classes] of token ids and mask [rows, positions], and token types where texts are paired.

        Args:
            layout: where the texts stand in the row of all their tokens (training/encoder/end_to_end.py); with it no
                padding is computed after run_end_to_end().
            bottom: what the frozen layers made of the same rows [rows, positions, width]; they are not run again.
        """
        if layout is None or self.first_position is None:
            return self.classifier(self.pooled(input_ids, attention_mask, bottom, token_type_ids))
        return self.classifier(self.pooled_end_to_end(input_ids, layout, bottom, token_type_ids))

    def pooled(self, input_ids, attention_mask, bottom=None, token_type_ids=None):
        """What the head is given [rows, width], as self.pooling says."""
        with starting_above(self.encoder, bottom):
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types)
        if self.pooling == "mean":
            return mean_of_rows(output.last_hidden_state, attention_mask)
        return output.pooler_output if self.pooling == "pooler" else output.last_hidden_state[:, 0]

    def pooled_end_to_end(self, input_ids, layout, bottom=None, token_type_ids=None):
        """The same, computed on the tokens alone; where first tokens alone are read, the top layer ends on them."""
        bottom = None if bottom is None else bottom.flatten(0, 1)[layout.places][None]
        ending = contextlib.nullcontext() if self.pooling == "mean" else ending_with_first_tokens(self.encoder, layout)
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids.flatten()[layout.places][None]}
        with ending, starting_above(self.encoder, bottom):
            output = self.encoder(input_ids=input_ids.flatten()[layout.places][None], text_layout=layout,
                                  position_ids=layout.positions[None] + self.first_position, **types)
        if self.pooling == "mean":
            return mean_end_to_end(output.last_hidden_state[0], layout)
        first_tokens = output.last_hidden_state[0]
        if len(first_tokens) > layout.texts:
            first_tokens = first_tokens.index_select(0, layout.starts)
        return self.encoder.pooler(first_tokens[:, None]) if self.pooling == "pooler" else first_tokens

    def train(self, mode=True):
        super().train(mode)
        if self.bottom_is_still:
            for module in frozen_bottom(self.encoder):
                module.eval()
        return self

    def run_end_to_end(self):
        """From now on compute no padding where lengths are given; returns why this encoder cannot do it, '' if it can."""
        return try_end_to_end(self)

    def hold_bottom_still(self):
        """From now on no dropout in the frozen bottom: a text then has the same states there each time."""
        self.bottom_is_still = True
        self.train(self.training)

    def device(self):
        return next(self.parameters()).device

    def predict(self, texts, batch_size=32, second_texts=None):
        """The labels [texts] and the classes' probabilities [texts, classes] of a list of texts, in their order.

        A model that was trained on pairs of texts takes each text's partner in second_texts.
        batch_size is in texts of full length (training/predicting.py); the model's training mode is left as it was.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts, not one text")
        if bool(self.second_text_column) != (second_texts is not None):
            raise ValueError(f"a model of pairs of texts: give second_texts, the {self.second_text_column} of each"
                             if self.second_text_column else "a model of single texts: it takes no second_texts")
        was_training = self.training
        self.eval()
        try:
            probabilities = probabilities_of(self, texts, second_texts, batch_size)
        finally:
            self.train(was_training)
        return [self.label_names[best] for best in probabilities.argmax(axis=1)], probabilities

    def parts(self):
        """The parameters of each part, bottom to top: embeddings, every layer, pooler, the encoder's rest, head."""
        embeddings = {id(parameter) for module in embedding_modules(self.encoder) for parameter in module.parameters()}
        layer_of = {id(parameter): index for index, layer in enumerate(encoder_layers(self.encoder))
                    for parameter in layer.parameters()}
        parts = {"embeddings": [], **{f"layer {index}": [] for index in sorted(set(layer_of.values()))},
                 "pooler": [], "encoder, other": [], "head": list(self.classifier.parameters())}
        for name, parameter in self.encoder.named_parameters():
            if id(parameter) in embeddings:
                parts["embeddings"].append(parameter)
            elif id(parameter) in layer_of:
                parts[f"layer {layer_of[id(parameter)]}"].append(parameter)
            else:
                parts["pooler" if name.startswith("pooler.") else "encoder, other"].append(parameter)
        return {part: parameters for part, parameters in parts.items() if parameters}

    def parameter_table(self):
        """Trainable and total parameters of each part, as lines of text; layers that are alike share a line."""
        rows = []
        for part, parameters in self.parts().items():
            total = sum(parameter.numel() for parameter in parameters)
            trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
            last = rows[-1] if rows else None
            if last and part.startswith("layer") and last[0].startswith("layer") and last[3:] == [trainable, total]:
                last[1], last[2] = part.split()[1], last[2] + 1
            else:
                rows.append([part, None, 1, trainable, total])
        lines = [f"{'part':<16}{'trainable':>14}{'total':>14}"]
        for part, last_layer, count, trainable, total in rows:
            name = f"layers {part.split()[1]}-{last_layer}" if last_layer else part
            lines.append(f"{name:<16}{count * trainable:>14,}{count * total:>14,}")
        lines.append(f"{'all':<16}{self.trainable_parameters():>14,}{sum(parameter.numel() for parameter in self.parameters()):>14,}")
        return "\n".join(lines)

    def trainable_parameters(self):
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def save_pretrained(self, folder):
        """Write weights (safetensors), configuration (JSON) and tokenizer: all that from_pretrained needs.

        transformers' own classes read the folder too, as training/encoder/hub_format.py tells.
        Whatever stood there stays whole until the new files are: each is written beside and renamed, the weights last.
        """
        with replaced_together(Path(folder), last=WEIGHTS_FILE) as beside:
            whole_config(self).to_json_file(beside / ENCODER_CONFIG_FILE, use_diff=False)
            if self.tokenizer is not None:
                self.tokenizer.model_max_length = self.max_length
                with quiet_transformers():
                    self.tokenizer.save_pretrained(beside)
            description = {"encoder": self.encoder_name, "label_names": self.label_names, "dropout": self.dropout,
                           "freeze_strategy": self.freeze_strategy, "head": self.head, "pooling": self.pooling,
                           "max_length": self.max_length, "second_text_column": self.second_text_column,
                           "temperature": self.temperature}
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            (beside / CLASSIFIER_FILE).write_text(text, "utf-8")
            names = stored_names(self)
            save_file({names[name]: tensor.contiguous() for name, tensor in self.state_dict().items()},
                      beside / WEIGHTS_FILE, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder):
        """A saved classifier, ready to predict: no hub, no other checkpoint, nothing unpickled.

        Raises:
            EncoderError: a file is missing or is not what it should be.
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer       # here: a second of start-up
        folder = Path(folder)
        for name in (CLASSIFIER_FILE, ENCODER_CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise EncoderError(f"{folder} is no saved classifier: it has no {name}")
        try:
            description = json.loads((folder / CLASSIFIER_FILE).read_text("utf-8"))
            with quiet_transformers():
                encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
                tokenizer = AutoTokenizer.from_pretrained(folder) if (folder / "tokenizer_config.json").is_file() else None
            temperature = description.pop("temperature", 1.0)
            model = cls(description["encoder"], len(description["label_names"]), encoder=encoder, tokenizer=tokenizer,
                        **{"pooling": "auto"} | {name: description[name] for name in description if name != "encoder"})
            model.load_state_dict(own_names(load_file(folder / WEIGHTS_FILE), model))
            model.temperature = temperature
        except EncoderError:
            raise
        except Exception as error:      # JSON, safetensors and shapes each have errors of their own
            raise EncoderError(f"{folder} cannot be loaded: {first_line(error)}") from error
        return model.eval()


def batchnorm_head(width, num_classes, dropout):
    """width -> 512 -> 256 -> classes, each hidden layer Linear, BatchNorm, ReLU, Dropout."""
    layers = []
    for before, after in zip((width, *HIDDEN), HIDDEN):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(HIDDEN[-1], num_classes))


def _require(value, what, known):
    if value not in known:
        raise ValueError(f"there is no {what} {value!r}; there are {', '.join(known)}")


def read_arguments(arguments):
    parser = argparse.ArgumentParser(prog="python BERT_model_aggressive.py", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a saved classifier, such as runs/mine/best")
    parser.add_argument("table", nargs="?",
                        help=".csv, .tsv, .jsonl, .json, .xlsx, .parquet, also .gz; - is CSV from standard input")
    parser.add_argument("--EXPORT", choices=("onnx",), metavar="onnx", help="write it as model.onnx instead")
    parser.add_argument("--TEXT_COLUMN", default="text", metavar="NAME", help="the column of the texts (default: text)")
    parser.add_argument("--SECOND_TEXT_COLUMN", default="", metavar="NAME",
                        help="of a model of pairs: their second texts' column (default: as in training)")
    parser.add_argument("--COLUMN_NAMES", default="", metavar="A,B,C", help="the columns of a file without header line")
    parser.add_argument("--ENCODING", default="", metavar="NAME", help="of the file (default: recognised)")
    parser.add_argument("--QUOTING", default="", choices=("", *QUOTINGS), metavar="double|none",
                        help="whether cells may stand in double quotes (default: recognised)")
    parser.add_argument("--UNSURE_BELOW", default=0.0, type=float, metavar="P",
                        help="add a column that says unsure where the label's probability is lower (default: none)")
    parser.add_argument("--BATCH_SIZE", default=32, type=int, metavar="N",
                        help="texts of the model's full length at once, and more of shorter ones (default: 32)")
    parser.add_argument("--EXACT", default="False", choices=("True", "False"), metavar="True|False",
                        help="compute in float32, not in fp16 or bfloat16 where the device is quicker at it")

    def refuse(message):        # in one line; argparse's own way is several
        print(f"error: {message} (--help shows how to call this)", file=sys.stderr)
        sys.exit(2)

    parser.error = refuse
    settings = parser.parse_args(arguments)
    if (settings.table is None) == (settings.EXPORT is None):
        parser.error("give a table to score, or --EXPORT=onnx")
    if settings.BATCH_SIZE < 1:
        parser.error(f"--BATCH_SIZE={settings.BATCH_SIZE}: at least one text is predicted at once")
    if not 0 <= settings.UNSURE_BELOW <= 1:
        parser.error(f"--UNSURE_BELOW={settings.UNSURE_BELOW}: a probability is a number from 0 to 1")
    settings.EXACT = settings.EXACT == "True"
    settings.COLUMN_NAMES = [name.strip() for name in settings.COLUMN_NAMES.split(",") if name.strip()]
    return settings


def main(arguments):
    settings = read_arguments(arguments)
    sys.stdout.reconfigure(encoding="utf-8", newline="")        # whatever the locale
    signals = []

    def interrupt(number, frame):       # noted too: Python ignores what is raised in some callbacks
        signals.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        model = BertSentimentClassifier.from_pretrained(settings.folder)
        if model.tokenizer is None:
            raise EncoderError(f"{settings.folder} has no tokenizer, which a table of texts needs")
        if settings.EXPORT:
            path, difference = export_onnx(model, Path(settings.folder))
            print(f"wrote {path}: its probabilities are within {difference:.0e} of the model's")
            return 0
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        model.run_end_to_end()
        if model.device().type == "cpu":
            compute_quickly()
        began = time.perf_counter()
        second_column = model.second_text_column and (settings.SECOND_TEXT_COLUMN or model.second_text_column)
        source, *columns = open_to_score(settings.table, (settings.TEXT_COLUMN, second_column), settings.COLUMN_NAMES,
                                         settings.ENCODING, settings.QUOTING)
        scored, total, precision = score_table(model, source, sys.stdout, columns, settings, signals)
    except (EncoderError, TableError, ExportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(f"error: memory does not hold {settings.BATCH_SIZE} texts of {model.max_length} tokens at once; give a "
              "smaller --BATCH_SIZE", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the table written is not whole", file=sys.stderr)
        return 130
    except OSError as error:        # of writing: reading has its TableError
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # Python flushes once more at its end
        if isinstance(error, BrokenPipeError):      # whoever reads has had enough, as head has
            return 141
        print(f"error: standard output cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2
    rate = f"{scored / (time.perf_counter() - began):,.0f} rows/s" + (f", {precision.name}" if precision.dtype else "")
    without = f": {total - scored:,} without text" if total > scored else ""
    print(f"scored {scored:,} of {total:,} rows{without} ({rate})", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
