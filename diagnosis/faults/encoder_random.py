"""the encoder's weights are not pre-trained, or the checkpoint was not loaded into it

What it is
    The encoder was made from a configuration instead of from_pretrained, its checkpoint's names did not fit (so that
    its tensors were left out), or code after loading initialised it again.

How it shows
    A fine-tuning rate and a few thousand texts are not enough to teach a language: the run stays near chance, or at
    what single words tell.

How it is found
    Before the first step: Linear biases that are all zero, LayerNorms that are exactly 1 and 0, matrices whose spread
    is exactly that of an initialisation (a trained checkpoint has next to none of these); tensors that the checkpoint
    did not hold. A missing pooler does not count, nor do one or two top layers set anew on purpose.

Wrong
    from transformers import AutoConfig, AutoModel
    config = AutoConfig.for_model("bert", hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    encoder = AutoModel.from_config(config)

Right
    import tempfile
    from transformers import AutoModel
    with tempfile.TemporaryDirectory() as folder:   # stands for a checkpoint's name or folder
        encoder.save_pretrained(folder)
        encoder = AutoModel.from_pretrained(folder)

Not to be confused with
    A model that is meant to be trained from scratch, with a small encoder: a warning, and none of it matters once it
    learns. A new head (and pooler), of which transformers warns rightly and harmlessly.
"""

import math
import os

from diagnosis.cures import mends
from diagnosis.record.arithmetic import percent, rounded, share
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import is_learning

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ()
NO_TRIAL = "no checkpoint of this encoder lies at hand"

MOST = 0.5                  # of the layers as initialised: this is no pre-trained encoder
SOME = 0.3                  # a quarter may be set anew on purpose (the top three layers of twelve)
MISSING = 0.05              # of the encoder's tensors missing in the checkpoint, the pooler's apart
EXACT = 0.015               # relative distance of a spread from that of an initialisation; chance gives a few of 100
SMALL = 256                 # hidden size below which an encoder is meant to be trained from scratch
FEW = 4                     # matrices, below which their spread says nothing
ALL = 0.9                   # of the matrices: trained ones come near some initialisation now and then


def check(record):
    encoder = record.encoder
    if encoder is None:
        return NotMeasured("no pre-trained encoder was seen")
    witnesses = {"zero_bias_share": encoder.zero_bias_share, "unit_norm_share": encoder.unit_norm_share,
                 "matrices_as_initialised_share": _initial_matrices(record)}
    measured = [value for value in witnesses.values() if value is not None]
    if not measured:
        return NotMeasured("the encoder's weights were not measured before the first step")
    new = max(value for name, value in witnesses.items()
              if value is not None and (name != "matrices_as_initialised_share" or value >= ALL or len(measured) == 1))
    missing = _missing_share(record)
    if new < SOME and not (missing >= MISSING and new >= MISSING):
        return None
    by_hand = encoder.initializer_range is None and encoder.loaded_from is None
    learning = is_learning(record)
    if new < MOST and not missing >= MISSING:
        level = "note"
    elif by_hand or encoder.hidden_size < SMALL:
        level = "note" if by_hand else "warning"
    else:
        level = "warning" if learning or new < MOST else "error"
    evidence = {name: rounded(value) for name, value in witnesses.items() if value is not None}
    evidence |= {"loaded_from": encoder.loaded_from or "no checkpoint", "encoder": encoder.kind,
                 "missing_tensors": encoder.missing_weights, "encoder_tensors": encoder.encoder_tensors}
    if learning is not None:
        evidence["loss_falls_clearly"] = learning
    return Finding(
        level, f"{percent(new)} of the encoder's layers are as initialised, not pre-trained", evidence,
        "Fine-tuning adapts what an encoder knows of language; with random weights it knows nothing, and the labels "
        "alone cannot teach it.",
        "Make the encoder with from_pretrained of a checkpoint of the same class, initialise only the head afterwards, "
        "and look at the list of missing tensors that loading prints.",
        encoder.made)


def is_new(encoder):
    """Made without a checkpoint, and its weights show it (or were not measured)."""
    shares = [value for value in (encoder.zero_bias_share, encoder.unit_norm_share) if value is not None]
    return encoder.loaded_from is None and (not shares or max(shares) >= MOST)


def _missing_share(record):
    """Tensors missing in the checkpoint, as a share of the encoder's, without the pooler's."""
    encoder = record.encoder
    pooler = sum(parameter.part == "pooler" for parameter in record.parameters) or 2
    return max(0, encoder.missing_weights - pooler) / max(1, encoder.encoder_tensors)


def _initial_matrices(record):
    """Share of the layers' matrices whose spread is that of a usual initialisation; None for too few of them."""
    in_layers = [parameter for parameter in record.parameters if parameter.part.startswith("layer ")]
    matrices = [matrix for matrix in in_layers if len(matrix.shape) == 2 and min(matrix.shape) >= 16
                and matrix.elements >= 10_000 and matrix.std]
    if len(matrices) < FEW:
        return None
    return share(any(abs(matrix.std - spread) < EXACT * spread for spread in _initial_spreads(matrix, record.encoder))
                 for matrix in matrices)


def _initial_spreads(parameter, encoder):
    """The normal initialisation of transformers, Xavier's, Kaiming's, and torch's own for a Linear."""
    rows, columns = parameter.shape
    return (encoder.initializer_range or 0.02, math.sqrt(2 / (rows + columns)), math.sqrt(2 / columns),
            math.sqrt(1 / (3 * columns)))


def mend(record):
    name = record.encoder.loaded_from or record.encoder.name if record.encoder is not None else ""
    if not name or not os.path.isdir(name):
        return None
    return mends.Mend(f"the weights of {os.path.basename(name.rstrip(os.sep))} loaded into the encoder",
                      {"from_checkpoint": name})
