"""Reports drawn quickly, for the tests of what else is in them."""

from collections.abc import Iterator

import pytest

from analysis.figures.style import STYLE


@pytest.fixture(scope="module")
def outlined() -> Iterator[None]:
    """Letters in a PDF as outlines: to cut them out of a font takes most of the drawing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STYLE, "pdf.fonttype", 3)
        yield
