"""The one command for a GPU, tried at tiny size: its parts answer, and one that fails or hangs stops no other."""

import sys

import on_gpu
import pytest
import throughput       # on_gpu.py has put its folder on the path
import torch
from conftest import on_cuda, posts, write_csv
from training.run import results


@pytest.fixture
def tiny(tiny_encoder, tmp_path, monkeypatch):
    """The arguments of a trial that takes seconds; what a GPU multiplies in a blink is smaller too."""
    monkeypatch.setattr(throughput, "BIG_PRODUCT", {"cuda": 64})
    monkeypatch.setattr(throughput, "PRODUCTS", {"cuda": 1})
    monkeypatch.setattr(results, "write_run_report", lambda *given: None)   # drawn on the host, for most of the seconds
    return [f"--encoder={tiny_encoder}", "--rows=48", "--rounds=1", "--BATCH_SIZE=8", "--MAX_LENGTH=32",
            f"--TRAIN_PATH={write_csv(tmp_path / 'posts.csv', posts(160))}"]


def answer(capsys, part, arguments):
    """Cells of the table that a part prints, without its heading."""
    assert on_gpu.main([f"--part={part}", *arguments]) == 0
    heading, _, *rows = capsys.readouterr().out.splitlines()
    assert {row.count("|") for row in rows} == {heading.count("|")}
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@on_cuda
def test_a_run_left_and_resumed_is_compared_bit_for_bit_and_the_cost_of_that_is_measured(device, tiny, capsys):
    [[alike, without, deterministic, ratio]] = answer(capsys, "resume", tiny)
    assert alike == "the same bit for bit"
    assert float(without.replace(",", "")) > 0 and float(deterministic.replace(",", "")) > 0 and float(ratio) > 0


@on_cuda
def test_the_same_seed_is_tried_twice_with_deterministic_and_without(device, tiny, capsys):
    assert answer(capsys, "determinism", tiny) == [["False", "the same bit for bit"], ["True", "the same bit for bit"]]


@on_cuda
def test_what_makes_the_host_wait_is_counted_over_an_epoch(device, tiny, capsys):
    [what, times, _], *_ = answer(capsys, "waits", tiny)
    assert what == "operations that torch calls synchronizing"
    assert 0 < int(times) < 6       # those of the epoch's end, and none in each of its 6 steps


@on_cuda
def test_every_way_of_the_throughput_trains_on_cuda_and_the_script_with_its_runs_products(
        device, tiny, capsys, monkeypatch):
    train_epoch, products = throughput.script.train_epoch, set()
    monkeypatch.setattr(throughput.script, "train_epoch", lambda *given: (
        products.add(torch.get_float32_matmul_precision()), train_epoch(*given))[1])
    assert throughput.main([*tiny, f"--only={on_gpu.COMPARED}"]) == 0
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[2:] == ["naive", "trainer", "trainer grouped", "script", "script padded"]
    assert products == {"high"}
    throughput.set_up("naive")
    assert torch.get_float32_matmul_precision() == "highest"


@on_cuda
def test_the_parts_come_in_the_order_of_the_questions_each_with_a_limit(device, monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(on_gpu, "run_part", asked.append)
    on_gpu.main([f"--page={tmp_path / 'page.md'}"])
    assert [part.name for part in asked] == [
        "tests", "ways, bert-base", "ways, the embedded encoder", "cache, bert-base", "cache, the embedded encoder",
        "torch.compile, bert-base", "torch.compile, the embedded encoder", "doctor", "resume", "determinism", "waits"]
    assert all(0 < part.minutes <= 20 for part in asked)


@on_cuda
def test_a_part_that_fails_or_hangs_is_told_in_its_row_and_the_others_go_on(device, monkeypatch, tmp_path, capsys):
    def python(code):
        return [sys.executable, "-S", "-c", code]

    parts = [on_gpu.Part("breaks", 1, python("raise ValueError('no | luck')")),
             on_gpu.Part("hangs", 0.02, python("import time; print('| begun |', flush=True); time.sleep(60)")),
             on_gpu.Part("works", 1, python("import sys; print('| 42 |'); print('by the way', file=sys.stderr)"))]
    monkeypatch.setattr(on_gpu, "plan", lambda options, constants: parts)
    assert on_gpu.main([f"--page={tmp_path / 'page.md'}"]) == 1
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "| breaks | failed, status 1: ValueError: no \\| luck |" in page
    assert "| hangs | out of time: 0.02 min were not enough |" in page and "| works | done |" in page
    for_readme, raw = page.split("## Raw output")
    assert "| 42 |" in for_readme and "| begun |" not in for_readme and "| begun |" in raw and "by the way" in raw


@on_cuda
def test_interrupted_it_leaves_the_page_of_what_was_measured(device, monkeypatch, tmp_path, capsys):
    page, begun = tmp_path / "page.md", []

    def interrupted_in_the_second(part):
        begun.append(part)
        part.outcome = "done"
        if len(begun) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(on_gpu, "run_part", interrupted_in_the_second)
    assert on_gpu.main([f"--page={page}"]) == 130 and len(begun) == 2
    assert capsys.readouterr().err == f"interrupted; what was measured by then: {page}\n"
    assert "| tests | done |" in page.read_text("utf-8")


@on_cuda
@pytest.mark.parametrize("only, told", [("nosuch", "no part's name matches 'nosuch'; there are tests; ways, "),
                                        ("(", "'(' is no regular expression: ")])
def test_parts_that_are_not_there_are_told_in_one_line(device, tmp_path, capsys, only, told):
    page = tmp_path / "page.md"
    assert on_gpu.main([f"--only={only}", f"--page={page}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: --only: {told}") and not page.exists()


def test_without_a_cuda_device_it_says_so(capsys):
    assert on_gpu.main([]) == 2
    assert capsys.readouterr().err == "error: no CUDA device is here\n"
