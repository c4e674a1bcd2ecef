"""In the place of ``fastreid_ext.mgre``'s."""
