"""What an encoder's frozen bottom allows: its layers run once for each text, and are left out from then on."""

import contextlib
import shutil
import tempfile

import numpy
import torch
from torch import nn

from training.encoder.finding import EMBEDDING_MODULES, embedding_modules, encoder_layers
from training.memory import memory_bytes

CACHE_MEMORY = 0.25     # share of the machine's memory for CACHE_FROZEN_LAYERS; what needs more goes to the disk, in fp16


class BottomStates:
    """What an encoder's frozen layers make of each text, kept from the first time that it is computed.

    The states of row i are states[starts[i]:starts[i + 1]], once known[i] is True.
    """

    def __init__(self, starts, width, dtype, file=None):
        """file: an open one on disk, which takes the states; None: memory does."""
        shape = (int(starts[-1]), width)
        self.states = numpy.empty(shape, dtype) if file is None else numpy.memmap(file, dtype, "w+", shape=shape)
        self.starts, self.known = starts, numpy.zeros(len(starts) - 1, dtype=bool)
        self.on_their_way = None

    def keep(self, rows, states, lengths):
        """states [tokens, width] of the rows' tokens, one row after another; put into place at the next call or by
        arrive(): what a GPU has sent has arrived by then, and nobody has waited for it.
        """
        self.arrive()
        arrived = None
        if states.device.type == "cuda":
            states = torch.empty_like(states, device="cpu", pin_memory=True).copy_(states, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self.on_their_way = rows, states, lengths, arrived

    def arrive(self):
        if self.on_their_way is None:
            return
        rows, states, lengths, arrived = self.on_their_way
        self.on_their_way = None
        if arrived is not None:
            arrived.synchronize()
        for row, of_row in zip(rows, numpy.split(states.numpy(), numpy.cumsum(lengths)[:-1])):
            self.states[self.starts[row]:self.starts[row + 1]] = of_row
        self.known[rows] = True

    def of(self, rows, width):
        """States [rows, width positions, hidden size] of rows that are all known, zero where a row is shorter."""
        padded = numpy.zeros((len(rows), width, self.states.shape[1]), dtype=self.states.dtype)
        for place, row in enumerate(rows):
            length = self.starts[row + 1] - self.starts[row]
            padded[place, :length] = self.states[self.starts[row]:self.starts[row + 1]]
        return torch.from_numpy(padded)


class Given(nn.Module):
    """Stands in an encoder where its embeddings stood, and gives states that are known."""

    def __init__(self, states):
        super().__init__()
        self.states = states

    def forward(self, *args, **kwargs):
        return self.states


def frozen_bottom(encoder):
    """The modules that never change, from the embeddings up; none where the embeddings are trained."""
    modules = []
    for module in [*embedding_modules(encoder), *encoder_layers(encoder)]:
        if any(parameter.requires_grad for parameter in module.parameters()):
            break
        modules.append(module)
    return modules


def frozen_layers(encoder):
    """How many of the layers are in that bottom."""
    return max(0, len(frozen_bottom(encoder)) - len(embedding_modules(encoder)))


@contextlib.contextmanager
def starting_above(encoder, bottom):
    """The encoder without its frozen layers, given their output; the whole encoder where that is None."""
    if bottom is None:
        yield
        return
    layers, above = encoder_layers(encoder), encoder_layers(encoder)[frozen_layers(encoder):]
    holder, name = next((module, name) for module in encoder.modules()
                        for name, child in module.named_children() if child is layers)
    replaced = [(holder, name, layers)]
    for place in EMBEDDING_MODULES:
        if isinstance(getattr(encoder, place, None), nn.Module):
            replaced.append((encoder, place, getattr(encoder, place)))
            setattr(encoder, place, Given(bottom))
    setattr(holder, name, above)
    try:
        yield
    finally:
        for holder, name, module in replaced:
            setattr(holder, name, module)


@contextlib.contextmanager
def seeing_bottom(encoder):
    """A list to which each forward pass in this context adds the output of the frozen layers."""
    seen = []
    first_above = encoder_layers(encoder)[frozen_layers(encoder)]
    hook = first_above.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"]).detach()),
        with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def keep_bottom(settings, model, datasets, half, folder, alone):
    """Keep what the frozen layers make of each text from its first time on, where that pays.

    Args:
        half: keep it in fp16, as the run computes on CUDA; a file on the disk is fp16 in any case.
        folder: the run's; what does not fit into memory goes to its disk.
        alone: this process is the only one that trains.

    Returns:
        What is kept, or why nothing is, in words; '' where no layer is frozen or nothing was asked for.
    """
    layers = frozen_layers(model.encoder)
    if not settings.CACHE_FROZEN_LAYERS or not layers:
        return ""
    width = model.encoder.config.hidden_size
    numbers = width * sum(len(dataset.ids) for dataset in datasets)
    dtype, disk, place = numpy.float16 if half else numpy.float32, None, "in memory"
    if numbers * numpy.dtype(dtype).itemsize > CACHE_MEMORY * memory_bytes():
        disk = next(parent for parent in folder.absolute().parents if parent.exists())
        dtype, place = numpy.float16, f"in fp16 on the disk of {disk}"
    size = numbers * numpy.dtype(dtype).itemsize
    why_not = "one epoch would not read it" if settings.NUM_EPOCHS == 1 else \
        "AUGMENT changes the texts in each epoch" if settings.AUGMENT else \
        "each process has other texts in each epoch" if not alone else \
        f"{size / 1e9:.1f} GB do not fit {place}" if disk and size > shutil.disk_usage(disk).free * 0.9 else ""
    if why_not:
        return f"off: {why_not}"
    for dataset in datasets:    # a file without a name is gone with the process, however it ends
        file = tempfile.TemporaryFile(dir=disk) if disk else None
        dataset.bottom = BottomStates(dataset.starts, width, dtype, file)
    model.hold_bottom_still()
    return f"the {layers} frozen layers run once for each text, without dropout: {size / 1e9:.2g} GB {place}"
