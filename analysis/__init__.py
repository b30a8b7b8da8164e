"""From the tables of a study to answers. Imports neither Ray nor torch."""

from analysis.load import ForeignTableError, NotAStudyError, Study, join, load

__all__ = ["ForeignTableError", "NotAStudyError", "Study", "join", "load"]
