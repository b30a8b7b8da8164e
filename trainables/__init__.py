"""What one trial is: data, network, step, training loop and its measurements."""

import os

# Read when torch first allocates: blocks of megabytes come in huge pages, where they would else
# cost a page fault for every 4 KiB that a step touches.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
