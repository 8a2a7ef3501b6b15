"""What can be mended in a run from outside, in words and by the changes (changes.py) that it is made of.

A fault's file says which of them would mend it: mend(record) -> Mend or None. GENERAL are those that are tried where a
run does not learn and no check knows why.
"""

from dataclasses import dataclass, field, replace

from diagnosis.verdict import course

WIDE = 256              # from this width on an encoder is a usual one
USUAL, USUAL_FOR_SMALL = 5e-5, 3e-3     # rates of AdamW where no sweep of rates was made
MOST, MOST_FOR_SMALL = 1e-4, 3e-3       # that whole layers bear for forty steps: the sweep's best is the fastest of six
SHORT = 4               # steps of warm-up in a trial that has no time for a longer one
RISES = 0.3             # of the peak: a schedule below that on the average of the trial's steps would show nothing


@dataclass
class Mend:
    """One thing changed in a run.

    words     what is changed, to be read behind "with": 'the gradients not clipped'
    changes   {name of a change: its value}
    comparable      step by step the losses are of the same rows and the same kind as those of the run as it is
    """
    words: str
    changes: dict = field(default_factory=dict)
    comparable: bool = True


def together(mends):
    """One Mend of several."""
    changes = {name: value for mend in mends for name, value in mend.changes.items()}
    return Mend(in_a_row([mend.words for mend in mends]), changes, all(mend.comparable for mend in mends))


def in_a_row(words):
    """'a, b and c'"""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


# ---- rates


def sweeps_best(record):
    """The rate at which the sweep lowered the loss most, capped where whole layers of an encoder are trained."""
    sweep, wide = record.control("rate-sweep"), record.encoder is not None and record.encoder.hidden_size >= WIDE
    best = (sweep.figures.get("best_rate") if sweep else None) or (USUAL if wide else USUAL_FOR_SMALL)
    return min(best, MOST if wide else MOST_FOR_SMALL) if trains_layers(record) else best


def trains_layers(record):
    """Whole layers of the encoder will be moved by the mended run, whether gradients reach them as it is or not."""
    trainable = [each for each in record.parameters if each.trainable]
    held = [each for each in trainable if each.group is not None] or trainable
    return record.encoder is not None and any(
        course.in_encoder(each) and course.is_mostly_trained(record, each.part) for each in held)


def rate_held(record):
    """The sweep's best as a constant rate; by AdamW where it would mean something else: where the script's optimizer is
    not of its kind or makes its rate by itself."""
    rate, groups = sweeps_best(record), course.trained_groups(record)
    if course.sets_its_own_rate(record) or groups and not any(course.is_scale_free(group) for _, group in groups):
        return adamw(record)
    return Mend(f"the rate held at {rate:.2g} at every step", {"rates": {"rate": rate, "warm_up": 0}})


def own_rate_held(record):
    """The script's own rate, without what its schedule makes of it."""
    peaks = [group.initial_rate or group.rate for _, group in course.trained_groups(record)]
    if course.sets_its_own_rate(record):
        return adamw(record, max(peaks, default=None))
    peak = f" of {max(peaks):.2g}" if peaks else ""
    return Mend(f"the rate at its peak{peak} from step {SHORT} on",
                {"rates": {"rate": None, "warm_up": SHORT}})


def schedule_moved(record, schedule):
    """The script's schedule, moved after each optimizer step; with a short warm-up where its own is too long to see."""
    steps = max(1, min(len(schedule.factors), record.optimizer_steps or 1))
    if schedule.factors and sum(schedule.factors[:steps]) / steps < RISES:
        return Mend(f"the schedule moved after each optimizer step and its warm-up cut to {SHORT} steps",
                    {"rates": {"rate": None, "warm_up": SHORT}})
    return Mend("the schedule moved after each optimizer step", {"schedule_each_step": None})


# ---- steps


def unclipped(record):
    return Mend("the gradients not clipped", {"no_clipping": None})


def adamw(record, rate=None):
    rate = rate or sweeps_best(record)
    return Mend(f"AdamW at a constant {rate:.2g} over all trainable parameters in place of the script's optimizer",
                {"adamw": rate})


def zeroed(record):
    return Mend("the gradients zeroed before each backward", {"zero_before_backward": None})


def without_decay(record):
    return Mend("a weight decay of 0", {"no_weight_decay": None})


def shuffled(record):
    """None where the rows come from no DataLoader whose line is known."""
    made = record.training.made
    if made is None or record.training.loader is None:
        return None
    return Mend("the rows drawn at random, each once an epoch", {"shuffle": {"file": made.file, "line": made.line}},
                comparable=False)


def all_in_optimizer(record):
    return Mend("the trainable parameters that no optimizer holds put into it", {"all_in_optimizer": None})


# ---- the model


def in_training_mode(record):
    return Mend("the model in training mode at every training step", {"training_mode": None})


def all_trained(record, names=None, words="all parameters trainable and in the optimizer"):
    """names: of the parameters that are to be trained; None for all."""
    return Mend(words, {"trainable": names, "all_in_optimizer": None})


def without_dropout(record):
    return Mend("a dropout of 0", {"no_dropout": None})


def in_float32(record):
    return Mend("weights and arithmetic in float32, without a gradient scaler", {"float32": None})


def finite(record):
    return Mend("0 for what is NaN or infinite before linear layers and in gradients and the cross-entropy of the "
                "last layer's plain outputs as the loss", {"zero_for_nan": None, "plain_cross_entropy": None})


def cross_entropy(record):
    return Mend("the cross-entropy of the last layer's plain outputs against the labels as the loss",
                {"plain_cross_entropy": None, "minimize": None})


def steps_turned_round():
    return Mend("what each step does to the weights turned round", {"turn_steps": None})


def padding_masked(record):
    pad = record.tokenizer.pad_id if record.tokenizer is not None else None
    pad = record.encoder.pad_id if pad is None and record.encoder is not None else pad
    return Mend("an attention mask made from the padding id", {"mask_from_padding": pad or 0})


def last_layer_anew(record):
    return Mend("the last layer made anew", {"last_layer_anew": None})


def head_anew(record):
    """For a head whose units are dead: fresh weights, and a loss on what its last layer gives."""
    return Mend("the head's layers made anew and the cross-entropy of the last one's plain outputs as the loss",
                {"head_anew": None, "plain_cross_entropy": None})


def head_for(record, outputs):
    """A last layer of so many outputs, and the loss that fits it."""
    return Mend(f"a last layer of {outputs} outputs and the cross-entropy of these",
                {"last_layer_anew": outputs, "plain_cross_entropy": None, "all_in_optimizer": None})


def without_hooks(record):
    return Mend("the script's own hooks left out", {"no_hooks": None})


# Tried where no check fired: what changes little before what changes much, so that halving ends at the narrower one;
# each with the fault that it mends, as far as the catalogue has it.
GENERAL = (
    (unclipped, "clip-too-tight"), (rate_held, "lr-too-low"), (cross_entropy, "loss-mismatched"),
    (all_trained, "encoder-frozen"), (zeroed, "gradients-accumulate"), (in_training_mode, "eval-mode"),
    (without_hooks, ""), (without_decay, "weight-decay-extreme"), (without_dropout, "dropout-extreme"),
    (in_float32, "half-weights"), (padding_masked, "mask-wrong"), (last_layer_anew, "dead-head"), (adamw, ""))


def general(record):
    """[(Mend, name of its fault)] of those in GENERAL, each once, with rates that they bear all together.

    Where adapters are trained the rest is frozen on purpose, and stays so.
    """
    adapters = any(map(course.is_adapter, record.parameters))
    parameters = record.parameters if adapters else [
        replace(each, trainable=True, group=each.group or 0) for each in record.parameters]
    made = []
    for make, name in reversed(GENERAL):
        if make is all_trained and adapters:
            continue
        mend = make(replace(record, parameters=parameters))
        if mend not in [known for known, _ in made]:
            made.insert(0, (mend, name))
    return made
