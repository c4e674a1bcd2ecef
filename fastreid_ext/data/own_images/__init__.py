"""Someone's own images, listed and split into the three CSV files of a data set."""
