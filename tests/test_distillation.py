"""A network that learns of another one: of fewer layers, and not of the data alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import run_backbone

from dejavu.model.backbone import as_inputs
from dejavu.model.chess.features import features
from dejavu.model.config import PRESETS
from dejavu.model.data.shards import open_data
from dejavu.model.network import Network
from dejavu.model.training.backbone_run import of_layers
from dejavu.model.training.batches import Batch, make_batch
from dejavu.model.training.checkpoint import CheckpointError
from dejavu.model.training.distillation import Opinion, Student, disagreement, losses_with_teacher
from dejavu.model.weights import load_weights

DEEP = replace(PRESETS["tiny"], layers=3)


@pytest.fixture
def batch(data: Path) -> Batch:
    return make_batch(open_data([data]), np.arange(16))


def test_kept_layers_are_those_of_the_deeper_network(data: Path) -> None:
    torch.manual_seed(1)
    deep = Network(DEEP, retrieval=True)
    shallow = of_layers(deep, [0, 2])
    assert shallow.config.layers == 2
    assert shallow.retrieval is None
    dataset = open_data([data])
    inputs = as_inputs(features(dataset.planes[:8], dataset.clocks[:8]), torch.device("cpu"))
    with torch.inference_mode():
        del deep.backbone.layers[1]
        assert torch.equal(shallow(inputs).policy, deep(inputs).policy)


@pytest.mark.parametrize("layers", [[], [0, 3], [2, 0], [1, 1], [-1, 0]])
def test_layers_that_there_are_not_are_refused(layers: list[int]) -> None:
    with pytest.raises(ValueError, match="not some of the layers 0 to 2, in order"):
        of_layers(Network(DEEP, retrieval=False), layers)


def test_networks_of_one_opinion_do_not_disagree_and_illegal_moves_do_not_matter(batch: Batch) -> None:
    torch.manual_seed(1)
    one, other = Network(DEEP, retrieval=False), Network(DEEP, retrieval=False)
    with torch.inference_mode():
        own, taught = (Opinion.of(network, batch.inputs) for network in (one, other))
        illegal = own.outputs._replace(policy=own.outputs.policy + 5.0 * ~batch.legal)
        wdl = taught.outputs.wdl.softmax(dim=1)
        assert float(disagreement(own, own, batch.legal, wdl)) == pytest.approx(0, abs=1e-5)
        assert float(disagreement(own._replace(outputs=illegal), own, batch.legal, wdl)) == pytest.approx(0, abs=1e-5)
        assert float(disagreement(own, taught, batch.legal, wdl)) > 0.1


def test_a_value_that_the_data_contradict_is_not_learned_of_the_teacher(batch: Batch) -> None:
    torch.manual_seed(1)
    one, other = Network(DEEP, retrieval=False), Network(DEEP, retrieval=False)
    with torch.inference_mode():
        own, taught = (Opinion.of(network, batch.inputs) for network in (one, other))
        own = own._replace(tokens=taught.tokens, outputs=own.outputs._replace(policy=taught.outputs.policy))
        agreeing = taught.outputs.wdl.softmax(dim=1)
        q = agreeing[:, 0] - agreeing[:, 2]
        win, loss = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
        contradicting = torch.where(q[:, None] < 0, win, loss)
        assert float(disagreement(own, taught, batch.legal, agreeing)) > 1e-4
        assert float(disagreement(own, taught, batch.legal, contradicting)) == pytest.approx(0, abs=1e-6)


def test_a_student_comes_nearer_to_its_teacher_and_leaves_it_as_it_is(batch: Batch) -> None:
    torch.manual_seed(1)
    teacher = Network(DEEP, retrieval=False)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = Student(of_layers(teacher, [0, 2]), teacher)
    trained = [value for value in student.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    told = []
    for _ in range(30):
        losses = losses_with_teacher(student, batch)
        assert losses.auxiliary is not None
        told.append(losses.auxiliary.item())
        torch.autograd.backward(losses.auxiliary)
        optimizer.step()
        optimizer.zero_grad()
    assert told[-1] < 0.5 * told[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_run_with_a_teacher_goes_on_with_no_other(data: Path, backbone: Path, tmp_path: Path) -> None:
    weights = backbone / "weights.safetensors"
    options = {"start_from": weights, "keep_layers": [1], "teacher": weights}
    run_backbone(data, tmp_path, 4, **options)
    trained = load_weights(tmp_path / "weights.safetensors")[0]
    assert trained.config == replace(PRESETS["tiny"], layers=1)
    with pytest.raises(CheckpointError, match="teacher"):
        run_backbone(data, tmp_path, 4, **options | {"teacher": backbone / "undecayed.safetensors"})
    with pytest.raises(CheckpointError, match="teacher"):
        run_backbone(data, tmp_path, 4, **options | {"teacher": None})


def test_what_does_not_fit_together_is_refused(data: Path, backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the teacher has tokens of 32 numbers, the network of 128"):
        run_backbone(data, tmp_path, 1, preset="small", teacher=backbone / "weights.safetensors")
    with pytest.raises(ValueError, match="no earlier net to keep the layers of"):
        run_backbone(data, tmp_path, 1, keep_layers=[0])
