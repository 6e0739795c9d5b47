import torch
from style_a_video.training.loop import Run
from torch import nn


def run_of(folder):
    torch.manual_seed(0)
    return Run("run", folder, 60, rate=1e-2, modules={"network": nn.Linear(2, 1)}, most=5)


def descend(run, until):
    for step in run.steps():
        if step == until:
            run.save()
            break
        run.descend(run.modules["network"](torch.ones(1, 2)).square().sum())
        run.log(every=1, loss=0.0)


def test_a_run_of_so_many_steps_goes_on_after_a_kill(tmp_path):
    descend(run_of(tmp_path / "killed"), until=2)
    resumed, whole = run_of(tmp_path / "killed"), run_of(tmp_path / "whole")
    for run in (resumed, whole):
        descend(run, until=None)
    assert resumed.step == whole.step == 5
    for a, b in zip(resumed.parameters, whole.parameters, strict=True):
        assert torch.equal(a, b)


def test_turns_may_log_different_values(tmp_path):
    run = run_of(tmp_path)
    for step in run.steps():
        run.descend(run.modules["network"](torch.ones(1, 2)).square().sum())
        run.log(every=1, loss=1.0, **({"more": 2.0} if step % 2 else {}))
    rows = (tmp_path / "run" / "curves.csv").read_text().splitlines()
    assert rows[0] == "step,minutes,loss,more" and len(rows) == 6
    assert [row.rsplit(",", 1)[1] for row in rows[1:]] == ["", "2.0", "", "2.0", ""]
