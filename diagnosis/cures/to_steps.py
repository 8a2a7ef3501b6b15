"""Changes to the steps of a run: optimizer, rates, gradients, clipping, the order of the rows.

Each is change(observer, value) and puts itself in place; value is what its Mend gives it.
"""

import functools

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook

from diagnosis.cures.events import after_step, around_backward, before_pass, before_step, trained, unseen
from diagnosis.observe.late import when_imported
from diagnosis.record import source


def schedule_each_step(observer, value):
    """Every schedule moves one place after each step of its optimizer, and not where the script moves it."""
    made, moving = [], [False]

    def step_of(original):
        @functools.wraps(original)
        def step(schedule, *args, **kwargs):
            if not any(each is schedule for each in made):
                made.append(schedule)
            begun = bool(observer.optimizers.stepped) and not getattr(schedule, "_is_initial", False)
            if not begun or moving[0]:
                return original(schedule, *args, **kwargs)
        return step

    for kind in [kind for kind in vars(lr_scheduler).values() if isinstance(kind, type)
                 and issubclass(kind, lr_scheduler.LRScheduler) and "step" in vars(kind)]:
        kind.step = step_of(kind.step)

    def move(optimizer, *_):
        if observer.guard.looks_away():
            return
        parts = {id(part) for schedule in made for part in getattr(schedule, "_schedulers", ())}
        moving[0] = True
        try:
            for schedule in made:
                if id(schedule) not in parts and schedule.optimizer.param_groups is optimizer.param_groups:
                    schedule.step()
        finally:
            moving[0] = False

    def leave_alone(module):
        """ignite's handler would set the rates by itself."""
        module.LRScheduler.__call__ = lambda *_, **__: None

    when_imported("ignite.handlers.param_scheduler", leave_alone)
    register_optimizer_step_post_hook(move)     # in sight of the observer


def rates(observer, value):
    """The rate of every group at each step: up to the peak within value["warm_up"] steps, and from there on constant.

    value["rate"] is the peak of all groups; None: each group's own, which a schedule multiplies.
    """
    steps = {}

    def set_rates(optimizer):
        done = steps[id(optimizer)] = steps.get(id(optimizer), 0) + 1
        for place, group in enumerate(optimizer.param_groups):
            made = observer.optimizers.making_of(optimizer).rates
            own = group.get("initial_lr", made[place] if place < len(made) else group["lr"])
            group["lr"] = (value["rate"] or own) * min(1.0, done / max(1, value["warm_up"]))

    before_step(observer, set_rates)


def more_steps(observer, times):
    """So many times the usual steps are observed."""
    observer.stopping.times = times


class OwnAdamW(torch.optim.AdamW):
    """torch puts the hooks on steps into an optimizer's class. In AdamW itself they would count a step twice that the
    script's subclass makes by calling AdamW's."""


def adamw(observer, rate):
    """AdamW over all trainable parameters takes each step in place of the script's optimizer.

    What the script does to the weights between that step and the next pass of the model is undone.
    """
    kept, fresh = {}, [False]

    def backward_ended():
        fresh[0] = True

    def step(_):
        if not fresh[0]:
            return
        fresh[0] = False
        parameters = [each for each in trained(observer) if each.requires_grad]
        if "optimizer" not in kept:
            kept["optimizer"] = OwnAdamW(parameters, lr=rate, weight_decay=0.0)
        kept["optimizer"].step()
        kept["weights"] = [(each, each.detach().clone()) for each in parameters]

    def put_back(_):
        with torch.no_grad():
            for parameter, value in kept.pop("weights", ()):
                parameter.copy_(value)

    around_backward(observer, after=backward_ended)
    before_step(observer, step)
    before_pass(observer, put_back, training=False)


def keep_weights(observer, value):
    """The model of each pass has the weights that the last step left, whatever was made or loaded since."""
    kept = {}

    def note(_):
        roots = list(observer.models.trained.values())
        if roots:
            kept["state"] = {name: each.detach().clone() for name, each in roots[-1].state_dict().items()
                             if isinstance(each, torch.Tensor)}

    def put_back(module):
        state, own = kept.get("state"), module.state_dict()
        if state is not None and own.keys() >= state.keys():
            with torch.no_grad():
                for name, each in state.items():
                    own[name].copy_(each)

    after_step(observer, note)
    before_pass(observer, put_back, training=False)


def step_each_backward(observer, value):
    """Optimizers that the script does not step are stepped after each backward, and their gradients zeroed then."""
    mine = set()

    def step():
        for optimizer in list(observer.optimizers.by_id.values()):
            if id(optimizer) in mine or id(optimizer) not in observer.optimizers.stepped:
                mine.add(id(optimizer))
                optimizer.step()
                optimizer.zero_grad()

    around_backward(observer, after=step)


def keep_gradients(observer, value):
    """The optimizer steps with the gradients that the last backward left, whatever was zeroed since."""
    kept, restored = gradients_of_backward(observer), []

    def put_back(_):
        for parameter, gradient in kept.values():
            if parameter.grad is None or not parameter.grad.any():
                parameter.grad = gradient
                restored.append(parameter)
        kept.clear()

    def take_away(_):
        while restored:
            restored.pop().grad = None

    before_step(observer, put_back)
    after_step(observer, take_away)


def gradients_of_backward(observer):
    """{id of a parameter: (parameter, its gradient)}, filled anew as each backward leaves it."""
    kept = {}

    def note():
        kept.update({id(each): (each, each.grad.detach().clone()) for each in trained(observer)
                     if each.grad is not None})

    around_backward(observer, after=unseen(observer, note))
    return kept


def zero_before_backward(observer, value):
    """Gradients are zeroed before the first backward after each step."""
    stepped = [True]

    def zero(tensor):
        if stepped[0]:
            for each in trained(observer):
                each.grad = None
        stepped[0] = False

    def step_ended(_):
        stepped[0] = True

    around_backward(observer, before=zero)
    after_step(observer, step_ended)


def no_clipping(observer, value):
    """The clipping functions of torch measure the norm and shorten nothing, and what else the script does to the
    gradients between backward and step is undone where no scaler needs it."""
    kept = gradients_of_backward(observer)

    def norm_of(parameters, *args, **kwargs):
        parameters = [parameters] if isinstance(parameters, torch.Tensor) else parameters
        norms = [each.grad.detach().float().norm() for each in parameters if each.grad is not None]
        return torch.stack(norms).norm() if norms else torch.tensor(0.0)

    put_in_place_of_clipping({"clip_grad_norm_": lambda original: norm_of,
                              "clip_grad_value_": lambda original: lambda *args, **kwargs: None,
                              "clip_grads_with_norm_": lambda original: lambda *args, **kwargs: None})

    def put_back(_):
        for parameter, gradient in kept.values():
            if parameter.grad is not None and parameter.grad.any() and observer.scaling.factor is None:
                parameter.grad.copy_(gradient)
        kept.clear()

    before_step(observer, put_back)


def clip_unscaled(observer, value):
    """The limit of clipping is multiplied by the loss scale where the gradients still are."""
    def limited(original):
        @functools.wraps(original)
        def clip(parameters, limit, *args, **kwargs):
            factor = observer.scaling.factor if observer.scaling.on_gradients else None
            return original(parameters, limit * (factor or 1.0), *args, **kwargs)
        return clip

    put_in_place_of_clipping({"clip_grad_norm_": limited, "clip_grad_value_": limited})


def put_in_place_of_clipping(functions):
    for name, function in functions.items():
        original = getattr(nn.utils, name, None)
        if original is not None:
            changed = function(original)
            setattr(nn.utils, name, changed)
            setattr(nn.utils.clip_grad, name, changed)


def all_in_optimizer(observer, value):
    """Trainable parameters that no optimizer in use holds join the first group of the one that first steps again."""
    stepped = set()

    def join(optimizer):
        if id(optimizer) in stepped and observer.models.trained:
            held = {id(each) for other in observer.optimizers.used() for group in other.param_groups
                    for each in group["params"]}
            optimizer.param_groups[0]["params"].extend(
                each for each in trained(observer) if each.requires_grad and id(each) not in held)
        stepped.add(id(optimizer))

    before_step(observer, join)


def no_weight_decay(observer, value):
    def leave_out(optimizer):
        for group in optimizer.param_groups:
            group.update({name: 0.0 for name in ("weight_decay", "weight_decay_rate") if name in group})

    before_step(observer, leave_out)


def minimize(observer, value):
    def turn(optimizer):
        for group in optimizer.param_groups:
            if "maximize" in group:
                group["maximize"] = False

    before_step(observer, turn)


def turn_steps(observer, value):
    """What a step adds to a weight is subtracted from it."""
    before = []

    def note(optimizer):
        before[:] = [(each, each.detach().clone()) for group in optimizer.param_groups for each in group["params"]]

    def turn(_):
        with torch.no_grad():
            for parameter, value in before:
                parameter.copy_(2 * value - parameter)

    before_step(observer, note)
    after_step(observer, turn)


def shuffle(observer, value):
    """The loader made in that line of the script ({"file", "line"}) draws its rows at random, each once an epoch."""
    original = torch.utils.data.DataLoader.__init__

    @functools.wraps(original)
    def init(loader, dataset, batch_size=1, shuffle=None, sampler=None, *args, **kwargs):
        where = source.site()
        if where is not None and (where.file, where.line) == (value["file"], value["line"]):
            shuffle, sampler = True, None
        original(loader, dataset, batch_size, shuffle, sampler, *args, **kwargs)

    torch.utils.data.DataLoader.__init__ = init
