"""From the tables of a study to answers. Imports neither Ray nor torch."""

from analysis.load import NotAStudyError, Study, load

__all__ = ["NotAStudyError", "Study", "load"]
