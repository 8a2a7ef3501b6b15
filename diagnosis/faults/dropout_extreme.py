"""dropout is so high that no signal survives

What it is
    p is the share that is dropped. 0.9 was perhaps meant as the share to keep (as in old TensorFlow), or dropout was
    raised against overfitting until nothing was left to fit.

How it shows
    The training loss stays near that of guessing while validation (without dropout) is a little better.

How it is found
    The probability of every dropout layer that is active in training passes. Within the encoder, where a signal passes
    two or three of them in each layer, less is too much.

Wrong
    head = nn.Sequential(nn.Dropout(0.95), nn.Linear(32, 2))

Right
    head = nn.Sequential(nn.Dropout(0.1), nn.Linear(32, 2))

Not to be confused with
    0.5 before the last layer, which is strong and usual.
"""

from diagnosis.cures import mends
from diagnosis.record.arithmetic import rounded
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ()
SET_BY = "dropout"

HEAD_WARNING, HEAD_ERROR = 0.6, 0.8
ENCODER_WARNING, ENCODER_ERROR = 0.4, 0.6       # in each of its layers; pre-trained ones have 0.1


def check(record):
    dropouts = [module for module in record.modules if "dropout" in module.kind.lower() and module.value is not None]
    if not dropouts:
        return None if record.modules or record.parameters else NotMeasured("no trained model was seen")
    active = [dropout for dropout in dropouts if dropout.training is not False]
    strong = [dropout for dropout in active if dropout.value >= _limits(dropout)[0]]
    if not strong:
        return None
    error = [dropout for dropout in strong if dropout.value >= _limits(dropout)[1]]
    worst = max(error or strong, key=lambda dropout: dropout.value)
    return Finding(
        "error" if error else "warning", f"dropout of {worst.value:g} at {worst.name or worst.kind}", {
            "highest_probability": rounded(worst.value), "layer": worst.name, "part": worst.part,
            "layers_this_strong": len(strong), "dropout_layers": len(dropouts),
            "share_kept": rounded(1 - worst.value)},
        f"Only {100 * (1 - worst.value):.0f} % of the values pass at each step, so what a gradient says of one step is "
        "gone in the next.",
        "Give p the share to drop: 0.1 in the encoder, 0.1 to 0.5 in the head.")


def _limits(module):
    return (ENCODER_WARNING, ENCODER_ERROR) if module.part.startswith("layer ") else (HEAD_WARNING, HEAD_ERROR)


def mend(record):
    return mends.without_dropout(record)
