"""The commands of ``fastreid-ext``, one file each. They read arguments and print; what they compute stands elsewhere.

At import they load nothing but the standard library, so that ``--help`` answers at once.
"""
