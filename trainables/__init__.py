"""What one trial is: data, network, step, training loop and its measurements."""

import os

# Read when torch first allocates: large blocks ask for huge pages. Those above the 32 MiB that
# malloc keeps (memory.py) are mapped anew each time, else at a page fault for every 4 KiB.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
