"""Puts the observer's eyes into torch and transformers before the script imports them.

What is replaced calls the original with the same arguments and gives back what it gave. One file per subject:

forward.py          modules, losses, backward calls
optimization.py     optimizers, clipping, gradient scalers, schedules
data.py             loaders, tokenizers
weights.py          freezing, checkpoints loaded
files.py            checkpoints about to be written
late.py             when a library is imported that the script may do without
"""

from diagnosis.observe.patches import data, files, forward, optimization, weights
from diagnosis.observe.patches.late import when_imported

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
    weights.watch_freezing(observer)
    files.watch_saving(observer)
    weights.watch_state_dicts(observer)
    for name in TOKENIZERS:
        when_imported(f"transformers.{name}", lambda module: data.watch_tokenizers(observer, module))
    when_imported("transformers.modeling_utils", lambda module: watch_models(observer, module))
    when_imported("safetensors.torch", lambda module: files.watch_safetensors(observer, module))


def watch_models(observer, module):
    weights.watch_checkpoints(observer, module)
    files.watch_saving_of_models(observer, module)
