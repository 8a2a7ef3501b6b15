"""Puts the observer's eyes into torch and transformers before the script imports them.

What is replaced calls the original with the same arguments and gives back what it gave. One file per subject:

forward.py          modules, losses, backward calls
optimization.py     optimizers, clipping, gradient scalers, schedules
data.py             loaders, tokenizers
comparisons.py      predictions held against labels
weights.py          freezing, checkpoints loaded
messages.py         warnings that name a cause
"""

import multiprocessing

import torch

from diagnosis.observe import ranks
from diagnosis.observe.late import when_imported
from diagnosis.observe.patches import comparisons, data, forward, messages, optimization, weights

TOKENIZERS = ("tokenization_utils_base", "tokenization_utils_tokenizers", "tokenization_python", "tokenization_utils",
              "tokenization_utils_fast")        # of transformers 5 and 4


def install(observer):
    forward.watch_modules(observer)
    forward.watch_losses(observer)
    forward.watch_backward(observer)
    forward.watch_checkpointing(observer)
    optimization.watch_optimizers(observer)
    optimization.watch_clipping(observer)
    optimization.watch_scaler(observer)
    optimization.watch_schedules(observer)
    data.watch_loaders(observer)
    comparisons.watch_equality(observer)
    weights.watch_freezing(observer)
    weights.watch_state_dicts(observer)
    ranks.watch_joining(torch.distributed)
    ranks.watch_spawning(torch.multiprocessing)
    ranks.watch_processes(multiprocessing.process)
    messages.watch_warnings(observer)
    for name in TOKENIZERS:
        when_imported(f"transformers.{name}", lambda module: data.watch_tokenizers(observer, module))
    when_imported("transformers.modeling_utils", lambda module: weights.watch_checkpoints(observer, module))
    when_imported("sklearn.metrics", lambda module: comparisons.watch_metrics(observer, module))
    when_imported("torchmetrics.metric", lambda module: comparisons.watch_torchmetrics(observer, module))
