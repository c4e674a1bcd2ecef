"""What a project in a checkout has in the place of our trainer: FastReID's own, with the keys that the papers need."""
