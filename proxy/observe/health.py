"""Whether a run should get requests, from what its processes tell."""

from __future__ import annotations

from .board import RunState, WorkerState

# So many workers that die young in a row are no accident.
_LOOP = 3
_SHORT_LIFE = 2.0


def ready_workers(run: RunState, workers: list[WorkerState]) -> list[WorkerState]:
    """Give the workers that serve; what a dead one left does not count."""
    return [state for slot, state in zip(run.slots, workers, strict=False) if slot.pid == state.pid and state.ready]


def reasons_against(run: RunState, workers: list[WorkerState], now: float, *, reached: bool = True) -> list[str]:
    """Say why the run should get no requests; an empty list means that it should. `now` is of the monotonic clock.

    `reached` says whether the upstream is, or that it does not matter.
    """
    if run.replaced:
        # Who asks now is answered for the run that takes its place.
        return []
    found = []
    if run.stopping:
        found.append("the proxy is stopping")
    if not ready_workers(run, workers):
        found.append("no worker is ready")
    if any(slot.young >= _LOOP and (not slot.pid or now - slot.born < _SHORT_LIFE) for slot in run.slots):
        found.append("workers die as soon as they start")
    if not reached:
        found.append("the upstream cannot be reached")
    return found
