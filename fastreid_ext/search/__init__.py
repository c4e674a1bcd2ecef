"""Features on disk, nearest-neighbour indexes over them, and the way of both into a vector database."""
