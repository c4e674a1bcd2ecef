"""What this paper's project adds to FastReID's trainer."""
