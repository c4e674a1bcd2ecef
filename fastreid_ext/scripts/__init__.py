"""Scripts of FastReID and its forks, run unedited: ``python -m fastreid_ext SCRIPT ARGS``.

The script runs as with plain Python: it is ``__main__``, and its arguments, folder, exit status, tracebacks and Ctrl-C
are its own. FastReID is healed and our models are registered as soon as it, or a process that it spawns, imports
FastReID. :mod:`.running` runs it, :mod:`.children` sees to spawned processes, :mod:`.host` to which FastReID is
imported and :mod:`.keys` to the config keys of our models.
"""
