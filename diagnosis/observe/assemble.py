"""From what the observer saw, and the live objects, to the facts of the record; the data sets apart (inputs.py)."""

import math
import time

import torch

from diagnosis.observe import libraries
from diagnosis.observe.plan import fill_plan
from diagnosis.record import facts, origins, source
from diagnosis.record.graph import norms
from diagnosis.record.record import Module

# Calls of peft, in the order of what tells most.
ADAPTERS = ("LoraConfig", "AdaLoraConfig", "IA3Config", "PrefixTuningConfig", "PromptTuningConfig",
            "PromptEncoderConfig", "get_peft_model")
SHOWN_BATCHES = 4       # first and last batches of a role whose logits are kept


def fill(observer):
    """All of the record but the data sets: quick enough to be made now and then."""
    record = observer.record
    record.seconds = time.monotonic() - observer.began
    before = observer.before_training or observer.describe_model()
    fill_batches(observer)
    if before is not None:
        fill_groups(observer, before)
        fill_parameters(observer, before)
        fill_modules(observer, before)
        fill_encoder(observer, before)
        record.device = next((str(tensor.device) for tensor in before.tensors), "cpu")
    record.remakings = observer.optimizers.remakings() + observer.remakings.found
    fill_plan(observer)
    runner = observer.surroundings.runner
    record.library = runner.library if runner is not None else ""
    fill_schedules(observer)
    adapters = source.places_of_calls(source.users_files(observer.script), ADAPTERS)
    record.adapter_site = source.make_site(*adapters[0]) if adapters else None
    record.called = source.names_called(source.users_files(observer.script))
    record.freezes = observer.freezes.describe(before, observer.script)


def fill_settings(observer):
    """Where the values are set that checks speak of; last, since it needs the sites of all the rest."""
    record = observer.record
    clipped = next((step.clip.site for step in record.steps if step.clip is not None), None)
    acting = {"max_norm": clipped, "batch_size": record.training.made,
              "model_name": record.encoder.made if record.encoder else None,
              "max_length": record.tokenizer.site if record.tokenizer else None}
    if record.groups:
        acting |= {"lr": record.groups[0].made, "weight_decay": record.groups[0].made}
    if record.schedules:
        acting |= {"warmup": record.schedules[0].made}
    record.settings = origins.settings(acting, source.users_files(observer.script), record.arguments)
    before = observer.before_training
    record.class_names = facts.class_names(before.model, record.classes) if before is not None else []


def fill_batches(observer):
    record = observer.record
    record.batches = observer.passes.batches_of_trained_model()
    for role in ("training", "validation"):
        for batch in record.batches_of(role)[SHOWN_BATCHES:-SHOWN_BATCHES]:
            batch.logits = None


def fill_groups(observer, before):
    """The groups of the optimizers in use, and the rates of each step in their order."""
    record, rates = observer.record, observer.steps.rates
    named = facts.names_in(before.model, before.encoder)
    keys, record.groups = [], []
    for optimizer in observer.optimizers.used():
        making = observer.optimizers.making_of(optimizer)
        for index, group in enumerate(optimizer.param_groups):
            described = facts.describe_group(optimizer, group, named)
            described.made = making.site
            if "initial_lr" not in group and index < len(making.rates):
                described.initial_rate = making.rates[index]
            if rates:
                described.rate = rates[0].get((making.key, index), described.rate)
            record.groups.append(described)
            keys.append((making.key, index))
    for step, of_step in zip(record.steps, rates):
        step.rates = [of_step.get(key, math.nan) for key in keys]


def fill_parameters(observer, before):
    record, group_of = observer.record, {}
    groups = [group for optimizer in observer.optimizers.used() for group in optimizer.param_groups]
    for index, group in enumerate(groups):
        group_of |= {id(tensor): index for tensor in group["params"] if id(tensor) not in group_of}
    record.parameters, held = before.parameters, observer.checkpoints.held()
    with torch.no_grad():
        norms_now = norms([tensor.detach() for tensor in before.tensors])
    for described, tensor, norm in zip(record.parameters, before.tensors, norms_now):
        described.group = group_of.get(id(tensor))
        described.loaded = id(tensor) in held if held is not None else None
        described.norm_last = norm if record.steps else None
        described.gradient_norms = [of_step.get(id(tensor)) for of_step in observer.steps.gradient_norms]
        if not record.steps and observer.gradients.last:
            described.gradient_norms = [observer.gradients.last.get(id(tensor))]
        if before.state is not None and record.steps and described.name in before.state:
            with torch.no_grad():
                change = tensor.detach().cpu().float() - before.state[described.name].float()
                described.change = float(change.norm())


def fill_modules(observer, before):
    layers, live = observer.layers, dict(before.model.named_modules())
    for described in before.modules:
        key = id(live.get(described.name))
        described.training = layers.training.get(key, described.training)
        described.rows = layers.norm_rows.get(key)
        described.zero_share = layers.zero_share.get(key)
    observer.record.modules = before.modules + [
        Module(f"F.dropout, line {line}", "dropout", "head", p, training)
        for (_, line), (p, training) in layers.dropouts.items()]
    observer.record.functional_dropouts = [source.make_site(file, line) for (file, line), (p, training)
                                           in layers.dropouts.items() if p and training]


def fill_encoder(observer, before):
    encoder = observer.record.encoder = before.encoder_facts
    if encoder is not None:
        first, last = observer.passes.first_tokens
        encoder.feature_similarity_first = facts.similarity(first) if first is not None else None
        encoder.feature_similarity_last = facts.similarity(last) if last is not None else None


def fill_schedules(observer):
    """After the plan: it says how far their rates are worked out."""
    record, optimizers = observer.record, observer.optimizers
    idle = set(optimizers.by_id) - {id(optimizer) for optimizer in optimizers.used()}
    idle |= {id(wrapped) for wrapped in observer.schedules.optimizers() if not optimizers.hold_any_of(wrapped)}
    record.schedules = observer.schedules.describe(record.plan.steps or facts.UNKNOWN_HORIZON, idle, observer.script,
                                                   observer.surroundings.batch_loop(),
                                                   libraries.intervals(observer.surroundings.runner))
    if not record.schedules:
        by_hand = source.items_set(source.users_files(observer.script), "lr")
        record.rate_sites = [source.make_site(*place) for place in by_hand]
