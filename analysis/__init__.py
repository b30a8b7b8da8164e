"""From the tables of a study to answers. Imports neither Ray nor torch."""

from analysis.data.joining import join
from analysis.data.load import load
from analysis.data.study import ForeignTableError, NotAStudyError, Study

__all__ = ["ForeignTableError", "NotAStudyError", "Study", "join", "load"]
