"""From live models, optimizers, schedules, encoders and batches to the facts of a record. Nothing live is changed."""

import copy
import math
import os
import re
import sys
import warnings

import torch
from torch import nn

from diagnosis.record import source, structure
from diagnosis.record.arithmetic import share
from diagnosis.record.record import Encoder, Group, Module, Parameter, Target

HORIZON = 20_000            # schedule steps that are worked out at most
UNKNOWN_HORIZON = 1_000     # where nobody knows how long the run is
LAYER = re.compile(r"(?:^|\.)(?:\w*layers?|h|\w*blocks?)\.(\d+)\.")
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softmax,
               nn.LogSoftmax, nn.Hardtanh, nn.Softplus)
NORMS = (nn.modules.batchnorm._BatchNorm,)
STEPS_BY_RATE = ("torch", "transformers", "accelerate", "bitsandbytes", "pytorch_lightning", "lightning", "ignite")
SCHEDULE_NUMBERS = ("t_total", "warmup", "warmup_steps", "num_warmup_steps", "num_training_steps", "total_steps", "T_max")


def transformers_model():
    """The class PreTrainedModel where the script imported transformers, else None."""
    return getattr(sys.modules.get("transformers.modeling_utils"), "PreTrainedModel", None)


def find_encoder(model):
    """The bare pre-trained model inside any module (BertModel, ...), known by its class or else by its structure; None
    where there is none."""
    kind = transformers_model()
    for module in model.modules() if kind is not None else ():
        if isinstance(module, kind):
            base = module.base_model
            return base if isinstance(base, nn.Module) else module
    return structure.find(model)


def class_names(model, classes):
    """The classes' names by id, where the model bears them: in its configuration, or as its one list of so many texts."""
    given = getattr(getattr(model, "config", None), "id2label", None)
    if isinstance(given, dict) and len(given) == classes and not str(given.get(0, "")).startswith("LABEL_"):
        return [str(given[number]) for number in sorted(given)]
    lists = [held for held in vars(model).values() if isinstance(held, (list, tuple)) and len(held) == classes
             and all(isinstance(name, str) for name in held)]
    return list(lists[0]) if len(lists) == 1 else []


def names_in(model, encoder):
    """{id of a parameter: (name in the model, name in the encoder or None)}"""
    inside = {id(tensor): name for name, tensor in encoder.named_parameters()} if encoder is not None else {}
    return {id(tensor): (name, inside.get(id(tensor))) for name, tensor in model.named_parameters()}


def part_of(name_in_encoder):
    """'embeddings', 'layer 3', 'pooler', 'encoder' or, outside the encoder (None), 'head'."""
    if name_in_encoder is None:
        return "head"
    layer = LAYER.search(name_in_encoder + ".")
    if layer:
        return f"layer {layer[1]}"
    if re.match(r"(?:encoder\.|model\.)?(?:\w*emb(?:ed\w*|s)?\b|wte|wpe)", name_in_encoder):
        return "embeddings"
    return "pooler" if "pooler" in name_in_encoder else "encoder"


def dtype_name(tensor):
    return str(tensor.dtype).removeprefix("torch.")


def describe_model(model, optimizers, encoder):
    """(parameters, groups, modules) of a model as it stands, with the groups of the optimizers that train it."""
    groups, group_of = [], {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group_of |= {id(tensor): len(groups) for tensor in group["params"] if id(tensor) not in group_of}
            groups.append(group)
    named = names_in(model, encoder)
    parameters = [describe_parameter(tensor, *named[id(tensor)], group_of.get(id(tensor)))
                  for tensor in model.parameters()]
    described = [describe_group(optimizer, group, named)
                 for optimizer in optimizers for group in optimizer.param_groups]
    return parameters, described, describe_modules(model, encoder)


def describe_parameter(tensor, name, name_in_encoder, group):
    described = Parameter(name, part_of(name_in_encoder), list(tensor.shape), dtype_name(tensor), tensor.requires_grad,
                          group)
    if tensor.numel() and tensor.device.type != "meta":
        with torch.no_grad():
            values = tensor.detach().float()
            described.mean, described.norm_first = float(values.mean()), float(values.norm())
            described.std = float(values.std()) if tensor.numel() > 1 else 0.0
    return described


def describe_group(optimizer, group, named):
    momentum, epsilon = group.get("momentum"), group.get("eps", group.get("e"))     # e: in BertAdam
    return Group(
        optimizer=type(optimizer).__name__, rate=float(group["lr"]) if "lr" in group else math.nan,
        initial_rate=float(group.get("initial_lr", group.get("lr", math.nan))),
        weight_decay=float(group.get("weight_decay") or 0.0), parameters=len(group["params"]),
        elements=sum(tensor.numel() for tensor in group["params"]),
        foreign_elements=sum(tensor.numel() for tensor in group["params"] if id(tensor) not in named),
        maximize=bool(group.get("maximize", False)), momentum=float(momentum) if momentum is not None else None,
        epsilon=float(epsilon) if isinstance(epsilon, (int, float)) else None,
        decoupled=group.get("decoupled_weight_decay"), own_code=has_own_code(optimizer),
        step_defined=source.definition(type(optimizer).step),
        own_schedule={name: value for name in SCHEDULE_NUMBERS if isinstance(value := group.get(name), (int, float))})


def has_own_code(optimizer):
    """Its step is the script's own, or of a library that is not known to take group["lr"] as it stands."""
    return getattr(type(optimizer).step, "__module__", "").partition(".")[0] not in STEPS_BY_RATE


def describe_modules(model, encoder):
    """Dropout anywhere, BatchNorm, and the layers of the head that hold weights or are activations."""
    inside = {id(module): name for name, module in encoder.named_modules()} if encoder is not None else {}
    described = []
    for name, module in model.named_modules():
        part = part_of(inside.get(id(module)))
        dropout = isinstance(module, DROPOUTS)
        head_layer = part == "head" and not any(True for _ in module.children())
        if dropout or isinstance(module, NORMS) or head_layer:
            described.append(Module(name, type(module).__name__, part, float(module.p) if dropout else None,
                                    module.training, momentum=getattr(module, "momentum", None)))
    return described


def describe_encoder(encoder):
    """What can be read off an encoder as it stands; the state of its weights counts, so ask before training."""
    config = getattr(encoder, "config", None)

    def read(*names):
        return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)

    layers, embedding = structure.row_of_layers(encoder), structure.token_embedding(encoder)
    described = Encoder(
        kind=type(encoder).__name__, name=str(getattr(config, "_name_or_path", "") or ""),
        layers=int(read("num_hidden_layers", "n_layers", "n_layer") or (len(layers) if layers is not None else 0)),
        hidden_size=int(read("hidden_size", "dim", "n_embd", "d_model") or getattr(embedding, "embedding_dim", 0)),
        vocabulary_size=read("vocab_size") or getattr(embedding, "num_embeddings", None), pad_id=read("pad_token_id"),
        max_positions=read("max_position_embeddings", "n_positions"),
        initializer_range=read("initializer_range", "init_std"),
        encoder_tensors=sum(1 for _ in encoder.parameters()))
    with torch.no_grad():
        biases = [layer.bias for layer in encoder.modules() if isinstance(layer, nn.Linear) and layer.bias is not None]
        norms = [layer for layer in encoder.modules() if isinstance(layer, nn.LayerNorm) and layer.weight is not None]
        described.zero_bias_share = share(not bool(bias.any()) for bias in biases)
        described.unit_norm_share = share(
            bool((norm.weight == 1).all()) and (norm.bias is None or not bool(norm.bias.any())) for norm in norms)
    return described


def describe_schedule(scheduler, horizon):
    """Rate over base rate at schedule steps 0, 1, 2, ... as it was made; [] where it depends on a metric.

    Worked out on a copy with a stand-in for its optimizer: the script's own schedule does not move.
    """
    lambdas = getattr(scheduler, "lr_lambdas", None)
    if lambdas and type(scheduler).__name__ == "LambdaLR":
        return [float(lambdas[0](step)) for step in range(min(horizon, HORIZON) + 1)]
    return factors_of_copy(copy_schedule(scheduler), horizon)


def copy_schedule(scheduler):
    """A copy that moves a stand-in optimizer; None where it cannot be copied or depends on a metric."""
    if type(scheduler).__name__ in ("LambdaLR", "ReduceLROnPlateau"):
        return None
    optimizer = scheduler.optimizer
    groups = [dict(group, params=[nn.Parameter(torch.zeros(1))]) for group in optimizer.param_groups]
    stand_in = torch.optim.SGD([group["params"][0] for group in groups], lr=0.0)
    stand_in.param_groups = groups
    stand_in._opt_called = True
    try:
        return copy.deepcopy(scheduler, {id(optimizer): stand_in})
    except Exception:
        return None


def factors_of_copy(scheduler, horizon):
    if scheduler is None:
        return []
    group = scheduler.optimizer.param_groups[0]
    base = float((getattr(scheduler, "base_lrs", None) or [group.get("initial_lr", group["lr"])])[0])
    if not base:
        return []
    factors = [float(group["lr"]) / base]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(min(horizon, HORIZON)):
            try:
                scheduler.step()
            except Exception:       # OneCycleLR refuses to go beyond its total
                break
            factors.append(float(group["lr"]) / base)
    return factors


def padding_of(ids, pad_id):
    """Which positions are padding: pad ids in a run at either end of a row. ids: rows x width, as is what it gives."""
    if pad_id is None:
        return torch.zeros_like(ids, dtype=torch.bool)
    pads = ids == pad_id
    return (pads.long().cumprod(1) | pads.flip(1).long().cumprod(1).flip(1)).bool()


def strip_padding(ids, pad_id):
    """Token ids of each row (rows x width, or a list of lists) without the padding at either end; lists of lists."""
    rows = ids.tolist() if isinstance(ids, torch.Tensor) else [list(row) for row in ids]
    if pad_id is None:
        return rows
    stripped = []
    for row in rows:
        first, last = 0, len(row)
        while last and row[last - 1] == pad_id:
            last -= 1
        while first < last and row[first] == pad_id:
            first += 1
        stripped.append(row[first:last])
    return stripped


def guess_pad_id(ids, tokenizer_pad, encoder_pad):
    """The padding's id: the called tokenizer's, else the encoder's, else 0 where rows plainly end in zeros."""
    if tokenizer_pad is not None:
        return int(tokenizer_pad)
    ending_in_zero = bool((ids[:, -1] == 0).any()) if ids.numel() else False
    if encoder_pad is not None and (bool((ids == encoder_pad).any()) or not ending_in_zero):
        return int(encoder_pad)
    return 0 if ending_in_zero else encoder_pad


def runs_end_to_end(ids, positions):
    """Do several texts follow one another in a single row? The positions then begin anew with each."""
    return ids.shape[0] == 1 and positions.shape == ids.shape and int((positions == positions[0, 0]).sum()) > 1


def one_row_each(ids, positions, pad_id):
    """(ids, mask, where each text begins) of texts end to end in one row, as padded rows; what only fills up the row is
    no text."""
    starts = (positions[0] == positions[0, 0]).nonzero().flatten()
    texts = list(ids[0].tensor_split(starts[1:].tolist()))
    while len(texts) > 1 and bool((texts[-1] == pad_id).all()):
        texts.pop()
    starts = starts[:len(texts)]
    padded = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=pad_id or 0)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
    return padded, mask, starts


def describe_input(batch, ids, mask, pad_id, unknown_id):
    """Fill a Batch with what its token ids (rows x width) and its mask (the same, or None) show."""
    ids = ids.detach().cpu()
    batch.rows, batch.width = int(ids.shape[0]), int(ids.shape[1])
    padding = padding_of(ids, pad_id)
    batch.padding = int(padding.sum())
    batch.real_tokens = int(ids.numel()) - batch.padding
    batch.highest_id = int(ids.max()) if ids.numel() else None
    batch.unknown = int((ids == unknown_id).sum()) if unknown_id is not None else None
    batch.distinct_rows = len({tuple(row) for row in strip_padding(ids, pad_id)})
    batch.mask_given = mask is not None
    if mask is None:
        batch.padding_shown, batch.real_hidden = batch.padding, 0
    else:
        shown = mask_as_shown(mask.detach().cpu(), ids.shape)
        if shown is not None:
            batch.padding_shown = int((shown & padding).sum())
            batch.real_hidden = int((~shown & ~padding).sum())


def mask_as_shown(mask, shape):
    """True where a position is attended to, rows x width; None where the mask has a form of its own."""
    if mask.dim() == 4:                     # an additive or a broadcast mask: rows x 1 x 1 x width
        mask = mask[:, 0, -1]
    if mask.dim() == 3:
        mask = mask[:, -1]
    if tuple(mask.shape) != tuple(shape):
        return None
    if mask.is_floating_point() and bool((mask < 0).any()):
        return mask > -1
    return mask != 0


def describe_target(target):
    """A Target; None where it holds nothing, or numbers that are not finite."""
    numbers = target.detach().float()
    if not numbers.numel() or not numbers.dim() or not bool(torch.isfinite(numbers).all()):
        return None
    return Target(dtype_name(target), numbers.numel() // len(numbers), float(numbers.min()), float(numbers.max()),
                  bool((numbers == numbers.round()).all()))


def describe_labels(target, rows):
    """Class ids, one per row, of what a loss was given; None where it is no such thing."""
    target = target.detach()
    if target.dim() == 2 and target.shape[0] == rows and target.shape[1] > 1:
        return target.argmax(1).tolist()
    target = target.reshape(-1)
    if target.numel() != rows or target.numel() > 4096:
        return None
    if target.is_floating_point():
        if not bool(torch.isfinite(target).all()):
            return None
        target = target.round()
    return target.long().tolist()


def similarity(vectors):
    """Mean cosine between different rows; 1 means that the rows collapsed to one. vectors: rows x size."""
    rows = len(vectors)
    if rows < 2:
        return None
    unit = nn.functional.normalize(vectors.float(), dim=1)
    total = float((unit.sum(0) ** 2).sum()) - float((unit ** 2).sum())
    return total / (rows * (rows - 1))


def inside(path, folder):
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return path == folder or path.startswith(folder + os.sep)
