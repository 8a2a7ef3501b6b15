"""A saved classifier under the names that transformers gives its tensors, so that its own classes read the folder.

AutoModel reads the encoder of any saved classifier. AutoModelForSequenceClassification, and so
pipeline("text-classification"), reads all of it where its class computes the same: a linear head on what the pooler of
a BERT or RoBERTa gives. RoBERTa's class keeps that pooler within its head.
"""

import copy

# Model type -> transformers' class, and what the names of the pooler's and the head's tensors begin with there
ROBERTA = "classifier.dense.", "classifier.out_proj."
SAME_HEAD = {"bert": ("BertForSequenceClassification", "bert.pooler.dense.", "classifier."),
             "roberta": ("RobertaForSequenceClassification", *ROBERTA),
             "xlm-roberta": ("XLMRobertaForSequenceClassification", *ROBERTA),
             "camembert": ("CamembertForSequenceClassification", *ROBERTA)}


def same_class(model):
    """The name of transformers' class that computes what this classifier computes; None where there is none."""
    same = model.pooling == "pooler" and model.head == "linear"
    return SAME_HEAD.get(model.encoder.config.model_type, (None,))[0] if same else None


def stored_names(model):
    """{name of a tensor of the classifier: its name in the file}."""
    beginnings = [("encoder.", (model.encoder.base_model_prefix or "encoder") + ".")]
    if same_class(model):
        _, pooler, head = SAME_HEAD[model.encoder.config.model_type]
        beginnings = [("encoder.pooler.dense.", pooler), ("classifier.", head), *beginnings]
    names = {}
    for name in model.state_dict():
        ours, theirs = next((pair for pair in beginnings if name.startswith(pair[0])), ("", ""))
        names[name] = theirs + name.removeprefix(ours)
    return names


def own_names(tensors, model):
    """A file's tensors under the classifier's own names; those of earlier versions bear them already."""
    own = {stored: name for name, stored in stored_names(model).items()}
    return {own.get(name, name): tensor for name, tensor in tensors.items()}


def whole_config(model):
    """The encoder's configuration with the classes' names, and the class that reads all of the folder."""
    config = copy.deepcopy(model.encoder.config)
    config.id2label = dict(enumerate(model.label_names))
    config.label2id = {name: number for number, name in enumerate(model.label_names)}
    config.problem_type = "single_label_classification"
    config.architectures = [same_class(model) or type(model.encoder).__name__]
    return config
