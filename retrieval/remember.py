"""Learning without training: add positions of new games to a memory, or forget those of a source.

The result is another memory, with the clusters of the old one: writing it replaces the file in one step, and an
engine that has the old file open goes on with that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.build import BATCH_ROWS, Embed
from dejavu.retrieval.knn import ExactIndex
from dejavu.retrieval.memory import Memory, Source, encode_names, project
from dejavu.retrieval.positions import Positions, merge_equal


class UnknownSourceError(ValueError):
    """A source that the memory does not know; the message is one sentence."""


@dataclass(frozen=True)
class Added:
    """What came of adding a source."""

    entries: int
    """Positions added."""
    known: int
    """Distinct positions left out, since the memory has them, with the same move if new moves are wanted."""
    replaced: int
    """Entries dropped, since the new games have a better move there."""
    evaluated: int
    """Entries that stayed, and took the evaluation of the new games."""


def add(
    memory: Memory,
    positions: Positions,
    names: Sequence[str],
    source: str,
    day: str,
    embed: Embed,
    progress: Callable[[int, int], None],
    keep_known: bool = False,
    lessons: bool = False,
) -> tuple[Memory, Added]:
    """`memory` with the `positions` of games called `names`, which the positions number from 0.

    A position comes but once, with the move that is best in most of the games, and with this move it takes the
    place of an entry with another one: a memory that says two things of one position teaches neither. With
    `keep_known` the old entry stays, and only positions that are not remembered yet are added. An entry that stays
    takes the evaluation of the new games where they have one: the later word counts. With `lessons`, which are moves by
    themselves, an entry that also says how play went on has to make way for the same move alone. `day` is ISO 8601;
    `embed` is the backbone that made the memory; `progress` hears positions done and positions in all.
    """
    chosen, _ = merge_equal(positions)
    entry_of = {board: entry for entry, board in enumerate(_identities(memory.boards))}
    stored = np.array([entry_of.get(board, -1) for board in _identities(chosen.planes)], dtype=np.int64)
    is_stored = stored >= 0
    is_known = is_stored.copy()
    if not keep_known:
        old, new_lines = memory.continuations[stored[is_stored]], chosen.continuations[is_stored]
        is_known[is_stored] = (old == new_lines).all(axis=1) if lessons else old[:, 0] == new_lines[:, 0]
    kept = np.ones(len(memory), dtype=bool)
    kept[stored[is_stored & ~is_known]] = False
    memory, evaluated = _evaluate(memory, stored[is_known], np.rint(chosen.wdl[is_known] * 255).astype(np.uint8))
    new = chosen.take(np.flatnonzero(~is_known))
    if not len(new):
        return memory, Added(0, len(chosen), 0, evaluated)

    size = memory.keys.shape[1:]
    keys = np.empty((len(new), *size), dtype=np.int8)
    for start in range(0, len(new), BATCH_ROWS):
        batch = new.take(np.arange(start, min(start + BATCH_ROWS, len(new))))
        embeddings = embed(batch.planes, batch.clocks)
        keys[start : start + len(batch)] = project(embeddings, memory.key_mean, memory.key_projection)
        progress(start + len(batch), len(new))
    _, cluster = ExactIndex(memory.centroids).search(keys.reshape(len(new), -1).astype(np.float32), 1)

    old_names = [memory.game_name(game) for game in range(memory.games)]
    game_names, game_offsets = encode_names([*old_names, *names])
    result = replace(
        memory,
        keys=np.concatenate([memory.keys[kept], keys]),
        boards=np.concatenate([memory.boards[kept], new.planes]),
        clocks=np.concatenate([memory.clocks[kept], new.clocks]),
        continuations=np.concatenate([memory.continuations[kept], new.continuations]),
        wdl=np.concatenate([memory.wdl[kept], np.rint(new.wdl * 255).astype(np.uint8)]),
        game=np.concatenate([memory.game[kept], new.game + np.int32(memory.games)]),
        cluster=np.concatenate([memory.cluster[kept], cluster[:, 0].astype(np.uint16)]),
        game_names=game_names,
        game_offsets=game_offsets,
        added=(*memory.added, Source(source, memory.games, len(names), day)),
    )
    return without_idle_games(result), Added(len(new), int(is_known.sum()), int((~kept).sum()), evaluated)


def without_idle_games(memory: Memory) -> Memory:
    """`memory` without the names of games that none of its entries comes from any more."""
    is_used = np.zeros(memory.games, dtype=bool)
    is_used[memory.game] = True
    number = np.cumsum(is_used) - 1  # the new number of every game that stays
    names, offsets = encode_names([memory.game_name(int(game)) for game in np.flatnonzero(is_used)])
    before = np.concatenate([[0], np.cumsum(is_used)])
    sources = [
        replace(
            item,
            first_game=int(before[item.first_game]),
            games=int(before[item.first_game + item.games] - before[item.first_game]),
        )
        for item in memory.added
    ]
    return replace(
        memory,
        game=number[memory.game].astype(np.int32),
        game_names=names,
        game_offsets=offsets,
        added=tuple(item for item in sources if item.games),
    )


def emptied(memory: Memory) -> Memory:
    """No entries, in the key space of `memory` and with its clusters: what is added is a memory of its own.

    Asked beside `memory`, it has the last word on the positions that both know.
    """
    names, offsets = encode_names([])
    entries = {name: getattr(memory, name)[:0] for name in Memory.ENTRY_ARRAYS}
    return replace(memory, **entries, game_names=names, game_offsets=offsets, added=())


def unknown_to(memory: Memory, positions: Positions) -> Positions:
    """Those of the `positions` that `memory` has no entry of."""
    known = set(_identities(memory.boards))
    return positions.take(np.flatnonzero([board not in known for board in _identities(positions.planes)]))


def _evaluate(memory: Memory, entries: NDArray[np.int64], wdl: NDArray[np.uint8]) -> tuple[Memory, int]:
    """`memory` where some `entries` [N] take the evaluations `wdl` [N, 3], if there is one; how many changed."""
    takes = _is_evaluated(wdl) & (wdl != memory.wdl[entries]).any(axis=1)
    if not takes.any():
        return memory, 0
    changed = memory.wdl.copy()
    changed[entries[takes]] = wdl[takes]
    return replace(memory, wdl=changed), int(takes.sum())


def _is_evaluated(wdl: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """[N] whether win, draw and loss [N, 3] are not a third each."""
    return np.asarray((wdl != wdl[:, :1]).any(axis=1))


def forget(memory: Memory, source: str) -> tuple[Memory, int]:
    """`memory` without the games that were added as `source`, and the number of entries this takes away.

    What those games have replaced does not come back. Raises UnknownSourceError.
    """
    if source not in {item.name for item in memory.added}:
        known = ", ".join(dict.fromkeys(item.name for item in memory.added)) or "none"
        raise UnknownSourceError(f"no games were added as {source!r}; there are: {known}")
    is_forgotten = np.zeros(memory.games, dtype=bool)
    for item in memory.added:
        is_forgotten[item.first_game : item.first_game + item.games] = item.name == source
    kept = ~is_forgotten[memory.game]
    number = np.cumsum(~is_forgotten) - 1  # the new number of every game that stays
    names, offsets = encode_names([memory.game_name(int(game)) for game in np.flatnonzero(~is_forgotten)])
    entries = {name: getattr(memory, name)[kept] for name in Memory.ENTRY_ARRAYS}
    entries["game"] = number[entries["game"]].astype(np.int32)
    result = replace(
        memory,
        **entries,
        game_names=names,
        game_offsets=offsets,
        added=tuple(
            replace(item, first_game=int(number[item.first_game])) for item in memory.added if item.name != source
        ),
    )
    return result, int((~kept).sum())


def _identities(planes: NDArray[np.uint64]) -> list[bytes]:
    """Something to compare positions [B, 4] by."""
    identities: list[bytes] = np.ascontiguousarray(planes).view("V32").ravel().tolist()
    return identities
