"""A saved classifier as one ONNX file, for programs without PyTorch; checked against the original when it is written.

    session = onnxruntime.InferenceSession("runs/mine/best/model.onnx")
    logits, probabilities = session.run(None, {"input_ids": ids, "attention_mask": mask})      # int64 [rows, tokens]

The classes' names stand in the file (`session.get_modelmeta().custom_metadata_map["labels"]`, a JSON list) as they do
in config.json beside it; the tokenizer is tokenizer.json there, texts cut at its model_max_length.
"""

import contextlib
import importlib.util
import json
import logging
import random
import warnings

import numpy
import torch
from torch import nn

from training.encoder.finding import quiet_transformers
from training.files import replaced_together

NEEDED = ("onnxscript", "onnxruntime")      # torch.onnx writes with the one; the other runs the file
FILE = "model.onnx"
CHECKED_TEXTS = 200     # of words drawn from the tokenizer's vocabulary
CHECKED_AT_ONCE = 8
CHECKED_DIFFERENCE = 1e-4       # of a probability


class ExportError(Exception):
    """A classifier that cannot be exported; the message is one line for people."""


class WithProbabilities(nn.Module):
    """Logits and probabilities of ids and mask, the padding computed: the plain way through the model."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        logits = self.model(input_ids, attention_mask)
        return logits, (logits / self.model.temperature).softmax(dim=-1)


def export_onnx(model, folder):
    """Write model.onnx into the classifier's folder; (its path, how far its probabilities are from the original's).

    Raises:
        ExportError: a library is missing, the model cannot be traced, or the file computes something else. Nothing is
            written then.
    """
    if model.second_text_column:
        raise ExportError("a model of pairs of texts cannot be written as ONNX yet; predict and scoring take it as it is")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"--EXPORT=onnx needs {' and '.join(missing)}, not installed here: pip install "
                          f"{' '.join(missing)}")
    with replaced_together(folder, last=FILE) as beside:
        try:
            write_onnx(model, beside / FILE)
        except Exception as error:      # torch.onnx has many kinds; for the user they are one
            raise ExportError(f"{folder} cannot be written as ONNX: {str(error).strip().splitlines()[0]}") from error
        difference = checked(model, beside / FILE)
    return folder / FILE, difference


def write_onnx(model, path):
    """Trace the model with any number of rows and tokens and write it, large weights in a second file beside."""
    any_size = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")}
    ids = torch.ones(2, 8, dtype=torch.long)
    with quiet_transformers(), silence():
        program = torch.onnx.export(
            WithProbabilities(model.eval()), (ids, torch.ones_like(ids)), dynamo=True, verbose=False,
            input_names=["input_ids", "attention_mask"], output_names=["logits", "probabilities"],
            dynamic_shapes={"input_ids": any_size, "attention_mask": any_size})
        program.model.metadata_props["labels"] = json.dumps(model.label_names)
        program.save(path)


@contextlib.contextmanager
def silence():
    """Without the exporter's remarks on libraries that nobody asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def checked(model, path):
    """The largest difference of a probability, the file run by onnxruntime on CHECKED_TEXTS texts.

    Raises:
        ExportError: it is more than CHECKED_DIFFERENCE.
    """
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts, difference = texts_of(model.tokenizer, model.max_length), 0.0
    for start in range(0, len(texts), CHECKED_AT_ONCE):
        some = texts[start:start + CHECKED_AT_ONCE]
        inputs = model.tokenizer(some, truncation=True, max_length=model.max_length, padding=True,
                                 return_token_type_ids=False, return_tensors="np")
        _, probabilities = session.run(None, {name: inputs[name].astype(numpy.int64)
                                              for name in ("input_ids", "attention_mask")})
        difference = max(difference, float(abs(probabilities - model.predict(some)[1]).max()))
    if not difference <= CHECKED_DIFFERENCE:
        raise ExportError(f"onnxruntime gives other probabilities than the model, by up to {difference:.1g}: "
                          f"{path.name} was not kept")
    return difference


def texts_of(tokenizer, max_length):
    """Texts of 1 to max_length words, drawn from the vocabulary: every length, and rare words among them."""
    chance, words = random.Random(0), sorted(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens))
    return [" ".join(chance.choices(words, k=1 + at * max_length // CHECKED_TEXTS)) for at in range(CHECKED_TEXTS)]
