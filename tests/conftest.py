"""One thread of linear algebra a process: tests run side by side, and threads that wait for each
other on the same cores make small matrices three times as slow. Commands they start inherit it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported
