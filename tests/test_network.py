"""The network: chunked cross-attention against its definition, leakage, missing memory, stage 1 against stage 2."""

from __future__ import annotations

from dataclasses import replace

import chess
import numpy as np
import pytest
import torch
from torch import Tensor

from dejavu.model.backbone import Inputs, as_inputs
from dejavu.model.chess.encoding import pack, stack
from dejavu.model.chess.features import features
from dejavu.model.chunked_cross_attention import ChunkedCrossAttention, EncodedNeighbours
from dejavu.model.config import PRESETS, TOKENS, NetworkConfig, squares_name
from dejavu.model.interpolation import Interpolation
from dejavu.model.neighbour_encoder import FIRST_PLY
from dejavu.model.network import Network
from dejavu.retrieval.moves import NO_MOVE, POLICY_SIZE

TINY = replace(PRESETS["tiny"], interpolation=True)
CONFIGS = [TINY, replace(TINY, chunks=16, attack_width=0)]
CONFIG_NAMES = ["attacks", "many chunks"]


def boards() -> Inputs:
    fens = [
        chess.STARTING_FEN,
        "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R b KQkq - 3 9",
        "8/2p5/3p4/KP5r/1R3p1k/8/4P1P1/8 w - - 0 1",
    ]
    planes = stack([pack(chess.Board(fen)) for fen in fens])
    return as_inputs(features(planes, np.zeros(len(fens), np.uint8)), torch.device("cpu"))


def random_neighbours(config: NetworkConfig, batch: int, shared: bool = False) -> EncodedNeighbours:
    records = FIRST_PLY + 1
    shape = batch, 1 if shared else config.chunks, config.neighbours
    tokens = torch.randn(*shape, records, config.neighbour_width)
    return EncodedNeighbours(
        tokens,
        distances=torch.rand(shape) * 500,
        present=torch.rand(shape) > 0.3,
        moves=torch.randint(POLICY_SIZE, shape),
        wdl=torch.rand(*shape, 3).softmax(dim=-1),
    )


def randomised(module: torch.nn.Module) -> None:
    """Undo the zero start, so that every path counts."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)


def slow_chunked_cross_attention(
    config: NetworkConfig, layer: ChunkedCrossAttention, x: Tensor, given: EncodedNeighbours
) -> Tensor:
    """Token by token, head by head, written from the definition in the design."""
    batch, n, d = x.shape
    chunks, h = config.chunks, layer.heads
    m, e = n // chunks, d // h
    out = torch.zeros_like(x)
    for b in range(batch):
        for token in range(n):
            if token < m - 1:
                continue  # the first m - 1 tokens attend nothing
            if token == n - 1:
                u = chunks - 1  # the very last token attends the last chunk's neighbours
            elif token % m == m - 1:
                u = token // m  # the last token of chunk u
            else:
                u = token // m - 1  # one of the first m - 1 tokens of chunk u + 1
            keys: list[Tensor] = [layer.null]
            biases = [torch.zeros(h)]
            for neighbour in range(given.tokens.shape[2]):
                shared = given.tokens.shape[1] == 1
                where = b, 0 if shared else u, neighbour
                if not given.present[where]:
                    continue
                distance = given.distances[where]
                bias = layer.distance_bias(torch.stack([torch.log1p(distance) / 8, (distance == 0).float()]))
                for record in given.tokens[where]:
                    keys.append(record)
                    biases.append(bias)
            key, value = layer.key_value(torch.stack(keys)).split(d, dim=1)
            query = layer.query(x[b, token])
            parts = []
            for head in range(h):
                part = slice(head * e, head * e + e)
                scores = key[:, part] @ query[part] / e**0.5 + torch.stack(biases)[:, head]
                parts.append(scores.softmax(0) @ value[:, part])
            out[b, token] = layer.out(torch.cat(parts))
    return out


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_chunked_cross_attention_is_what_the_definition_says(config: NetworkConfig, shared: bool) -> None:
    torch.manual_seed(0)
    layer = ChunkedCrossAttention(config)
    randomised(layer)
    x = torch.randn(2, TOKENS, config.width)
    neighbours = random_neighbours(config, 2, shared)
    expected = slow_chunked_cross_attention(config, layer, x, neighbours)
    assert torch.allclose(layer(x, neighbours), expected, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_the_neighbours_of_a_chunk_move_only_the_tokens_they_may(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    network = Network(config, retrieval=True)
    assert network.retrieval is not None
    randomised(network.retrieval)
    m = config.chunk_size
    x = torch.randn(1, TOKENS, config.width)
    given = random_neighbours(config, 1)._replace(present=torch.ones(1, config.chunks, config.neighbours).bool())
    before = network.retrieval.layer(x, given)
    for u in range(config.chunks):
        tokens = given.tokens.clone()
        tokens[:, u] += 1
        moved = (network.retrieval.layer(x, given._replace(tokens=tokens)) != before).any(dim=-1)[0]
        first = u * m + m - 1
        last = min(first + m - 1, TOKENS - 1)
        expected = torch.zeros(TOKENS, dtype=torch.bool)
        expected[first : last + 1] = True
        assert torch.equal(moved, expected)


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_a_masked_neighbour_has_no_influence_and_none_at_all_is_fine(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    network = Network(config, retrieval=True)
    assert network.retrieval is not None
    randomised(network.retrieval)
    x = torch.randn(2, TOKENS, config.width)
    given = random_neighbours(config, 2)
    noise = torch.where(given.present[..., None, None], given.tokens, torch.full_like(given.tokens, 7.0))
    moves, wdl = (given.moves + 1) % POLICY_SIZE, given.wdl.flip(-1)
    changed = given._replace(
        tokens=noise,
        moves=torch.where(given.present, given.moves, moves),
        wdl=torch.where(given.present[..., None], given.wdl, wdl),
    )
    assert torch.equal(network.heads(x, given).policy, network.heads(x, changed).policy)
    assert torch.equal(network.heads(x, given).wdl, network.heads(x, changed).wdl)
    nothing = given._replace(present=torch.zeros_like(given.present))
    outputs = network.heads(x, nothing)
    assert torch.isfinite(outputs.policy).all()
    assert torch.isfinite(outputs.wdl).all()


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_without_memory_stage_two_equals_stage_one_bit_for_bit(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    stage1 = Network(config, retrieval=False).to(torch.bfloat16)
    stage2 = Network(config, retrieval=True).to(torch.bfloat16)
    stage2.load_state_dict(stage1.state_dict(), strict=False)
    assert stage2.retrieval is not None
    randomised(stage2.retrieval)
    first, second = stage1(boards()), stage2(boards())
    assert torch.equal(first.policy, second.policy)
    assert torch.equal(first.wdl, second.wdl)
    hidden = stage2.backbone(boards())
    given = random_neighbours(config, 3)
    given = given._replace(tokens=given.tokens.bfloat16())
    assert not torch.equal(stage2.heads(hidden, given).policy, first.policy)


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_retrieval_starts_as_no_change(config: NetworkConfig) -> None:
    network = Network(config, retrieval=True)
    hidden = network.backbone(boards())
    assert torch.equal(network.heads(hidden, random_neighbours(config, 3)).policy, network.heads(hidden).policy)


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIG_NAMES)
def test_every_square_feeds_the_output_and_every_move_has_a_logit(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    network = Network(config, retrieval=False)
    inputs = boards()
    base = network(inputs)
    assert base.policy.shape == (3, POLICY_SIZE)
    for square in range(64):
        squares = inputs.squares.clone()
        squares[0, :, square] = 1 - squares[0, :, square].clamp(0, 1)
        moved = network(inputs._replace(squares=squares))
        assert not torch.equal(moved.wdl[0], base.wdl[0])
        assert torch.equal(moved.wdl[1], base.wdl[1])


def test_the_source_destination_product_is_square_by_square() -> None:
    """A change of one square's token moves only the moves from and to that square."""
    config = TINY
    network = Network(config, retrieval=False)
    x = torch.randn(1, 64, config.width)
    before = network.policy(x)[0, :4096].view(64, 64)
    x[0, chess.E4] += 1
    moved = network.policy(x)[0, :4096].view(64, 64) != before
    expected = torch.zeros(64, 64, dtype=torch.bool)
    expected[chess.E4], expected[:, chess.E4] = True, True
    assert torch.equal(moved, expected)


def test_interpolation_raises_what_the_neighbours_played_and_how_they_stood() -> None:
    torch.manual_seed(0)
    config = replace(TINY, neighbours=2)
    interpolation = Interpolation(config)
    torch.nn.init.constant_(interpolation.trust.bias, 2.0)  # all neighbours are trusted alike
    given = random_neighbours(config, 2, shared=True)._replace(
        distances=torch.zeros(2, 1, 2),
        present=torch.tensor([[[True, True]], [[True, False]]]),
        moves=torch.tensor([[[700, 700]], [[NO_MOVE, 5]]]),
        wdl=torch.tensor([[[[0.8, 0.1, 0.1]] * 2], [[[1 / 3] * 3] * 2]]),
    )
    gains = interpolation(given)
    expected = torch.zeros(2, POLICY_SIZE)
    expected[0, 700] = 4.0  # both played it; of the second position none played anything
    assert torch.allclose(gains.policy, expected)
    first, second = (2 * (chances - chances.mean()) for chances in given.wdl[:, 0, 0].log())
    assert torch.allclose(gains.wdl, torch.stack([2 * first, second]), atol=1e-5)
    assert second.abs().max() < 1e-5  # a third each says nothing
    far = interpolation(given._replace(distances=torch.full((2, 1, 2), 20000.0)))
    assert far.policy.abs().max() < 1e-6
    assert far.wdl.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("chunks", "names"),
    [
        (8, [f"rank {number}" for number in range(1, 9)]),
        (16, [f"{files[0]}{rank}-{files[1]}{rank}" for rank in range(1, 9) for files in ("ad", "eh")]),
        (64, list(chess.SQUARE_NAMES)),
    ],
)
def test_chunks_have_names_and_cover_the_board_once(chunks: int, names: list[str]) -> None:
    config = replace(PRESETS["tiny"], chunks=chunks)
    squares = [config.chunk_squares(chunk) for chunk in range(chunks)]
    assert [squares_name(covered) for covered in squares] == names
    assert sorted(square for covered in squares for square in covered) == list(range(64))


def test_a_config_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="chunks"):
        NetworkConfig(chunks=3)
    with pytest.raises(ValueError, match="layout"):
        NetworkConfig.from_json('{"layout": "hexagons"}')
    with pytest.raises(ValueError, match="fields"):
        NetworkConfig.from_json('{"depth": 3}')
    with pytest.raises(ValueError, match="width"):
        NetworkConfig.from_json('{"width": "wide"}')
