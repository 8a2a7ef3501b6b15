"""What the observer promises, on small real scripts that are run by child.py in processes of their own.

These are forks of a process that has imported the libraries (tests/started.py), but for the tests about what the
observer sees when a script imports transformers: fresh=True.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CHILD = Path(__file__).parents[2] / "diagnosis" / "child.py"
sys.path.insert(0, str(CHILD.parents[1]))

from diagnosis.record.record import from_json  # noqa: E402

SETUP = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
torch.manual_seed(0)
torch.set_num_threads(1)
labels = torch.randint(0, 3, (400,))
ids = torch.randint(5, 90, (400, 10))
ids[:, 0] = labels + 1
lengths = torch.randint(4, 10, (400,))
mask = (torch.arange(10)[None] < lengths[:, None]).long()
ids = ids * mask
class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.embedding = nn.Embedding(100, 16, padding_idx=0)
        self.head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, classes))
    def forward(self, input_ids, attention_mask=None):
        shown = (input_ids != 0).float() if attention_mask is None else attention_mask.float()
        hidden = self.embedding(input_ids)
        return self.head((hidden * shown[..., None]).sum(1) / shown.sum(1, keepdim=True))
"""
LOADERS = """
train = DataLoader(TensorDataset(ids[:320], mask[:320], labels[:320]), batch_size=4, shuffle=True)
val = DataLoader(TensorDataset(ids[320:], mask[320:], labels[320:]), batch_size=4)
"""
TRANSFORMERS = """
from transformers import BertConfig, BertForSequenceClassification, BertModel
config = BertConfig(vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                    num_labels=3)
"""
LOOP = """
model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(3):
    model.train()
    for a, b, y in train:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(a, b), y)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for a, b, y in val:
            model(a, b)
"""


@pytest.fixture
def observe(python, tmp_path):
    """Run a script (the parts one after the other) under observation; its record."""
    def run(*parts, arguments=(), controls=False, fresh=False):
        script = tmp_path / "train.py"
        script.write_text("".join(textwrap.dedent(part) for part in parts))
        told = "" if controls else "child.CONTROL_SECONDS = 0; "
        start = ("import sys; sys.path.insert(0, sys.argv.pop(1)); from diagnosis import child; "
                 f"{told}child.main(sys.argv[1], sys.argv[2], sys.argv[3:])")
        command = [sys.executable if fresh else python, "-c", start, str(CHILD.parents[1]), "record.json", "train.py"]
        done = subprocess.run([*command, *arguments], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=240)
        record = from_json((tmp_path / "record.json").read_text())
        assert record.observer_errors == [], record.observer_errors
        run.output = done.stdout + done.stderr
        return record
    return run


def line_of(tmp_path, code):
    lines = (tmp_path / "train.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if code in line)


def test_a_plain_loop_is_seen_to_its_validation_and_into_its_second_epoch(observe):
    record = observe(SETUP, LOADERS, LOOP)
    assert record.ended == "enough seen" and record.crash is None
    assert [step.epoch for step in record.steps] == [0] * 40 + [1] * 2
    assert record.optimizer_steps == record.backwards == 42 and record.classes == 3
    assert len(record.batches_of("validation")) % 20 == 0     # each pass over the validation set is seen whole
    assert all(batch.head_training for batch in record.batches_of("training"))
    assert not any(batch.head_training for batch in record.batches_of("validation"))
    assert (record.plan.epochs, record.plan.batches_per_epoch, record.plan.steps) == (3, 80, 240)


def test_steps_that_the_script_makes_without_an_optimizer_are_steps(observe):
    by_hand = LOOP.replace("optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)", "").replace(
        "optimizer.zero_grad()", "model.zero_grad()").replace("        optimizer.step()", """
        with torch.no_grad():
            for weights in model.parameters():
                weights += 0.1 * weights.grad""")
    record = observe(SETUP, LOADERS, by_hand)
    assert record.ended == "enough seen" and record.optimizer_steps == len(record.steps) >= 40
    assert all(step.by_hand and step.zeroed and step.backwards == 1 and step.gradient_norm for step in record.steps)
    batches = record.batches_of("training")
    assert [batch.step for batch in batches[:40]] == list(range(40))
    assert batches[7].loss == pytest.approx(record.steps[7].loss)
    close = [step for step in record.steps if step.along_gradient is not None]
    assert len(close) >= 7 and all(step.along_gradient > 0.99 for step in close)
    assert all(weights.change for weights in record.parameters)


def test_a_backward_before_there_is_an_optimizer_is_no_step_by_hand(observe):
    first = LOOP.replace("optimizer =", """nn.functional.cross_entropy(model(ids[:4], mask[:4]), labels[:4]).backward()
optimizer =""")
    record = observe(SETUP, LOADERS, first)
    assert len(record.steps) == 42 and not any(step.by_hand for step in record.steps)
    assert (record.plan.epochs, record.plan.batches_per_epoch) == (3, 80)


def test_a_batch_is_described_as_it_reaches_the_model_and_the_loss(observe):
    record = observe(SETUP, LOADERS, LOOP)
    batch = record.batches_of("training")[0]
    assert (batch.rows, batch.width, batch.outputs, batch.loss_function) == (4, 10, 3, "cross_entropy")
    assert batch.real_tokens + batch.padding == 40 and batch.padding > 0
    assert batch.mask_given and batch.padding_shown == 0 and batch.real_hidden == 0
    assert (batch.last_operation, batch.loss_sign, batch.loss_has_graph) == ("linear", 1, True)
    assert len(batch.labels) == 4 and batch.loss == pytest.approx(record.steps[0].loss)


def test_the_whole_data_sets_are_read_with_the_scripts_own_loaders(observe):
    record = observe(SETUP, LOADERS, LOOP)
    assert record.training.complete and len(record.training.examples) == len(record.training.labels) == 320
    assert record.validation.complete and len(record.validation.examples) == 80
    for split in (record.training, record.validation):      # the first token tells the label
        assert all(row[0] == label + 1 and 0 not in row for row, label in zip(split.examples, split.labels))
    assert record.training.shuffled is True and record.validation.shuffled is False


def test_a_schedule_stepped_once_per_epoch_is_seen_with_its_line_and_its_factors(observe, tmp_path):
    record = observe(SETUP, LOADERS, TRANSFORMERS, """
        from transformers import get_linear_schedule_with_warmup
        model = BertForSequenceClassification(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
        scheduler = get_linear_schedule_with_warmup(optimizer, 30, len(train) * 5)
        for epoch in range(5):
            for a, b, y in train:
                loss = model(input_ids=a, attention_mask=b, labels=y).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            scheduler.step()
        """)
    schedule, = record.schedules
    assert schedule.maker == "get_linear_schedule_with_warmup"
    assert schedule.arguments["num_warmup_steps"] == 30 and schedule.arguments["num_training_steps"] == 400
    assert schedule.made.line == line_of(tmp_path, "scheduler = get_linear")
    assert (schedule.calls, schedule.call_seen, schedule.call_in_batch_loop) == (1, True, False)
    assert schedule.call_site.line == line_of(tmp_path, "scheduler.step()")
    assert schedule.factors[:3] == pytest.approx([0, 1 / 30, 2 / 30]) and len(schedule.factors) == 401
    assert record.steps[0].rates == [0.0] and record.groups[0].initial_rate == 2e-5
    assert record.encoder.kind == "BertModel" and record.encoder.loaded_from is None
    assert {one.part for one in record.parameters} == {"embeddings", "layer 0", "layer 1", "pooler", "head"}
    assert max(one.change for one in record.parameters) < 1e-3


@pytest.mark.parametrize("second, several", [("ids", False), ("ids.flip(0)", True)])
def test_one_of_two_texts_of_a_row_is_no_example(observe, second, several):
    record = observe(SETUP, TRANSFORMERS, f"""
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower, self.head = BertModel(config), nn.Linear(32, 3)
        def forward(self, one, other):
            return self.head(torch.cat([self.tower(one).pooler_output, self.tower(other).pooler_output], 1))
    train = DataLoader(TensorDataset(ids, {second}, labels), batch_size=4, shuffle=True)
    model = Pair()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(3):
        for a, b, y in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(a, b), y).backward()
            optimizer.step()
    """)
    assert record.several_texts == several and bool(record.training.examples) != several and record.training.labels


def test_the_trainer_of_transformers_is_seen(observe, tmp_path):
    pytest.importorskip("accelerate")
    record = observe(SETUP, TRANSFORMERS, """
        from transformers import Trainer, TrainingArguments
        class Rows(Dataset):
            def __init__(self, first, last): self.first, self.last = first, last
            def __len__(self): return self.last - self.first
            def __getitem__(self, i):
                i += self.first
                return {"input_ids": ids[i], "attention_mask": mask[i], "labels": labels[i]}
        settings = TrainingArguments("out", num_train_epochs=2, per_device_train_batch_size=4, learning_rate=1e-3,
                                     report_to=[], warmup_steps=5, eval_strategy="epoch", disable_tqdm=True,
                                     save_strategy="epoch")
        Trainer(BertForSequenceClassification(config), settings, train_dataset=Rows(0, 320),
                eval_dataset=Rows(320, 400)).train()
        """)
    assert record.ended == "enough seen" and record.optimizer_steps >= 40
    assert (record.plan.steps, record.plan.epochs) == (160, 2)
    schedule, = record.schedules
    assert schedule.calls >= 40 and schedule.call_in_batch_loop
    assert len(record.training.examples) == len(record.training.labels) == 320 and record.training.shuffled
    assert len(record.validation.examples) == 80 and not record.validation.shuffled
    assert not list(tmp_path.glob("out/checkpoint*"))


def test_accumulation_scaler_and_autocast_are_seen(observe):
    record = observe(SETUP, LOADERS, """
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** 10)
        for epoch in range(4):
            for index, (a, b, y) in enumerate(train):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = nn.functional.cross_entropy(model(a, b), y) / 4
                scaler.scale(loss).backward()
                if (index + 1) % 4 == 0:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    scaler.step(optimizer)
                    scaler.update()
                    optimizer.zero_grad()
        """)
    assert record.scaler_used and record.autocast == "bfloat16"
    assert record.plan.batches_per_step == 4 and record.plan.steps == 80
    step = record.steps[0]
    assert (step.backwards, step.scale, step.clip.scaled, step.skipped) == (4, 1024.0, True, False)
    assert step.loss == pytest.approx(record.batches_of("training")[3].loss / 4, rel=1e-2)
    assert step.clip.norm_before > 1.0 > step.gradient_norm


def test_steps_that_the_scaler_skips_are_recorded_as_skipped(observe):
    record = observe(SETUP, LOADERS, """
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=1e30)
        for a, b, y in train:
            loss = nn.functional.cross_entropy(model(a, b), y) * 1e10
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        """)
    assert record.steps[0].skipped and record.steps[0].gradient_norm is None
    assert record.optimizer_steps == sum(not one.skipped for one in record.steps)


def test_gradients_that_are_cleared_piled_up_or_negated_are_told_apart(observe):
    loop = """
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for a, b, y in train:
            loss = {sign}nn.functional.cross_entropy(model(a, b).softmax(-1), y)
            {before}
            loss.backward()
            {after}
            optimizer.step()
        """
    cleared = observe(SETUP, LOADERS, loop.format(sign="", before="", after="optimizer.zero_grad()"))
    assert all(one.cleared and one.gradient_norm is None for one in cleared.steps)
    piled = observe(SETUP, LOADERS, loop.format(sign="-", before="", after=""))
    assert not any(one.cleared for one in piled.steps)
    assert [one.zeroed for one in piled.steps[:3]] == [True, False, False] and piled.zero_grads == 0
    assert piled.batches[0].loss_sign == -1 and piled.batches[0].last_operation == "softmax"


def test_a_crash_in_the_loss_is_recorded_with_the_batch_that_caused_it(observe, tmp_path):
    record = observe(SETUP, LOADERS, LOOP.replace("Net()", "Net(2)"))
    assert record.ended == "crashed" and record.crash.kind == "IndexError"
    assert record.crash.site.line == line_of(tmp_path, "loss = nn.functional")
    batch, = record.batches_of("training")
    assert max(batch.labels) == 2 and batch.outputs == 2


def test_freezing_is_recorded_by_line_and_by_what_it_touched(observe, tmp_path):
    record = observe(SETUP, LOADERS, TRANSFORMERS, """
        model = BertForSequenceClassification(config)
        for parameter in model.bert.embeddings.parameters():
            parameter.requires_grad = False
        model.bert.encoder.layer[0].requires_grad_(False)
        model.bert.encoder.layer[1].requires_grad = False
        model.classifier.bias.require_grad = False
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for a, b, y in train:
            model(a, attention_mask=b, labels=y).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        """)
    acts = {one.site.line: (one.kind, one.tensors, one.still_frozen) for one in record.freezes}
    assert acts == {line_of(tmp_path, "    parameter.requires_grad"): ("parameter", 5, 5),
                    line_of(tmp_path, "layer[0].requires_grad_"): ("parameter", 16, 16),
                    line_of(tmp_path, "layer[1].requires_grad"): ("module", 16, 0),
                    line_of(tmp_path, "require_grad = "): ("misspelt", 1, 0)}


def test_hand_made_batches_and_a_hand_written_loss_are_understood(observe):
    record = observe(SETUP, """
        def main():
            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for epoch in range(6):
                order = torch.randperm(320)
                for first in range(0, 320, 16):
                    rows = order[first:first + 16]
                    scores = model(ids[rows]).log_softmax(-1)
                    loss = -scores[torch.arange(len(rows)), labels[rows]].mean()
                    model.zero_grad()
                    loss.backward()
                    optimizer.step()
                with torch.no_grad():
                    for first in range(320, 400, 16):
                        model(ids[first:first + 16])
        if __name__ == "__main__":
            main()
        """)
    assert record.ended == "enough seen" and len(record.steps) == 40
    assert (record.plan.epochs, record.plan.batches_per_epoch, record.plan.steps) == (6, 20, 120)
    assert len(record.training.examples) == 320 and len(record.validation.examples) == 80
    assert all(row[0] == label + 1 for row, label in zip(record.training.examples, record.training.labels))
    assert record.batches[0].mask_given is False and record.batches[0].padding_shown > 0


def test_an_encoder_and_a_head_called_one_by_one_are_one_model(observe):
    record = observe(SETUP, LOADERS, TRANSFORMERS, """
        encoder, head = BertModel(config), nn.Linear(16, 3)
        first, second = torch.optim.AdamW(encoder.parameters(), lr=1e-4), torch.optim.SGD(head.parameters(), lr=0.1)
        for a, b, y in train:
            with torch.no_grad():
                hidden = encoder(a, attention_mask=b).last_hidden_state[:, 0]
            nn.functional.cross_entropy(head(hidden), y).backward()
            first.step(); second.step()
            first.zero_grad(); second.zero_grad()
        """)
    assert record.optimizer_steps == 40 and len(record.groups) == 2
    assert record.steps[0].rates == [1e-4, 0.1]
    assert all(one.gradient_norm > 0 and not one.cleared for one in record.steps)
    assert all(batch.role == "training" and batch.gradient_enabled is False for batch in record.batches)
    heads = [one for one in record.parameters if one.part == "head"]
    assert [one.shape for one in heads] == [[3, 16], [3]] and all(one.gradient_norms[0] > 0 for one in heads)
    assert all(one.gradient_norms[0] is None for one in record.parameters if one.part != "head")


def test_a_script_without_optimizer_steps_is_stopped(observe):
    record = observe(SETUP, LOADERS, LOOP.replace("optimizer.step()", "pass"))
    assert record.ended == "enough seen" and record.steps == [] and record.backwards == 60
    assert any(one.gradient_norms and one.gradient_norms[0] for one in record.parameters)


def test_nothing_in_the_script_survives_the_stop_and_no_file_is_written_by_a_cut_run(observe, tmp_path):
    kept = tmp_path / "best.pt"
    kept.write_text("the user's good checkpoint")
    record = observe(SETUP, LOADERS, "try:\n" + textwrap.indent(LOOP, "    ")
                     + "except BaseException:\n    pass\nfinally:\n    open('best.pt', 'w').write('spoiled')\n")
    assert record.ended == "enough seen" and kept.read_text() == "the user's good checkpoint"
    saving = LOOP.replace("    model.eval()", "    torch.save(model.state_dict(), 'best.pt')\n    model.eval()")
    record = observe(SETUP, LOADERS, saving)
    assert record.ended == "enough seen" and kept.read_text() == "the user's good checkpoint"


def test_data_loader_workers_and_spawned_processes_are_left_alone(observe):
    record = observe(SETUP, LOADERS.replace("shuffle=True", "shuffle=True, num_workers=2"), """
        import multiprocessing
        def double(number):
            return 2 * number
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print("doubled", pool.map(double, [21]))
        """, "if __name__ == '__main__':\n" + textwrap.indent(LOOP, "    "))
    assert "doubled [42]" in observe.output
    assert record.ended == "enough seen" and record.optimizer_steps == 42


def test_a_script_that_asks_for_input_or_exits_or_trains_nothing_is_told_so(observe):
    assert observe("name = input('name? ')").ended == "asked for input"
    assert observe("print('nothing to train')").ended == "script ended"
    ended = observe("import sys\nsys.exit(3)")
    assert ended.ended == "crashed" and ended.crash.kind == "SystemExit"


def test_the_script_sees_its_own_arguments_name_and_folder(observe, tmp_path):
    (tmp_path / "beside.py").write_text("value = 7")
    observe("import sys, beside\nprint(sys.argv, beside.value, __name__, __file__)", arguments=["--lr", "1"])
    assert f"['train.py', '--lr', '1'] 7 __main__ {tmp_path / 'train.py'}" in observe.output


def test_the_tokenizer_is_seen_where_the_collate_function_calls_it(observe, tmp_path):
    record = observe(SETUP, TRANSFORMERS, """
        from transformers import BertTokenizerFast
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{n}" for n in range(20)]
        open("vocab.txt", "w").write("\\n".join(words))
        tokenizer = BertTokenizerFast("vocab.txt")
        rows = [(" ".join(f"w{(n + k) % 22}" for k in range(3 + n % 9)), n % 3) for n in range(240)]
        def collate(items):
            texts, classes = zip(*items)
            batch = tokenizer(list(texts), padding=True, truncation=True, max_length=6, return_tensors="pt")
            return batch, torch.tensor(classes)
        model = BertForSequenceClassification(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for batch, y in DataLoader(rows, batch_size=4, shuffle=True, collate_fn=collate):
            loss = nn.CrossEntropyLoss()(model(**batch).logits, y)
            optimizer.zero_grad(); loss.backward(); optimizer.step()
        BertTokenizerFast("vocab.txt")(["w3 w4"])
        BertTokenizerFast("vocab.txt", do_lower_case=False)([f"W{n} w{n}" for n in range(20)])
        """, fresh=True, controls=True)
    tokenizer = record.tokenizer
    assert (tokenizer.other.texts, tokenizer.other.same_share, tokenizer.other.unknown_share) == (20, 0, 0.25)
    assert (tokenizer.unknown_id, tokenizer.pad_id, tokenizer.max_length, tokenizer.truncation) == (1, 0, 6, True)
    assert max(tokenizer.full_lengths) > 6 and max(tokenizer.kept_lengths) == 6
    assert record.training.complete and len(record.training.labels) == 240
    assert len(tokenizer.shown) == 5 and tokenizer.shown[0]["tokens"][0] == "[CLS]"
    assert all(one["label"] is not None for one in tokenizer.shown)
    assert record.training.complete and max(map(len, record.training.examples)) == 6
    assert record.control("labels-from-features").reason.startswith("240 labelled rows were at hand")
    assert sum(batch.unknown for batch in record.batches) > 0


def test_a_loader_made_anew_in_every_epoch_is_one_loader(observe):
    record = observe(SETUP, """
        data = TensorDataset(ids, mask, labels)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for epoch in range(3):
            for a, b, y in DataLoader(data, batch_size=4, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(a, b), y).backward()
                optimizer.step()
        """)
    assert [step.epoch for step in record.steps] == [0] * 40 + [1] * 2
    assert (record.plan.epochs, record.plan.batches_per_epoch, record.plan.steps) == (3, 100, 300)


def test_where_an_encoders_weights_come_from_is_recorded(observe):
    train_it = """
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for a, b, y in DataLoader(TensorDataset(ids, mask, labels), batch_size=100):
            model(a, attention_mask=b, labels=y).loss.backward()
            optimizer.step()
        """
    loaded = observe(SETUP, TRANSFORMERS, """
        BertModel(config).save_pretrained("pretrained")
        model = BertForSequenceClassification.from_pretrained("pretrained", num_labels=3)
        """, train_it, fresh=True).encoder
    assert (loaded.loaded_from, loaded.missing_weights, loaded.encoder_tensors) == ("pretrained", 0, 39)
    missed = observe(SETUP, TRANSFORMERS, """
        model = BertForSequenceClassification(config)
        weights = {f"module.{name}": one for name, one in BertModel(config).state_dict().items()}
        model.load_state_dict(weights, strict=False)
        """, train_it).encoder
    assert (missed.loaded_from, missed.missing_weights) == (None, 39)


@pytest.mark.parametrize("loss, outputs, target", [
    ("nn.BCEWithLogitsLoss()(model(a, b).squeeze(-1), (y > 0).float())", 1, "y > 0"),
    ("nn.BCELoss()(torch.sigmoid(model(a, b)), nn.functional.one_hot(y, 3).float())", 3, "y"),
    ("nn.NLLLoss()(model(a, b).log_softmax(-1), y)", 3, "y"),
    ("-(model(a, b).log_softmax(-1) * nn.functional.one_hot(y, 3)).sum(1).mean()", 3, "y")])
def test_labels_and_logits_are_read_from_losses_of_every_kind(observe, loss, outputs, target):
    record = observe(SETUP, LOADERS, f"""
        model = Net({outputs})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for a, b, y in train:
            loss = {loss}
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        """)
    batch = record.batches[0]
    assert batch.outputs == outputs and len(batch.logits) == len(batch.labels) == 4
    assert batch.loss == pytest.approx(record.steps[0].loss)
    expected = [int(row[0] - 1 > 0) if ">" in target else row[0] - 1 for row in record.training.examples]
    assert len(expected) == 320 and record.training.labels == expected


def test_labels_that_the_script_pops_out_of_its_batch_are_found_all_the_same(observe):
    record = observe(SETUP, """
        rows = [{"input_ids": ids[i], "attention_mask": mask[i], "labels": labels[i]} for i in range(320)]
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for batch in DataLoader(rows, batch_size=4, shuffle=True):
            y = batch.pop("labels")
            loss = nn.functional.cross_entropy(model(**batch), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        """)
    assert len(record.training.examples) == 320
    assert record.training.labels == [row[0] - 1 for row in record.training.examples]


def test_a_loss_computed_once_more_as_a_figure_is_no_other_batch(observe):
    record = observe(SETUP, LOADERS, LOOP.replace("        optimizer.step()\n", """        optimizer.step()
        with torch.no_grad():
            total = nn.functional.cross_entropy(model(a, b), y, reduction="sum")
            total += nn.functional.cross_entropy(model(a, b), y, reduction="sum")
""".replace("model(a, b)", "logits")).replace("cross_entropy(model(a, b), y)\n", "cross_entropy(logits := model(a, b), y)\n"))
    assert len(record.training.examples) == len(record.training.labels) == 320
    assert all(batch.rows == 4 and batch.width == 10 for batch in record.batches if batch.role == "training")
    assert all(batch.width for batch in record.batches)


@pytest.mark.parametrize("fill", [0, 3])
def test_texts_that_run_end_to_end_through_the_encoder_are_read_one_by_one(observe, fill):
    record = observe(SETUP, TRANSFORMERS, """
        from transformers import AttentionInterface
        from transformers.integrations.sdpa_attention import sdpa_attention_forward
        from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
        def by_text(module, query, key, value, attention_mask, dropout=0.0, scaling=None, lengths=(), **others):
            if not lengths:
                return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **others)
            pieces = [nn.functional.scaled_dot_product_attention(*text, dropout_p=dropout, scale=scaling)
                      for text in zip(*(one.split(lengths, dim=2) for one in (query, key, value)))]
            return torch.cat(pieces, dim=2).transpose(1, 2), None
        AttentionInterface.register("by_text", by_text)
        AttentionMaskInterface.register("by_text", sdpa_mask)
        class Packed(nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder, self.head = BertModel(config), nn.Linear(16, 3)
                self.encoder.set_attn_implementation("by_text")
            def forward(self, ids, mask):
                lengths = mask.sum(1)
                positions = torch.cat([torch.arange(one) for one in lengths] + [torch.zeros(FILL, dtype=torch.long)])
                hidden = self.encoder(input_ids=torch.cat([ids[mask.bool()], ids.new_zeros(FILL)])[None],
                                      position_ids=positions[None],
                                      lengths=lengths.tolist() + [1] * FILL).last_hidden_state[0]
                return self.head(hidden[lengths.cumsum(0) - lengths])
        """.replace("FILL", str(fill)), LOADERS, LOOP.replace("Net()", "Packed()"), controls=True)
    first = record.batches[0]
    assert (first.rows, first.mask_given, first.padding_shown, first.real_hidden) == (4, True, 0, 0)
    assert first.padding > 0 and first.padding + first.real_tokens == first.rows * first.width
    assert len(record.training.examples) == len(record.training.labels) == 320
    assert record.encoder.feature_similarity_first < 0.999999
    assert record.control("model-overfits").outcome is True


def test_a_batch_sampler_of_the_scripts_own_is_not_called_unshuffled():
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from diagnosis.record.examples import is_shuffled, sampler_of
    rows = TensorDataset(torch.arange(8))
    own, plain, shuffled = (DataLoader(rows, batch_sampler=[[3, 1], [0, 2]]), DataLoader(rows, batch_size=2),
                            DataLoader(rows, batch_size=2, shuffle=True))
    assert [is_shuffled(loader, sampler_of(loader)) for loader in (own, plain, shuffled)] == [None, False, True]


def test_warnings_that_name_a_cause_are_heard_once_each_though_the_script_turns_them_off(observe, tmp_path):
    record = observe(SETUP, LOADERS, """
        import logging, warnings
        from torch.utils.checkpoint import checkpoint
        warnings.filterwarnings("ignore")
        logging.disable(logging.CRITICAL)
        """, LOOP.replace("model(a, b), y)",
                                        "model(a, b), y) + 0 * checkpoint(torch.sum, b.float(), use_reentrant=True)"))
    warned, = record.warnings
    assert warned.text.startswith("None of the inputs have requires_grad=True")
    assert warned.site.line == line_of(tmp_path, "checkpoint(torch.sum")
