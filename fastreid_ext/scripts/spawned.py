"""What a spawned process of a script runs as ``__mp_main__``: the script, after FastReID's healing is prepared."""

from fastreid_ext.scripts import children, running

if __name__ == "__mp_main__":
    script, installed = children.remembered()
    running.prepare(script, installed)
    code = running.source_of(script)
    globals().update(__file__=script, __doc__=None, __spec__=None, __cached__=None, __package__="")
    for name in ("script", "installed", "children", "running"):
        del globals()[name]
    exec(globals().pop("code"))
