"""The labelling page: a server for one person and one folder, on this machine alone.

::

    serve    finds a port, opens the browser, ends with Ctrl-C
    server   the routes, behind the rules of ``security``
    project  the book, the index of images, what was said and undone
    scan     walks the folder; ``decoders`` read files in child processes with limits

The server process never imports torch.
"""

from __future__ import annotations
