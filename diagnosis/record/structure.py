"""Encoders known by their structure, not by their class: BERT written out in the script's own files, or one that was taken
apart and put together anew in a model of the script's own."""

import torch
from torch import nn

VOCABULARY = 100    # rows of an embedding from which on it may be one of tokens
FEWEST = 2          # layers in a row


class DismantledEncoder(nn.ModuleDict):
    """The embeddings and layers of an encoder that no module of the model holds alone. It cannot be called."""

    @property
    def training(self):
        """The layers' own flag: the script knows nothing of this module."""
        layers = self._modules.get("layer")
        return layers[0].training if layers else True

    @training.setter
    def training(self, value):
        pass


def find(model):
    """The encoder in a model: its smallest module that holds an embedding of tokens and a row of alike layers with
    attention; a DismantledEncoder where that holds a head as well; None where there is none."""
    layers, embedding = row_of_layers(model), token_embedding(model)
    if layers is None or embedding is None:
        return None
    holder = smallest_with(model, layers, embedding)
    if is_bare(holder, layers):
        return holder
    return DismantledEncoder({"embeddings": nn.ModuleList(embedding_parts(holder, layers)), "layer": layers})


def row_of_layers(model):
    """The largest ModuleList (or Sequential) of layers of one class with attention in them; None without any."""
    rows = [module for module in model.modules() if isinstance(module, (nn.ModuleList, nn.Sequential))
            and len(module) >= FEWEST and len({type(layer) for layer in module}) == 1 and has_attention(module[0])]
    return max(rows, key=size_of, default=None)


def has_attention(layer):
    """Attention of torch's own, or three maps of one form side by side (query, key, value), or one three times as wide."""
    for module in layer.modules():
        if isinstance(module, nn.MultiheadAttention):
            return True
        parts = [part for part in module.children() if isinstance(part, nn.Linear)]
        parts += [part for inner in module.children() if isinstance(inner, nn.ModuleList) for part in inner
                  if isinstance(part, nn.Linear)]
        forms = [(part.in_features, part.out_features) for part in parts]
        if any(forms.count(form) >= 3 and form[1] <= form[0] for form in forms):
            return True
        if any(wide == 3 * narrow for narrow, wide in forms) and any(narrow == wide for narrow, wide in forms):
            return True
    return False


def token_embedding(model):
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)
                  and module.num_embeddings >= VOCABULARY]
    return max(embeddings, key=size_of, default=None)


def smallest_with(model, *parts):
    holders = [module for module in model.modules()
               if all(any(part is inside for inside in module.modules()) for part in parts)]
    return holders[-1]      # modules() names the outer ones first


def is_bare(holder, layers):
    """Nothing beside the layers maps what they give to classes: all other Linear layers keep the encoder's width, as a
    pooler does."""
    inside = {id(module) for part in holder.children() if any(layers is held for held in part.modules())
              for module in part.modules()}
    widths = {norm.normalized_shape[0] for norm in holder.modules() if isinstance(norm, nn.LayerNorm)}
    widths |= {table.embedding_dim for table in holder.modules() if isinstance(table, nn.Embedding)}
    return all(part.out_features in widths for part in holder.modules()
               if isinstance(part, nn.Linear) and id(part) not in inside)


def embedding_parts(holder, layers):
    """The outermost modules that hold an embedding and not the layers."""
    found, todo = [], list(holder.children())
    while todo:
        module = todo.pop(0)
        if any(layers is held for held in module.modules()):
            todo = [child for child in module.children() if child is not layers] + todo if module is not layers else todo
        elif any(isinstance(held, nn.Embedding) for held in module.modules()):
            found.append(module)
    return found


def size_of(module):
    return sum(tensor.numel() for tensor in module.parameters())


def last_hidden(output):
    """What an encoder gives for each token (rows x width x size), of its nested output; None where it is not there.

    BERT as pytorch_pretrained had it gives the outputs of all layers first, in a list.
    """
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], (tuple, list)) and output[0]:
        output = output[0][-1]
    found = output[0] if isinstance(output, (tuple, list)) and output else output
    found = getattr(found, "last_hidden_state", found)
    return found if isinstance(found, torch.Tensor) and found.dim() == 3 else None
