"""a head with fresh weights is not trained (adapter without its task type, a freeze that went too far)

What it is
    The classifier on top of the encoder was made anew, with random weights, and requires_grad is False for all of it.
    peft freezes everything but its adapters unless it is told the task type or modules_to_save; a loop over
    model.parameters() freezes the head with the rest.

How it shows
    The loss sinks a little, as far as the encoder can serve a random head; or backward stops, where nothing at all
    is left to train. The library warned that the classifier is newly initialized and should be trained.

How it is found
    The head's parameters that no checkpoint held, and their requires_grad at the first step: none of the head is
    trainable. Adapters on the head itself, and copies of it that peft trains, count as trained.

Wrong
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "layer.1" in name

Right
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "layer.1" in name or "classifier" in name

Not to be confused with
    encoder-frozen, the other way round; optimizer-missing-params, where the head would be trained but no optimizer
    holds it; a head that came trained with its checkpoint and is frozen on purpose.
"""

from diagnosis.cures import mends
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured
from diagnosis.verdict.measures import is_learning

GROUP = "model"
EFFECT = "stops"
CAUSED_BY = ()


WRAPPERS = ("base_model", "model", "original_module", "base_layer")     # what peft puts into the names


def check(record):
    head = [parameter for parameter in record.parameters if parameter.part == "head"]
    matrices = [parameter for parameter in head if len(parameter.shape) > 1]
    if record.encoder is None or not matrices:
        return NotMeasured("no encoder with a head beside it was seen")
    if any(parameter.trainable for parameter in head):
        return None
    if any(parameter.loaded is None for parameter in matrices):
        return NotMeasured("the head is frozen, and whether a checkpoint held it is not known")
    fresh = [parameter for parameter in matrices if not parameter.loaded]
    if not fresh:
        return None
    trained = [parameter for parameter in record.parameters if parameter.trainable]
    adapters = [parameter for parameter in trained if course.is_adapter(parameter)]
    acts = [act for act in record.freezes if act.still_frozen]
    where = max(acts, key=lambda act: act.still_frozen).site if acts else None
    fix = "leave requires_grad True for the head's parameters: freeze the encoder's alone"
    if adapters and record.adapter_site is not None:
        where = record.adapter_site
        fix = ("tell peft what the head is: task_type=TaskType.SEQ_CLS, or "
               f"modules_to_save=[\"{name_of_head(fresh[0].name)}\"]")
    return Finding(
        "warning" if is_learning(record) else "error",
        "the head is frozen at its random start" + ("" if trained else ", and so is everything else"),
        {"head_tensors": len(head), "head_tensors_trainable": 0, "in_no_checkpoint": [each.name for each in fresh[:4]],
         "trainable_tensors": len(trained), "adapter_tensors": len(adapters),
         "trainable_parts": sorted({parameter.part for parameter in trained})[:8]},
        "The classes are read off by weights that nobody chose, and what is trained can only bend the features towards "
        "them.", fix, where)


def name_of_head(name):
    """'classifier' for 'base_model.model.classifier.weight'."""
    parts = [part for part in name.split(".")[:-1] if part not in WRAPPERS]
    return parts[0] if parts else name


def mend(record):
    head = [parameter.name for parameter in record.parameters if not course.in_encoder(parameter)]
    return mends.all_trained(record, head, "the head trainable and in the optimizer")
