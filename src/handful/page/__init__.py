"""The labelling page: a server for one person and one folder, on this machine alone.

::

    serve    finds a port, opens the browser, ends with Ctrl-C
    server   the routes, behind the rules of ``security``
    project  the book, the index of images, what was said and undone
    answers  what becomes of each decision; ``decisions`` undoes them and keeps the classes
    scan     walks the folder; ``decoders`` read files in child processes with limits
    worker   begins and watches the process that learns; ``learned`` reads what it published
    labels   the label that a picture has, in the counts, in an export and for the blind check
    queue    what to answer next; ``groups`` the gallery, ``alike`` more like these, ``points``
             the map
    audit    the blind check; ``advice`` whether to stop, ``review`` labels that may be wrong,
             ``accept`` suggestions in one go

The server process never imports torch.
"""

from __future__ import annotations
