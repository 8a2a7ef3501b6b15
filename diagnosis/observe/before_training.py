"""The trained model before its first step: all that must be read before the step changes it."""

import sys
from dataclasses import dataclass

import torch
from torch import nn

from diagnosis.record import facts, source
from diagnosis.record.record import Encoder

INITIAL_STATE = 2e9     # bytes of a model whose state before training is kept


@dataclass
class BeforeTraining:
    """The live model, and facts about it as it stood."""
    model: nn.Module
    tensors: list                       # its parameters
    parameters: list                    # a record.Parameter of each
    trainable: dict                     # {id of a parameter: requires_grad}
    modules: list                       # record.Module of the layers that matter to a check
    encoder: nn.Module | None
    encoder_facts: Encoder | None
    state: dict | None                  # its state_dict on the CPU; None where it is too large


def describe(models, optimizers, checkpoints):
    """BeforeTraining, or None where there is no model."""
    model = trained_model(models, optimizers)
    if model is None:
        return None
    encoder = encoder_of(models, model)
    parameters, _, modules = facts.describe_model(model, optimizers.used(), encoder)
    tensors = list(model.parameters())
    return BeforeTraining(model, tensors, parameters, {id(each): each.requires_grad for each in tensors}, modules,
                          encoder, describe_encoder(encoder, checkpoints) if encoder is not None else None,
                          kept_state(model))


def trained_model(models, optimizers):
    """The outermost model of the training steps; several modules called one after another become one container."""
    roots = models.outermost()
    if not roots:
        held = [each for optimizer in optimizers.by_id.values() for group in optimizer.param_groups
                for each in group["params"]]
        return nn.ParameterList(held) if held else None
    if len(roots) == 1:
        return roots[0]
    spaces = [vars(sys.modules["__main__"])]
    names = [next(iter(sorted(source.names_of(root, spaces))), type(root).__name__) for root in roots]
    names = [f"{name}_{index}" if name in names[:index] or not name.isidentifier() else name
             for index, name in enumerate(names)]
    return nn.ModuleDict(dict(zip(names, roots)))


def encoder_of(models, model):
    """The encoder, where it belongs to the model."""
    encoder = models.encoder
    if encoder is None:
        return None
    return encoder if any(module is encoder for module in model.modules()) else facts.find_encoder(model)


def describe_encoder(encoder, checkpoints):
    described = facts.describe_encoder(encoder)
    described.loaded_from, described.made, described.missing_weights = checkpoints.origin_of(encoder)
    return described


def kept_state(model):
    state = model.state_dict()
    if sum(value.numel() * value.element_size() for value in state.values() if isinstance(value, torch.Tensor)) \
            > INITIAL_STATE:
        return None
    return {name: value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value
            for name, value in state.items()}
