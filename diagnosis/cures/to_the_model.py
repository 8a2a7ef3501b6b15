"""Changes to the model of a run: its mode, what is frozen, its layers, its loss, the mask, precision.

Each is change(observer, value) and puts itself in place; value is what its Mend gives it.
"""

import functools
import inspect
import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import checkpoint

from diagnosis.cures.events import around_backward, before_pass, trained, unseen
from diagnosis.observe.losses import target_beside
from diagnosis.record import facts, graph, source

SMALL = 0.02            # standard deviation of fresh weights, as transformers' heads have it


def training_mode(observer, value):
    before_pass(observer, lambda module: module.train())


def trainable(observer, names):
    """These parameters of the model are trainable (None: all of floating point), whatever froze them."""
    def thaw(module):
        for name, parameter in module.named_parameters():
            if parameter.is_floating_point() and (names is None or any(
                    name == wanted or name.endswith("." + wanted) or wanted.endswith("." + name) for wanted in names)):
                torch.Tensor.requires_grad.__set__(parameter, True)

    before_pass(observer, thaw)


def let_gradients_through(observer, value):
    """From a training pass to its backward, detach() in the script's own code and no_grad() have no effect, and
    checkpoints let gradients through whose inputs need none."""
    plain = checkpoint.checkpoint
    checkpoint.checkpoint = functools.wraps(plain)(
        lambda *args, use_reentrant=None, **kwargs: plain(*args, use_reentrant=False, **kwargs))
    detach, enter, numpy = torch.Tensor.detach, torch.no_grad.__enter__, torch.Tensor.numpy

    def trains():
        passes = observer.passes
        going_on = passes.inside_module or passes.open is not None and not passes.open.backward
        return going_on and not observer.guard.looks_away() and torch.is_grad_enabled()

    def detached(tensor):
        own = trains() and source.is_users(sys._getframe(1).f_code.co_filename)
        return tensor if own else detach(tensor)

    def entered(context):
        in_pass = trains() and observer.passes.inside_module
        training = torch.is_grad_enabled() and any(root.training for root in observer.models.roots.values())
        enter(context)
        if in_pass or training and source.is_users(sys._getframe(1).f_code.co_filename):
            torch.set_grad_enabled(True)

    torch.Tensor.detach, torch.no_grad.__enter__ = detached, entered
    torch.Tensor.numpy = lambda tensor, *args, **kwargs: numpy(detach(tensor), *args, **kwargs)


def no_hooks(observer, value):
    """Hooks that the script registers on modules and tensors are never called."""
    def left_out(original):
        @functools.wraps(original)
        def register(owner, *args, **kwargs):
            if source.is_users(sys._getframe(1).f_code.co_filename):
                return original(owner, lambda *given, **named: None, **kwargs)
            return original(owner, *args, **kwargs)
        return register

    for kind, names in ((nn.Module, ("register_forward_hook", "register_forward_pre_hook",
                                     "register_full_backward_hook", "register_full_backward_pre_hook")),
                        (torch.Tensor, ("register_hook", "register_post_accumulate_grad_hook"))):
        for name in names:
            setattr(kind, name, left_out(getattr(kind, name)))


def last_layer_anew(observer, outputs):
    """The last linear layer outside the encoder gets fresh weights, and so many outputs (None: as many as it has)."""
    def make(layers, module):
        layer = layers[-1]
        if outputs not in (None, layer.out_features):
            other = nn.Linear(layer.in_features, outputs, device=layer.weight.device, dtype=layer.weight.dtype)
            layer.out_features, layer.weight, layer.bias = outputs, other.weight, other.bias
        if outputs is not None:
            tell_number_of_labels(module, outputs)
        with torch.no_grad():
            layer.weight.normal_(0.0, SMALL)
            if layer.bias is not None:
                layer.bias.zero_()

    if outputs is not None:
        take_class_numbers()
    once_with_head(observer, make)


def head_anew(observer, value):
    """All linear layers outside the encoder begin with torch's own initial weights."""
    once_with_head(observer, lambda layers, module: [layer.reset_parameters() for layer in layers])


def once_with_head(observer, make):
    """make(linear layers outside the encoder, model) before its first pass; the random numbers stay the script's."""
    done = set()

    def begin(module):
        if id(module) in done:
            return
        done.add(id(module))
        encoder = facts.find_encoder(module)
        inside = {id(part) for part in encoder.modules()} if encoder is not None and encoder is not module else set()
        layers = [part for part in module.modules() if isinstance(part, nn.Linear) and id(part) not in inside]
        if encoder is module or not layers:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            make(layers, module)

    before_pass(observer, begin)


def take_class_numbers():
    """torch's cross-entropy takes class numbers that the script keeps as floating point."""
    original = F.cross_entropy

    def cross_entropy(input, target, *args, **kwargs):
        numbers = target.is_floating_point() and target.dim() == 1 < input.dim()
        return original(input, target.long() if numbers else target, *args, **kwargs)

    F.cross_entropy = cross_entropy


def tell_number_of_labels(module, outputs):
    """transformers' models reshape their outputs by what is written here."""
    for owner in [part for part in module.modules() if hasattr(part, "num_labels")]:
        owner.num_labels = outputs
    config = getattr(module, "config", None)
    if hasattr(config, "problem_type"):
        config.num_labels, config.problem_type = outputs, "single_label_classification"


def plain_cross_entropy(observer, value):
    """Backward runs on the cross-entropy of the last linear layer's outputs against the labels.

    Of a single output, on the binary one. Where no labels of as many rows are known, on the mean of what the
    cross-entropies of the pass gave. Gradient scaling is kept.
    """
    seen, computed = [], []     # (Pass, output) of the linear layers in the pass going on; (Pass, loss) likewise
    original, cross_entropy = nn.Linear.forward, F.cross_entropy

    def forward(layer, *args, **kwargs):
        output = original(layer, *args, **kwargs)
        now = observer.passes.open
        if now is not None and not observer.guard.looks_away() and output.dim() == 2:
            if seen and seen[0][0] is not now:
                seen.clear()
            seen.append((now, output))
        return output

    def kept(*args, **kwargs):
        result, now = cross_entropy(*args, **kwargs), observer.passes.open
        if now is not None and not observer.guard.looks_away() and result.requires_grad:
            computed[:] = [each for each in computed if each[0] is now] + [(now, result)]
        return result

    def loss(tensor):
        now = observer.passes.open
        chosen = now and now.loss_behind(tensor)
        outputs = [output for of_pass, output in seen if of_pass is now and output.requires_grad]
        if not outputs:
            return None
        target = chosen.arguments.get("target") if chosen else graph.target_in_graph(tensor, *outputs[-1].shape)
        target = target_beside(now) if target is None else target
        if target is not None and target.numel() in (len(outputs[-1]), outputs[-1].numel()):
            return observer.scaling.scaled_like(tensor, of_logits(outputs[-1].float(), target))
        parts = [result.mean() for of_pass, result in computed if of_pass is now]
        return observer.scaling.scaled_like(tensor, torch.stack(parts).mean()) if parts else None

    nn.Linear.forward, F.cross_entropy = forward, kept
    around_backward(observer, before=loss)


def zero_for_nan(observer, value):
    """What is NaN or infinite becomes 0 where a linear layer takes it, and in the gradients after backward."""
    original = nn.Linear.forward

    def forward(layer, input):
        return original(layer, torch.nan_to_num(input, 0.0, 0.0, 0.0))

    def clean():
        for parameter in trained(observer):
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)

    nn.Linear.forward = forward
    around_backward(observer, after=unseen(observer, clean))


def of_logits(logits, target):
    """Cross-entropy for class numbers or indicators of one class, binary for a single output or several classes."""
    rows, outputs = logits.shape
    if target.numel() == rows and outputs > 1:
        return F.cross_entropy(logits, target.reshape(-1).long())
    if target.numel() == rows:
        return F.binary_cross_entropy_with_logits(logits.reshape(-1), target.reshape(-1).float())
    if target.shape == logits.shape and bool((target.float().sum(1) == 1).all()) and outputs > 2:
        return F.cross_entropy(logits, target.argmax(1))
    return F.binary_cross_entropy_with_logits(logits, target.float().reshape(logits.shape))


def mask_from_padding(observer, pad_id):
    """Every model that takes token ids and a mask by name is given the mask that hides the padding id alone."""
    original, known = nn.Module.__call__, {}

    def takes_both(module):
        kind = type(module)
        if kind not in known:
            names = inspect.signature(kind.forward).parameters if hasattr(module, "config") else {}
            known[kind] = {"input_ids", "attention_mask"} <= set(names)
        return known[kind]

    def called(module, *args, **kwargs):
        if not observer.guard.looks_away() and takes_both(module):
            given = inspect.signature(type(module).forward).bind_partial(module, *args, **kwargs).arguments
            ids = given.get("input_ids")
            if isinstance(ids, torch.Tensor) and ids.dim() == 2:
                names = list(inspect.signature(type(module).forward).parameters)[1:]
                kwargs = dict(zip(names, args)) | kwargs | {"attention_mask": (ids != pad_id).long()}
                args = ()
        return original(module, *args, **kwargs)

    nn.Module.__call__ = called


def no_dropout(observer, value):
    F.dropout = lambda input, p=0.5, training=True, inplace=False: input
    attention = F.scaled_dot_product_attention

    def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, *args, **kwargs):
        return attention(query, key, value, attn_mask, 0.0, *args, **kwargs)

    F.scaled_dot_product_attention = scaled_dot_product_attention

    def recurrent(module):
        for part in module.modules():
            if isinstance(part, nn.RNNBase):
                part.dropout = 0.0

    before_pass(observer, recurrent)


def no_batch_norm(observer, value):
    F.batch_norm = lambda input, *args, **kwargs: input


def float32(observer, value):
    """No autocast, no gradient scaler, and weights in float32 from the first pass on."""
    scaler, autocast = torch.amp.GradScaler.__init__, torch.autocast.__init__

    @functools.wraps(scaler)
    def plain_scaler(self, *args, **kwargs):
        scaler(self, *args, **kwargs | {"enabled": False})

    @functools.wraps(autocast)
    def no_autocast(self, *args, **kwargs):
        autocast(self, *args, **kwargs)
        self._enabled = False

    torch.amp.GradScaler.__init__, torch.autocast.__init__ = plain_scaler, no_autocast
    before_pass(observer, lambda module: module.float())


def from_checkpoint(observer, folder):
    """The encoder begins with the weights of that checkpoint."""
    done = set()

    def load(module):
        encoder = facts.find_encoder(module)
        if encoder is None or id(encoder) in done:
            return
        done.add(id(encoder))
        with torch.random.fork_rng(devices=[]):
            loaded = type(encoder).from_pretrained(folder)
        encoder.load_state_dict(loaded.state_dict(), strict=False)

    before_pass(observer, load)
