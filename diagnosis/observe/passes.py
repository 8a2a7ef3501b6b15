"""The forward passes of a watched script: what reaches the model, the losses, and the backward calls that follow."""

import inspect
import time

import torch

from diagnosis.experiments import replay
from diagnosis.record import facts, graph, nested, source
from diagnosis.record.record import Batch
from diagnosis.observe.seen import LossCall, Pass, quietly

KEPT_BATCHES = 8        # training batches whose inputs are kept for the controls
MOST_BATCHES = 300      # forward passes of a role that are described


class Passes:
    """The part of the Observer that looks at modules, losses and backward calls."""

    # modules

    @quietly
    def module_begins(self, module, args, kwargs):
        """An outermost module is called: begin a pass, or go on with the one that is open."""
        if id(module) not in self.roots and not self.know(module):
            return None
        self.check_time()
        now = self.open
        if (now is None or now.backward or now.serial != self.serial
                or any(one[0] is module for one in now.calls)):
            self.close_pass()
            batch = Batch("validation", self.record.optimizer_steps, 0, gradient_enabled=torch.is_grad_enabled(),
                          head_training=module.training, site=source.site())
            batch._serial = self.serial
            now = self.open = Pass(batch, self.serial, self.iteration)
            now.recent = list(self.iteration.recent) if self.iteration is not None else []
            if sum(one.role == "validation" for one in self.record.batches) < MOST_BATCHES:
                self.record.batches.append(batch)
            self.passes.append((batch, []))
        now.batch.head_training = module.training
        now.calls.append([module, args, kwargs, None])
        self.passes[-1][1].append(id(module))
        self.see_autocast()
        if self.encoder is None or module is self.encoder:
            self.encoder_called(module, args, kwargs)
        return now

    def know(self, module):
        """Is this outermost module (part of) a model? It is then watched from here on."""
        if type(module).__module__ == "torch.nn.modules.loss" or not any(True for _ in module.parameters()):
            return False
        self.roots[id(module)] = module
        encoder = facts.find_encoder(module)
        if encoder is not None and (self.encoder is None or not self.trained_roots):
            self.encoder = encoder
            self.watched[id(encoder)] = "encoder"
        inside = {id(one) for one in encoder.modules()} if encoder is not None else set()
        for one in module.modules():
            if id(one) not in inside and isinstance(one, facts.ACTIVATIONS):
                self.watched[id(one)] = "activation"
            elif isinstance(one, facts.NORMS):
                self.watched[id(one)] = "norm"
        return True

    @quietly
    def module_ends(self, now, output):
        now.calls[-1][3] = output
        if now.ids is None and not now.encoder_seen:    # compiled, or its forward called by name
            module, args, kwargs, _ = now.calls[-1]
            self.encoder_called(module, args, kwargs)
            now.batch.encoder_training = getattr(self.encoder, "training", module.training)
        if now.calls[-1][0] is self.encoder:
            self.encoder_output(output)

    @quietly
    def watched_begins(self, module, args, kwargs):
        kind = self.watched.get(id(module))
        if kind == "encoder":
            self.encoder_called(module, args, kwargs)
        elif kind == "norm" and module.training and args:
            self.norm_rows[id(module)] = min(int(args[0].shape[0]), self.norm_rows.get(id(module), 1 << 30))

    @quietly
    def watched_ends(self, module, output):
        kind = self.watched.get(id(module))
        if kind == "encoder":
            self.encoder_output(output)
        elif kind == "activation" and module.training and self.is_close() and isinstance(output, torch.Tensor):
            if output.dim() > 1 and output.shape[0] > 1:
                with torch.no_grad():
                    self.activations[id(module)] = float((output == 0).all(0).float().mean())

    def encoder_called(self, module, args, kwargs):
        """What reaches the encoder (or, where there is none, the outermost module)."""
        now = self.open
        if now is None or now.encoder_seen and module is not self.encoder:
            return
        given = dict(kwargs)
        try:
            signature = inspect.signature(getattr(module, "_orig_mod", module).forward)
            given = dict(signature.bind_partial(*args, **kwargs).arguments)
            for name in [one.name for one in signature.parameters.values() if one.kind == one.VAR_KEYWORD]:
                given |= given.pop(name, {}) or {}
        except (TypeError, ValueError):
            pass
        found = nested.tensors(given)
        whole = [(nested.key_of(path), leaf) for path, leaf in found
                 if leaf.dim() == 2 and not leaf.is_floating_point() and leaf.dtype != torch.bool]
        ids = next((leaf for name, leaf in whole if name in ("input_ids", "ids", "tokens")), None)
        if ids is None:
            ids = next((leaf for name, leaf in whole if "mask" not in name and "type" not in name), None)
        positions, end_to_end = given.get("position_ids"), None
        if ids is not None and isinstance(positions, torch.Tensor) and facts.runs_end_to_end(ids, positions):
            ids, end_to_end, now.starts = facts.one_row_each(ids, positions, self.pad_id(ids))
        if now.encoder_seen:        # again in the same pass: pairs of texts, or parts of one, where the ids are others
            if ids is not None and now.ids is not None and not torch.equal(ids, now.ids):
                self.record.several_texts = True
            return
        mask = next((leaf for path, leaf in found if "mask" in nested.key_of(path)), end_to_end)
        if mask is None and ids is not None and module is not self.encoder:
            mask = next((leaf for _, leaf in found if leaf is not ids and leaf.shape == ids.shape
                         and bool(((leaf == 0) | (leaf == 1)).all())), None)
        now.batch.gradient_enabled = torch.is_grad_enabled()
        now.batch.encoder_training = module.training
        now.encoder_seen = module is self.encoder
        self.see_autocast()
        if ids is not None:
            now.ids, now.mask = ids.detach(), mask.detach() if mask is not None else None
            self.describe_ids(now)
        elif found:
            now.batch.rows = int(found[0][1].shape[0]) if found[0][1].dim() else 0

    def describe_ids(self, now):
        tokenizer = self.tokenizer_calls[0]["tokenizer"] if self.tokenizer_calls else None
        unknown = getattr(tokenizer, "unk_token_id", None)
        facts.describe_input(now.batch, now.ids, now.mask, self.pad_id(now.ids), unknown)

    def pad_id(self, ids):
        tokenizer = self.tokenizer_calls[0]["tokenizer"] if self.tokenizer_calls else None
        config = getattr(self.encoder, "config", None)
        return facts.guess_pad_id(ids, getattr(tokenizer, "pad_token_id", None), getattr(config, "pad_token_id", None))

    def encoder_output(self, output):
        hidden = next((leaf for _, leaf in nested.tensors(output) if leaf.dim() == 3), None)
        if hidden is not None and self.open is not None:
            now = self.open
            if now.starts is None:
                now.first_token = hidden[:, 0].detach()
            else:       # the script may have let the first tokens alone go on
                now.first_token = (hidden[0] if hidden.shape[1] == len(now.starts) else hidden[0, now.starts]).detach()

    def see_autocast(self):
        if self.record.autocast is None:
            for device in ("cuda", "cpu"):
                if torch.is_autocast_enabled(device):
                    self.record.autocast = str(torch.get_autocast_dtype(device)).removeprefix("torch.")

    def close_pass(self):
        """The pass is over: keep what examples need and let go of its tensors."""
        now, self.open = self.open, None
        if now is None:
            return
        batch = now.batch
        if batch.rows == 0 and batch.labels is not None:
            batch.rows = len(batch.labels)
        labels = batch.labels if batch.labels is not None and len(batch.labels) == batch.rows else []
        if now.ids is not None:
            self.samples.append((batch, facts.strip_padding(now.ids, self.pad_id(now.ids)), labels))
        else:
            self.samples.append((batch, [], labels))
        if len(self.samples) > MOST_BATCHES:
            del self.samples[0]
        if now.iteration is not None:
            seen = now.iteration.seen
            if len(seen.seen) < 4 and (now.ids is not None or now.target is not None):
                seen.seen.append((now.recent, now.ids, now.target))
        if now.first_token is not None and batch.role == "training":
            if self.first_tokens[0] is None:
                self.first_tokens[0] = now.first_token
            self.first_tokens[1] = now.first_token

    # losses

    @quietly
    def loss_begins(self, name, function, args, kwargs):
        """A loss function is called: its facts are written down before it runs, so that a crash in it is explained."""
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        logits = given.get("input")
        if not isinstance(logits, torch.Tensor):
            return None
        if self.open is not None and self.open.backward and self.open.serial == self.serial \
                and not torch.is_grad_enabled():    # a figure about the batch that has been learned from
            return None
        if self.open is None or self.open.backward:
            self.close_pass()
            batch = Batch("validation", self.record.optimizer_steps, 0, gradient_enabled=torch.is_grad_enabled())
            self.open = Pass(batch, self.serial, self.iteration)
            self.record.batches.append(batch)
            self.passes.append((batch, []))
        call = LossCall(name, function, given, site=source.site(), inside=self.depth > 0)
        call.input_value = logits.detach()
        self.open.losses.append(call)
        self.describe_loss(self.open, call)
        return call

    @quietly
    def loss_ends(self, call, result):
        call.result = result
        batch = self.open.batch if self.open is not None else None
        if batch is not None and isinstance(result, torch.Tensor) and batch.loss_function == call.name:
            batch.loss = float(result.detach().float().mean())

    def describe_loss(self, now, call):
        batch, logits, target = now.batch, call.input_value, call.arguments.get("target")
        if call.site is not None:
            batch.site = call.site
        batch.loss_function = call.name
        batch.label_smoothing = float(call.arguments.get("label_smoothing") or 0.0)
        weights = call.arguments.get("weight")
        weights = call.arguments.get("pos_weight") if weights is None else weights
        batch.class_weights = weights.detach().flatten().tolist() if isinstance(weights, torch.Tensor) else []
        batch.last_operation = graph.last_operation(call.arguments["input"])
        batch.ignored = 0
        if logits.dim() <= 2:
            shown = logits.reshape(logits.shape[0], -1) if logits.dim() else logits.reshape(1, 1)
            batch.outputs = int(shown.shape[1])
            if shown.numel() <= 100_000:
                batch.logits = shown.float().tolist()
            batch.rows = batch.rows or int(shown.shape[0])
        if isinstance(target, torch.Tensor):
            now.target = target.detach()
            batch.labels = facts.describe_labels(target, int(logits.shape[0]) if logits.dim() else 1)
            ignore = call.arguments.get("ignore_index")
            if ignore is not None and batch.labels is not None and not target.is_floating_point():
                batch.ignored = batch.labels.count(ignore)

    # backward

    @quietly
    def backward_begins(self, tensor, where):
        self.backward_depth += 1
        if self.backward_depth > 1:
            return
        self.check_time()
        record, draft = self.record, self.draft
        record.backwards += 1
        draft["backwards"] += 1
        record.backward_site = record.backward_site or where
        if self.step_began is None:
            self.step_began = time.monotonic()
        with torch.no_grad():
            if draft["backwards"] == 1:
                present = [one.grad for one in self.all_parameters() if one.grad is not None]
                draft["before"] = graph.total(graph.norms(present)) if present else 0.0
            if isinstance(tensor, torch.Tensor):
                value = tensor.detach().float().mean()
                factor = self.pending_scale if self.last_scaled is tensor else None
                draft["loss"], draft["factor"] = value, factor or 1.0
        if self.last_scaled is tensor and self.pending_scale and self.pending_scale > 1:
            self.scaled_gradients = True
        if self.iteration is not None:
            self.iteration.trained or self.count_training_pass(self.iteration)
            self.iteration.seen.votes += 1
        now = self.open
        if now is None:
            return
        self.choose_training(now)
        if isinstance(tensor, torch.Tensor):
            self.look_at_graph(now, tensor)
            self.fill_custom_loss(now, tensor)
            if len(self.replays) < KEPT_BATCHES and self.is_close():
                made = replay.make(now, tensor)
                if made is not None:
                    self.replays.append(made)

    def count_training_pass(self, iteration):
        iteration.trained = True
        iteration.seen.trained += 1

    def choose_training(self, now):
        """A backward followed: this pass is training, and so are others on the same batch (two views of it)."""
        now.backward = True
        now.batch.role = "training"
        for module, *_ in now.calls:
            self.trained_roots[id(module)] = module
            if self.is_close():
                self.training_flags |= {id(one): one.training for one in module.modules()}
        ids = self.passes[-1][1]
        if now.iteration is not None:
            for batch, roots in self.passes[-4:-1]:
                if set(roots) & set(ids) and getattr(batch, "_serial", None) == now.serial:
                    batch.role = "training"

    def look_at_graph(self, now, tensor):
        batch = now.batch
        chosen = next((one for one in now.losses if one.result is tensor), now.losses[-1] if now.losses else None)
        if chosen is not None and chosen is not now.losses[-1]:
            self.describe_loss(now, chosen)
            batch.loss = float(chosen.result.detach().float().mean())
        if not self.is_close():
            return
        batch.loss_has_graph = graph.reaches(tensor, self.all_parameters())
        if chosen is not None and isinstance(chosen.result, torch.Tensor):
            batch.loss_sign = graph.sign_of(tensor, chosen.result)

    def fill_custom_loss(self, now, tensor):
        """Logits and labels of a loss that no function of torch computed."""
        if now.losses:
            return
        batch = now.batch
        batch.loss = float(tensor.detach().float().mean())
        outputs = nested.tensors(now.calls[-1][3]) if now.calls else []
        logits = next((leaf for _, leaf in outputs if leaf.is_floating_point() and leaf.dim() == 2
                       and (not batch.rows or leaf.shape[0] == batch.rows)), None)
        if logits is None:
            return
        batch.rows, batch.outputs = int(logits.shape[0]), int(logits.shape[1])
        batch.logits, batch.last_operation = logits.detach().float().tolist(), graph.last_operation(logits)
        now.target = graph.target_in_graph(tensor, batch.rows, batch.outputs)
        if now.target is not None:
            batch.labels = facts.describe_labels(now.target, batch.rows)
            return
        recent = [now.calls[-1][2]] + now.recent[::-1]
        for group in recent:
            found = [(nested.key_of(path).lower(), leaf) for path, leaf in nested.tensors(group)
                     if leaf.dim() == 1 and leaf.shape[0] == batch.rows]
            found.sort(key=lambda one: not any(word in one[0] for word in ("label", "target", "y", "class")))
            if found:
                now.target = found[0][1].detach()
                batch.labels = facts.describe_labels(now.target, batch.rows)
                return

    @quietly
    def backward_ends(self):
        self.backward_depth -= 1
        if self.backward_depth:
            return
        with torch.no_grad():
            self.draft["having"] = {id(one) for one in self.all_parameters() if one.grad is not None}
            if self.draft["having"] and self.is_close():
                self.last_gradients = self.measure_gradients()
                self.draft["after"] = graph.total(self.last_gradients.values())
        self.after_backward()

    def backward_failed(self):
        self.backward_depth = max(0, self.backward_depth - 1)
