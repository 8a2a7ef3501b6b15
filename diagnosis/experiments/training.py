"""Controls on copies of the model: does it learn, with a plain optimizer, with the script's own, and at which rate?

Every copy begins with the weights that the model had before its first step, where these were kept.
"""

import copy
import statistics
import time
from collections import defaultdict

import numpy as np
import torch
from torch.nn import functional as F

from diagnosis.experiments.live import NO, SEED, YES, NoMeasurement, figure
from diagnosis.experiments.replay import ROWS

STEPS = 30                  # at most, on one batch; half for the script's own optimizer
FEWEST_STEPS = 5            # fewer say nothing of an optimizer that does not learn
AT_HIGHEST = 3              # steps at its plan's highest rate, after which one that learns needs no more
LEARNED = 0.7               # a loss below this share of the loss of guessing: the batch is being learned by heart
PLAIN_RATES = (1e-4, 1e-3, 1e-2)    # of plain AdamW, tried until one learns: whole pre-trained encoders learn at the
                                    # first, small or fresh ones at the second, a head on frozen features at the third
HEAD_ONLY = 0.05            # with a smaller share of weights trained, the first of these rates is left out
FALL = 0.05                 # a fall of the loss by this share shows learning (no dropout, one batch: hardly any noise);
STILL = 0.01                # by less than this share, standing still
NO_GRAPH = "the loss depends on no trainable parameter"
SWEEP_RATES = (1e-4, 1e-5, 1e-3, 1e-2, 1e-6, 3e-4)     # in this order, so that time cuts off the least telling
LOW_RATE = 1e-5             # rates below it are only tried where the script's own is
SWEEP_STEPS = 6
DEALS = 1_000               # times that the labels are dealt anew among the rows to see whether the input matters


# ---- copies of the model

def copy_of(live, first=True, widened=True):
    """A copy of the model.

    first    with the weights that it had before the first step, where these were kept; else as it stands
    widened  half-precision weights as float32, so that the outcome tells of the model and not of its precision
    """
    model = _unwrapped(live.model)
    # deepcopy refuses tensors that carry a graph, which models keep as attributes at times: these get a bare copy
    bare = {id(value): value.detach().clone() for module in model.modules() for value in vars(module).values()
            if isinstance(value, torch.Tensor) and not value.is_leaf}
    model = copy.deepcopy(model, bare)
    if first and live.initial_state is not None:
        _load(model, live.initial_state)
    if widened and any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in model.parameters()):
        model.float()
    return model


def _load(model, state):
    """Put kept weights into a copy, whose names lack what torch.compile and DataParallel put before them."""
    own = {name: name for name in model.state_dict()}
    if not own.keys() <= state.keys():
        own = {name: _bare_name(name) for name in own}
        state = {_bare_name(name): value for name, value in state.items()}
    lacking = [name for name, _ in model.named_parameters() if own[name] not in state]
    if lacking:
        raise NoMeasurement(f"the weights kept before the first step lack {lacking[0]}: the model is another by now")
    model.load_state_dict({name: state[kept] for name, kept in own.items() if kept in state}, strict=False)


def _unwrapped(model):
    """The model inside torch.compile, DataParallel or DistributedDataParallel, whose wrappers do not copy well."""
    if isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        return _unwrapped(model.module)
    return _unwrapped(model._orig_mod) if hasattr(model, "_orig_mod") else model


def _bare_name(name):
    """A weight's name without what wrappers put before it, one around the other."""
    while name.startswith(("_orig_mod.", "module.")):
        name = name.partition(".")[2]
    return name


def _training_without_dropout(model):
    """Training mode as far as it is deterministic: BatchNorm on the batch's statistics, every dropout off.

    eval() also reaches dropout that is a function call or an attention's own; recurrent layers must stay in training
    mode for their gradient on a GPU.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.train()
        elif isinstance(module, torch.nn.RNNBase):
            module.train()
            module.dropout = 0.0
    return model


def _loss_on(model, batches):
    """Mean loss over the replayed batches, with its graph."""
    losses = [forward(model)[2] for forward in batches]
    return torch.stack([loss.mean() for loss in losses]).mean()


def _train(model, optimizer, batch, rates, stop, enough=lambda losses: False):
    """Losses before each step and after the last.

    batch    list of replays whose mean loss is trained on
    rates    [step][group], set before each step; an empty row leaves them as the optimizer has them
    stop     time (monotonic) after which no further step is made
    enough   enough(losses so far): end here
    """
    losses = []
    for step in range(len(rates) + 1):
        loss = _loss_on(model, batch)
        losses.append(loss.item())
        if losses[0] == 0:
            raise NoMeasurement("the loss is 0 before any step: there is nothing to learn from")
        if step == len(rates) or not np.isfinite(losses[-1]) or enough(losses) or time.monotonic() > stop:
            break
        if not loss.requires_grad:
            raise NoMeasurement(NO_GRAPH)
        for group, rate in zip(optimizer.param_groups, rates[step]):
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def _plain_optimizer(model, rate):
    """AdamW without decay, in torch's one kernel for all of a step: a third of a step's time on a CPU otherwise."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = all(parameter.is_floating_point() and parameter.device.type in ("cpu", "cuda") for parameter in trained)
    return torch.optim.AdamW(trained, lr=rate, weight_decay=0.0, fused=fused)


# ---- logits, labels and the loss of guessing

@torch.no_grad()
def _see(model, batches, stop=float("inf")):
    """Logits (rows x outputs), targets (rows x outputs: indicators for class ids) and mean loss over replays.

    Logits and targets are None where they are not those of a classifier. Rows whose label the loss leaves out (-100)
    are left out. Ends early, after one replay at least, when time is up.
    """
    all_logits, all_targets, losses = [], [], []
    for forward in batches:
        logits, labels, loss = forward(model)
        losses.append(loss.float().mean().item())
        targets = _targets(logits, labels)
        if targets is None:
            return None, None, statistics.fmean(losses)
        kept = targets.sum(1).ge(0)
        all_logits.append(logits.float().reshape(logits.shape[0], -1)[kept])
        all_targets.append(targets[kept])
        if time.monotonic() > stop:
            break
    return torch.cat(all_logits), torch.cat(all_targets), statistics.fmean(losses)


def _targets(logits, labels):
    """Labels as a matrix of the logits' shape, -1 throughout in rows that the loss leaves out; None if impossible."""
    if not isinstance(logits, torch.Tensor) or not isinstance(labels, torch.Tensor) or logits.dim() not in (1, 2):
        return None
    rows, outputs = logits.shape[0], logits.numel() // max(logits.shape[0], 1)
    labels = labels.detach().to(logits.device)
    if labels.numel() == logits.numel():
        return labels.float().reshape(rows, outputs)
    if labels.numel() != rows:
        return None
    labels = labels.flatten().long()
    targets = F.one_hot(labels.clamp(min=0), outputs).float()
    return torch.where(labels[:, None] < 0, -1.0, targets)


def _pair_losses(logits, targets, loss):
    """Loss of every row's logits with every row's target (rows x rows), and whether it is cross-entropy.

    Cross-entropy or binary cross-entropy, whichever is nearer to the script's own loss.
    """
    softmax = -(F.log_softmax(logits, dim=1) @ targets.T)
    sigmoid = (F.softplus(logits)[:, None, :] - logits[:, None, :] * targets[None]).mean(2)
    off = [abs(pairs.diagonal().mean().item() - loss) for pairs in (softmax, sigmoid)]
    is_softmax = logits.shape[1] > 1 and off[0] <= off[1]
    return (softmax if is_softmax else sigmoid), is_softmax


def _guess_loss(logits, targets, loss):
    """The loss of guessing by the targets' class shares; None where the script's loss is of another kind.

    Label smoothing and class weights shift a loss, so that a quarter off still counts as the same kind.
    """
    pairs, is_softmax = _pair_losses(logits, targets, loss)
    if not abs(pairs.diagonal().mean().item() - loss) <= 0.25 * abs(loss):
        return None
    shares = targets.mean(0)
    guess = -torch.xlogy(shares, shares)
    return guess.sum().item() if is_softmax else (guess - torch.xlogy(1 - shares, 1 - shares)).mean().item()


def input_matters(live, record, stop, done):
    """Loss of the recorded batches as they are, against the same logits with the targets dealt anew among the rows."""
    logits, targets, loss = _see(copy_of(live, first=False).eval(), [live.forward, *live.replays], stop)
    if logits is None:
        raise NoMeasurement("the outputs and labels are not those of a classifier")
    if len(targets) < ROWS or len(targets.unique(dim=0)) < 2:
        raise NoMeasurement(f"{len(targets)} rows of {len(targets.unique(dim=0))} classes are too few")
    if not logits.isfinite().all():
        raise NoMeasurement("the model's outputs are no longer finite")
    pairs = _pair_losses(logits.cpu().double(), targets.cpu().double(), loss)[0].numpy()
    generator, every = np.random.default_rng(SEED), np.arange(len(pairs))
    dealt = np.array([pairs[every, generator.permutation(every)].mean() for _ in range(DEALS)])
    paired, spread = pairs.diagonal().mean(), dealt.std(ddof=1)
    distance = (dealt.mean() - paired) / spread if spread > 1e-9 else 0.0
    figures = {"paired_loss": figure(paired), "mismatched_loss": figure(dealt.mean()),
               "mismatched_spread": figure(spread), "spreads_below": figure(distance), "rows": len(pairs)}
    if NO <= distance < YES:
        raise NoMeasurement("undecided: a little better than mismatched pairs, within what chance does", figures)
    return bool(distance >= YES), figures


# ---- one batch learned by heart

def _one_batch(live):
    """Replays that hold at least two classes and half of ROWS rows together, and the loss of guessing on them.

    One replay is enough as a rule; batches of one or two rows, or sorted by class, are put together.
    """
    model, chosen, targets, logits, losses = copy_of(live).eval(), [], torch.empty(0), None, []
    for forward in [live.forward, *live.replays]:
        more_logits, more, loss = _see(model, [forward])
        if more is None:
            return [forward], None              # not a classifier's output: taken as it is
        both = torch.cat([targets, more]) if chosen else more
        if len(targets) >= ROWS // 2 and len(both.unique(dim=0)) == len(targets.unique(dim=0)):
            continue                            # adds neither a class nor rows that are needed
        logits = torch.cat([logits, more_logits]) if chosen else more_logits
        chosen, targets, losses = [*chosen, forward], both, [*losses, loss]
        if len(targets) >= ROWS // 2 and len(targets.unique(dim=0)) > 1:
            return chosen, _guess_loss(logits, targets, statistics.fmean(losses))
    if len(targets.unique(dim=0)) > 1:
        return chosen, _guess_loss(logits, targets, statistics.fmean(losses))
    raise NoMeasurement("the recorded batches hold one class only")


def model_overfits(live, record, stop, done):
    """A plain AdamW on a copy of the model with its first weights, dropout off, at one rate after another."""
    batch, guess = _one_batch(live)
    rates = PLAIN_RATES[_trainable_share(live.model) < HEAD_ONLY:]
    tried = []
    if not _loss_on(copy_of(live), batch).requires_grad:
        return False, {"loss_depends_on_parameters": False}
    for rate in rates:
        model = _training_without_dropout(copy_of(live))
        losses = _train(model, _plain_optimizer(model, rate), batch, [()] * STEPS, stop,
                        lambda losses: _learned_or_hopeless(losses, guess))
        tried.append((rate, losses))
        if time.monotonic() > stop or not np.isfinite(losses[0]) or losses[-1] < LEARNED * (guess or losses[0]):
            break
    rate, losses = min(tried, key=lambda trial: np.nan_to_num(trial[1][-1], nan=np.inf))
    figures = {"loss_first": figure(losses[0]), "loss_last": figure(losses[-1]), "guess_loss": figure(guess),
               "steps": len(losses) - 1, "rate": rate, "rates_tried": len(tried)}
    if losses[-1] < LEARNED * (guess or losses[0]):
        return True, figures
    if np.isfinite(losses[0]) and (len(tried) < len(rates) or time.monotonic() > stop):
        made = f"{len(tried[-1][1]) - 1} steps at a rate of {tried[-1][0]:g}"
        raise NoMeasurement(f"time: {made} were not enough", figures)
    return False, figures


def _learned_or_hopeless(losses, guess):
    """Learned by heart; or after a third of the steps the fall so far, continued, would not get there."""
    if not guess:
        return losses[-1] < 0
    hopeless = len(losses) - 1 == STEPS // 3 and losses[0] - 3 * (losses[0] - losses[-1]) > LEARNED * guess
    return hopeless or losses[-1] < LEARNED * guess


def own_optimizer(live, record, stop, done):
    """The script's optimizer and the rates of its schedule, on the same batch as model-overfits.

    The rates of the plan's first steps (60 as a rule) are spread over the fewer steps made here. Clipping, gradient
    scaling and accumulation are the loop's and not repeated. "No" means that the loss hardly moves or rises; a
    rate that is still climbing from next to nothing, or a slow fall, is left undecided.
    """
    if live.optimizer is None:
        raise NoMeasurement("no optimizer was seen")
    batch, guess = _one_batch(live)
    model = _training_without_dropout(copy_of(live, widened=False))
    optimizer, held = _own_optimizer(live.optimizer, live.model, model)
    rates = _spread(_known(live.rates, optimizer), _steps_within(live, record, done))
    highest = max(map(max, rates))

    def enough(losses):
        """Learned, or clearly learning at the highest rate of the plan, or that is 0."""
        made, level = len(losses) - 1, guess or losses[0]
        at_highest = made >= FEWEST_STEPS and min(map(max, rates[made - AT_HIGHEST:made])) >= 0.9 * highest
        settled = not highest or losses[0] - losses[-1] > 2 * FALL * level
        return losses[-1] < LEARNED * (guess or 0) or at_highest and settled

    losses = _train(model, optimizer, batch, rates, stop, enough)
    used = [max(row) for row in rates[:max(len(losses) - 1, 1)]]
    level = guess or losses[0]
    fall = (losses[0] - losses[-1]) / level
    other = done["model-overfits"].figures if "model-overfits" in done else {}
    figures = {"loss_first": figure(losses[0]), "loss_last": figure(losses[-1]), "guess_loss": figure(guess),
               "steps": len(losses) - 1, "optimizer": type(optimizer).__name__, "rate_lowest": figure(min(used)),
               "rate_highest": figure(max(used)), "plan_steps": len(live.rates), "tensors_held": held,
               "plain_loss_last": other.get("loss_last")}
    if not np.isfinite(losses[0]):
        raise NoMeasurement("the loss is not finite from the start", figures)
    if fall >= FALL:
        return True, figures
    if not np.isfinite(losses[-1]) or max(losses) > losses[0] + 0.25 * level:
        return False, figures                   # it diverges
    if len(losses) - 1 < FEWEST_STEPS:
        raise NoMeasurement("time", figures)
    if used[-1] > used[len(used) // 2] * 1.1:
        raise NoMeasurement("the rate is still rising at the end of the steps replayed", figures)
    if fall >= STILL:
        raise NoMeasurement(f"undecided: the loss falls, by {fall:.1%} only", figures)
    return False, figures


def _trainable_share(model):
    weights = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trainable in weights if trainable) / max(sum(size for size, _ in weights), 1)


def _known(rates, optimizer):
    """The plan's rates, the optimizer's present ones where they are unknown."""
    present = [group["lr"] for group in optimizer.param_groups]
    return [[float(now if rate != rate else rate) for rate, now in zip(row, present)]
            for row in rates if len(row) == len(present)] or [[float(rate) for rate in present]] * STEPS


def _steps_within(live, record, done):
    """How many steps model-overfits had time for, where time was what stopped it."""
    plain = done.get("model-overfits")
    return max(plain.figures["steps"], FEWEST_STEPS) if plain and plain.reason.startswith("time:") else STEPS // 2


def _own_optimizer(optimizer, original, model):
    """The script's optimizer with its settings and no memory, over the copy's parameters, and how many it holds.

    Copied as an object, with the copy's parameters standing in for the original's, so that any class will do.
    """
    while isinstance(getattr(optimizer, "optimizer", None), torch.optim.Optimizer):     # accelerate's wrapper
        optimizer = optimizer.optimizer
    mine = dict(model.named_parameters())
    stand_in = {id(parameter): mine[name] for name, parameter in _unwrapped(original).named_parameters()}
    stand_in[id(optimizer.state)] = defaultdict(dict)
    optimizer = copy.deepcopy(optimizer, stand_in)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return optimizer, sum(id(parameter) in held for parameter in mine.values())


def _spread(rates, steps):
    """`steps` of these rates, evenly spread from the first to the last."""
    return [rates[round(step * (len(rates) - 1) / max(steps - 1, 1))] for step in range(steps)]


# ---- which rate?

def rate_sweep(live, record, stop, done):
    """Loss on one batch after a few steps of plain AdamW on it, from the first weights, at each rate.

    On this batch and not on others: after so few steps of eight rows the loss of other rows moves less, even at the
    best rate, than it is uncertain by (measured: 0.05 against 0.06), while this one tells a rate that does not move
    the model from one that does and from one that diverges. The best rate here is the fastest, not the wisest.
    """
    batch, _ = _one_batch(live)
    after, first, longest = {}, None, 0.0
    own = _own_rate(live.optimizer)
    for rate in SWEEP_RATES:
        if own is not None and rate < min(own / 5, LOW_RATE):
            continue                            # what it does would change no answer
        began = time.monotonic()
        if began + longest > stop:
            break
        model = _training_without_dropout(copy_of(live))
        losses = _train(model, _plain_optimizer(model, rate), batch, [()] * SWEEP_STEPS, stop)
        if len(losses) <= SWEEP_STEPS and np.isfinite(losses[-1]):
            break                               # time
        first, after[rate] = losses[0], losses[-1]
        longest = max(longest, time.monotonic() - began)
    return _placed(live.optimizer, first, dict(sorted(after.items())))


def _placed(optimizer, first, after):
    """Outcome and figures of a sweep: where the script's own rate stands among those tried.

    first  loss before any step;  after  {rate: loss after the steps}
    """
    own = _own_rate(optimizer)
    still = [rate for rate, loss in after.items() if abs(first - loss) < STILL * first]
    diverges = [rate for rate, loss in after.items() if not loss <= (1 + STILL) * first]
    best = min((rate for rate in after if np.isfinite(after[rate])), key=after.get, default=None)
    figures = {"loss_first": figure(first), "rates": list(after), "losses": [figure(loss) for loss in after.values()],
               "steps": SWEEP_STEPS, "best_rate": best, "diverges_at": diverges, "moves_nothing_at": still,
               "own_rate": figure(own), "not_reached": [rate for rate in sorted(SWEEP_RATES) if rate not in after]}
    if len(after) < 3:
        raise NoMeasurement(f"time: {len(after)} of {len(SWEEP_RATES)} rates were tried", figures)
    if best is None or after[best] > (1 - FALL) * first:
        raise NoMeasurement("no rate lowers the loss in so few steps", figures)
    if own is None:
        raise NoMeasurement("the script's optimizer is none of Adam's kind: its rates do not compare", figures)
    too_high = any(own >= rate for rate in diverges if rate > best)
    return not (too_high or any(own <= rate for rate in still if rate < best) or own == 0), figures


def _own_rate(optimizer):
    """Peak rate of the group with the most trained weights; None where rates of AdamW do not compare with it."""
    groups = [group for group in optimizer.param_groups if "lr" in group] if optimizer is not None else []
    if not groups or "adam" not in type(optimizer).__name__.lower() and "betas" not in groups[0]:
        return None
    largest = max(groups, key=lambda group: sum(parameter.numel() for parameter in group["params"]
                                                if parameter.requires_grad))
    return float(max(largest[name] for name in ("lr", "initial_lr", "max_lr") if name in largest))
