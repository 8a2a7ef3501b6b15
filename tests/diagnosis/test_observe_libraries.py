"""What the observer sees where a training library runs the loop, where folds follow one another, and where the optimizer
runs backward itself: small real scripts, run by child.py."""

from types import SimpleNamespace

import pytest

from diagnosis.observe import libraries
from test_observer import LOADERS, SETUP, TRANSFORMERS, observe  # noqa: F401 (observe is the fixture)

BERT = """
model = BertForSequenceClassification(config)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
"""
LIGHTNING = """
import pytorch_lightning as pl
class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = BertForSequenceClassification(config).eval()
    def training_step(self, batch, number):
        return self.net(input_ids=batch[0], attention_mask=batch[1], labels=batch[2]).loss
    def validation_step(self, batch, number):
        self.net(input_ids=batch[0], attention_mask=batch[1])
    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 100)]
trainer = pl.Trainer(max_epochs=3, limit_train_batches=30, accumulate_grad_batches=2, accelerator="cpu", logger=False,
                     enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(Module(), train, val)
"""
IGNITE = """
from ignite.engine import Engine, Events
from ignite.handlers.param_scheduler import LRScheduler
def update(engine, batch):
    model.train()
    optimizer.zero_grad()
    loss = model(input_ids=batch[0], attention_mask=batch[1], labels=batch[2]).loss
    loss.backward()
    optimizer.step()
def infer(engine, batch):
    model.eval()
    with torch.no_grad():
        return model(input_ids=batch[0], attention_mask=batch[1]).logits
trainer, evaluator = Engine(update), Engine(infer)
trainer.add_event_handler(Events.STARTED | Events.EPOCH_COMPLETED, lambda: evaluator.run(val))
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda place: min(1, place / 18))
trainer.add_event_handler(Events.EPOCH_STARTED, LRScheduler(schedule))
trainer.run(train, max_epochs=4, epoch_length=45)
"""
FOLDS = """
for fold in range(3):
    rows = torch.arange(400) % 3 == fold
    train = DataLoader(TensorDataset(ids[~rows], mask[~rows], labels[~rows]), batch_size=32, shuffle=True)
    val = DataLoader(TensorDataset(ids[rows], mask[rows], labels[rows]), batch_size=32)
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for a, b, y in train:
        optimizer.zero_grad()
        model(input_ids=a, attention_mask=b, labels=y).loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for a, b, y in val:
            nn.functional.cross_entropy(model(input_ids=a, attention_mask=b).logits, y)
"""


def test_the_encoder_is_known_where_forward_and_backward_run_within_the_optimizers_step(observe):  # noqa: F811
    record = observe(SETUP, LOADERS, TRANSFORMERS, BERT, """
        model.train()
        for a, b, y in train:
            def closure():
                optimizer.zero_grad()
                loss = model(input_ids=a, attention_mask=b, labels=y).loss
                loss.backward()
                return loss
            optimizer.step(closure)
    """)
    assert record.encoder.kind == "BertModel" and record.encoder.layers == 2
    assert {"embeddings", "layer 0", "layer 1", "head"} <= {parameter.part for parameter in record.parameters}
    assert record.steps[0].update_norm > 0 and record.steps[0].gradient_norm > 0


def test_lightning_says_how_long_it_trains_how_it_steps_the_schedule_and_what_it_validates(observe):  # noqa: F811
    pytest.importorskip("pytorch_lightning")
    record = observe(SETUP, LOADERS, TRANSFORMERS, LIGHTNING)
    plan, schedule = record.plan, record.schedules[0]
    assert (record.library, plan.epochs, plan.batches_per_epoch, plan.batches_per_step, plan.steps) \
        == ("lightning", 3, 30, 2.0, 45)
    assert schedule.interval == "epoch" and schedule.call_in_batch_loop is False
    assert "LambdaLR(optimizer" in schedule.call_site.code
    assert record.encoder.kind == "BertModel" and record.validation.rows == 80
    training = record.batches_of("training")
    assert {batch.encoder_training for batch in training} == {False} and training[0].step == 0
    assert record.batches[0].role == "validation"      # the check before training


def test_ignites_engine_says_how_long_it_trains_and_a_cut_pass_ends_its_epoch(observe):  # noqa: F811
    pytest.importorskip("ignite")
    record = observe(SETUP, LOADERS, TRANSFORMERS, BERT, IGNITE)
    assert (record.library, record.plan.epochs, record.plan.batches_per_epoch, record.plan.steps) \
        == ("ignite", 4, 45, 180)
    validated = [batch.step for batch in record.batches_of("validation")]
    assert validated[0] == 0 and max(validated) >= 12   # before training, and after the epoch that was cut short
    assert record.steps[-1].epoch == 1 and record.validation.rows == 80
    schedule = record.schedules[0]      # which ignite moves without its step()
    assert (schedule.interval, schedule.calls_at[:2]) == ("epoch", [0, 12])


def test_the_next_fold_with_a_model_of_its_own_is_not_mixed_with_the_first(observe):  # noqa: F811
    record = observe(SETUP, TRANSFORMERS, FOLDS)
    assert record.optimizer_steps == 9 and record.ended == "enough seen"        # 266 rows in batches of 32
    assert record.training.rows == 266 and record.validation.rows == 134
    assert len(record.validation.order_labels) == 134
    assert {batch.head_training for batch in record.batches_of("validation")} == {False}


def test_a_tokenizer_that_only_the_loaders_workers_call_is_heard_when_the_rows_are_read(observe):  # noqa: F811
    record = observe(SETUP, TRANSFORMERS, """
        from transformers import BertTokenizerFast
        tokenizer = BertTokenizerFast(vocab={w: i for i, w in enumerate("[PAD] [UNK] [CLS] [SEP] [MASK] a b c".split())})
        rows = [("abc"[i % 3] + " zzz" * (i % 5), i % 3) for i in range(200)]
        def collate(rows):
            batch = tokenizer([text for text, _ in rows], padding=True, truncation=True, max_length=6, return_tensors="pt")
            return batch["input_ids"], batch["attention_mask"], torch.tensor([label for _, label in rows])
        train = DataLoader(rows, 4, shuffle=True, collate_fn=collate, num_workers=1)
        model = BertForSequenceClassification(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for a, b, y in train:
            optimizer.zero_grad()
            model(input_ids=a, attention_mask=b, labels=y).loss.backward()
            optimizer.step()
    """)
    assert record.tokenizer.max_length == 6 and record.tokenizer.truncation
    assert record.tokenizer.site.code.startswith("batch = tokenizer(") and record.tokenizer.full_lengths
    assert any(batch.unknown for batch in record.batches_of("training"))


def test_an_encoder_taken_apart_is_known_and_so_is_checkpointing_that_passes_no_gradient_on(observe):  # noqa: F811
    record = observe(SETUP, LOADERS, TRANSFORMERS, """
        from torch.utils.checkpoint import checkpoint
        class Lean(nn.Module):
            def __init__(self):
                super().__init__()
                bert = BertModel(config)
                self.embeddings, self.layers = bert.embeddings.requires_grad_(False), bert.encoder.layer
                self.out = nn.Linear(16, 3)
            def forward(self, ids, mask):
                x = self.embeddings(ids)
                for layer in self.layers:
                    x = checkpoint(lambda h, l=layer: l(h), x, use_reentrant=True)
                return self.out(x[:, 0])
        model = Lean()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for a, b, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(a, b), y).backward()
            optimizer.step()
    """)
    assert record.encoder.kind == "DismantledEncoder" and record.encoder.layers == 2
    layers = [parameter for parameter in record.parameters if parameter.part.startswith("layer ")]
    assert layers and not any(norm for parameter in layers for norm in parameter.gradient_norms)
    assert record.recomputed_site.code.startswith("x = checkpoint(") and record.batches[0].width == 10


def test_of_a_lightning_module_that_steps_by_itself_the_steps_are_those_that_are_seen():
    module = SimpleNamespace(automatic_optimization=False)
    trainer = SimpleNamespace(num_training_batches=60, accumulate_grad_batches=1, max_epochs=2, max_steps=-1,
                              lightning_module=module)
    assert "steps" not in libraries.planned("lightning", trainer)
    module.automatic_optimization = True
    assert libraries.planned("lightning", trainer)["steps"] == 120
