"""The name under which a module works on what a block gives."""
