"""Before a study trains: on what it does, how fast that is, and how many trials fit the time."""

import platform
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from study.ask.where import Where
from study.cluster.session import Interruption, say
from study.log.log import Event
from study.plan.config import StudyConfig
from trainables.data.image_data import ImageData

if TYPE_CHECKING:
    from study.cluster.cluster import Resources
    from study.show.forecast import Forecast


@dataclass(frozen=True)
class Asked:
    """What the command line asks for; `limit` seconds choose the number of trials; `registration`
    is the text that declares the study, if any."""

    config: StudyConfig
    data: ImageData
    where: Where
    preset: str
    notes: list[str]
    command: str
    limit: float | None
    dashboard: bool
    interruption: Interruption
    registration: str = ""

    @property
    def resources(self) -> "Resources":
        from study.cluster.cluster import Resources

        where = self.where
        return Resources(where.cpus, where.gpus, where.address, max(1, where.workers.asked))


def settled(asked: Asked) -> Asked:
    """The same, on the connected cluster's GPUs or on CPUs where that was left open."""
    from study.cluster import cluster, share

    if asked.where.gpus is not None:
        return asked

    def on(gpus: float) -> Asked:
        where = replace(asked.where, gpus=gpus)
        config = replace(asked.config, device=where.device, micro_batch=where.micro_batch)
        return replace(asked, where=where, config=config)

    most = max(share.COUNTS) if asked.where.workers.asked == 1 else 1
    check = asked.interruption.check
    made = on(share.chosen(on(1.0).config, asked.data, asked.resources, most, check))
    cluster.require_slots(made.resources)
    return made


def calibrated(asked: Asked, events: list[Event], sizing: bool) -> "tuple[Forecast, Any]":
    """The forecast and the data in the object store; what the log, or on this machine an earlier
    study, knows of rates is not measured."""
    import ray

    from study.cluster.calibrate import rates_of
    from study.cluster.rates import keys, recalled, remember
    from study.show.forecast import Forecast, known, sized

    resources = asked.resources
    begun, slots = time.monotonic(), resources.slots()
    shared = ray.put(asked.data)
    rates = known(events, slots, platform.node())
    lacking = [cell for cell in asked.config.cells if cell.name not in rates]
    here = lacking and not resources.address
    alike = keys(asked.config, lacking, asked.data, slots) if here else {}
    if before := recalled(alike):
        say(f"{len(before)} cells go by rates that an earlier study measured here")
        rates |= before
    if cells := [cell for cell in lacking if cell.name not in before]:
        say(f"calibrating {len(cells)} cells in {slots} processes …")
        check = asked.interruption.check
        measured = rates_of(asked.config, cells, shared, resources, slots, check)
        rates |= measured
        remember(alike, measured)
    workers = asked.where.workers
    forecast = Forecast(asked.config, len(asked.data.train), rates, slots, workers)
    if asked.limit is not None and sizing:
        forecast = sized(forecast, asked.limit - (time.monotonic() - begun))
    return forecast, shared


def session(forecast: "Forecast", asked: Asked) -> dict[str, Any]:
    """The event that begins training, with the rates by which the next session forecasts, and the
    share of a GPU with which it goes on."""
    where = {"slots": forecast.slots, "host": platform.node(), "gpus": asked.where.gpus}
    return {"event": "session", "time": time.time(), **where, "rates": forecast.rates}
