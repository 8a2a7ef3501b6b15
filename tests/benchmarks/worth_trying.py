"""What others train with and BERT_main_aggressive.py does not: each as a change of the script, for study.py to measure.

A way is a function of the script's module that puts its own in the place of some of the script's functions; it is
called in a process that trains once. What gains over the script as it stands, three seeds on real texts, becomes a
constant of it; the table in README.md has all of them.
"""

import os
import tempfile
from types import MethodType

import numpy
import torch
import transformers
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from BERT_model_aggressive import BertSentimentClassifier
from training.encoder.finding import embedding_modules, encoder_layers
from training.run import data
from training.run.optimization import warm_up_steps
from training.texts.splitting import sample_rows

R_DROP_WEIGHT = 1.0         # of the distance between two passes: Wu et al. 2021, "R-Drop", have 1 to 5
FGM_LENGTH = 1.0            # of what is added to the word embeddings: Miyato et al. 2017, "Adversarial Training ..."
CONTRAST_WEIGHT = 0.1       # of the contrastive loss, the rest of cross-entropy, and the temperature of its likeness:
CONTRAST_TEMPERATURE = 0.3  # Gunel et al. 2021, "Supervised Contrastive Learning for Pre-trained Language Model ..."
SURE = 0.9                  # probability from which a label is taken for true: Lee 2013, "Pseudo-Label", took all
DROPOUTS, DROPPED = 4, 0.3  # passes through the head, and what each drops: Inoue 2019, "Multi-Sample Dropout"


def cosine(script):
    """The rate falls along half a cosine instead of a line."""
    script.make_schedule = lambda optimizer, steps, warmup_ratio: transformers.get_cosine_schedule_with_warmup(
        optimizer, warm_up_steps(steps, warmup_ratio), steps)


def redrawn_top(script):
    """The encoder's top layer begins with random weights (Zhang et al. 2021, "Revisiting Few-sample BERT ...")."""
    prepare_model = script.prepare_model

    def prepare(*given):
        model = prepare_model(*given)
        top = encoder_layers(model.encoder)[-1]
        for parameter in top.parameters():
            parameter._is_hf_initialized = False    # transformers leaves what it has loaded as it is
        top.apply(model.encoder._init_weights)
        return model

    script.prepare_model = prepare


def head_of_regression(script):
    """The head begins as logistic regression on what it is given of the training rows, the encoder as it was loaded
    (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features ..."): for the linear head."""
    prepare_learner = script.prepare_learner

    def prepare(settings, data, model, precision, team):
        seen, rows, loader = [], [], data.loaders[0]
        hook = model.classifier.register_forward_pre_hook(lambda head, states: seen.append(states[0].float().cpu()))
        model.eval()
        with torch.no_grad():
            for batch in loader:
                script.logits_of(model, batch, precision)
                rows.append(batch["labels"])
        hook.remove()
        regression = LogisticRegression(max_iter=1000).fit(torch.cat(seen).numpy(), torch.cat(rows).numpy())
        weights, biases = regression.coef_, regression.intercept_
        if len(weights) == 1:       # two classes have one row
            weights, biases = numpy.concatenate([-weights, weights]) / 2, numpy.concatenate([-biases, biases]) / 2
        with torch.no_grad():
            model.classifier.weight.copy_(torch.from_numpy(weights))
            model.classifier.bias.copy_(torch.from_numpy(biases))
        return prepare_learner(settings, data, model, precision, team)

    script.prepare_learner = prepare


def with_further_loss(script, further):
    """further(batch, labels, logits, the model's arguments) is added to each training batch's loss; it is a sum too."""
    logits_of, batch_loss, last = script.logits_of, script.batch_loss, []

    def logits_noted(*given):
        logits = logits_of(*given)
        last[:] = [logits_of, given]
        return logits

    def loss(logits, labels, learner, weights):
        return batch_loss(logits, labels, learner, weights) + further(*last, logits, labels) / len(labels)

    script.logits_of, script.batch_loss = logits_noted, loss


def r_drop(script):
    """Each text is passed twice, its dropout drawn anew, and the two distributions are drawn together."""
    def further(logits_of, given, logits, labels):
        again = logits_of(*given)
        one, other = logits.log_softmax(dim=1), again.log_softmax(dim=1)
        apart = functional.kl_div(one, other, reduction="sum", log_target=True) \
            + functional.kl_div(other, one, reduction="sum", log_target=True)
        loss = functional.cross_entropy(again, labels, reduction="sum") \
            - functional.cross_entropy(logits, labels, reduction="sum")
        return loss / 2 + R_DROP_WEIGHT * apart / 4

    with_further_loss(script, further)


def fgm(script):
    """Each batch is passed again with the word embeddings moved along their gradient; both gradients step."""
    logits_of, take_step, last = script.logits_of, script.take_step, []

    def noted(*given):
        last[:] = given
        return logits_of(*given)

    def step(learner, *given):
        words = embedding_modules(learner.model.encoder)[0].word_embeddings.weight
        moved = words.grad * (FGM_LENGTH / words.grad.norm().clamp_min(1e-12))
        with torch.no_grad():
            words.add_(moved)
        labels = last[1]["labels"].to(words.device)
        functional.cross_entropy(logits_of(*last), labels).backward()
        with torch.no_grad():
            words.sub_(moved)
        take_step(learner, *given)

    script.logits_of, script.take_step = noted, step


def contrastive(script):
    """Pooled texts of one class are drawn together and those of others apart, beside the cross-entropy."""
    prepare_model, pooled = script.prepare_model, []

    def prepare(*given):
        model = prepare_model(*given)
        model.classifier.register_forward_pre_hook(note)
        return model

    def note(head, states):
        pooled[:] = states

    def further(logits_of, given, logits, labels):
        states = functional.normalize(pooled[0].float(), dim=1)
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        likeness = (states @ states.T / CONTRAST_TEMPERATURE).masked_fill(itself, -1e9).log_softmax(dim=1)
        same = (labels[:, None] == labels[None]) & ~itself
        apart = -(likeness * same).sum(dim=1) / same.sum(dim=1).clamp_min(1)
        return CONTRAST_WEIGHT * (apart.sum() - functional.cross_entropy(logits, labels, reduction="sum"))

    script.prepare_model = prepare
    with_further_loss(script, further)


def many_dropouts(script):
    """The head sees each pooled text several times, other numbers of it dropped each time; its logits are averaged."""
    prepare_model = script.prepare_model

    def forward(head, states):
        if not head.training:
            return type(head).forward(head, states)
        return torch.stack([type(head).forward(head, functional.dropout(states, DROPPED))
                            for _ in range(DROPOUTS)]).mean(dim=0)

    def prepare(*given):
        model = prepare_model(*given)
        model.classifier.forward = MethodType(forward, model.classifier)    # a copy of the model has its own
        return model

    script.prepare_model = prepare


def pseudo_labels(script):
    """A first run labels as many idle rows as it has learned from; those it is sure of train the second one too."""
    read_tables = data.read_tables

    def read(settings):
        training, validation, whole, test = read_tables(settings)
        apart, learned = {*validation.groups, *(test.groups if test else ())}, {*training.lines}
        idle = whole.rows([row for row, line in enumerate(whole.lines)
                           if line not in learned and whole.groups[row] not in apart])
        if not idle:
            raise SystemExit("pseudo-labels: every row learns, validates or tests; lower MAX_TRAIN_ROWS or --validating")
        idle = sample_rows(idle, len(training), settings.SEED)
        labels, probabilities = taught(settings).predict(list(idle.texts), second_texts=list(idle.seconds) or None)
        sure = {idle.lines[row]: labels[row] for row in numpy.flatnonzero(probabilities.max(axis=1) >= SURE)}
        both = whole.rows([row for row, line in enumerate(whole.lines) if line in learned or line in sure])
        both.labels = [sure.get(line, label) for line, label in zip(both.lines, both.labels)]
        return both, validation, whole, test

    def taught(settings):
        """The model of a run on the training rows alone."""
        data.read_tables = read_tables
        with tempfile.TemporaryDirectory() as folder:
            first = type(settings)(**vars(settings) | {"OUTPUT_DIR": os.path.join(folder, "first")})
            first.by_name = settings.by_name
            if script.train(first, []):
                raise SystemExit("the first run failed")
            model = BertSentimentClassifier.from_pretrained(os.path.join(first.OUTPUT_DIR, "best"))
        transformers.set_seed(settings.SEED)
        return model.to("cuda" if torch.cuda.is_available() else "cpu")

    data.read_tables = read


WAYS = {"cosine": cosine, "top layer drawn anew": redrawn_top, "R-Drop": r_drop,
        "FGM": fgm, "contrastive loss": contrastive, "multi-sample dropout": many_dropouts,
        "pseudo-labels": pseudo_labels, "head of a regression": head_of_regression}
