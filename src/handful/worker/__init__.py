"""The process beside the labelling page that looks at pictures and learns from answers.

::

    index.sqlite, pictures --pictures--> pixels --encoders--> vectors, kept by content
    vectors --space--> what is alike    --copies--> near-duplicates
                                        --groups--> groups, map
    book.sqlite --model--> suggestions  --order--> what to ask next; likely mistakes

It reads the book and the index, writes below ``derived/`` alone, and publishes revisions
(`handful.revisions`).  It never decides what a person said.  One thread, low priority; it ends
with whoever started it.
"""

from __future__ import annotations
