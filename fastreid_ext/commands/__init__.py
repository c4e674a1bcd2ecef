"""The subcommands of ``fastreid-ext``, one file each, named as the user types it."""
