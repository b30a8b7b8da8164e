"""python -m study.run: one command from nothing to learning rate against batch size."""

import functools
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.ask.continuing import continued
from study.ask.notes import notes
from study.ask.options import parse, resolve, resolved, seconds
from study.ask.register import design_of, registered
from study.ask.where import Where
from study.cluster import machine
from study.cluster.failures import failures, given_up
from study.cluster.prepare import Asked, calibrated, session, settled
from study.cluster.session import Interrupted, Interruption, connected, say
from study.log.log import Log, MemoryLog, so_far
from study.plan.config import StudyConfig
from study.plan.planner import Planner
from study.show import results
from study.show.views import Views
from trainables.spec import plugins
from trainables.spec.errors import UsageError, exit_code
from trainables.spec.registration import digest

if TYPE_CHECKING:
    from study.cluster.cluster import Resources
    from study.show.forecast import Forecast


def main(arguments: list[str] | None = None) -> int:
    """The command, also to be called from a program, whose own Ray it then uses if that runs."""
    options = parse(arguments)
    if options.within and options.trials:
        raise UsageError("--within: it chooses --trials; accepted: one of the two")
    if options.within and options.register:
        raise UsageError("--register: is of a number of trials; accepted: --trials for --within")
    limit = seconds(options.within) if options.within else None
    config, data, where = resolve(options)
    config = continued(config, where.results, data, sized=limit is not None)
    if where.address:
        from study.cluster.cluster import check_address

        check_address(where.address)
    asked = Asked(
        config=config,
        data=data,
        where=where,
        preset=options.preset,
        notes=notes(config, data),
        command=machine.command_line(arguments),
        limit=limit,
        dashboard=not options.no_dashboard,
        interruption=Interruption(),
    )
    for line in asked.notes:
        say(line)
    asked = declared(asked, options.register and Path(options.register))
    try:
        if options.dry_run:
            return dry_run(asked)
        with Log(where.results) as log:
            planner = Planner(config, log) if log.events else None
            if planner and planner.done:
                Views(where.results, planner, where.log, say).close()  # which a crash left behind
                clean(where)
            if planner and planner.done and not unmeasured(planner, asked):
                say(f"{where.results} is finished; this is its report\n")
            else:
                train(asked, log, planner)
    except Interrupted:
        say(f"stopped; everything is kept. To go on: {asked.command}")
        return 128 + asked.interruption.number
    from analysis.report import write

    if not (where.results / "manifest.json").exists():  # lost, or never copied with the log
        results.restore(where.results)
    print(write(where.results, brief=True), end="")
    return 0


def declared(asked: Asked, file: Path | None) -> Asked:
    """The same with its registration: that in `file`, written if it is not there, or the one that
    the study began with."""
    from analysis.say.declaration import declaration

    events = so_far(asked.where.results)
    if not file:
        return replace(asked, registration=results.registration(events))

    def words() -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        return declaration(asked.where.results.name, now, powered(asked.config))

    design = design_of(asked.config, asked.data, machine.revision())
    text = registered(file, design, words, events)
    say(f"registered in {file}, SHA-256 {digest(text)}")
    return replace(asked, registration=text)


def unmeasured(planner: Planner, asked: Asked) -> list[Any]:
    """What is still to be measured at the winners' minima."""
    from study.cluster.minima import pending

    return pending(planner, asked.where.results, asked.config.sharpness)


def dry_run(asked: Asked) -> int:
    """Say what would be trained and how long it would take."""
    from study.show.forecast import overview
    from study.show.progress import duration

    path = asked.where.results
    with connected(asked.resources, False, asked.interruption, importing="study.cluster.calibrate"):
        events = so_far(path)
        forecast = calibrated(settled(asked), events, sizing=not events)[0]
        print(overview(forecast))
        print("\n".join(powered(forecast.config)))
        if events:
            left = forecast.left(Planner(forecast.config, MemoryLog(events))) / forecast.slots
            print(f"of these about {duration(left)} are left")
    return 0


def powered(config: StudyConfig) -> list[str]:
    """What a study of this design could tell, by simulated ones."""
    from analysis.power import TYPICAL, simulated
    from analysis.simulate import Design
    from study.show.forecast import most_searches

    plain = all(cell.plain for cell in config.cells)
    if len(config.batch_sizes) < 3:
        return ["power: fewer than 3 batch sizes determine no law"]
    if any("lr" in config.space(cell).held for cell in config.cells):
        return ["power: not simulated where a learning rate is held, as it has no law"]
    design = Design(
        methods=("momentum",) if plain else ("momentum", "momentum+sam"),
        batch_sizes=config.batch_sizes,
        trials=most_searches(config),
        seeds=config.seeds,
        reference_seeds=config.reference_seeds,
        control_share=config.control_share,
        grace=config.grace,
        asha=config.scheduler == "asha",
    )
    return simulated(design, TYPICAL, repetitions=16)


def train(asked: Asked, log: Log, planner: Planner | None) -> None:
    """All that the study still lacks, trained in one Tune run; `planner` is that of one begun."""
    path, begun, opened = asked.where.results, planner is not None, asked.resources
    job = machine.job(path, asked.config)
    with connected(opened, asked.dashboard, asked.interruption, job, "study.cluster.execute"):
        asked = settled(asked)
        config, resources = asked.config, asked.resources
        if training := planner is None or not planner.done:
            require_shared(asked.where, resources)
            forecast, shared = calibrated(asked, log.events, sizing=not begun)
            config = forecast.config
        if not begun or results.study_event(log.events, path)["config"] != config.to_dict():
            note(asked, config, log)
        planner = planner or Planner(config, log)
        if training:
            log.append(session(forecast, asked))
            watched(planner, forecast, resources, shared, asked)
        examined(planner, asked, resources)


def examined(planner: Planner, asked: Asked, resources: "Resources") -> None:
    """Measure the winners' minima, and say what that cost."""
    from study.cluster.minima import Bench, measure, missing
    from study.show.progress import duration

    jobs, path = unmeasured(planner, asked), asked.where.results
    for line in missing(planner, path) if asked.config.sharpness != "off" else ():
        say(line)
    if not jobs:
        return
    bench = Bench(path, asked.config.sharpness, asked.data, resources)
    start = time.monotonic()
    try:
        spent, errors = measure(jobs, planner, bench, asked.interruption.check)
    finally:
        results.write_tables(path, planner)
    if errors:
        say(f"{len(errors)} measurements failed, the first of {errors[0]}")
    trained, between = (
        sum(r.seconds for r in planner.records.values()),
        sum(bool(j.other) for j in jobs),
    )
    say(
        f"--sharpness {bench.level}: {len(jobs) - between} minima and {between} lines between them "
        f"in {duration(time.monotonic() - start)}, {spent / (spent + trained):.1%} of the "
        "study's work"
    )


def note(asked: Asked, config: StudyConfig, log: Log) -> None:
    """Write down what is to be trained: at the beginning, and when more of it is asked for."""
    path, options = asked.where.results, resolved(config, asked.where, asked.preset)
    manifest = machine.manifest(asked.command, path.name, config, asked.data, options, asked.notes)
    results.write_manifest(path, manifest, asked.registration)
    event = {
        "event": "study",
        "time": time.time(),
        "config": config.to_dict(),
        "data": asked.data.fingerprint,
        "data_dir": options["data_dir"],
        "notes": asked.notes,
        **({"registration": asked.registration} if asked.registration else {}),
        "plugins": {name: plugins.fingerprint(name) for name in config.plugins},
    }
    log.append(event)


def require_shared(where: Where, resources: "Resources") -> None:
    """Raises UsageError where the nodes of the cluster do not share what they should."""
    from study.cluster import cluster

    cluster.require_shared(where.checkpoints, where.storage is not None, resources.nodes())


def watched(
    planner: Planner, forecast: "Forecast", resources: "Resources", shared: Any, asked: Asked
) -> None:
    """Run the planner under Ray, with progress on the screen and the views of the log kept up."""
    from study.cluster.cluster import lately
    from study.cluster.execute import execute, gauge, log_file, trainable_of
    from study.show.forecast import against_actual, overview
    from study.show.gauges import Gauges
    from study.show.progress import Progress, duration

    before, ahead, start = forecast.done(planner), forecast.left(planner), time.monotonic()
    say(overview(forecast))
    if before:
        say(f"going on where it was: about {duration(ahead / forecast.slots)} are left")
    path, workers, slots = asked.where.results, asked.where.workers, lately(resources.slots)
    say(f"results: {path} (tensorboard --logdir {path}/tensorboard)")
    views = Views(path, planner, asked.where.log, say)

    def remaining() -> float:
        """By the calibrated rates, corrected by how they have held so far."""
        done = forecast.done(planner) - before
        elapsed = (time.monotonic() - start) * forecast.slots
        pace = elapsed / done if done > 0.05 * ahead else 1.0
        return pace * forecast.left(planner) / max(1, slots())

    progress = Progress(planner, remaining, slots, log_file(path.name), workers=workers)
    gauges = Gauges(path.name, planner, slots, gauge, workers)

    def tick() -> None:
        asked.interruption.check()
        if planner.hopeless:
            raise given_up(planner)
        views.update()
        gauges()
        progress()

    try:
        with progress:
            trainable = trainable_of(shared, asked.where.checkpoints, path.name)
            execute(planner, trainable, resources, path, tick, workers)
            tick()
        gauges.write()
    finally:
        wall = time.monotonic() - start
        shutil.rmtree(path / ".ray", ignore_errors=True)
        try:
            views.close()
        except OSError as error:  # nor is that to hide what else has ended the session
            say(f"tables are not written, the log has all ({error.strerror or error})")
    if not planner.done:  # Tune also returns on SIGUSR1, which a cluster may send before its end
        asked.interruption.number = asked.interruption.number or signal.SIGUSR1
        raise Interrupted
    clean(asked.where)
    for line in failures(planner):
        say(line)
    say(against_actual(forecast, planner, before, ahead, wall, views.busy))


def clean(where: Where) -> None:
    """Remove what only an unfinished study needs."""
    shutil.rmtree(where.results / ".ray", ignore_errors=True)
    where.checkpoints.remove()


command = functools.partial(exit_code, main, "python -m study.run")

if __name__ == "__main__":
    sys.exit(command())
