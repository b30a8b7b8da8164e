"""TensorBoard's event files, written live: one run a trial, so that a regular expression picks a
cell, and samples seen on the x axis, so that curves of different batch sizes align."""

import shutil
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from study.record import Record

CURVES = (
    "train_loss train_accuracy val_loss val_accuracy test_accuracy generalization_gap lr "
    "noise_scale score steps grads images_per_second"
).split()
CLOSED = ".closed"  # marks a run that is whole
HPARAMS = "method optimizer formulation batch_size m lr rho phase role seed".split()


class Board:
    """Writes results/NAME/tensorboard."""

    def __init__(self, results: Path, records: list[Record]) -> None:
        self.root = results / "tensorboard"
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
        values = [
            Summary.Value(tag=tag, simple_value=figures[tag])
            for tag in CURVES
            if figures.get(tag) is not None
        ]
        summary = Summary(value=values)
        writer.add_event(Event(wall_time=time.time(), step=figures["samples"], summary=summary))
        writer.flush()

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

    def _open(self, record: Record) -> EventFileWriter:
        writer = EventFileWriter(str(self.root / record.config.trial_id))
        self._writers[record.config.trial_id] = writer
        config = record.config.to_dict() | {"method": record.config.method}
        info = SessionStartInfo(group_name=record.config.trial_id, start_time_secs=record.started)
        for name in HPARAMS:
            value = config[name]
            if isinstance(value, str):
                info.hparams[name].string_value = value
            else:
                info.hparams[name].number_value = value
        start = HParamsPluginData(session_start_info=info)
        writer.add_event(_plugin_event(metadata.SESSION_START_INFO_TAG, start))
        return writer

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def _plugin_event(tag: str, data: HParamsPluginData) -> Event:
    """What the hyper-parameters tab reads: the data in the metadata of an empty tensor."""
    described = metadata.create_summary_metadata(data)
    value = Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=time.time(), summary=Summary(value=[value]))
