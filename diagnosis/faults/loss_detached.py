"""the loss that is minimised does not depend on the model's parameters

What it is
    Between the logits and backward() the graph was cut: .item(), .detach(), .numpy(), argmax, torch.tensor(loss), or
    a forward pass under no_grad. Where requires_grad is then switched on again, backward runs and reaches nothing.

How it shows
    "element 0 of tensors does not require grad and does not have a grad_fn"; or, with the graph patched up, a loss
    that wanders and weights whose gradients are None.

How it is found
    The graph of the tensor on which backward runs is followed to the model's parameters; or the script crashes with
    the message above.

Wrong
    for batch in loader:
        loss = torch.tensor(loss_of(model, batch).item(), requires_grad=True)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Right
    for batch in loader:
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Not to be confused with
    A graph that is cut between encoder and head, so that the head still learns (gradient-blocked); gradients that
    were there and were zeroed (gradients-cleared).
"""

from diagnosis.cures import mends
from diagnosis.verdict import course
from diagnosis.verdict.finding import Finding, NotMeasured

GROUP = "optimization"
EFFECT = "stops"
CAUSED_BY = ("head-frozen",)

NO_GRAPH = "does not require grad"      # from torch's message
FEWEST = 3                              # backward calls without any gradient


def check(record):
    if record.crash and NO_GRAPH in record.crash.message:
        return crashed(record)
    training = record.batches_of("training")
    known = [batch.loss_has_graph for batch in training if batch.loss_has_graph is not None]
    if known and not any(known):
        return finding(record, len(known))
    if not known and not course.after_backward(record):
        return NotMeasured("no backward call on a loss was seen")
    if not known and no_gradient_anywhere(record):
        return finding(record, record.backwards)
    return None


def no_gradient_anywhere(record):
    """Backward ran and no trainable parameter ever had a gradient, though none were zeroed."""
    trainable = [parameter for parameter in record.parameters if parameter.trainable and parameter.gradient_norms]
    cleared = any(step.cleared for step in record.steps)
    return (record.backwards >= FEWEST and bool(trainable) and not cleared
            and all(norm is None for parameter in trainable for norm in parameter.gradient_norms))


def finding(record, count):
    site = next((batch.site for batch in record.batches_of("training") if batch.site), None)
    return Finding("error", "backward runs on a loss that does not depend on the model",
                   {"losses_without_path_to_a_parameter": count, "backward_calls": record.backwards,
                    "optimizer_steps_seen": record.optimizer_steps},
                   "no gradient reaches any weight, so that no step can change one",
                   "call backward() on the loss as the loss function returned it: no .item(), .detach(), .data, "
                   "argmax or torch.tensor() in between", record.backward_site or site)


def crashed(record):
    last = record.batches[-1] if record.batches else None
    evidence = {"message": record.crash.message.strip().splitlines()[0]}
    trainable = [parameter for parameter in record.parameters if parameter.trainable]
    if last is not None and last.gradient_enabled is not None:
        evidence["gradients_enabled_in_forward"] = last.gradient_enabled
    if record.parameters:
        evidence["trainable_tensors"] = len(trainable)
    if record.parameters and not trainable:
        fix = "every parameter is frozen: leave requires_grad on for the head at least"
    elif last is not None and last.gradient_enabled is False:
        fix = "take the training forward pass out of no_grad() (or inference_mode())"
    else:
        fix = "call backward() on the loss as the loss function returned it: no .item(), .detach() or torch.tensor()"
    return Finding("error", "backward stops: the loss has no graph to the model", evidence,
                   "without a graph there is nothing along which a gradient could reach a weight", fix,
                   record.crash.site or record.backward_site)


def mend(record):
    if record.parameters and not any(parameter.trainable for parameter in record.parameters):
        return mends.all_trained(record)
    return mends.cross_entropy(record)
