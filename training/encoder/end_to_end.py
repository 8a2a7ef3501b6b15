"""A batch end to end: the encoder runs on its tokens in one row, and attention alone sees each text for itself."""

import contextlib
import math
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from training.encoder.finding import encoder_layers, first_line, quiet_transformers
from training.encoder.processor import attend_on_cpu, full_precision
from training.memory import out_of_memory

TEXT_BY_TEXT = "text_by_text"       # this attention's name in transformers
STATES_ALIKE = 1e-4                 # relative distance that rounding explains
ROW_MULTIPLE = 16                   # a row's length: few sizes recur, and tensor cores take multiples of 8
QUERY = ("attention.self.query", "attention.q_lin")     # what makes the queries in a layer, of BERT and of DistilBERT
ATTENDED = ("attention.output", "sa_layer_norm")    # what follows attention there


@dataclass
class EndToEnd:
    """Where the texts of a batch [texts, width] stand in the row of all their tokens."""
    texts: int
    width: int
    starts: torch.Tensor        # [texts]: of each text's first token in the row
    lengths: torch.Tensor       # [texts]
    positions: torch.Tensor     # [row]: of each token in its text
    places: torch.Tensor        # [row]: of each token in the flattened batch
    real: torch.Tensor | None   # [1, texts, 1, width]: False on padding; None where there is none

    def with_tensors(self, change):
        """The same layout, its tensors changed."""
        return EndToEnd(self.texts, self.width, *(None if tensor is None else change(tensor) for tensor in
                                                  (self.starts, self.lengths, self.positions, self.places, self.real)))

    def pin_memory(self):
        """What a DataLoader calls, so that the copy to a device need not wait."""
        return self.with_tensors(torch.Tensor.pin_memory)

    def to(self, device):
        return self.with_tensors(lambda tensor: tensor.to(device, non_blocking=True))


def row_length(lengths):
    """Positions in the row of texts of these lengths: a multiple of ROW_MULTIPLE, unless all are alike."""
    tokens = int(lengths.sum())
    return tokens if bool((lengths == lengths[0]).all()) else math.ceil(tokens / ROW_MULTIPLE) * ROW_MULTIPLE


def end_to_end(lengths, width):
    """The layout, on the CPU, of texts of these lengths [texts] in a batch so wide.

    What the row's length lacks is filled with one place of padding, again and again, to which no text attends.
    """
    starts = lengths.cumsum(0) - lengths
    texts = torch.arange(len(lengths)).repeat_interleave(lengths)
    positions = torch.arange(len(texts)) - starts[texts]
    places = texts * width + positions
    real = (torch.arange(width) < lengths[:, None])[None, :, None] if len(places) < len(lengths) * width else None
    missing = row_length(lengths) - len(places)
    if missing:
        shortest = lengths.argmin()
        places = torch.cat([places, (shortest * width + lengths[shortest]).expand(missing)])
        positions = torch.cat([positions, positions.new_zeros(missing)])
    return EndToEnd(len(lengths), width, starts, lengths, positions, places, real)


def use_attention_text_by_text(encoder):
    """Make attend_text_by_text the encoder's attention: transformers hands it whatever the encoder is called with.

    Raises:
        ValueError: this encoder takes no attention by name.
    """
    from transformers import AttentionInterface         # here: two seconds of start-up
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    AttentionInterface.register(TEXT_BY_TEXT, attend_text_by_text)
    AttentionMaskInterface.register(TEXT_BY_TEXT, sdpa_mask)
    encoder.set_attn_implementation(TEXT_BY_TEXT)


def attend_text_by_text(module, query, key, value, attention_mask, dropout=0.0, scaling=None, text_layout=None, **others):
    """Attention [1, tokens, heads, size] of query, key and value [1, heads, tokens, size], on padded rows inside.

    torch's own attention over texts end to end (torch.nn.attention.varlen) has no dropout, with which these encoders
    are trained. Without a layout it is transformers' ordinary attention.
    """
    if text_layout is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **others)
    for name in ("position_bias", "sliding_window", "softcap"):
        if others.get(name) is not None:
            raise NotImplementedError(f"its attention has a {name}")
    texts, width, places, real = text_layout.texts, text_layout.width, text_layout.places, text_layout.real

    def in_rows(tokens):        # [heads, texts, width, size] of [1, heads, tokens, size]
        tokens = tokens[0]
        if real is not None:
            tokens = tokens.new_zeros(len(tokens), texts * width, tokens.shape[2]).index_copy_(1, places, tokens)
        return tokens.unflatten(1, (texts, width))

    attend = attend_on_cpu if dropout and query.device.type == "cpu" else scaled_dot_product_attention
    attended = attend(in_rows(query), in_rows(key), in_rows(value), attn_mask=real, dropout_p=dropout, scale=scaling)
    attended = attended.flatten(1, 2)
    return (attended if real is None else attended.index_select(1, places)).transpose(0, 1)[None], None


@contextlib.contextmanager
def ending_with_first_tokens(encoder, layout):
    """The encoder whose top layer queries for each text's first token alone and, once it has attended, goes on with
    these alone: nothing reads the others."""
    top = dict(encoder_layers(encoder)[-1].named_modules())
    query, attended = (next((top[name] for name in names if name in top), None) for names in (QUERY, ATTENDED))

    def first_tokens(module, given):
        return tuple(states.index_select(1, layout.starts) for states in given)

    def in_place(module, given, queries):       # attention takes one for each token
        return queries.new_zeros(1, len(layout.places), queries.shape[2]).index_copy_(1, layout.starts, queries)

    hooks = [attended.register_forward_pre_hook(first_tokens)] if attended else []
    if attended and query:
        hooks += [query.register_forward_pre_hook(first_tokens), query.register_forward_hook(in_place)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def try_end_to_end(model):
    """Set a classifier's first_position where its encoder can run texts end to end; returns why it cannot, else ''.

    Four made-up texts are computed both ways first, in float32 on the device at hand.
    """
    encoder, device, was_training = model.encoder, model.device(), model.training
    attention_before = encoder.config._attn_implementation
    padding = getattr(encoder.config, "pad_token_id", None) or 0
    ids, lengths = made_up_texts(encoder.config, model.max_length, padding)
    mask, layout = torch.arange(ids.shape[1]) < lengths[:, None], end_to_end(lengths, ids.shape[1]).to(device)
    ids = ids.where(mask, padding).to(device)
    why_not = "it was not tried to the end"
    model.eval()
    try:
        with quiet_transformers(), full_precision():
            padded = model.pooled(ids, mask.long().to(device))      # what fails here fails in training too
            why_not = find_first_position(model, ids, layout, padded, padding)
    finally:
        model.train(was_training)
        if why_not:
            model.first_position = None
            with quiet_transformers():
                encoder.set_attn_implementation(attention_before)
    return why_not


def find_first_position(model, ids, layout, padded, padding):
    """Leave first_position where texts end to end give the states of padded rows; returns why none does, else ''."""
    try:
        use_attention_text_by_text(model.encoder)
        for model.first_position in (0, padding + 1):       # the second is RoBERTa's way of counting
            apart = (model.pooled_end_to_end(ids, layout) - padded).norm() / padded.norm()
            if apart < STATES_ALIKE:
                return ""
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError,
            ValueError) as error:       # an encoder can refuse in as many ways as there are encoders
        if out_of_memory(error) or "CUDA error" in str(error):      # no word on the encoder
            raise
        return first_line(error)
    return f"its states would be {apart:.1e} apart"


def made_up_texts(config, max_length, padding):
    """Token ids [4, longest] with no padding among them, and the lengths to cut them to [4]."""
    longest = min(max_length, getattr(config, "max_position_embeddings", max_length))
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1, config.vocab_size - 1, (4, longest), generator=draw)
    ids[ids == padding] = padding + 1
    return ids, torch.tensor([3, longest // 2, longest // 2, longest])
