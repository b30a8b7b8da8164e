"""TensorBoard's event files, written live: one run a trial, so that a regular expression picks a
cell, and samples seen on the x axis, so that curves of different batch sizes align."""

import shutil
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from study.log.record import Record
from study.plan.config import StudyConfig
from trainables.spec.grid import Cell
from trainables.spec.roles import PHASES, ROLES

CURVES = (
    "train_loss train_accuracy val_loss val_accuracy test_accuracy generalization_gap lr "
    "noise_scale score images_per_second"
).split()
# An event has one step, so what is looked at over another axis than samples is written once more.
AXES = {"by_steps": "steps", "by_gradients": "grads"}
OVER = ("val_accuracy", "train_loss")
CLOSED = ".closed"  # marks a run that is whole
HPARAMS = "method optimizer formulation batch_size m lr rho phase role seed".split()
FINAL = "score val_accuracy test_accuracy generalization_gap train_loss noise_scale lr".split()
# Charts choose by tag and not by run, so the run filter makes the first row that of a batch size.
LAYOUT = {
    "One batch size: type its -bB- into the run filter": {
        "validation accuracy": "val_accuracy",
        "training loss": "train_loss",
        "gradient noise scale": "noise_scale",
        "learning rate": "lr",
    },
    "Over steps and over sequential gradients": {
        f"{tag.replace('_', ' ')} {axis.replace('_', ' ')}": f"{axis}/{tag}"
        for tag in OVER
        for axis in AXES
    },
}


class Board:
    """Writes results/NAME/tensorboard."""

    def __init__(self, results: Path, config: StudyConfig, records: list[Record]) -> None:
        self.root = results / "tensorboard"
        self._describe({*config.cells, *(record.cell for record in records)})
        self._writers: dict[str, EventFileWriter] = {}
        for record in records:
            run = self.root / record.config.trial_id
            if (run / CLOSED).exists():
                continue
            shutil.rmtree(run, ignore_errors=True)  # a crash may have left a part of it
            for index in range(len(record.reports)):
                self.report(record, index)
            if record.ended:
                self.end(record)

    def report(self, record: Record, index: int = -1) -> None:
        """The scalars of one report, and before the first one the hyper-parameters."""
        writer = self._writers.get(record.config.trial_id)
        if writer is None:
            writer = self._open(record)
        figures = record.reports[index]
        writer.add_event(_scalars(figures["samples"], {tag: figures.get(tag) for tag in CURVES}))
        for axis, count in AXES.items():
            again = {f"{axis}/{tag}": figures.get(tag) for tag in OVER}
            writer.add_event(_scalars(figures[count], again))
        writer.flush()

    def begin_anew(self, record: Record) -> None:
        """Void what the run has reported, but not its hyper-parameters, which are at step 0."""
        if writer := self._writers.get(record.config.trial_id):
            writer.add_event(_start(1))

    def end(self, record: Record) -> None:
        """Close the run, so that the hyper-parameters tab shows how it ended."""
        writer = self._writers.pop(record.config.trial_id, None)
        if writer is None:
            return
        failed = record.status == "error"
        status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
        end = HParamsPluginData(
            session_end_info=SessionEndInfo(status=status, end_time_secs=time.time())
        )
        writer.add_event(_plugin_event(metadata.SESSION_END_INFO_TAG, end))
        writer.close()
        (self.root / record.config.trial_id / CLOSED).touch()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _open(self, record: Record) -> EventFileWriter:
        writer = EventFileWriter(str(self.root / record.config.trial_id))
        self._writers[record.config.trial_id] = writer
        writer.add_event(_start(0))
        group = f"{self.root.parent.name}/{record.config.trial_id}"  # studies may share a folder
        info = SessionStartInfo(group_name=group, start_time_secs=record.started)
        for name, value in _hparams(record).items():
            if isinstance(value, str):
                info.hparams[name].string_value = value
            else:
                info.hparams[name].number_value = value
        start = HParamsPluginData(session_start_info=info)
        writer.add_event(_plugin_event(metadata.SESSION_START_INFO_TAG, start))
        return writer

    def _describe(self, cells: set[Cell]) -> None:
        """The root run: columns of the hyper-parameters tab and charts of the custom one."""
        for old in self.root.glob("events.*"):  # of another session; the study may have grown
            old.unlink()
        writer = EventFileWriter(str(self.root))
        columns = HParamsPluginData(experiment=_experiment(cells))
        writer.add_event(_plugin_event(metadata.EXPERIMENT_TAG, columns))
        layout = Summary.Value(
            tag=layout_metadata.CONFIG_SUMMARY_TAG,
            metadata=layout_metadata.create_summary_metadata(),
            tensor=make_tensor_proto(_layout().SerializeToString()),
        )
        writer.add_event(Event(wall_time=time.time(), summary=Summary(value=[layout])))
        writer.close()


def _hparams(record: Record) -> dict[str, Any]:
    config = record.config.to_dict() | {"method": record.config.method}
    return {name: config[name] for name in HPARAMS}


def _start(step: int) -> Event:
    """Where it is not the first of its run, what comes from that step on is void."""
    return Event(step=step, session_log=SessionLog(status=SessionLog.START))


def _scalars(step: int, values: dict[str, float | None]) -> Event:
    kept = [Summary.Value(tag=k, simple_value=v) for k, v in values.items() if v is not None]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=kept))


def _plugin_event(tag: str, data: HParamsPluginData) -> Event:
    """What the hyper-parameters tab reads: the data in the metadata of an empty tensor."""
    described = metadata.create_summary_metadata(data)
    value = Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=time.time(), summary=Summary(value=[value]))


def _experiment(cells: set[Cell]) -> api_pb2.Experiment:
    """Which hyper-parameters there are, those of few values to be ticked, and the final metrics."""
    few: dict[str, set[Any]] = {
        "method": {cell.method for cell in cells},
        "optimizer": {cell.optimizer for cell in cells},
        "formulation": {cell.formulation for cell in cells},
        "batch_size": {cell.batch_size for cell in cells},
        "m": {cell.m for cell in cells},
        "phase": set(PHASES),
        "role": set(ROLES),
    }
    experiment = api_pb2.Experiment()
    for name in HPARAMS:
        info = experiment.hparam_infos.add(
            name=name,
            type=api_pb2.DATA_TYPE_FLOAT64,
            differs=name not in ("optimizer", "formulation", "m"),  # the first five that do, show
        )
        if name in few:
            if all(isinstance(value, str) for value in few[name]):
                info.type = api_pb2.DATA_TYPE_STRING
            info.domain_discrete.extend(sorted(few[name]))
    for tag in FINAL:
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag))
    return experiment


def _layout() -> layout_pb2.Layout:
    layout = layout_pb2.Layout()
    for index, (title, charts) in enumerate(LAYOUT.items()):
        category = layout.category.add(title=title, closed=index > 0)
        for name, tag in charts.items():
            category.chart.add(title=name).multiline.tag.append(f"^{tag}$")
    return layout
