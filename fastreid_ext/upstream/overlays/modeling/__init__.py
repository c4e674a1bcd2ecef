"""In the place of ``fastreid_ext.modeling``'s."""
