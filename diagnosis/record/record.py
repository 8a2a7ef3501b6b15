"""What an examination writes down: facts about one training run, and nothing that judges them.

The observer (observe/) fills a Record while a script trains, the training script fills the part that needs no
training (look.py), the controls (experiments/) add their outcomes. The checks in faults/ read it and nothing else,
so each can be tested on a record written by hand. A fact that was not measured is None or an empty list.
"""

import dataclasses
import json
import math
import re
import typing
from dataclasses import dataclass, field


@dataclass
class Site:
    """A line of the examined script (or of a file beside it that it imports)."""
    file: str                   # relative to the working directory where it lies below it
    line: int
    code: str = ""              # the line's text, stripped
    cell: int | None = None     # of a notebook, its code cells counted from 1; the line is then the cell's
    function: str = ""          # that it stands in, '' outside of any


def place(site):
    """'train.py:142', 'train.ipynb, cell 7, line 3'; nothing where no line is known."""
    if not site:
        return ""
    return f"{site.file}, cell {site.cell}, line {site.line}" if site.cell else f"{site.file}:{site.line}"


@dataclass
class Warned:
    """What a library said, once however often it said it."""
    text: str
    site: Site | None = None    # the script's line that led to it


@dataclass
class Setting:
    """Where a value of the run is set: a constant, a default, a field, or an argument of the script."""
    of: str                     # 'lr', 'max_length', ...: the names are origins.VALUES
    site: Site | None
    argument: str = ""          # '--LEARNING_RATE=0', where the site is None
    acts: Site | None = None    # the call in which it acts, where one was seen

    @property
    def name(self):
        """As the user changes it: a constant's or a field's name, --lr of an option; '' where no name is to be read."""
        code = self.argument or self.site.code
        found = re.match(r"(?:self\.)?(\w+)\s*(?::[^=]+)?=|.*?add_argument\(.*?['\"](--\w[\w-]*)|(--[\w-]+)", code)
        return next(filter(None, found.groups()), "") if found else ""


@dataclass
class Parameter:
    """One parameter of the trained model, as it stood at the first and the last optimizer step seen."""
    name: str
    part: str                   # 'embeddings', 'layer 0' ... 'layer 11', 'pooler', 'encoder' (its rest), 'head'
    shape: list[int]
    dtype: str                  # 'float32', 'float16', 'bfloat16', ...
    trainable: bool             # requires_grad at the first optimizer step
    group: int | None = None    # index into Record.groups; None: in no optimizer
    mean: float | None = None   # of the weights before the first step
    std: float | None = None
    norm_first: float | None = None     # weight norm before the first step
    norm_last: float | None = None      # weight norm after the last step seen
    change: float | None = None         # norm of (last - first)
    gradient_norms: list[float | None] = field(default_factory=list)    # at each measured step; None: no gradient
    loaded: bool | None = None          # a checkpoint held it; None: no checkpoint was seen

    @property
    def elements(self):
        """How many weights it holds."""
        return math.prod(self.shape)


@dataclass
class Group:
    """One parameter group of one optimizer."""
    optimizer: str              # class name
    rate: float                 # learning rate when first seen
    initial_rate: float         # the rate that a schedule multiplies, or the rate at the optimizer's making
    weight_decay: float = 0.0
    parameters: int = 0         # number of tensors
    elements: int = 0           # number of weights
    foreign_elements: int = 0   # of those, weights that no part of the model used in the forward pass holds
    maximize: bool = False
    momentum: float | None = None
    epsilon: float | None = None        # Adam's eps
    made: Site | None = None    # where the optimizer was made
    decoupled: bool | None = None       # its decay is apart from the gradient, as the optimizer itself says
    own_code: bool = False      # its step is no known library's: what that makes of rate and decay is not known
    step_defined: Site | None = None    # the script's own step(), where it has one
    own_schedule: dict = field(default_factory=dict)    # its numbers that look like a schedule's: warmup, t_total ...


@dataclass
class Remaking:
    """An optimizer or a model that was made (a model: or loaded) anew while training went on."""
    kind: str                           # 'optimizer' or 'model'
    how: str                            # 'made' or 'loaded' (the weights as before the first step, in the same model)
    site: Site | None
    at: list[int] = field(default_factory=list)         # optimizer steps made before each making after the first
    loop: Site | None = None            # the innermost loop around both the making and the steps
    loops_within: int | None = None     # loops around the steps within that one: 0, it is made for every step; 1, for
                                        # every pass over the batches


@dataclass
class Clip:
    """One call that clips gradients."""
    kind: str                   # 'norm' or 'value'
    limit: float
    norm_before: float | None   # the norm it measured, as it stood (scaled gradients included)
    scaled: bool                # a gradient scaler's factor above 1 was still on the gradients
    site: Site | None = None


@dataclass
class Step:
    """One optimizer step, or one that a gradient scaler skipped."""
    index: int
    rates: list[float] = field(default_factory=list)    # learning rate of each group at this step
    loss: float | None = None           # value of the tensor on which backward was called (unscaled), last before it
    backwards: int = 1                  # backward calls since the step before
    zeroed: bool = True                 # gradients were zeroed or None when the first of these backward calls began
    gradient_before: float = 0.0        # norm of the gradients present at that moment
    cleared: bool = False               # gradients were there after backward and gone (None or all zero) at the step
    gradient_norm: float | None = None  # as the optimizer sees it; None where it sees none
    norm_of_backward: float | None = None   # as the last backward left it, where measured and no scaler is in use
    update_norm: float | None = None    # norm of the weights' change by this step, where measured
    weight_norm: float | None = None    # norm of the weights that the optimizer holds, where measured
    along_gradient: float | None = None     # cosine of that change and the gradient, where measured; positive: uphill
    unchanged_share: float | None = None    # of the weights with a gradient other than 0, the share bitwise equal after
    clip: Clip | None = None
    scale: float | None = None          # the gradient scaler's factor; None: no scaler in use
    by_hand: bool = False               # the script changed the weights itself, without an optimizer
    skipped: bool = False               # the scaler found an infinite gradient and skipped the step
    epoch: int = 0                      # passes over the training loader begun before it, from 0
    seconds: float | None = None        # since the step before
    site: Site | None = None            # of the call of optimizer.step() (or scaler.step())


@dataclass
class Target:
    """What the loss function was given beside the logits, before anything is made of it."""
    dtype: str                          # 'int64', 'float32', ...
    width: int                          # numbers per row
    lowest: float
    highest: float
    whole: bool                         # every number is a whole one


@dataclass
class Batch:
    """One forward pass of the model."""
    role: str                           # 'training' (a backward followed) or 'validation'
    step: int                           # optimizer steps made before it
    rows: int
    width: int | None = None            # positions per row
    real_tokens: int | None = None      # ids that are not padding
    padding: int | None = None          # padding positions (pad ids at either end of a row)
    mask_given: bool | None = None      # an attention mask reached the encoder
    padding_shown: int | None = None    # padding that the mask lets through
    real_hidden: int | None = None      # real tokens that the mask hides
    unknown: int | None = None          # ids of the tokenizer's unknown token
    highest_id: int | None = None
    distinct_rows: int | None = None    # different inputs among the rows, padding apart
    labels: list[int] | None = None     # as the loss saw them (class of the largest entry for multi-hot)
    ignored: int = 0                    # labels that the loss leaves out (ignore_index)
    logits: list[list[float]] | None = None     # as the loss saw them, rows x outputs
    outputs: int | None = None          # width of the logits
    loss: float | None = None           # what the loss function returned
    loss_function: str | None = None    # 'cross_entropy', 'nll_loss', 'binary_cross_entropy_with_logits', ...
    label_smoothing: float = 0.0
    class_weights: list[float] = field(default_factory=list)    # the loss's `weight` or `pos_weight`; empty: none
    last_operation: str | None = None   # what made the loss's input: 'softmax', 'sigmoid', 'log_softmax', 'relu',
                                        # 'tanh', 'dropout', 'linear', ... (autograd's name, lower case); None: unknown
    loss_sign: int | None = None        # +1: backward ran on this loss, -1: on its negative, 0: on neither
    loss_has_graph: bool | None = None  # the loss that backward ran on depends on at least one model parameter
    encoder_training: bool | None = None    # the encoder's training flag during the pass
    head_training: bool | None = None       # the same for the outermost model
    gradient_enabled: bool | None = None    # torch.is_grad_enabled() in the encoder's forward
    site: Site | None = None            # of the script's call of the loss function or model
    drawn: list[int] = field(default_factory=list)      # each row's input, by its number among the different ones of
                                                        # the run in order of appearance, padding apart
    target: Target | None = None        # of the loss function
    padded_rows: int | None = None      # rows with padding of which is known what position of the encoder's output
    read_at_padding: int | None = None  # the loss depends on most; of those, rows where that position is padding


@dataclass
class Split:
    """The training or the validation data, as they reach the encoder."""
    rows: int | None = None             # of the whole set, where known
    complete: bool = False              # the examples below are all rows (else a random or an observed sample)
    examples: list[list[int]] = field(default_factory=list)     # token ids of each row, padding removed
    labels: list[int] = field(default_factory=list)             # of the same rows; empty where unknown
    order_labels: list[int] = field(default_factory=list)       # labels in the order in which the batches came
    loader: str | None = None           # class of the loader
    batch_size: int | None = None
    batches: int | None = None          # len(loader)
    shuffled: bool | None = None        # the sampler draws at random; None: unknown
    sampler: str | None = None
    made: Site | None = None            # where the loader was made
    iterated: Site | None = None        # where the script's first pass over it began


@dataclass
class OtherTokenizer:
    """A second tokenizer of the script's with the same vocabulary, and how it reads its texts."""
    name: str                           # name_or_path
    same_share: float                   # of its texts, those of which the first tokenizer makes the same ids
    unknown_share: float                # of the ids that it makes
    texts: int                          # that were compared
    site: Site | None = None            # of its first call


@dataclass
class Tokenizer:
    """The tokenizer that the script called, and what it did to a sample of the texts."""
    name: str = ""                      # name_or_path
    kind: str = ""                      # class name
    vocabulary_size: int | None = None
    unknown_id: int | None = None
    pad_id: int | None = None
    start_id: int | None = None         # [CLS] or <s>
    end_id: int | None = None           # [SEP] or </s>
    max_length: int | None = None       # asked for in the call
    truncation: bool | None = None
    full_lengths: list[int] = field(default_factory=list)   # tokens of sampled texts before truncation
    kept_lengths: list[int] = field(default_factory=list)   # of the same texts after it
    shown: list[dict] = field(default_factory=list)         # a few examples: text, tokens, ids, label
    site: Site | None = None            # of the first call on training texts
    own_agreement: float | None = None  # share of sampled token ids that mean the same token in the tokenizer that
                                        # lies with the encoder's checkpoint; None: no such tokenizer at hand
    different_texts: int | None = None  # that the script gave it in all, of any data set
    other: OtherTokenizer | None = None     # of the same vocabulary, for texts that this one was never given


@dataclass
class Encoder:
    """The pre-trained part of the model."""
    kind: str = ""                      # class name, e.g. BertModel
    name: str = ""                      # name_or_path of its configuration
    layers: int = 0
    hidden_size: int = 0
    vocabulary_size: int | None = None
    pad_id: int | None = None
    max_positions: int | None = None
    initializer_range: float | None = None
    loaded_from: str | None = None      # the folder or name given to from_pretrained; None: made from a configuration
    missing_weights: int = 0            # encoder tensors that the checkpoint did not hold
    encoder_tensors: int = 0
    zero_bias_share: float | None = None    # share of Linear biases that are exactly zero throughout, before training
    unit_norm_share: float | None = None    # share of LayerNorms with weight exactly 1 and bias exactly 0
    feature_similarity_first: float | None = None   # mean cosine between different rows' first-token outputs, at the
    feature_similarity_last: float | None = None    # first and the last step seen (1: collapsed)
    unused_share: float | None = None   # of the ids seen, those that stand for nothing in the checkpoint's vocabulary
    start_share: float | None = None    # of the texts, those that begin with its start token; both only where the
                                        # script used no tokenizer of transformers
    made: Site | None = None


@dataclass
class Module:
    """A layer whose kind matters to a check: dropout, BatchNorm, the last layers of the head."""
    name: str
    kind: str                           # class name
    part: str                           # as for Parameter
    value: float | None = None          # dropout's probability
    training: bool | None = None        # in the training steps seen
    rows: int | None = None             # smallest batch that a BatchNorm was trained on
    zero_share: float | None = None     # for activations: share of outputs that are exactly 0 for every row
    momentum: float | None = None       # of a BatchNorm's running statistics


@dataclass
class FreezeAct:
    """One line that sets requires_grad to False, or that looks as if it did."""
    site: Site
    kind: str                           # 'parameter', 'module' (sets an attribute on a Module: freezes nothing),
                                        # 'misspelt' (an attribute such as require_grad on a parameter)
    tensors: int = 0                    # parameters it touched
    still_frozen: int = 0               # of those, how many are in the trained model and frozen at the first step
    in_model: int = 0                   # of those, how many are in the trained model


@dataclass
class Schedule:
    """One learning-rate schedule."""
    kind: str                           # class name, e.g. LambdaLR
    maker: str                          # what the script called, e.g. get_linear_schedule_with_warmup
    arguments: dict = field(default_factory=dict)   # its numbers by name: num_warmup_steps, T_max ...
    made: Site | None = None
    calls: int = 0                      # step() calls by the script (the one at its making not counted)
    calls_at: list[int] = field(default_factory=list)   # optimizer steps made before each of these calls
    call_site: Site | None = None       # of the script's step() call, seen, or else read in its source
    call_seen: bool = False             # the call was observed (False: only read in the source)
    call_in_batch_loop: bool | None = None      # from the source: the call stands inside the loop over batches
    factors: list[float] = field(default_factory=list)  # rate over base rate at schedule steps 0, 1, 2, ... as made;
                                        # up to the end of the plan or 20,000 steps; empty where it depends on a metric
    base_rates: list[float] = field(default_factory=list)
    interval: str | None = None         # 'step' or 'epoch': when the library that runs the loop was told to step it


@dataclass
class Plan:
    """How long the script means to train."""
    epochs: int | None = None
    batches_per_epoch: int | None = None
    batches_per_step: float | None = None       # gradient accumulation, measured
    steps: int | None = None                    # optimizer steps in all
    how: str = ""                               # where these come from, in words


@dataclass
class Evaluated:
    """Passes one after another that no backward followed: one evaluation, after the first optimizer step."""
    step: int                           # optimizer steps made before it
    outputs: list[list[float]] = field(default_factory=list)    # rows x outputs of the model, in the order of the passes
    labels: list[int] = field(default_factory=list)     # of the same rows, as the data sets and losses have them; -1000
                                                        # where unknown
    weights: str | None = None          # 'trained', 'untrained', 'fresh head', 'fresh head on an untrained encoder',
                                        # 'other' (an average, an earlier state, a checkpoint); None: cannot be told
    training_mode: bool | None = None   # the model's training flag
    whole: bool = False                 # the pass over its loader came to its end
    loader: Site | None = None          # where its loader was made
    drawn: bool | None = None           # its loader draws the rows at random; None: unknown
    of_training_rows: bool = False      # it went over a loader that was trained on
    rows_trained_before: float | None = None    # share of its rows that this model was trained on over another loader
    rows_trained_now: float | None = None       # the same over the loader that it was trained on last
    trained_outputs: list[list[float]] = field(default_factory=list)    # of the first rows, by the model that was trained
    site: Site | None = None            # of the call of the model


UNKNOWN_LABEL = -1000


@dataclass
class Scored:
    """Predictions that the script held against labels, of all or some of an evaluation's rows."""
    by: str                             # 'accuracy_score', '==', 'confusion_matrix' ...
    evaluation: int                     # index into Record.evaluations
    first_row: int                      # of that evaluation
    predictions: list                   # numbers or texts
    labels: list
    site: Site | None = None


@dataclass
class Repeated:
    """The same rows twice through the model in evaluation mode."""
    rows: int
    difference: float                   # the largest between two outputs of one row
    spread: float                       # standard deviation of the outputs
    dropout: Site | None = None         # a call of F.dropout that drops in evaluation too
    site: Site | None = None            # of the script's call of the model


@dataclass
class Control:
    """The outcome of one controlled experiment."""
    name: str                           # labels-from-tokens, labels-from-features, model-overfits, own-optimizer,
                                        # input-matters, rate-sweep
    question: str
    outcome: bool | None = None         # yes, no, not measured
    figures: dict = field(default_factory=dict)     # what was measured, with its uncertainty and its baseline
    reason: str = ""                    # why it was not measured


@dataclass
class Crash:
    kind: str                           # exception class name
    message: str
    traceback: str
    site: Site | None = None            # innermost line of the script's own files


@dataclass
class Record:
    target: str = ""
    arguments: list[str] = field(default_factory=list)
    device: str = "cpu"
    ended: str = ""                     # 'enough seen', 'script ended', 'crashed', 'time limit', 'asked for input',
                                        # 'looked' (no training was run)
    seconds: float = 0.0
    crash: Crash | None = None
    classes: int | None = None          # distinct training labels
    class_names: list[str] = field(default_factory=list)            # by class id, where the script told them
    alike_classes: list[list[str]] = field(default_factory=list)    # names among them that are probably one class
    several_texts: bool = False         # the encoder reads more than one text of each row (pairs, parts of a document):
                                        # one of them alone is no example, and none are kept
    backwards: int = 0                  # backward calls in all
    optimizer_steps: int = 0            # optimizer steps in all, skipped ones not counted
    scaler_used: bool = False
    autocast: str | None = None         # dtype of autocast in the training forward
    zero_grads: int = 0                 # zero_grad calls in all
    zero_site: Site | None = None
    backward_site: Site | None = None
    step_site: Site | None = None
    parameters: list[Parameter] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    freezes: list[FreezeAct] = field(default_factory=list)
    encoder: Encoder | None = None
    tokenizer: Tokenizer | None = None
    steps: list[Step] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    training: Split = field(default_factory=Split)
    validation: Split | None = None
    remakings: list[Remaking] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    rate_sites: list[Site] = field(default_factory=list)    # lines that set a group's rate by hand; without a schedule
    plan: Plan = field(default_factory=Plan)
    recomputed_site: Site | None = None     # reentrant checkpointing of something none of whose inputs needs a gradient
    library: str = ""                   # that runs the loop: 'transformers', 'lightning', 'ignite'; '' for the script's own
    adapter_site: Site | None = None    # where the script configures adapters (LoraConfig and its kin)
    called: list[str] = field(default_factory=list)         # names of all functions that the script's source calls
    controls: list[Control] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)    # of libraries, as far as they name a cause
    left_out: list[str] = field(default_factory=list)       # lines of a notebook that are no Python
    kept_files: list[str] = field(default_factory=list)     # older than the examination, which the script meant to change
    evaluations: list[Evaluated] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)
    repeated: Repeated | None = None
    functional_dropouts: list[Site] = field(default_factory=list)   # calls of F.dropout that drop in training
    one_column_argmax: Site | None = None       # where the script takes argmax of a table with a single column
    settings: list[Setting] = field(default_factory=list)
    observer_errors: list[str] = field(default_factory=list)    # what went wrong in observing; facts may be missing

    def control(self, name):
        """The control of that name, or None."""
        return next((control for control in self.controls if control.name == name), None)

    def class_named(self, number):
        """'Negative', or 'class 1' where the script told no names."""
        told = isinstance(number, int) and 0 <= number < len(self.class_names)
        return self.class_names[number] if told else f"class {number}"

    def setting(self, of):
        """Where that value is set, or None."""
        return next((setting for setting in self.settings if setting.of == of), None)

    def batches_of(self, role):
        return [batch for batch in self.batches if batch.role == role]


def to_json(record):
    return json.dumps(record, default=vars, ensure_ascii=True)


def from_json(text):
    return _build(Record, json.loads(text))


def _build(kind, value):
    """The value of a dataclass (or of a list or union of them) from what JSON made of it."""
    if value is None:
        return None
    arguments = [argument for argument in typing.get_args(kind) if argument is not type(None)]
    if typing.get_origin(kind) is list:
        return [_build(arguments[0], entry) for entry in value]
    if arguments and typing.get_origin(kind) is not dict:
        return _build(arguments[0], value)
    if dataclasses.is_dataclass(kind):
        return kind(**{known.name: _build(known.type, value[known.name])
                       for known in dataclasses.fields(kind) if known.name in value})
    return value
