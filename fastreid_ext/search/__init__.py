"""Features on disk, nearest-neighbour indexes over them, and export to a vector database."""
