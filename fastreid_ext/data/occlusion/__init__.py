"""Which images show an occluded person: the rule by key points, the file that says it, and the split of OPReID."""
