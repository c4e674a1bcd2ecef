"""Projects for a FastReID git checkout, made of this package's own source: what ``fastreid-ext upstream`` writes."""
