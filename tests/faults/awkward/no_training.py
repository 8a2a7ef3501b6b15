"""Counts words in posts and predicts nothing: no model is trained."""
import sys
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from posts import posts

texts, labels = posts(300, seed=1)
print(Counter(" ".join(texts).split()).most_common(5), torch.tensor(labels).bincount().tolist())
