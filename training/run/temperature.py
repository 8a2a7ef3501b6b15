"""Probabilities that mean something: one temperature, fitted on the validation rows (Guo et al. 2017)."""

import math

import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

LOWEST, HIGHEST = 0.25, 10.0    # a few rows, all of them right, would else make a model ever surer


def fit_temperature(logits, labels):
    """The number by which to divide logits [rows, classes] so that the labels [rows] are likeliest."""
    logits, labels = logits.double(), torch.as_tensor(labels)
    found = minimize_scalar(lambda exponent: cross_entropy(logits / math.exp(exponent), labels).item(),
                            bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return math.exp(found.x)
