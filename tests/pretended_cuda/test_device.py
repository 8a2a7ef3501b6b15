"""What the pretended CUDA device shows. These run in the process that test_pretended_cuda.py starts."""

import copy
import multiprocessing
import subprocess
import sys

import pretended
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, layer_norm, scaled_dot_product_attention

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not pretended.is_here(), reason="of the pretended device alone")]


def reasons_of(work):
    """{why the host waited: how often} while work() ran."""
    before = pretended.waits()
    work()
    return {why: count - before.get(why, 0) for why, count in pretended.waits().items() if count > before.get(why, 0)}


# Which tests have it

@pytest.fixture(scope="module")
def seen_by_what_tests_share():
    return torch.cuda.is_available()


@pytest.mark.parametrize("device", ["cpu"], indirect=True)
def test_what_a_test_for_the_cpu_shares_with_others_sees_no_device_either(device, seen_by_what_tests_share):
    assert not seen_by_what_tests_share and not torch.cuda.is_available()


# Two devices

@pytest.mark.parametrize("mix", [
    lambda cuda, cpu: cuda + cpu, lambda cuda, cpu: cuda @ cpu, lambda cuda, cpu: torch.cat([cuda, cpu]),
    lambda cuda, cpu: cuda.add_(cpu), lambda cuda, cpu: cuda.where(cpu > 0, cuda),
    lambda cuda, cpu: cross_entropy(cuda, torch.tensor([0, 1, 2])),
    lambda cuda, cpu: layer_norm(cuda, (3,), cpu[0])], ids=range(7))
def test_tensors_on_two_devices_are_refused(mix):
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        mix(torch.ones(3, 3, device="cuda"), torch.ones(3, 3))


def test_a_single_number_on_the_cpu_goes_along_with_the_call():
    with pretended.no_waits():
        doubled = torch.ones(3, device="cuda") * torch.tensor(2.0)
    assert doubled.device == torch.device("cuda", 0) and doubled.tolist() == [2, 2, 2]


def test_a_tensor_on_the_device_cannot_be_read_as_numpy():
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        torch.ones(3, device="cuda").numpy()


# Waits of the host

@pytest.mark.parametrize("why, work", [
    ("aten::_local_scalar_dense", lambda numbers: numbers[0].item()),
    ("copy to the host", lambda numbers: numbers.cpu()), ("copy to the host", lambda numbers: numbers.tolist()),
    ("copy to the device", lambda numbers: numbers.new_tensor([1.0])),
    ("copy to the device", lambda numbers: torch.ones(3).pin_memory().cuda()),
    ("copy to the host", lambda numbers: torch.empty(3).copy_(numbers, non_blocking=True)),     # to memory not pinned
    ("copy of more than 64 KB from memory that is not pinned",
     lambda numbers: torch.ones(2**15).to("cuda", non_blocking=True)),
    ("aten::masked_select", lambda numbers: numbers.masked_select(numbers > 0)),
    ("aten::nonzero", lambda numbers: numbers.nonzero()), ("index by a mask", lambda numbers: numbers[numbers > 0]),
    ("index on the CPU", lambda numbers: numbers[torch.tensor([0, 2])]),
    ("aten::equal", lambda numbers: torch.equal(numbers, numbers)),
    ("aten::repeat_interleave", lambda numbers: numbers.long().repeat_interleave(numbers.long()))])
def test_what_makes_the_host_wait_is_counted_and_can_be_forbidden(why, work):
    numbers = torch.arange(3, device="cuda").float()
    assert why in reasons_of(lambda: work(numbers))
    with pretended.no_waits(), pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
        work(numbers)


def test_work_on_the_device_makes_nobody_wait():
    numbers = torch.arange(12, device="cuda").float().view(3, 4).requires_grad_()
    with pretended.no_waits():
        places = torch.tensor([2, 0]).pin_memory().to("cuda", non_blocking=True)
        loss = cross_entropy(numbers[places], places, label_smoothing=0.1)
        loss.backward()
        numbers.grad.masked_fill_(numbers.grad > 0, 0).norm().isfinite()
        torch.arange(3, device="cuda").repeat_interleave(torch.arange(3, device="cuda"), output_size=3)
        numbers.detach().to("cpu", non_blocking=True)       # torch makes pinned memory for it
    assert numbers.grad.device.type == "cuda"


def test_a_small_copy_from_memory_that_is_not_pinned_is_counted_apart():
    before = pretended.pageable_copies()
    with pretended.no_waits():
        torch.ones(10).to("cuda", non_blocking=True)
    assert pretended.pageable_copies() == before + 1


def test_class_weights_with_label_smoothing_wait_inside_torch_and_each_alone_does_not():
    logits, labels = torch.randn(4, 3, device="cuda"), torch.zeros(4, dtype=torch.long, device="cuda")
    weights = torch.ones(3, device="cuda")
    with pretended.no_waits():
        cross_entropy(logits, labels, weights)
        cross_entropy(logits, labels, label_smoothing=0.1)
        with pytest.raises(RuntimeError, match="masked_select"):
            cross_entropy(logits, labels, weights, label_smoothing=0.1)


# Copies under way

@pytest.mark.parametrize("dtype, not_there_yet", [(torch.float32, "nan"), (torch.float16, "nan"), (torch.bool, "False"),
                                                  (torch.int64, "-1")])
def test_a_copy_to_pinned_memory_holds_nothing_until_it_is_waited_for(dtype, not_there_yet):
    sent = torch.ones(3, device="cuda", dtype=dtype)
    host = torch.empty(3, dtype=dtype, pin_memory=True).copy_(sent, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    assert {str(number) for number in host.tolist()} == {not_there_yet}
    arrived.synchronize()
    assert torch.equal(host, sent.cpu())


def test_an_event_waits_for_the_copies_before_it_and_for_no_later_ones():
    hosts, events = [], []
    for number in (1.0, 2.0):
        sent = torch.full((2,), number, device="cuda")
        hosts.append(torch.empty(2, pin_memory=True).copy_(sent, non_blocking=True))
        sent.fill_(7)       # in the order of the device's work this comes after the copy
        events.append(torch.cuda.Event())
        events[-1].record()
    events[0].synchronize()
    assert hosts[0].tolist() == [1, 1] and hosts[1].isnan().all()
    torch.cuda.synchronize()
    assert hosts[1].tolist() == [2, 2]


def test_a_copy_to_the_host_is_converted_and_broadcast_on_its_way():
    host = torch.empty(2, 2, pin_memory=True).copy_(torch.tensor([1, 2], device="cuda"), non_blocking=True)
    assert host.isnan().all()
    torch.cuda.synchronize()
    assert host.tolist() == [[1, 2], [1, 2]]


def test_a_pinned_buffer_that_is_written_to_while_its_copy_is_under_way_is_reported():
    buffer = torch.ones(3).pin_memory()
    buffer.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    buffer.fill_(2)         # the copy has arrived: nobody minds
    buffer.to("cuda", non_blocking=True)
    buffer.fill_(3)
    with pytest.raises(RuntimeError, match="a pinned buffer was written to"):
        torch.cuda.synchronize()


def test_a_loader_pins_its_batches_so_that_no_copy_of_them_waits():
    loader = torch.utils.data.DataLoader(torch.arange(2**16).float(), batch_size=2**15, pin_memory=True)
    batches = list(loader)
    with pretended.no_waits():
        assert sum(batch.is_pinned() for batch in batches) == 2
        assert [batch.to("cuda", non_blocking=True).device.type for batch in batches] == ["cuda", "cuda"]


# What is computed

def test_autocast_has_the_lists_of_cuda():
    states, labels = torch.randn(2, 4, 8, device="cuda"), torch.zeros(4, dtype=torch.long, device="cuda")

    def loss_of(scores):
        return cross_entropy(scores, labels) + scores.softmax(dim=-1).square().sum()

    with torch.autocast("cuda", torch.float16):
        assert (states @ states.mT).dtype == torch.float16
        assert scaled_dot_product_attention(states, states, states).dtype == torch.float16
        assert layer_norm(states.half(), (8,)).dtype == torch.float32           # float16 in the CPU's list
        halves = states[0].half().requires_grad_()
        assert halves.softmax(dim=-1).dtype == torch.float32
        loss = loss_of(halves)
    loss.backward()
    wanted = states[0].half().float().requires_grad_()
    loss_of(wanted).backward()
    assert loss.dtype == torch.float32 and halves.grad.dtype == torch.float16
    torch.testing.assert_close(halves.grad.float(), wanted.grad, rtol=2e-3, atol=1e-3)


def test_a_model_learns_in_fp16_and_a_step_of_its_own_scaler_makes_nobody_wait():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Dropout(0.1), nn.Linear(16, 2)).cuda()
    inputs = torch.randn(64, 8, device="cuda")
    labels = (inputs[:, 0] > 0).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**30)
    losses = []
    for step in range(60):
        with pretended.no_waits():
            with torch.autocast("cuda", torch.float16):
                loss = cross_entropy(model(inputs), labels)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 0.6 and losses[-1] < 0.3
    assert scaler.get_scale() < 2.0**30         # steps were skipped, and no host looked at whether


def test_views_share_their_memory_and_copies_do_not():
    whole = torch.zeros(2, 3, device="cuda")
    for view in (whole.view(6), whole.t(), whole[1], whole.unfold(1, 2, 1), whole.expand(4, 2, 3), whole.detach(),
                 whole.view(torch.int32), whole.as_strided((2,), (1,))):
        assert view.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr() and view.device.type == "cuda"
    whole.view(6)[4] = 1
    assert whole.tolist() == [[0, 0, 0], [0, 1, 0]]
    copied = copy.deepcopy(whole)
    copied.zero_()
    assert whole.sum().item() == 1 and copied.device.type == "cuda"


def test_what_an_operation_writes_to_may_grow():
    out = torch.empty(0, device="cuda")
    torch.add(torch.ones(3, device="cuda"), 1, out=out)
    assert out.tolist() == [2, 2, 2]
    assert out.resize_(5)[:3].tolist() == [2, 2, 2]


def test_a_state_is_saved_and_loaded_on_either_device(tmp_path):
    torch.save({"state": torch.arange(3.0, device="cuda")}, tmp_path / "state.pt")
    for place, device in ((None, "cuda"), ("cpu", "cpu"), ("cuda", "cuda")):
        state = torch.load(tmp_path / "state.pt", map_location=place)["state"]
        assert state.device.type == device and state.tolist() == [0, 1, 2]


# Random numbers

def test_the_device_draws_from_a_generator_of_its_own():
    torch.manual_seed(0)
    on_cpu, states = torch.get_rng_state(), torch.cuda.get_rng_state()
    draws = [torch.rand(3, device="cuda"), torch.nn.functional.dropout(torch.ones(50, device="cuda"))]
    assert torch.equal(torch.get_rng_state(), on_cpu)
    torch.cuda.set_rng_state(states)
    assert torch.equal(torch.rand(3, device="cuda"), draws[0])
    assert torch.equal(torch.nn.functional.dropout(torch.ones(50, device="cuda")), draws[1])
    assert not torch.equal(torch.rand(3, device="cuda"), draws[0])
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3, device="cuda"), draws[0])


def test_a_generator_of_the_cpu_is_refused():
    own = torch.Generator(device="cuda").manual_seed(1)
    assert torch.rand(3, generator=own, device="cuda").device.type == "cuda"
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.rand(3, generator=torch.Generator(), device="cuda")


# Memory and processes

def test_memory_is_counted_and_ends():
    used = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    large = torch.ones(1000, device="cuda")
    also = large.view(10, 100).t() + 1
    assert torch.cuda.memory_allocated() == used + 8000
    del large, also
    assert torch.cuda.memory_allocated() == used and torch.cuda.max_memory_allocated() == used + 8000
    with pretended.memory(4000):
        small = torch.ones(900, device="cuda")
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory. Tried to allocate 3600 bytes"):
            small + 1
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(200, device="cuda")
    assert torch.ones(2000, device="cuda").sum().item() == 2000


def said_by(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("before", ["", "import importlib.util; importlib.util.find_spec('torch'); "])
def test_a_child_process_has_the_device_too(before):
    assert said_by(f"{before}import torch; print(torch.ones(2).cuda().device)") == "cuda:0\n"


def test_a_child_process_without_visible_devices_does_not(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert said_by("import torch; print(torch.cuda.is_available())") == "False\n"


def use_the_device(answers):
    try:
        torch.ones(2, device="cuda")
    except RuntimeError as error:
        answers.put(str(error))
    else:
        answers.put("")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_cannot_use_the_device():
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=use_the_device, args=(answers,))
    child.start()
    assert "Cannot re-initialize CUDA in forked subprocess" in answers.get(timeout=60)
    child.join()
