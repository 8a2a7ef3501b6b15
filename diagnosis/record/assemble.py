"""At the stop: from what the observer saw, and the live objects, to the finished record."""

import math
import os
import sys
import time

import torch
from torch import nn

from diagnosis.experiments import replay
from diagnosis.record import facts, inputs, record as records, source
from diagnosis.record.graph import norms
from diagnosis.record.record import FreezeAct, Module, Schedule

CONTROL_SECONDS = 25    # for the controls
SHOWN_BATCHES = 4       # first and last batches of a role whose logits are kept
INITIAL_STATE = 2e9     # bytes of a model whose state before training is kept
RATES = 60              # optimizer steps whose rates the controls get
MISSPELT = ("require_grad", "requires_gradient", "required_grad", "requires_grads", "require_grads", "requiresgrad",
            "requires_Grad", "need_grad", "needs_grad", "trainable", "requieres_grad", "requres_grad")


def trained_model(seen):
    """The outermost model of the training steps; several modules called one by one become one container."""
    roots = list(seen.trained_roots.values()) or list(seen.roots.values())
    roots = [one for one in roots if not any(one is not other and any(one is part for part in other.modules())
                                             for other in roots)]
    if not roots:
        groups = [group for optimizer in seen.optimizers.values() for group in optimizer.param_groups]
        held = [one for group in groups for one in group["params"]]
        return nn.ParameterList(held) if held else None
    if len(roots) == 1:
        return roots[0]
    spaces = [vars(sys.modules["__main__"])]
    names = [next(iter(sorted(source.names_of(one, spaces))), type(one).__name__) for one in roots]
    names = [f"{name}_{index}" if name in names[:index] or not name.isidentifier() else name
             for index, name in enumerate(names)]
    return nn.ModuleDict(dict(zip(names, roots)))


def encoder_of(seen, model):
    """The encoder, where it belongs to the model."""
    if model is None or seen.encoder is None:
        return None
    return seen.encoder if any(one is seen.encoder for one in model.modules()) else facts.find_encoder(model)


def describe_before_training(seen):
    """All that must be read before the first step changes it; kept as live objects and facts."""
    model = trained_model(seen)
    if model is None:
        return None
    encoder = encoder_of(seen, model)
    parameters, _, modules = facts.describe_model(model, used_optimizers(seen), encoder)
    size = sum(one.numel() * one.element_size() for one in model.state_dict().values() if isinstance(one, torch.Tensor))
    state = None
    if size <= INITIAL_STATE:
        state = {name: one.detach().cpu().clone() if isinstance(one, torch.Tensor) else one
                 for name, one in model.state_dict().items()}
    tensors = list(model.parameters())
    return {"model": model, "encoder": encoder, "parameters": parameters, "tensors": tensors, "modules": modules,
            "encoder_facts": describe_encoder(seen, encoder) if encoder is not None else None, "state": state,
            "trainable": {id(one): one.requires_grad for one in tensors}}


def describe_encoder(seen, encoder):
    described = facts.describe_encoder(encoder)
    names = {id(one): name for name, one in encoder.named_parameters()}
    missing = set(names.values())       # by every checkpoint that was loaded
    for source_name, model, absent, where in seen.loads:
        held = {name: names[id(one)] for name, one in model.named_parameters() if id(one) in names}
        prefix = getattr(model, "base_model_prefix", "") + "."
        found = {inside for name, inside in held.items()
                 if not {name, name.removeprefix(prefix), prefix + name} & absent}
        if found:
            missing -= found
            described.loaded_from, described.made = source_name, where
        elif held:
            described.made = described.made or where
    described.missing_weights = len(missing) if seen.loads else 0
    return described


def used_optimizers(seen):
    return list(seen.stepped.values()) or list(seen.optimizers.values())


# the record without the data sets: quick enough to be written now and then


def fill(seen):
    record = seen.record
    record.seconds = time.monotonic() - seen.began
    described = seen.described or describe_before_training(seen)
    fill_batches(seen)
    if described is not None:
        fill_model(seen, described)
    fill_schedules(seen)
    fill_freezes(seen, described)
    return record


def fill_batches(seen):
    record = seen.record
    trained = set(seen.trained_roots)
    keep = []
    for batch, roots in seen.passes:
        if batch.role == "training" or not trained or not roots or trained & set(roots):
            keep.append(batch)
    kept = {id(one) for one in keep}
    record.batches = [one for one in record.batches if id(one) in kept]
    for role in ("training", "validation"):
        for batch in record.batches_of(role)[SHOWN_BATCHES:-SHOWN_BATCHES]:
            batch.logits = None


def fill_model(seen, described):
    record, model = seen.record, described["model"]
    optimizers = used_optimizers(seen)
    group_of, keys, groups = {}, [], []
    named = facts.names_in(model, described["encoder"])
    for optimizer in optimizers:
        made, rates, _ = seen.made.get(id(optimizer), (None, [], ()))
        for index, group in enumerate(optimizer.param_groups):
            fact = facts.describe_group(optimizer, group, named)
            fact.made = made
            if "initial_lr" not in group and index < len(rates):
                fact.initial_rate = rates[index]
            first = seen.rates[0].get((id(optimizer), index)) if seen.rates else None
            fact.rate = first if first is not None else fact.rate
            group_of |= {id(one): len(groups) for one in group["params"] if id(one) not in group_of}
            groups.append(fact)
            keys.append((id(optimizer), index))
    record.groups = groups
    for step, rates in zip(record.steps, seen.rates):
        step.rates = [rates.get(key, math.nan) for key in keys]
    fill_parameters(seen, described, group_of)
    record.modules = described["modules"]
    named_modules = dict(model.named_modules())
    for one in record.modules:
        live = named_modules.get(one.name)
        one.training = seen.training_flags.get(id(live), one.training)
        one.rows = seen.norm_rows.get(id(live))
        one.zero_share = seen.activations.get(id(live))
    record.modules = record.modules + [
        Module(f"F.dropout, line {line}", "dropout", "head", p, training)
        for (_, line), (p, training) in seen.dropouts.items()]
    record.encoder = described["encoder_facts"]
    if record.encoder is not None:
        first, last = seen.first_tokens
        record.encoder.feature_similarity_first = facts.similarity(first) if first is not None else None
        record.encoder.feature_similarity_last = facts.similarity(last) if last is not None else None
    record.device = next((str(one.device) for one in described["tensors"]), "cpu")


def fill_parameters(seen, described, group_of):
    state, rows = described["state"], seen.gradient_rows
    record = seen.record
    record.parameters = described["parameters"]
    with torch.no_grad():
        last = norms([one.detach() for one in described["tensors"]])
    for fact, tensor, norm in zip(record.parameters, described["tensors"], last):
        fact.group = group_of.get(id(tensor))
        fact.norm_last = norm if record.steps else None
        fact.gradient_norms = [row.get(id(tensor)) for row in rows]
        if not record.steps and seen.last_gradients:
            fact.gradient_norms = [seen.last_gradients.get(id(tensor))]
        if state is not None and record.steps and fact.name in state:
            with torch.no_grad():
                fact.change = float((tensor.detach().cpu().float() - state[fact.name].float()).norm())


def fill_schedules(seen):
    inner = {id(one) for each in seen.schedules.values() for one in getattr(each.scheduler, "_schedulers", ())}
    fill_plan(seen)
    plan = seen.record.plan
    horizon = plan.steps or facts.UNKNOWN_HORIZON
    idle = {id(one) for one in seen.optimizers.values()} - {id(one) for one in used_optimizers(seen)}
    found = []
    for each in seen.schedules.values():
        scheduler = each.scheduler
        if id(scheduler) in inner or id(getattr(scheduler, "optimizer", None)) in idle:
            continue
        fact = Schedule(each.kind, each.maker, each.arguments, each.made, len(each.calls_at), each.calls_at,
                        each.call_site, bool(each.calls_at), each.in_batch_loop)
        fact.base_rates = [float(one) for one in getattr(scheduler, "base_lrs", ())]
        if not each.factors:
            lambdas = each.kind == "LambdaLR"
            each.factors = (facts.describe_schedule(scheduler, horizon) if lambdas
                            else facts.factors_of_copy(each.copy, horizon))
        fact.factors = each.factors
        if not fact.call_seen or fact.call_in_batch_loop is None:
            read_call(seen, each, fact)
        found.append(fact)
    seen.record.schedules = found
    if not found:
        by_hand = source.items_set(source.users_files(seen.script), "lr")
        seen.record.rate_sites = [source.make_site(*place) for place in by_hand]


def read_call(seen, each, fact):
    """The line of the step() call that was not reached, from the source."""
    names = each.names or source.names_of(each.scheduler, [vars(sys.modules["__main__"])])
    calls = source.calls_of(source.users_files(seen.script), names, "step")
    if not calls:
        return
    fact.call_site = fact.call_site or source.make_site(*calls[0])
    loop = batch_loop(seen)
    if loop is not None:
        fact.call_in_batch_loop = any(source.inside_loop(file, line, loop) for file, line in calls)


def batch_loop(seen):
    loops = seen.frames_loops or []
    place = place_of_batch_loop(loops)
    return loops[place] if place is not None else (loops[-1] if loops else None)


def fill_plan(seen):
    """How long the run is meant to be: the Trainer's own word, else the script's loops."""
    plan, record, training = seen.record.plan, seen.record, seen.training_loader()
    steps = record.optimizer_steps + sum(one.skipped for one in record.steps)
    if steps:
        backwards = sum(one.backwards for one in record.steps) / len(record.steps)
        plan.batches_per_step = 1.0 if seen.closures else backwards
    plan.batches_per_epoch = source.length(training.loader) if training is not None else None
    if seen.trainer is not None:
        state, args = seen.trainer.state, seen.trainer.args
        plan.steps, plan.how = int(state.max_steps), "the Trainer's own plan"
        plan.epochs = math.ceil(float(state.num_train_epochs or args.num_train_epochs))
        return
    loops = epoch_loops(seen)
    if not loops:
        return
    place = place_of_batch_loop(loops)
    if place is None and training is not None:      # next(iterator) in a loop of steps
        batches = product(loops)
        if batches is not None and plan.batches_per_epoch:
            plan.epochs = math.ceil(batches / plan.batches_per_epoch)
            plan.steps = round(batches / max(1, plan.batches_per_step or 1))
            plan.how = "loops of steps over a loader's iterator"
        return
    if place is None or training is None:
        place = len(loops) - 1
        plan.batches_per_epoch = loops[place].count
        plan.how = "the script's loops, the innermost one taken for the batches"
    else:
        plan.batches_per_epoch = loops[place].count or plan.batches_per_epoch
        plan.how = "the script's loops around the one over the loader"
    plan.epochs = product(loops[:place])
    if plan.epochs is not None and plan.batches_per_epoch and plan.batches_per_step:
        plan.steps = plan.epochs * math.ceil(plan.batches_per_epoch / max(1, plan.batches_per_step))


def place_of_batch_loop(loops):
    """Index of the loop over a loader: one known as such, else the innermost where nobody knows what it goes over."""
    known = [index for index, one in enumerate(loops) if one.kind == "loader"]
    if known:
        return known[-1]
    return len(loops) - 1 if loops and loops[-1].kind == "unknown" else None


def epoch_loops(seen):
    """The loops around the first step, without those (folds, seeds) that also made the optimizer."""
    optimizer = next(iter(seen.stepped.values()), None)
    outer = set(seen.made.get(id(optimizer), (None, [], ()))[2])
    return [one for one in seen.frames_loops or [] if (one.file, one.line) not in outer]


def product(loops):
    counts = [one.count for one in loops]
    return math.prod(counts) if None not in counts else None


def fill_freezes(seen, described):
    record = seen.record
    tensors = {id(one): one for one in described["tensors"]} if described else {}
    trainable = described["trainable"] if described else {}
    acts = []
    for act in seen.freezes.values():
        alive = [key for key, one in act.touched.items() if key in tensors and one() is tensors[key]]
        acts.append(FreezeAct(act.site, act.kind, len(act.touched), sum(not trainable.get(key, True) for key in alive),
                              len(alive)))
    record.freezes = acts + look_alikes(seen, described, {(one.site.file, one.site.line) for one in acts})


def look_alikes(seen, described, known):
    """Lines that look as if they froze: an attribute set on a module, or one that no parameter has."""
    if described is None:
        return []
    model = described["model"]
    modules = [one for one in model.modules() if "requires_grad" in vars(one)]
    marked = {name for one in model.parameters() for name in getattr(one, "__dict__", {})}
    marked |= {name for one in model.modules() for name in vars(one)} & set(MISSPELT)
    misspelt = [name for name in marked if name in MISSPELT or ("grad" in name and name[0] != "_")]
    acts = []
    for file, line, name, value in source.assignments_of(source.users_files(seen.script),
                                                         {"requires_grad", *misspelt}):
        where = source.make_site(file, line)
        if (where.file, where.line) in known or value not in (False, 0, None):
            continue
        if name == "requires_grad" and modules:
            held = {id(one): one for module in modules for one in module.parameters()}
            frozen = sum(not one.requires_grad for one in held.values())
            acts.append(FreezeAct(where, "module", len(held), frozen, len(held)))
        elif name in misspelt:
            held = [one for one in model.parameters() if name in getattr(one, "__dict__", {})]
            held = held or [one for module in model.modules() if name in vars(module) for one in module.parameters()]
            acts.append(FreezeAct(where, "misspelt", len(held), sum(not one.requires_grad for one in held), len(held)))
    return acts


# the end


def finish(seen):
    """Fill the record, write it, make the controls and write it again."""
    if seen.open is not None:
        settle_crashed_pass(seen)
        seen.close_pass()
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False), \
            torch.autocast("cuda", enabled=False):
        seen.described = seen.described or seen.attempt(describe_before_training, seen)
        for part in (fill, inputs.fill_splits, inputs.fill_tokenizer, inputs.fill_features):
            seen.attempt(part, seen)
            write(seen.record, seen.path)
        run_controls(seen)
        seen.record.seconds = time.monotonic() - seen.began
    write(seen.record, seen.path)


def settle_crashed_pass(seen):
    """The pass in which a crash fell was a training pass where gradients were asked for, and so was its loader."""
    now = seen.open
    if now.backward or seen.record.crash is None or not now.batch.gradient_enabled or not now.batch.head_training:
        return
    now.batch.role = "training"
    for module, *_ in now.calls:
        seen.trained_roots[id(module)] = module
    if now.iteration is not None and seen.training_loader() is None:
        now.iteration.seen.votes += 1


def run_controls(seen):
    described = seen.described
    if described is None or not seen.replays:
        return
    from diagnosis.experiments import controls
    held = {id(one): one.numel() for one in described["tensors"] if id(one) in seen.last_gradients}
    optimizer = max(used_optimizers(seen), default=None, key=lambda one: sum(
        held.get(id(tensor), 0) for group in one.param_groups for tensor in group["params"]))
    replays = [replay.for_model(one, described["model"]) for one in seen.replays]
    replays = [one for one in replays if one is not None]
    if not replays:
        return
    live = controls.Live(described["model"], replays[0], seen.record.training.batch_size or first_rows(seen),
                         optimizer, rates(seen, optimizer), described["state"], replays[1:])
    made = seen.attempt(controls.run_controls, live, seen.record, CONTROL_SECONDS)
    seen.record.controls = made or []


def first_rows(seen):
    batches = seen.record.batches_of("training")
    return batches[0].rows if batches else 0


def rates(seen, optimizer):
    """Rates of the optimizer's groups at the first steps of the plan: as seen, then as its schedule goes on."""
    groups = len(optimizer.param_groups) if optimizer is not None else 0
    rows = [[row.get((id(optimizer), index), math.nan) for index in range(groups)] for row in seen.rates][:RATES]
    if not rows:
        return []
    schedule = next((one for one in seen.record.schedules if one.factors and len(one.base_rates) == groups), None)
    plan = seen.record.plan
    per_epoch = (plan.batches_per_epoch or 0) / max(1, plan.batches_per_step or 1)
    rows = rows[:seen.forward_index] if seen.forward_index else rows
    while len(rows) < RATES and len(rows) < (plan.steps or RATES):
        if schedule is None:
            rows.append(list(rows[-1]))
            continue
        calls = len(rows) if schedule.call_in_batch_loop else (int(len(rows) / per_epoch) if per_epoch else 0)
        factor = schedule.factors[min(calls, len(schedule.factors) - 1)]
        rows.append([base * factor for base in schedule.base_rates])
    return rows


def write(record, path):
    """Atomically, so that a reader never sees half a record."""
    beside = f"{path}.part"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(records.to_json(record))
    os.replace(beside, path)
